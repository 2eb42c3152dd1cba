"""The parts of a training: ridge, the loop, the last layers again, the doubt, the card.

The network is `FieldNetwork`: scale, symmetries and constants are right by construction. Its affine part is found by
ridge regression of what is missing and stays fixed; the rest is trained by Muon with a cosine schedule and averaged
weights. The loss of a field is its mean squared error over the patches to the power 3/4: between a mean that the
roughest fields rule alone, and one in which all weigh the same. Last, the layers that the answer is linear in are
fitted by ridge and, on fields that were neither trained on nor used to choose weights, the network learns how far off
it is likely to be (`fit_doubt`). `train.train_surrogate` and `remake` run these parts.
"""

from __future__ import annotations

from collections.abc import Callable
from copy import deepcopy
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy import ndarray
from skfem import BilinearForm

from skfem_ml.coefficients.families import WIDE
from skfem_ml.learning.models import Card
from skfem_ml.learning.optim import MuonAdam
from skfem_ml.learning.schedules import cosine
from skfem_ml.learning.training import History, fit
from skfem_ml.lod.judging import errors_of
from skfem_ml.lod.method import LOD
from skfem_ml.lod.surrogate.certificate import coverage, feature_range, fit_doubt, pattern_range
from skfem_ml.lod.surrogate.inputs import shapes_of
from skfem_ml.lod.surrogate.model import Surrogate
from skfem_ml.lod.surrogate.networks.field_encoder import in_type
from skfem_ml.lod.surrogate.networks.field_network import FieldNetwork
from skfem_ml.lod.surrogate.networks.place import Sample
from skfem_ml.lod.surrogate.networks.ridge import fit_affine
from skfem_ml.lod.surrogate.recipe.labelling.labelled import Labelled, field_errors, held_out
from skfem_ml.lod.surrogate.recipe.labelling.parts import Parts, shipped_parts
from skfem_ml.lod.surrogate.recipe.pacing import PROBED, RECORDS, seconds_of
from skfem_ml.lod.surrogate.recipe.recipes import Recipe, ShippedRecipe
from skfem_ml.lod.surrogate.setting import Setting
from skfem_ml.problems import diffusion

Optimiser = Callable[[FieldNetwork, float], torch.optim.Optimizer]
CORNERS = 4  # fields of the second LOD in every fourth step


def muon(net: FieldNetwork, rate: float) -> torch.optim.Optimizer:
    """Muon for the matrices, Adam for the rest; the last layer five times slower, the affine part not at all."""
    others = ("head", "affine", "doubt")
    layers = [(name, p) for name, p in net.named_parameters() if not name.startswith(others)]
    inner = [p for name, p in layers if p.dim() == 2 and not name.startswith("between")]
    outer = [p for name, p in layers if p.dim() == 1 or name.startswith("between")]
    rest: list[dict[str, object]] = [{"params": outer}, {"params": [net.head.weight], "scale": 0.2}]
    return MuonAdam(inner, rest, lr=rate)


