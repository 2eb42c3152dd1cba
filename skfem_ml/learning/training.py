"""The one training loop: ``fit(net, loss, data, optimiser=..., steps=...) -> History``.

**Data.** None (the loss has its own); tensors ``(n, ...)``, of which a step takes ``batch`` rows (None: all), in an
order drawn from ``seed`` for each pass; or a callable: ``data(step)`` is the batch of a step, and must depend on the
step alone.

**Records.** Every ``every`` steps ``validate(net)``, default the loss on all data, is recorded, compared with the best,
told to ``progress(step, steps, text)`` and, if ``checkpoint`` is a path, everything is saved there. A run whose
checkpoint exists goes on from it, bit for bit as if it had never stopped, provided that the loss draws nothing itself.
The checkpoint says what determines the weights (data, loss by name, batch, seed, optimiser, schedule so far, average,
code), and a run with other settings is refused with the difference; ``extend`` names those that may change, "steps"
among them: another number of steps with the schedule that belongs to it (without a schedule nothing need be said).

**Averages.** With ``average`` d, 0 <= d < 1, what is recorded and left in ``net`` are averaged weights: those after the
first step, then ``w <- w + (1 - d_k) (net - w)`` after k more, with ``d_k = min(d, (1 + k) / (10 + k))`` to forget the
start.

**Ends.** The run ends early where the record falls to ``tol``, after ``patience`` records in a row that are no best,
or where the optimiser says that it is ``stalled``. Where the loss is not finite the run stops, ``net`` gets the best
parameters, and the history tells the step and the last good checkpoint.

**Ranks.** Under ``torchrun --nproc-per-node W script.py`` the W processes share every step, each with its own batch of
``batch`` rows, or ``data(step * W + rank)``; ``loss`` is to be a mean over its batch: see `learning.loop.ranks`.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import torch
from torch import Tensor, nn

from skfem_ml.learning.checkpoints import locked
from skfem_ml.learning.history import History
from skfem_ml.learning.loop.determined import checked_extend, settings_of
from skfem_ml.learning.loop.ranks import Ranks, joined
from skfem_ml.learning.loop.run import Run
from skfem_ml.progress import Progress

__all__ = ["Data", "History", "Loss", "fit"]
LOG = logging.getLogger("skfem_ml")
Loss = Callable[..., Tensor]
Data = Sequence[Tensor] | Callable[[int], object] | None


def fit(
    net: nn.Module, loss: Loss, data: Data = None, *, optimiser: torch.optim.Optimizer, steps: int,
    batch: int | None = None, seed: int = 0, every: int = 10, validate: Callable[..., float] | None = None,
    schedule: Callable[[int], float] | None = None, average: float | None = None, patience: int | None = None,
    tol: float = -math.inf, checkpoint: str | Path | None = None, progress: Progress | None = None,
    extend: str | Sequence[str] = (),
) -> History:  # fmt: skip
    """Minimise ``loss(net, batch)`` by ``steps`` steps of ``optimiser``, and leave the best parameters seen in ``net``.

    ``data`` (None, tensors or ``data(step)``), ``batch`` and ``seed`` say what a step sees; ``every``, ``validate``,
    ``average``, ``checkpoint``, ``extend`` and ``progress`` what is recorded and kept; ``tol`` and ``patience`` when to
    end early: see `learning.training`. ``schedule(step)`` is the learning rate of a step.

    Raises ValueError for sizes below one, data of different lengths, a callable without ``validate``; for a checkpoint
    ModelMismatchError (other settings), CorruptModelError (damaged), CheckpointInUseError (another process holds it).
    """
    _check(data, steps, every, batch, patience, average, validate)
    measure = validate if validate is not None else lambda net: _whole(loss, net, data)
    names, extra = checked_extend(extend), (loss, data, optimiser, schedule, validate, batch, seed, average)
    with joined(net) as ranks, locked(checkpoint if ranks.first else None):
        ranks.align(net, optimiser)
        settings = {} if checkpoint is None or not ranks.first else settings_of(*extra, ranks.world)
        more = (schedule, settings, names, ranks)
        run = Run(net, optimiser, measure, steps, every, average, patience, tol, checkpoint, progress, *more)
        for step, rows in _batches(data, batch, seed, run.start(), steps, ranks):
            if schedule is not None:
                _set_rate(optimiser, schedule(step))

            def closure(rows: object = rows) -> Tensor:
                optimiser.zero_grad()
                value = loss(net, rows)
                value.backward()
                return ranks.mean(value, net, optimiser)

            value = optimiser.step(closure)  # type: ignore[arg-type]
            if run.after(step + 1, float(torch.as_tensor(value).detach())):
                break
    return run.end()


def _set_rate(optimiser: torch.optim.Optimizer, rate: float) -> None:
    for group in optimiser.param_groups:
        group["lr"] = rate


def _batches(
    data: Data, batch: int | None, seed: int, first: int, steps: int, ranks: Ranks
) -> Iterator[tuple[int, object]]:
    """Yield (step, rows); the order depends on seed and pass alone, so a resumed run sees the same rows.

    Rank r of W sees in step k what one process sees in step k W + r.
    """
    own = ((step, step * ranks.world + ranks.rank) for step in range(first, steps))
    if callable(data):
        yield from ((step, data(number)) for step, number in own)
        return
    if data is None or batch is None or batch >= len(data[0]):
        if ranks.world > 1:
            LOG.info("rank %d of %d: all see all data in every step; take batch= to share it", ranks.rank, ranks.world)
        yield from ((step, data) for step, _ in own)
        return
    count, current, order = len(data[0]) // batch, -1, torch.empty(0)
    for step, number in own:
        if number // count != current:
            current = number // count
            order = torch.randperm(len(data[0]), generator=torch.Generator().manual_seed(seed + 1_000_003 * current))
        rows = order[number % count * batch : (number % count + 1) * batch]
        yield step, tuple(tensor[rows] for tensor in data)


def _check(
    data: Data,
    steps: int,
    every: int,
    batch: int | None,
    patience: int | None,
    average: float | None,
    validate: Callable[..., float] | None,
) -> None:
    if steps < 1 or every < 1 or (batch is not None and batch < 1) or (patience is not None and patience < 1):
        raise ValueError(
            f"steps, every, batch, patience: expected at least 1, got {steps}, {every}, {batch}, {patience}"
        )
    if average is not None and not 0 <= average < 1:
        raise ValueError(f"average: expected a number in [0, 1), got {average}; 0.999 remembers a thousand steps")
    if callable(data):
        if validate is None or batch is not None:
            raise ValueError(
                "data: expected validate and no batch beside a callable, got "
                + ("no validate; there is no loss on all of what is drawn" if validate is None else f"batch = {batch}")
            )
    elif batch is not None and data is not None and len({len(tensor) for tensor in data}) != 1:
        raise ValueError(f"data: expected tensors of one length, got {[len(tensor) for tensor in data]}")


def _whole(loss: Loss, net: nn.Module, data: Data) -> float:
    with torch.no_grad():
        return float(loss(net, data))
