"""Make the model "diffusion" of the package, learned super-elements: labels, training, certificate.

Labels are exact energies of elements on 32 x 32 cells, extrapolated, of the families at the scale of cells
(`lod.surrogate.elements.families`): blocks 0, 1, ... of 1024 elements to train on, a million on to choose weights. The
doubt is calibrated, and tested, on fields of 64 elements from streams of their own; what is promised of u_h on fields
of 16 x 16 coarse elements with exact matrices at n = 32. Everything is kept in the folder, and a run that is stopped
goes on where it was.

Run in the root of the source tree: python -m data.make_elements FOLDER [MODEL] (one thread: six minutes of labels, 60
of training, 15 of certificate; with MODEL, a file of super-elements, the certificate alone is made again)
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from numpy import ndarray
from safetensors.torch import load_file, save_file
from skfem import MeshQuad

from skfem_ml.learning.models import Card
from skfem_ml.lod import LOD, SuperElements
from skfem_ml.lod.surrogate import ElementNetwork
from skfem_ml.lod.surrogate.conformal import Calibration, Certificate, certify, measured
from skfem_ml.lod.surrogate.elements.families import CELLWISE, cellwise_field
from skfem_ml.lod.surrogate.elements.judging import distances
from skfem_ml.lod.surrogate.elements.labels import ElementLabels, Elements
from skfem_ml.lod.surrogate.elements.samples import drawn_labels, field_of, on_elements
from skfem_ml.lod.surrogate.elements.training import fit_elements
from skfem_ml.lod.surrogate.recipe.elements import where_asked
from skfem_ml.problems import diffusion

N, LEVEL, SEED = 8, 5, 0
BLOCKS, PART, HELD = 360, 20, 10**6  # blocks of labels to train on, in a file, and the first one that chooses weights
STEPS = 34_000
CALIBRATED, TESTED = 2_000_000, 3_000_000  # first numbers of fields of elements
FIELDS, FRESH = 440, 440
SOLVED, COUNT, JUDGED = 4_000_000, 264, 66  # fields with exact matrices: first number, to calibrate, to test
CONTRAST = 1e3  # of those
FAMILY = f"{', '.join(CELLWISE)}; contrast up to 10,000"


def labels(folder: Path) -> tuple[ElementLabels, ElementLabels]:
    """What is trained on, and what chooses the weights."""
    space = LOD(MeshQuad().refined(LEVEL), refine=N).space
    parts = []
    for first in [*range(0, BLOCKS, PART), HELD]:
        path = folder / f"{first}.safetensors"
        if not path.exists():
            count = PART if first < HELD else 2
            found = ElementLabels.joined(list(drawn_labels(space, SEED, first, count)))
            save_file(dict(found._asdict()), path)
            print(f"{path}: {len(found.values)} elements", flush=True)
        parts.append(ElementLabels(**load_file(path)))
    return ElementLabels.joined(parts[:-1]), parts[-1]


def trained(folder: Path) -> SuperElements:
    """The network of one run, its card without a certificate."""
    train, held = labels(folder)
    net = ElementNetwork(N, generator=torch.Generator().manual_seed(SEED))
    history = fit_elements(
        net, train, held, steps=STEPS, seed=SEED, checkpoint=folder / "training.pt",
        progress=lambda done, total, text: print(f"{done} of {total}: {text}", flush=True),
    )  # fmt: skip
    facts = {"steps": STEPS, "elements": len(train.values), "validation loss": history.best}
    return SuperElements(net, Card(facts={**facts, "history": history.to_dict()}))


def drawn(first: int, count: int, size: int, contrast: float) -> Iterator[tuple[str, ndarray]]:
    """Images ``(size, size)`` of the families in turn, by name."""
    for number in range(count):
        family, rng = CELLWISE[number % len(CELLWISE)], np.random.default_rng([SEED, first + number])
        yield f"{family} {first + number}", cellwise_field(family, size, contrast ** rng.uniform(), rng)


def doubts(model: SuperElements, first: int, count: int) -> tuple[list[str], list[ndarray], list[ndarray]]:
    """Names of fields of 64 elements, what the model says of those it is asked for with factor one, and true d."""
    lod = LOD(MeshQuad().refined(3), refine=N)
    plain = SuperElements(model.net, replace(model.card, doubt=None), checked=0.0)
    names, said, true = [], [], []
    for name, image in drawn(first, count, 8 * N, 1e4):
        a = field_of(lod.space, on_elements(image, N))
        truth = Elements.of(lod.space, a)
        asked = where_asked(truth)
        if len(asked):
            judged = plain.judge(lod, asked, a=a, tol=np.inf)
            names.append(name)
            said.append(judged.doubt)
            true.append(distances(judged.energies, truth.exact(asked)))
    return names, said, true


def with_doubt(model: SuperElements) -> SuperElements:
    """The doubt made true: 90 % of the elements of a fresh field have a smaller d."""
    names, said, true = doubts(model, CALIBRATED, FIELDS)
    made = Calibration.of(said, true, names, family=FAMILY)
    fresh, told, found = doubts(model, TESTED, FRESH)
    cover = made.coverage(told, found, fresh)
    errors = np.concatenate(found)
    doubt = {"factor": made.factor, "field factor": made.field_factor, "quantile": made.level, "fields": len(names)}
    doubt |= {"covered, new fields": cover.elements, "trusted": 0.1}
    quantiles = {f"d, {name}": float(np.quantile(errors, q)) for name, q in (("median", 0.5), ("90 %", 0.9))}
    return SuperElements(
        model.net, replace(model.card, doubt=doubt, errors={**quantiles, "d, largest": float(errors.max())})
    )


def with_promise(model: SuperElements) -> SuperElements:
    """What is promised of S_T and of u_h, on exact matrices at n = 32, whatever was promised before."""
    model = SuperElements(model.net, replace(model.card, certificate=None))
    lod = LOD(MeshQuad().refined(4), refine=4 * N, cells=N)
    images = drawn(SOLVED, COUNT + JUDGED, 16 * N, CONTRAST)
    fields = {name: field_of(lod.space, on_elements(image, N)) for name, image in images}
    names = list(fields)
    calibrated, tested = ({name: fields[name] for name in part} for part in (names[:COUNT], names[COUNT:]))
    found = certify(model, lod, calibrated, diffusion, family=f"{', '.join(CELLWISE)}; contrast up to 1000")
    known = replace(model.card, certificate=found.to_json())
    kept = found.kept(measured(SuperElements(model.net, known), lod, tested, diffusion))
    made = Certificate(found.elements, found.solution, None, kept)
    return SuperElements(model.net, replace(known, certificate=made.to_json()))


def make(folder: Path, model: Path | None) -> SuperElements:
    """The model, written into the folder."""
    folder.mkdir(parents=True, exist_ok=True)
    raw = trained(folder) if model is None else SuperElements.load(model)
    facts = {**raw.card.facts, "seed": SEED, "family": FAMILY, "script": "data/make_elements.py"}
    plain = SuperElements(raw.net, replace(raw.card, name="diffusion", facts=facts))
    made = with_promise(with_doubt(plain))
    made.save(folder / "diffusion.safetensors")
    return made


if __name__ == "__main__":
    torch.set_num_threads(1)
    if len(sys.argv) not in (2, 3):
        raise SystemExit(__doc__)
    result = make(Path(sys.argv[1]), Path(sys.argv[2]) if len(sys.argv) > 2 else None)
    print(dict(result.card.doubt or {}), dict(result.card.errors), result.certificate, result.certificate.tested)