def rate_of(recipe: Recipe) -> Callable[[int], float]:
    """The rate of a step: rising for a fiftieth of them, then falling as a cosine."""
    return cosine(recipe.rate, recipe.steps, max(1, recipe.steps // 50))


def begin(net: FieldNetwork, parts: Parts, recipe: Recipe) -> None:
    """Ridge regression of the affine part, which then stays as it is."""
    squares = parts["train"]
    some = squares.chosen(np.arange(min(len(squares.a), recipe.affine))).samples()
    fit_affine(net, some, relative=recipe.relative)
    net.affine.requires_grad_(False)


def learn(
    net: FieldNetwork,
    parts: Parts,
    recipe: Recipe,
    *,
    seed: int = 0,
    optimiser: Optimiser = muon,
    **options: Any,
) -> History:
    """The loop; ``options`` are those of `learning.fit`."""
    squares, corners, rounded = parts["train"], parts.get("corner"), recipe.bfloat16 * recipe.steps

    def batch(step: int) -> tuple[list[Labelled], torch.dtype | None]:
        rng = np.random.default_rng([seed, step])
        out = [squares.chosen(rng.choice(len(squares.a), recipe.batch, p=squares.weights))]
        if corners is not None and step % 4 == 0:
            out.append(corners.chosen(rng.integers(len(corners.a), size=CORNERS)))
        return out, torch.bfloat16 if step < rounded else None

    def loss(net: FieldNetwork, seen: tuple[list[Labelled], torch.dtype | None]) -> torch.Tensor:
        with in_type(net, seen[1]):
            errors = [field_errors(net, part, recipe.relative) + 1e-9 for part in seen[0]]
        return torch.stack([error.pow(recipe.power).mean() for error in errors]).sum()

    return fit(
        net,
        loss,
        batch,
        optimiser=optimiser(net, recipe.rate),
        steps=recipe.steps,
        validate=lambda net: held_out(net, parts["validation"], recipe.relative),
        average=0.997,
        **{"every": max(1, recipe.steps // RECORDS), "schedule": rate_of(recipe), **options},
    )


def speed(net: FieldNetwork, parts: Parts, recipe: Recipe, seed: int = 0) -> tuple[float, float]:
    """Wall seconds of a step and of a record, on a copy of a network."""
    copy, few = deepcopy(net), replace(recipe, steps=PROBED)
    learn(copy, parts, replace(recipe, steps=1), seed=seed)  # what is slow for once
    record = seconds_of(lambda: held_out(copy, parts["validation"], recipe.relative))
    steps = seconds_of(lambda: learn(copy, parts, few, seed=seed, every=PROBED)) - record
    return max(steps / PROBED, 1e-5), record


def time_of_refit(net: FieldNetwork, parts: Parts, recipe: Recipe) -> float:
    """Wall seconds of one field in `refit`."""
    sample = parts["train"].chosen(np.arange(1)).samples()
    return seconds_of(lambda: fit_affine(deepcopy(net), sample, relative=recipe.relative, penalty=1e-6, head=True))


def refit(net: FieldNetwork, parts: Parts, recipe: Recipe) -> float:
    """Fit the last layers of a trained network by ridge, if that helps on held-out fields; return the loss there."""
    some = parts["train"].samples()[: recipe.refit]
    if "corner" in parts:
        some += parts["corner"].samples()[: recipe.refit // 4]
    return _if_it_helps(net, parts, recipe, some, penalty=1e-6, head=True)


def _if_it_helps(net: FieldNetwork, parts: Parts, recipe: Recipe, samples: list[Sample], **options: Any) -> float:
    """Ridge regression, undone where it makes held-out fields worse (few samples); the loss there."""
    before, state = held_out(net, parts["validation"], recipe.relative), deepcopy(net.state_dict())
    fit_affine(net, samples, relative=recipe.relative, **options)
    after = held_out(net, parts["validation"], recipe.relative)
    if after < before:
        return after
    net.load_state_dict(state)
    return before


def finish(
    net: FieldNetwork, lod: LOD, parts: Parts, recipe: Recipe, about: Card, form: BilinearForm, best: float, device: str
) -> Surrogate:
    """Let the network learn its own errors on fields of their own, and fill the card."""
    doubt: dict[str, object] = dict(fit_doubt(net, parts["doubt"].samples(), recipe.quantile))
    if "test" in parts:
        doubt["covered, new fields"] = coverage(net, parts["test"].samples())
    seen = [part for name, part in parts.items() if name not in ("calibration", "test")]
    extents = torch.cat([net.extent(part.a, part.place).flatten() for part in seen])
    trained = sum(len(parts[name].a) for name in ("train", "corner") if name in parts)
    facts = {"steps": recipe.steps, "fields": trained, "validation loss": best, **about.facts}
    name = facts.pop("name", about.name)
    card = replace(
        about,
        name=str(name),
        extent=(float(extents.min()), float(extents.max())),
        shapes=tuple(sorted({shape for part in seen for shape in shapes_of(part.place)})),
        features=feature_range(net, [part.inputs for part in seen]),
        patterns=pattern_range([part.inputs for part in seen]),
        doubt=doubt,
        facts=facts,
    )
    surrogate = Surrogate(net, card, device=device)
    fixed = lod.space.dirichlet.nodes
    if "test" in parts and fixed.any() and not fixed.all():
        surrogate.card = replace(surrogate.card, errors=_errors(surrogate, lod, parts["test"], form))
    return surrogate


def _errors(surrogate: Surrogate, lod: LOD, test: Labelled, form: BilinearForm) -> dict[str, float]:
    """Errors against the labels of some fields."""
    cells = lod.space.coefficient_refinement.cells
    fields = np.empty((len(test.a), cells.size))
    fields[:, cells.ravel()] = test.a.flatten(1).cpu().numpy()
    return errors_of(_Quiet(surrogate), lod, fields, form, exact=test.exact.double().cpu().numpy())


class _Quiet:
    """A surrogate that does not warn: its errors are about to be measured."""

    def __init__(self, surrogate: Surrogate):
        self.surrogate = surrogate

    def local(self, lod: LOD, elements: ndarray, a: ndarray) -> ndarray:
        return self.surrogate.raw(lod, elements, a=a)[0]


def remake(
    recipe: ShippedRecipe, folder: str | Path, start: Surrogate | None = None, device: str = "cpu", **options: Any
) -> Surrogate:
    """Make a model of the package; labels and checkpoint are kept in ``folder``, and a run that broke off goes on.

    ``start`` is the model whose weights it starts from, ``options`` are those of `fit`.
    """
    lod, parts = shipped_parts(recipe, Path(folder), options.get("progress"))
    generator = torch.Generator().manual_seed(recipe.seed)
    net = FieldNetwork(lod.space.m, lod.ell, wide=recipe.wide, base=recipe.base, generator=generator)
    if start is not None:
        net.load_state_dict(start.net.state_dict())
    parts = {name: part.to(device) for name, part in parts.items()}
    begin(net.to(device), parts, recipe)
    history = learn(net, parts, recipe, seed=recipe.seed, checkpoint=Path(folder) / "training.pt", **options)
    family = ", ".join(WIDE) + "; contrast 2 to 1000" if recipe.wide else "iid-0 to iid-8, multiscale; U[1, 5]"
    facts: dict[str, object] = {"family": family, "seed": recipe.seed, "script": "data/remake_models.py"}
    facts["history"] = history.to_dict()
    about = Card(name=recipe.name, setting=Setting.of(lod).to_json(), facts=facts)
    return finish(net, lod, parts, recipe, about, diffusion, refit(net, parts, recipe), device)
