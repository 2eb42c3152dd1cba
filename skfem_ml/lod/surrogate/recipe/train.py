"""``train_surrogate(lod, fields, budget="20min") -> Surrogate``: a user's family and a verdict, by one recipe."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, replace
from pathlib import Path

import torch
from numpy import ndarray
from skfem import BilinearForm

from skfem_ml import checks
from skfem_ml.learning.models import Card
from skfem_ml.lod.local import LocalMap
from skfem_ml.lod.method import LOD
from skfem_ml.lod.surrogate.hybrid import Hybrid
from skfem_ml.lod.surrogate.inputs import check_squares
from skfem_ml.lod.surrogate.model import Surrogate
from skfem_ml.lod.surrogate.networks.field_network import FieldNetwork
from skfem_ml.lod.surrogate.recipe.budget import Budget
from skfem_ml.lod.surrogate.recipe.fields import Fields, fields_of
from skfem_ml.lod.surrogate.recipe.job import Job
from skfem_ml.lod.surrogate.recipe.patches import train_patches
from skfem_ml.lod.surrogate.recipe.recipes import Recipe
from skfem_ml.lod.surrogate.recipe.run import Run, kept_in
from skfem_ml.lod.surrogate.setting import Setting
from skfem_ml.problems import diffusion
from skfem_ml.progress import Progress

BUDGET = "20min"
HIGH_CONTRAST = 100.0  # largest over smallest value of a field, from which the network is one for high contrast
MODEL, HYBRID, TOL = "this model", "its hybrid", 0.02


def train_surrogate(
    lod: LOD,
    fields: Fields | Callable[..., ndarray] | ndarray | str | Path,
    budget: str | float | None = None,
    *,
    recipe: Recipe | None = None,
    form: BilinearForm = diffusion,
    net: FieldNetwork | None = None,
    seed: int = 0,
    folder: str | Path | None = None,
    card: Mapping[str, object] | None = None,
    device: str = "cpu",
    progress: Progress | None = None,
) -> Surrogate:
    """Train a surrogate for a family of coefficients within a time, and say whether it pays: ``model.verdict``.

    ``fields`` is what `fields_of` takes. They are labelled with exact matrices by the cheapest way that is good enough
    (`choose_way`), to train on, to choose weights, for the doubt, for errors and verdict. ``budget`` (wall seconds or
    "90s", "20min", "1h"; default "20min") and measured speeds decide how many are labelled and steps made; a ``recipe``
    in its place fixes the numbers. ``folder`` keeps labels, weights and decisions: the same call goes on where it was
    broken off. Ctrl-C while it trains ends the training, and the best so far is judged. ``card`` are entries of your
    own (name, family).

    Raises TypeError for coarse cells that are no equal squares, ValueError for too few fields, a budget that does not
    do, and what `fields_of` raises; ModelMismatchError for a folder of another run.
    """
    if budget is not None and recipe is not None:
        raise TypeError("budget, recipe: expected one of them, got both; a recipe has numbers of its own")
    check_squares(lod)
    checks.device(device)
    limit = Budget(BUDGET if budget is None else budget) if recipe is None else None
    found = fields_of(fields, lod, seed=seed)
    net = net or _network(lod, found, recipe, seed)
    about = Card(setting=Setting.of(lod, form).to_json(), facts={**found.facts, "seed": seed, **(card or {})})
    Surrogate(net, about)  # refuses a network of another size before any work
    with kept_in(folder) as place:
        run = Run(place, _settings(lod, found, about, net, limit, recipe))
        return _result(Job(lod, form, found, run, limit, recipe, seed, device, progress), net, about)


def _result(job: Job, net: FieldNetwork, about: Card) -> Surrogate:
    """The model of a job; that of an earlier run, where it is complete."""
    if "verdict" in job.run.decisions and job.run.model.exists():
        return Surrogate.load(job.run.model, job.device)
    model = train_patches(job, net, about)
    model.save(job.run.model)
    return _judged(job, model)


def _network(lod: LOD, fields: Fields, recipe: Recipe | None, seed: int) -> FieldNetwork:
    """A network with weights of the seed, for high contrast where the first fields are of one."""
    some = [fields.draw(index) for index in range(min(8, fields.count or 8))]
    wide = recipe.wide if recipe is not None else max(a.max() / a.min() for a in some) >= HIGH_CONTRAST
    base = 0 if recipe is None else recipe.base
    generator = torch.Generator().manual_seed(seed)
    return FieldNetwork(lod.space.m, lod.ell, wide=bool(wide), base=base, generator=generator)


def _settings(
    lod: LOD, fields: Fields, about: Card, net: FieldNetwork, limit: Budget | None, recipe: Recipe | None
) -> dict[str, object]:
    """What determines a run."""
    return {
        **about.to_json(), "kind": "patches", "fields": fields.name, "fingerprint": fields.fingerprint(),
        "elements": len(lod.space.all_elements), "network": net.config,
        "budget": None if limit is None else limit.seconds, "recipe": None if recipe is None else asdict(recipe),
    }  # fmt: skip


def _judged(job: Job, model: Surrogate) -> Surrogate:
    """The model with its verdict on its card, saved again; without one where there is nothing to judge by."""
    learned: dict[str, BilinearForm | LocalMap] = {MODEL: model, HYBRID: Hybrid(model, job.form, TOL)}
    verdict = job.verdict(learned, job.lod.space.n)
    facts = {"cpu": dict(job.run.cpu)} | ({} if verdict is None else {"verdict": verdict.to_json()})
    model.card = replace(model.card, facts={**model.card.facts, **facts})
    model.save(job.run.model)
    job.run.decided("verdict", lambda: "none" if verdict is None else verdict.sentence())
    return model
