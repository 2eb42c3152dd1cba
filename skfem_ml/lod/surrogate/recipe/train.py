"""``train_surrogate(lod, fields, budget="20min") -> model``: a user's family and a verdict, by one recipe."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, replace
from pathlib import Path

import torch
from numpy import ndarray
from skfem import BilinearForm

from skfem_ml import checks
from skfem_ml.learning.loop.ranks import world
from skfem_ml.learning.models import Card
from skfem_ml.lod.mesh.interpolation import PROJECTION
from skfem_ml.lod.method import LOD
from skfem_ml.lod.surrogate.elements import SuperElements
from skfem_ml.lod.surrogate.hybrid import Hybrid
from skfem_ml.lod.surrogate.inputs import check_squares
from skfem_ml.lod.surrogate.model import Surrogate
from skfem_ml.lod.surrogate.networks.field_network import FieldNetwork
from skfem_ml.lod.surrogate.recipe.budget import Budget
from skfem_ml.lod.surrogate.recipe.elements import FINER, START, train_elements
from skfem_ml.lod.surrogate.recipe.fields import Fields, fields_of
from skfem_ml.lod.surrogate.recipe.job import Job
from skfem_ml.lod.surrogate.recipe.patches import train_patches
from skfem_ml.lod.surrogate.recipe.recipes import Recipe
from skfem_ml.lod.surrogate.recipe.rivals import LocalMaps
from skfem_ml.lod.surrogate.recipe.run import Run, kept_in
from skfem_ml.lod.surrogate.setting import Setting
from skfem_ml.problems import diffusion
from skfem_ml.progress import Progress

BUDGET = "20min"
ELEMENTS, PATCHES = "elements", "patches"
Facts = dict[str, object]
HIGH_CONTRAST = 100.0  # largest over smallest value of a field, from which the network is one for high contrast
MODEL, HYBRID, SHIPPED = "this model", "its hybrid", "shipped super-elements"
TOL, PROMISED = 0.02, 2e-3  # of elements; of u_h


def train_surrogate(
    lod: LOD,
    fields: Fields | Callable[..., ndarray] | ndarray | str | Path,
    budget: str | float | None = None,
    *,
    kind: str | None = None,
    recipe: Recipe | None = None,
    form: BilinearForm = diffusion,
    net: FieldNetwork | None = None,
    seed: int = 0,
    folder: str | Path | None = None,
    card: Mapping[str, object] | None = None,
    device: str = "cpu",
    progress: Progress | None = None,
) -> Surrogate | SuperElements:
    """Train a model for a family of coefficients within a time, and say whether it pays: ``model.verdict``.

    ``fields`` is what `fields_of` takes; ``kind`` is "elements" (`train_elements`; the default where `elements_fit`) or
    "patches" (`train_patches`; any form, and where ``net`` or ``recipe`` are given). ``budget`` (wall seconds or "90s",
    "20min", "1h"; default "20min") and measured speeds decide how many fields are labelled and steps made; a ``recipe``
    in its place fixes the numbers. ``folder`` keeps labels, weights and decisions: the same call goes on where it was
    broken off. Ctrl-C ends the training, and the best so far is judged. ``card`` has entries of your own (name). It is
    for one process, whose clock decides: under torchrun, `fit_surrogate` shares its steps over ranks.

    Raises TypeError for coarse cells that are no equal squares, ValueError for too few fields, a budget that does not
    do, several ranks, and what `fields_of` raises; ModelMismatchError for a folder of another run.
    """
    _require_one_process()
    if budget is not None and recipe is not None:
        raise TypeError("budget, recipe: expected one of them, got both; a recipe has numbers of its own")
    limit = Budget(BUDGET if budget is None else budget) if recipe is None else None
    kind = _kind(lod, form, kind, net is not None or recipe is not None)
    found = fields_of(fields, lod, seed=seed)
    checks.device(device)
    with kept_in(folder) as place:
        about = {**found.facts, "seed": seed, **(card or {})}
        settings = _settings(lod, form, found, about, limit, recipe)
        run = Run(place, {**settings, "kind": kind})
        job = Job(lod, form, found, run, limit, recipe, seed, device, progress)
        return _elements(job, about) if kind == ELEMENTS else _patches(job, about, net)


def _require_one_process() -> None:
    if world() > 1:
        raise ValueError(
            "train_surrogate: expected one process, whose clock decides how much is labelled and trained, got "
            f"{world()} ranks; run it without torchrun, or write_labels once and let fit_surrogate train on ranks"
        )


def elements_fit(lod: LOD, form: BilinearForm = diffusion) -> bool:
    """Whether super-elements are made for an LOD: diffusion, equal squares of 4 x 4 or 8 x 8 cells, L2 projections."""
    space = lod.space
    try:
        check_squares(lod)
    except TypeError:
        return False
    return form is diffusion and space.m in (4, 8) and space.n % 8 == 0 and space.interpolation is PROJECTION


def _kind(lod: LOD, form: BilinearForm, kind: str | None, of_patches: bool) -> str:
    """What to train."""
    check_squares(lod)
    if kind is None:
        return ELEMENTS if elements_fit(lod, form) and not of_patches else PATCHES
    checks.choice(kind, (ELEMENTS, PATCHES), "kind")
    if kind == ELEMENTS and not elements_fit(lod, form):
        raise ValueError(
            'kind: expected "patches" here, got "elements", which are for diffusion on squares of 4 x 4 or 8 x 8 cells '
            "(refine a multiple of 8) with L2 projections"
        )
    return kind


def _settings(
    lod: LOD, form: BilinearForm, fields: Fields, about: Facts, limit: Budget | None, recipe: Recipe | None
) -> dict[str, object]:
    """What determines a run."""
    return {
        **Setting.of(lod, form).to_json(), **about, "fields": fields.name, "fingerprint": fields.fingerprint(),
        "elements": len(lod.space.all_elements), "budget": None if limit is None else limit.seconds,
        "recipe": None if recipe is None else asdict(recipe),
    }  # fmt: skip


def _patches(job: Job, about: Facts, net: FieldNetwork | None) -> Surrogate:
    net = net or _network(job)
    card = Card(setting=Setting.of(job.lod, job.form).to_json(), facts=about)
    Surrogate(net, card)  # refuses a network of another size before any work
    job.run.require("network", dict(net.config))
    if job.run.complete:
        found = Surrogate.load(job.run.model, job.device)
        assert isinstance(found, Surrogate)
        return found
    model = train_patches(job, net, card)
    model.save(job.run.model)
    learned: LocalMaps = {MODEL: model, HYBRID: _hybrid(model, job.form)}
    model.card = replace(model.card, facts={**model.card.facts, **judged(job, learned, job.lod.space.n)})
    model.save(job.run.model)
    job.run.complete = True
    return model


def _hybrid(model: Surrogate, form: BilinearForm) -> Hybrid:
    """With an error of u_h that is promised, where one is; else with a threshold for elements."""
    promise = model.certificate.solution
    return Hybrid(model, form, PROMISED) if promise is not None else Hybrid(model, form, element_tol=TOL)


def _elements(job: Job, about: Facts) -> SuperElements:
    if job.run.complete:
        return SuperElements.load(job.run.model)
    model = train_elements(job, about)
    model.save(job.run.model)
    learned: LocalMaps = {MODEL: model, HYBRID: SuperElements(model.net, model.card, tol=TOL)}
    found = judged(job, learned, FINER * model.net.n, alike=(MODEL, SHIPPED))
    model.card = replace(model.card, facts={**model.card.facts, **found})
    model.save(job.run.model)
    job.run.complete = True
    return model


def judged(job: Job, learned: LocalMaps, finest: int, alike: tuple[str, ...] = ()) -> dict[str, object]:
    """The entries of a card that the verdict gives; without one where there is nothing to judge by."""
    verdict = job.verdict(learned, _shipped(job, finest), finest, alike)
    return {"cpu": dict(job.run.cpu)} | ({} if verdict is None else {"verdict": verdict.to_json()})


def _shipped(job: Job, finest: int) -> LocalMaps:
    """The model of the package, which costs no training, where it serves and ``finest`` is what it was trained for."""
    if not elements_fit(job.lod, job.form):
        return {}
    model = SuperElements.load(START)
    return {SHIPPED: model} if finest >= FINER * model.net.n else {}


def _network(job: Job) -> FieldNetwork:
    """A network with weights of the seed, for high contrast where the first fields are of one."""
    some = [job.fields.draw(index) for index in range(min(8, job.fields.count or 8))]
    recipe = job.recipe or Recipe(wide=bool(max(a.max() / a.min() for a in some) >= HIGH_CONTRAST))
    generator = torch.Generator().manual_seed(job.seed)
    return FieldNetwork(job.lod.space.m, job.lod.ell, wide=recipe.wide, base=recipe.base, generator=generator)
