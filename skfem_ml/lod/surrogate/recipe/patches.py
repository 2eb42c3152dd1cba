"""A network of patches for one family: labels, ridge, loop, last layers, doubt."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any

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
from skfem_ml.lod.surrogate.recipe.training import RECORDS, begin, finish, learn, rate_of, refit, speed

LOG = logging.getLogger("skfem_ml")
CHECKED = 2  # fields on which ways to labels are compared
FEWEST, FEWEST_RECORDS = 20, 4  # steps and records that are worth a training
FOR_RECORDS = 0.15  # of the time of training, for records at most
FOR_LABELS = 0.8  # of the share for labels that is planned: they are written and read as well
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
    return min(
        job.fields.count or MOST, MOST, max(least, int(FOR_LABELS * (limit.share("labels") - limit.spent) / each))
    )


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
    """The numbers in force, what happened, and whether it was interrupted after how many steps, "" if not."""
    checkpoint, pace = job.run.checkpoint, Pace(None)

    def tell(done: int, total: int, text: str) -> None:
        job.say(done, total, f"training, {text}")
        if done < total and pace.over:
            raise OutOfTime

    options: dict[str, Any] = {"seed": job.seed, "checkpoint": checkpoint, "progress": tell}
    try:
        job.say(0, 1, "ridge")
        begin(net.to(job.device), parts, recipe)
        recipe, pace = _paced(job, net, parts, recipe)
        if pace.seconds is not None:
            options |= {"schedule": pace.schedule(recipe), "every": pace.every}
        return recipe, learn(net, parts, recipe, **options), ""
    except (KeyboardInterrupt, OutOfTime) as error:
        if not checkpoint.exists():
            raise KeyboardInterrupt("nothing is trained yet, no weights were recorded; labels are kept") from None
        interrupted = isinstance(error, KeyboardInterrupt)
    state = load_checkpoint(checkpoint)
    net.load_state_dict(state["best"])
    ended = f"after {state['step']} of {recipe.steps} steps"
    LOG.info("training %s %s; the best weights are taken", "interrupted" if interrupted else "out of time", ended)
    recipe = replace(recipe, steps=state["step"])
    return recipe, History(**state["history"]), f"interrupted {ended}" if interrupted else ""


class Pace:
    """The time of a training, in wall seconds from now (None where it has no end), and steps between its records.

    Where a machine is slower than was measured, the rate falls by the time and not by the step, so that it has fallen
    when the time is over.
    """

    def __init__(self, seconds: float | None, every: int | None = None):
        self.seconds, self.every, self._start = seconds, every, time.perf_counter()

    @property
    def share(self) -> float:
        """The share of the time that is over."""
        return 0.0 if self.seconds is None else (time.perf_counter() - self._start) / max(self.seconds, 1e-9)

    @property
    def over(self) -> bool:
        """Whether less of the time is left than half the time between two records."""
        return self.share > 1 - 0.5 / RECORDS

    def schedule(self, recipe: Recipe) -> Callable[[int], float]:
        """The rate of a step."""
        rate = rate_of(recipe)
        return lambda step: rate(int(max(step, min(1.0, self.share) * (recipe.steps - 1))))


def _paced(job: Job, net: FieldNetwork, parts: Parts, recipe: Recipe) -> tuple[Recipe, Pace]:
    """The recipe with steps and refit that fit the time, and the time."""
    if job.limit is None:
        return recipe, Pace(None)
    limit = job.limit

    def decide() -> dict[str, object]:
        job.say(0, 1, "speed of training")
        step, record, each = speed(net, parts, recipe, job.seed)
        left = limit.left - limit.share("calibration") - limit.share("verdict")
        records = min(RECORDS, max(FEWEST_RECORDS, int(FOR_RECORDS * left / record)))
        least = FEWEST * step + records * record
        if least > limit.left:
            raise ValueError(
                f"budget: expected at least {limit.spent + 2 * least:.0f} s here, where a step takes {step:.2g} s, got "
                f"{limit.seconds:g} s; give more, or a smaller LOD"
            )
        again = min(recipe.refit, recipe.fields, max(2, int(0.5 * limit.share("calibration") / each)))
        steps = max(FEWEST, int((left - records * record) / step))
        return {"steps": steps, "every": max(1, steps // records), "refit": again}

    found = {name: int(str(value)) for name, value in job.run.decided("training", decide).items()}
    left = limit.left - limit.share("calibration") - limit.share("verdict")
    pace = Pace(max(left, 0.0), found["every"])
    return replace(recipe, steps=found["steps"], refit=found["refit"]), pace
