"""A network of patches for one family: labels, ridge, loop, last layers, doubt."""

from __future__ import annotations

import logging
from dataclasses import replace
from typing import Any

from skfem_ml.learning.models import Card
from skfem_ml.learning.training import History
from skfem_ml.lod.surrogate.certificate import certified
from skfem_ml.lod.surrogate.model import Surrogate
from skfem_ml.lod.surrogate.networks.field_network import FieldNetwork
from skfem_ml.lod.surrogate.recipe.fields import CERTIFIED, LEAST
from skfem_ml.lod.surrogate.recipe.job import MOST, Job
from skfem_ml.lod.surrogate.recipe.labelling.parts import Parts, labelled_parts
from skfem_ml.lod.surrogate.recipe.labelling.ways import Way, choose_way, exact_ways
from skfem_ml.lod.surrogate.recipe.pacing import Ended, affordable, looped, nothing_yet, paced
from skfem_ml.lod.surrogate.recipe.recipes import Recipe
from skfem_ml.lod.surrogate.recipe.training import begin, finish, learn, rate_of, refit, speed, time_of_refit

LOG = logging.getLogger("skfem_ml")
KNOWN = 100  # fields of training that others are held against to be novel
CHECKED = 2  # fields on which ways to labels are compared


def train_patches(job: Job, net: FieldNetwork, about: Card) -> Surrogate:
    """Train a network by a job; ``about`` is what its card says besides. Raises KeyboardInterrupt, with what is
    missing, where it was stopped before there are weights, and ValueError for a budget that does not do.
    """
    with job.run.stage("labels"), nothing_yet("fields are being labelled"):
        parts = _labelled(job, net)
    recipe = _recipe(job, parts, net)
    with job.run.stage("training"), nothing_yet("no weights were recorded"):
        recipe, ended = _trained(job, net, parts, recipe)
    with job.run.stage("calibration"):
        job.say(0, 1, "last layers and doubt")
        best = refit(net, parts, recipe)
        facts: dict[str, object] = {"labels": job.run.decisions["labels"], "history": ended.history.to_dict()}
        facts |= {"stopped": ended.stopped} if ended.stopped else {}
        about = replace(about, facts={**facts, **about.facts})
        model = finish(net, job.lod, parts, recipe, about, job.form, best, job.device)
        return _certified(job, model, parts)


def _certified(job: Job, model: Surrogate, parts: Parts) -> Surrogate:
    """The model with a certificate, by fields that nothing else has seen; as it is where there are too few."""
    numbers, fixed = job.numbers(), job.lod.space.fixed
    if len(numbers["calibration"]) < CERTIFIED or not fixed.any():
        LOG.info("certificate: none, for it needs %d fields of its own and a Dirichlet part", CERTIFIED)
        return model
    fields = {str(row): job.fields.draw(int(row)) for row in numbers["calibration"]}
    matrices = parts["calibration"].exact.double().cpu().numpy()
    seen = [job.fields.draw(int(row)) for row in numbers["train"][:KNOWN]]
    used = [str(row) for name in ("train", "validation", "doubt") for row in numbers[name]]
    return certified(
        model, job.lod, fields, job.form, known=seen, used=used, family=job.fields.name,
        exact=dict(zip(fields, matrices, strict=True)), progress=job.progress,
    )  # fmt: skip


def _labelled(job: Job, net: FieldNetwork) -> Parts:
    way = _way(job)
    affordable(job, lambda: way.local(job.fields.draw(0)), sum(LEAST.values()), MOST)
    keep = job.run.labels
    found = labelled_parts(job.lod, job.fields, job.numbers(), way, job.form, net.base, keep, job.progress)
    return {name: part.to(job.device) for name, part in found.items()}


def _way(job: Job) -> Way:
    """By what labels are computed: decided on the first fields, once a run."""

    def decide() -> dict[str, object]:
        job.say(0, 1, "ways to labels")
        some = [job.fields.draw(k) for k in range(min(CHECKED, job.fields.count or CHECKED))]
        return choose_way(job.lod, job.form, some).told()

    name = str(job.run.decided("labels", decide)["by"])
    return exact_ways(job.lod, job.form, job.lod.space.n)[name]


def _recipe(job: Job, parts: Parts, net: FieldNetwork) -> Recipe:
    """The numbers of this run; where the time decides, steps are yet to be found."""
    if job.recipe is not None:
        return replace(job.recipe, base=net.base)
    sizes, wide = {name: len(part.a) for name, part in parts.items()}, bool(net.config["wide"])
    return Recipe(
        fields=sizes["train"], held=sizes["validation"], doubt=sizes["doubt"], test=sizes["test"],
        wide=wide, relative=wide, base=net.base,
    )  # fmt: skip


def _trained(job: Job, net: FieldNetwork, parts: Parts, recipe: Recipe) -> tuple[Recipe, Ended]:
    """The numbers in force, and how the loop ended."""
    job.say(0, 1, "ridge")
    begin(net.to(job.device), parts, recipe)
    pace = paced(job, lambda: speed(net, parts, recipe, job.seed))
    recipe = replace(recipe, steps=pace.steps)
    if job.limit is not None:
        time = 0.5 * job.limit.share("calibration")
        again = job.run.decided("refit", lambda: int(time / time_of_refit(net, parts, recipe)))
        recipe = replace(recipe, refit=min(recipe.refit, recipe.fields, max(2, again)))

    def loop(steps: int, **options: Any) -> History:
        return learn(net, parts, recipe, seed=job.seed, **options)

    ended = looped(job, net, pace, rate_of(recipe), loop)
    return replace(recipe, steps=ended.steps), ended
