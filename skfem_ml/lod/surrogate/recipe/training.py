"""Train a field network on exact local matrices: ``train_surrogate(lod, draw, ...) -> (Surrogate, History)``.

Labels are exact local matrices S_T. The network is `FieldNetwork`: scale, symmetries and constants are right by
construction. Its affine part is found by ridge regression of what is missing and stays fixed; the rest is trained by
Muon with a cosine schedule and averaged weights. The loss of a field is its mean squared error over the patches to the
power 3/4: between a mean that the roughest fields rule alone, and one in which all weigh the same. Last, the layers
that the answer is linear in are fitted by ridge and, on fields that were neither trained on nor used to choose weights,
the network learns how far off it is likely to be (`fit_doubt`). The models of the package are made by the same.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from copy import deepcopy
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy import ndarray
from skfem import BilinearForm

from skfem_ml import checks
from skfem_ml.coefficients.families import WIDE
from skfem_ml.learning.models import Card
from skfem_ml.learning.optim import MuonAdam
from skfem_ml.learning.schedules import cosine
from skfem_ml.learning.training import History, fit
from skfem_ml.lod.judging import errors_of
from skfem_ml.lod.method import LOD
from skfem_ml.lod.surrogate.certificate import coverage, feature_range, fit_doubt, pattern_range
from skfem_ml.lod.surrogate.inputs import check_squares, shapes_of
from skfem_ml.lod.surrogate.recipe.labelled import Labelled, field_errors, held_out
from skfem_ml.lod.surrogate.recipe.labels import Source
from skfem_ml.lod.surrogate.model import Surrogate
from skfem_ml.lod.surrogate.networks.field_network import FieldNetwork
from skfem_ml.lod.surrogate.networks.place import Sample
from skfem_ml.lod.surrogate.networks.ridge import fit_affine
from skfem_ml.lod.surrogate.recipe.parts import Parts, parts_of, shipped_parts
from skfem_ml.lod.surrogate.recipe.recipes import Recipe, ShippedRecipe
from skfem_ml.lod.surrogate.setting import Setting
from skfem_ml.problems import diffusion
from skfem_ml.progress import Progress

Optimiser = Callable[[FieldNetwork, float], torch.optim.Optimizer]
CORNERS = 4  # fields of the second LOD in every fourth step


def train_surrogate(
    lod: LOD,
    source: Source,
    net: FieldNetwork | None = None,
    *,
    recipe: Recipe | None = None,
    validation: ndarray | None = None,
    form: BilinearForm = diffusion,
    seed: int = 0,
    keep: str | Path | None = None,
    card: Mapping[str, object] | None = None,
    device: str = "cpu",
    progress: Progress | None = None,
    checkpoint: str | Path | None = None,
    **changes: Any,
) -> tuple[Surrogate, History]:
    """Train a field network as the models of the package were, and return it with the history.

    ``source`` is ``draw(i)``, field i ``(nelems,)`` on ``lod.coefficient_mesh`` (i alone decides), fields ``(k,
    nelems)``, or a folder of `write_labels`; what is no draw is divided, a tenth each to choose weights, for the doubt
    and for errors. ``changes`` are entries of the recipe (``steps=2000``); ``validation`` are fields ``(k, nelems)`` of
    your own that choose the weights; ``keep`` is a folder for the labels, from which a run that was broken off goes on;
    ``card`` are entries of your own (name, family). ``every`` steps there is a record.

    Raises TypeError for coarse cells that are no equal squares, ValueError for sizes out of range, and what `fit`
    raises.
    """
    every = changes.pop("every", None)
    chosen = replace(recipe or Recipe(), **changes)
    check_squares(lod)
    checks.device(device)
    net = net or FieldNetwork(
        lod.space.m, lod.ell, wide=chosen.wide, base=chosen.base, generator=torch.Generator().manual_seed(seed)
    )
    about = Card(setting=Setting.of(lod, form).to_json(), facts={"seed": seed, **(card or {})})
    Surrogate(net, about)  # refuses a network of another size before any work
    chosen = replace(chosen, base=net.base)
    parts = parts_of(lod, source, chosen, validation, form, keep, progress)
    return train(net, lod, parts, chosen, about, form, device, every=every, checkpoint=checkpoint, progress=progress)


def train(
    net: FieldNetwork,
    lod: LOD,
    parts: Parts,
    recipe: Recipe,
    about: Card,
    form: BilinearForm = diffusion,
    device: str = "cpu",
    *,
    every: int | None = None,
    **options: Any,
) -> tuple[Surrogate, History]:
    """Train on labelled fields, fit last layers and doubt, and fill the card; ``options`` are those of `fit`."""
    net.to(device)
    there = {name: part.to(device) for name, part in parts.items()}
    seed = about.facts.get("seed", 0)
    every = max(1, recipe.steps // 20) if every is None else every
    history = learn(net, there, recipe, seed=int(seed) if isinstance(seed, int) else 0, every=every, **options)
    best = refit(net, there, recipe)
    return finish(net, lod, there, recipe, about, form, best, device), history


def muon(net: FieldNetwork, rate: float) -> torch.optim.Optimizer:
    """Muon for the matrices, Adam for the rest; the last layer five times slower, the affine part not at all."""
    others = ("head", "affine", "doubt")
    layers = [(name, p) for name, p in net.named_parameters() if not name.startswith(others)]
    inner = [p for name, p in layers if p.dim() == 2 and not name.startswith("between")]
    outer = [p for name, p in layers if p.dim() == 1 or name.startswith("between")]
    rest: list[dict[str, object]] = [{"params": outer}, {"params": [net.head.weight], "scale": 0.2}]
    return MuonAdam(inner, rest, lr=rate)


def learn(
    net: FieldNetwork,
    parts: Parts,
    recipe: Recipe,
    *,
    seed: int = 0,
    ridge: bool = True,
    optimiser: Optimiser = muon,
    **options: Any,
) -> History:
    """Ridge for the affine part, then the loop; ``options`` are those of `learning.fit`."""
    squares, corners, warm = parts["train"], parts.get("corner"), max(1, recipe.steps // 50)
    if ridge:
        fit_affine(
            net, squares.chosen(np.arange(min(len(squares.a), recipe.affine))).samples(), relative=recipe.relative
        )
    net.affine.requires_grad_(False)

    def batch(step: int) -> list[Labelled]:
        rng = np.random.default_rng([seed, step])
        out = [squares.chosen(rng.choice(len(squares.a), recipe.batch, p=squares.weights))]
        if corners is not None and step % 4 == 0:
            out.append(corners.chosen(rng.integers(len(corners.a), size=CORNERS)))
        return out

    def loss(net: FieldNetwork, seen: list[Labelled]) -> torch.Tensor:
        errors = [field_errors(net, part, recipe.relative) + 1e-9 for part in seen]
        return torch.stack([error.pow(recipe.power).mean() for error in errors]).sum()

    return fit(
        net,
        loss,
        batch,
        optimiser=optimiser(net, recipe.rate),
        steps=recipe.steps,
        schedule=cosine(recipe.rate, recipe.steps, warm),
        validate=lambda net: held_out(net, parts["validation"], recipe.relative),
        average=0.997,
        **options,
    )


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
    seen = [part for name, part in parts.items() if name != "test"]
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
        cells = lod.space.coefficient_refinement.cells
        fields = np.empty((len(parts["test"].a), cells.size))
        fields[:, cells.ravel()] = parts["test"].a.flatten(1).cpu().numpy()
        surrogate.card = replace(surrogate.card, errors=errors_of(_Quiet(surrogate), lod, fields, form))
    return surrogate


class _Quiet:
    """A surrogate that does not warn: its errors are about to be measured."""

    def __init__(self, surrogate: Surrogate):
        self.surrogate = surrogate

    def local(self, lod: LOD, elements: ndarray, a: ndarray) -> ndarray:
        return self.surrogate.raw(lod, elements, a=a)[0]


def remake(
    recipe: ShippedRecipe, folder: str | Path, start: Surrogate | None = None, **options: Any
) -> tuple[Surrogate, History]:
    """Make a model of the package; labels and checkpoint are kept in ``folder``, and a run that broke off goes on.

    ``start`` is the model whose weights it starts from. See ``ShippedRecipe.exact`` for what is then the same.
    """
    lod, parts = shipped_parts(recipe, Path(folder), options.get("progress"))
    generator = torch.Generator().manual_seed(recipe.seed)
    net = FieldNetwork(lod.space.m, lod.ell, wide=recipe.wide, base=recipe.base, generator=generator)
    if start is not None:
        net.load_state_dict(start.net.state_dict())
    family = ", ".join(WIDE) + "; contrast 2 to 1000" if recipe.wide else "iid-0 to iid-8, multiscale; U[1, 5]"
    facts: dict[str, object] = {"family": family, "seed": recipe.seed, "script": "demos/train_surrogate.py"}
    about = Card(name=recipe.name, setting=Setting.of(lod).to_json(), facts=facts)
    return train(net, lod, parts, recipe, about, checkpoint=Path(folder) / "training.pt", **options)
