"""A network of patches for one family: labels, ridge, loop, last layers, doubt."""

from __future__ import annotations

import logging
import time
from dataclasses import replace

from skfem_ml.learning import load_checkpoint
from skfem_ml.learning.models import Card
from skfem_ml.learning.training import History
from skfem_ml.lod.surrogate.model import Surrogate
from skfem_ml.lod.surrogate.networks.field_network import FieldNetwork
from skfem_ml.lod.surrogate.recipe.budget import Budget
from skfem_ml.lod.surrogate.recipe.fields import LEAST
from skfem_ml.lod.surrogate.recipe.job import MOST, Job
from skfem_ml.lod.surrogate.recipe.labelling.parts import Parts, labelled_parts
from skfem_ml.lod.surrogate.recipe.labelling.ways import Way, choose_way, exact_ways
from skfem_ml.lod.surrogate.recipe.recipes import Recipe
from skfem_ml.lod.surrogate.recipe.training import RECORDS, begin, finish, learn, pace, refit

LOG = logging.getLogger("skfem_ml")
CHECKED = 2  # fields on which ways to labels are compared
FEWEST = 20  # steps that are worth a training
LATE = 0.05  # of the budget by which a training may be late before it is stopped
MOST_FOR_LEAST = 0.6  # of the time, for as few labels as there may be


class OutOfTime(Exception):
    """The share of the budget for training is spent."""


def train_patches(job: Job, net: FieldNetwork, about: Card) -> Surrogate:
    """Train a network by a job; ``about`` is what its card says besides. Raises KeyboardInterrupt, with what is
    missing, where it was stopped before there are weights, and ValueError for a budget that does not do.
    """
    try:
        with job.run.stage("labels"):
            parts = _labelled(job, net)
    except KeyboardInterrupt:
        kept = "those so far are kept, and the same call goes on"
        raise KeyboardInterrupt(f"nothing is trained yet, fields are being labelled; {kept}") from None
    recipe = _recipe(job, parts, net)
    with job.run.stage("training"):
        recipe, history, stopped = _trained(job, net, parts, recipe)
    with job.run.stage("calibration"):
        job.say(0, 1, "last layers and doubt")
        best = refit(net, parts, recipe)
        facts: dict[str, object] = {"labels": job.run.decisions["labels"], "history": history.to_dict()}
        facts |= {"stopped": stopped} if stopped else {}
        about = replace(about, facts={**facts, **about.facts})
        return finish(net, job.lod, parts, recipe, about, job.form, best, job.device)


# Labels.


def _labelled(job: Job, net: FieldNetwork) -> Parts:
    way = _way(job)
    if job.limit is not None:
        limit = job.limit
        job.run.decided("fields", lambda: _affordable(job, way, limit))
    found = labelled_parts(job.lod, job.fields, job.numbers(), way, job.form, net.base, job.run.labels, job.progress)
    return {name: part.to(job.device) for name, part in found.items()}


def _way(job: Job) -> Way:
    """By what labels are computed: decided on the first fields, once a run."""

    def decide() -> dict[str, object]:
        job.say(0, 1, "ways to labels")
        some = [job.fields.draw(k) for k in range(min(CHECKED, job.fields.count or CHECKED))]
        return choose_way(job.lod, job.form, some).told()

    name = str(job.run.decided("labels", decide)["by"])
    return exact_ways(job.lod, job.form, job.lod.space.n)[name]


def _affordable(job: Job, way: Way, limit: Budget) -> int:
    """How many fields can be labelled in their share of the time."""
    start = time.perf_counter()
    way.local(job.fields.draw(0))
    each, least = time.perf_counter() - start, sum(LEAST.values())
    if least * each > MOST_FOR_LEAST * limit.left:
        raise ValueError(
            f"budget: expected at least {limit.spent + least * each / MOST_FOR_LEAST:.0f} s here, where the labels of "
            f"{least} fields take {least * each:.0f} s, got {limit.seconds:g} s; give more, or a smaller LOD"
        )
    return min(job.fields.count or MOST, MOST, max(least, int((limit.share("labels") - limit.spent) / each)))


# Weights.


def _recipe(job: Job, parts: Parts, net: FieldNetwork) -> Recipe:
    """The numbers of this run; where the time decides, steps are yet to be found."""
    if job.recipe is not None:
        return replace(job.recipe, base=net.base)
    sizes, wide = {name: len(part.a) for name, part in parts.items()}, bool(net.config["wide"])
    return Recipe(
        fields=sizes["train"], held=sizes["validation"], doubt=sizes["doubt"], test=sizes["test"],
        wide=wide, relative=wide, base=net.base,
    )  # fmt: skip


def _trained(job: Job, net: FieldNetwork, parts: Parts, recipe: Recipe) -> tuple[Recipe, History, str]:
    """The numbers in force, what happened, and why it was stopped, "" where it was not."""
    job.say(0, 1, "ridge")
    begin(net.to(job.device), parts, recipe)
    recipe, deadline = _paced(job, net, parts, recipe)
    checkpoint = job.run.checkpoint

    def tell(done: int, total: int, text: str) -> None:
        job.say(done, total, f"training, {text}")
        if deadline is not None and done < total and time.perf_counter() > deadline:
            raise OutOfTime

    try:
        return recipe, learn(net, parts, recipe, seed=job.seed, checkpoint=checkpoint, progress=tell), ""
    except (KeyboardInterrupt, OutOfTime) as error:
        if not checkpoint.exists():
            raise KeyboardInterrupt("nothing is trained yet, no weights were recorded; labels are kept") from None
        why = "out of time" if isinstance(error, OutOfTime) else "interrupted"
    state = load_checkpoint(checkpoint)
    net.load_state_dict(state["best"])
    stopped = f"{why} after {state['step']} of {recipe.steps} steps"
    LOG.info("training %s; the best weights so far are finished", stopped)
    return recipe, History(**state["history"]), stopped


def _paced(job: Job, net: FieldNetwork, parts: Parts, recipe: Recipe) -> tuple[Recipe, float | None]:
    """The recipe with steps and refit that fit the time, and when the training must end."""
    if job.limit is None:
        return recipe, None
    limit = job.limit

    def decide() -> dict[str, object]:
        job.say(0, 1, "speed of training")
        step, record, again = pace(net, parts, recipe, job.seed)
        left = limit.left - limit.share("calibration") - limit.share("verdict")
        steps = int((left - RECORDS * record) / step)
        if steps < FEWEST:
            need = limit.seconds + FEWEST * step + RECORDS * record - left
            raise ValueError(
                f"budget: expected at least {need:.0f} s here, where a step takes {step:.2g} s, got "
                f"{limit.seconds:g} s; give more, or a smaller LOD"
            )
        most = int(0.5 * limit.share("calibration") / again)
        return {"steps": steps, "refit": min(recipe.refit, recipe.fields, max(2, most))}

    found = job.run.decided("training", decide)
    steps, again = (int(str(found[name])) for name in ("steps", "refit"))
    end = limit.left - limit.share("calibration") - limit.share("verdict") + LATE * limit.seconds
    return replace(recipe, steps=steps, refit=again), time.perf_counter() + end
