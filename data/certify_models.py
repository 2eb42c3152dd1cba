"""Certificates for the cards of the shipped surrogates, and what is known of `Extrapolated`.

The weights are read and written as they are. Fields are of the families of training, with numbers that nothing else
uses: from 10,000,000 on to calibrate (for n = 32 from 2,000,000, for the wide model from 3,000,000), from 11,000,000 on
to test, from 12,000,000 on for the test of novelty, which needs no labels; its reference are fields of training. All
are on the 32 x 32 coarse elements of training. Exact matrices are kept in a folder, and a run that is stopped goes on
where it was.

Run in the root of the source tree: python -m data.certify_models FOLDER [MODEL ...] (on one thread: two minutes for
n = 8, eight for each of n = 32, most of it exact matrices)
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping
from dataclasses import replace
from itertools import islice
from pathlib import Path

import numpy as np
import torch
from numpy import ndarray

from skfem_ml.coefficients.families import NAMES, WIDE, paper_field, wide_field
from skfem_ml.learning import find_model
from skfem_ml.lod import LOD, Extrapolated, Surrogate
from skfem_ml.lod.surrogate import RECIPES, certified
from skfem_ml.lod.surrogate.certificate import recarded
from skfem_ml.lod.surrogate.conformal import Certificate, certify, measured
from skfem_ml.lod.surrogate.recipe.labelling.parts import shipped_draw, shipped_lod
from skfem_ml.lod.surrogate.recipe.recipes import ShippedRecipe
from skfem_ml.problems import diffusion

CALIBRATION = {"diffusion-q1-ell2-n8": (10_000_000, 100)}  # first number of a field, how many
CALIBRATION |= {"diffusion-q1-ell2-n32": (2_000_000, 60), "diffusion-wide-q1-ell2-n32": (3_000_000, 20)}
TEST, COUNT = 11_000_000, {8: 100, 32: 10}
NOVELTY, FRESH, KNOWN = 12_000_000, 400, 100


def drawn(recipe: ShippedRecipe, lod: LOD, first: int) -> Iterator[tuple[str, ndarray]]:
    """Fields of the families in turn, by name."""
    families, draw = (WIDE, wide_field) if recipe.wide else (NAMES, paper_field)
    number = 0
    while True:
        family, index = families[number % len(families)], first + number // len(families)
        yield f"{family} {index}", draw(lod.coefficient_mesh, family, index)
        number += 1


class Labels(Mapping[str, ndarray]):
    """Exact local matrices of fields, kept in a folder."""

    def __init__(self, lod: LOD, fields: Mapping[str, ndarray], folder: Path):
        self.lod, self.fields, self.folder = lod, fields, folder
        folder.mkdir(parents=True, exist_ok=True)

    def __getitem__(self, name: str) -> ndarray:
        path = self.folder / f"{self.lod.space.n} {name}.npy"
        if not path.exists():
            np.save(path, self.lod.local(diffusion, a=self.fields[name]))
            print(path.name, flush=True)
        return np.load(path)

    def __iter__(self) -> Iterator[str]:
        return iter(self.fields)

    def __len__(self) -> int:
        return len(self.fields)


def certificate_of(recipe: ShippedRecipe, folder: Path) -> tuple[Surrogate, Surrogate]:
    """The shipped model without and with its certificate, tested on further fields."""
    lod, bare = shipped_lod(recipe, "test"), recarded(Surrogate.load(recipe.name), Certificate())
    first, count = CALIBRATION[recipe.name]
    fields, test, fresh = (
        dict(islice(drawn(recipe, lod, number), size))
        for number, size in ((first, count), (TEST, COUNT[recipe.n]), (NOVELTY, FRESH))
    )
    train = shipped_draw(recipe, "train", lod.coefficient_mesh)
    family = f"{', '.join(WIDE)}, contrast 2 to 1000" if recipe.wide else "iid-0 to iid-8, multiscale, U[1, 5]"
    model = certified(
        bare, lod, fields, known=(train(number) for number in range(min(KNOWN, recipe.fields))), fresh=fresh,
        family=f"{family}; 32 x 32 elements", exact=Labels(lod, fields, folder),
    )  # fmt: skip
    found = measured(model, lod, test, exact=Labels(lod, test, folder))
    alarms = float(np.mean([model.novelty(lod, a=a).field for a in test.values()]))
    tested = {**model.certificate.kept(found), "alarms": alarms}
    return bare, recarded(model, replace(model.certificate, tested=tested))


def extrapolated(folder: Path) -> Certificate:
    """The certificate of extrapolated matrices, on the fields of the wide model and of n = 32 together."""
    fields: dict[str, ndarray] = {}
    for recipe in (recipe for recipe in RECIPES.values() if recipe.n == 32):
        lod, (first, _) = shipped_lod(recipe, "test"), CALIBRATION[recipe.name]
        fields |= dict(islice(drawn(recipe, lod, first), 20))
    family = f"{', '.join(WIDE)}, contrast 2 to 1000; iid-0 to iid-8, multiscale, U[1, 5]; 32 x 32 elements"
    return certify(Extrapolated(diffusion), lod, fields, family=family, exact=Labels(lod, fields, folder))


if __name__ == "__main__":
    torch.set_num_threads(1)
    place, names = Path(sys.argv[1]), sys.argv[2:] or list(RECIPES)
    for name in [name for name in names if name in RECIPES]:
        made = certificate_of(RECIPES[name], place)[1]
        made.save(find_model("lod", name))
        print(name, made.certificate, dict(made.certificate.tested), flush=True)
    if "extrapolated" in names:
        found = extrapolated(place)
        # Its certificates are not multiplied by the factor of elements: the promise is for them as they are.
        print(replace(found.solution, factor=found.solution.factor * found.elements.factor).to_json(), found)
