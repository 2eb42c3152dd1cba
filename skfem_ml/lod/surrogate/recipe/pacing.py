"""The loop of a training within a time: how many steps are planned, and what is left where it ends early."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from torch import nn

from skfem_ml.learning import load_checkpoint
from skfem_ml.learning.training import History
from skfem_ml.lod.surrogate.recipe.job import Job

LOG = logging.getLogger("skfem_ml")
RECORDS = 20  # of a run, at most
FEWEST, FEWEST_RECORDS = 20, 4  # steps and records that are worth a training
FOR_RECORDS = 0.15  # of the time of training, for records at most
PROBED = 6  # steps by which the speed is measured
Rate = Callable[[int], float]


class OutOfTime(Exception):
    """The time of the training is over."""


class Pace:
    """How many ``steps`` are planned in how many wall seconds from now (None: without end), a record ``every`` steps.

    Where a machine is slower than was measured, the rate falls by the time and not by the step, so that it has fallen
    when the time is over.
    """

    def __init__(self, steps: int, every: int, seconds: float | None = None):
        self.steps, self.every, self.seconds, self._start = steps, every, seconds, time.perf_counter()

    @property
    def share(self) -> float:
        """The share of the time that is over."""
        return 0.0 if self.seconds is None else (time.perf_counter() - self._start) / max(self.seconds, 1e-9)

    @property
    def over(self) -> bool:
        """Whether less of the time is left than half the time between two records."""
        return self.share > 1 - 0.5 / RECORDS

    def schedule(self, rate: Rate) -> Rate:
        """The rate of a step, by ``rate`` that knows no time."""
        if self.seconds is None:
            return rate
        return lambda step: rate(int(max(step, min(1.0, self.share) * (self.steps - 1))))


def paced(job: Job, speed: Callable[[], tuple[float, float]]) -> Pace:
    """As many steps as the time for training allows, decided once a run; by the recipe where there is one.

    ``speed()`` measures the seconds of a step and of a record. Raises ValueError for a budget that does not do.
    """
    if job.limit is None:
        assert job.recipe is not None
        return Pace(job.recipe.steps, max(1, job.recipe.steps // RECORDS))
    limit = job.limit

    def decide() -> dict[str, object]:
        job.say(0, 1, "speed of training")
        step, record = speed()
        left = limit.left - limit.share("calibration") - limit.share("verdict")
        records = min(RECORDS, max(FEWEST_RECORDS, int(FOR_RECORDS * left / record)))
        least = FEWEST * step + records * record
        if least > limit.seconds:
            raise ValueError(
                f"budget: expected at least {limit.spent + 2 * least:.0f} s here, where a step takes {step:.2g} s, got "
                f"{limit.seconds:g} s; give more, or a smaller LOD"
            )
        if least > left:
            LOG.info("budget: %.0f s are left for training, the fewest steps take %.0f s", left, least)
        steps = max(FEWEST, int((left - records * record) / step))
        return {"steps": steps, "every": max(1, steps // records)}

    found = {name: int(str(value)) for name, value in job.run.decided("training", decide).items()}
    left = limit.left - limit.share("calibration") - limit.share("verdict")
    return Pace(found["steps"], found["every"], max(left, 0.0))


@dataclass(frozen=True)
class Ended:
    """How a loop ended: its history, the steps that were made, and "interrupted ..." where it was."""

    history: History
    steps: int
    stopped: str = ""


def looped(job: Job, net: nn.Module, pace: Pace, rate: Rate, loop: Callable[..., History]) -> Ended:
    """Run ``loop(steps=, schedule=, every=, checkpoint=, progress=)``, which are options of `learning.fit`.

    Where the time is over or Ctrl-C comes, ``net`` gets the best weights of the records; KeyboardInterrupt where there
    are none.
    """
    checkpoint = job.run.checkpoint

    def tell(done: int, total: int, text: str) -> None:
        job.say(done, total, f"training, {text}")
        if done < total and pace.over:
            raise OutOfTime

    options: dict[str, Any] = {"checkpoint": checkpoint, "progress": tell, "every": pace.every}
    try:
        return Ended(loop(steps=pace.steps, schedule=pace.schedule(rate), **options), pace.steps)
    except (KeyboardInterrupt, OutOfTime) as error:
        if not checkpoint.exists():
            raise KeyboardInterrupt from None
        interrupted = isinstance(error, KeyboardInterrupt)
    state = load_checkpoint(checkpoint)
    net.load_state_dict(state["best"])
    ended = f"after {state['step']} of {pace.steps} steps"
    LOG.info("training %s %s; the best weights are taken", "interrupted" if interrupted else "out of time", ended)
    return Ended(History(**state["history"]), state["step"], f"interrupted {ended}" if interrupted else "")


@contextmanager
def nothing_yet(missing: str) -> Iterator[None]:
    """Say what is missing where Ctrl-C comes before there is a model."""
    try:
        yield
    except KeyboardInterrupt:
        raise KeyboardInterrupt(f"nothing is trained yet, {missing}; the same call goes on where it was kept") from None


def seconds_of(work: Callable[[], object]) -> float:
    """Wall seconds of some work."""
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def affordable(job: Job, label: Callable[[], object], least: int, most: int) -> int:
    """How many fields can be labelled in their share of the time, the labels of one being made by ``label()``."""
    if job.limit is None:
        return job.total
    limit = job.limit

    def decide() -> int:
        each = seconds_of(label)
        if least * each > MOST_FOR_LEAST * limit.left:
            raise ValueError(
                f"budget: expected at least {limit.spent + least * each / MOST_FOR_LEAST:.0f} s here, where the labels "
                f"of {least} fields take {least * each:.0f} s, got {limit.seconds:g} s; give more, or a smaller LOD"
            )
        time_for = FOR_LABELS * (limit.share("labels") - limit.spent)
        return min(job.fields.count or most, most, max(least, int(time_for / each)))

    return job.run.decided("fields", decide)


FOR_LABELS = 0.8  # of the share for labels that is planned: they are written and read as well
MOST_FOR_LEAST = 0.6  # of the time, for as few labels as there may be
