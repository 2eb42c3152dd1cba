"""The one training loop: ``fit(net, loss, data, optimiser=..., steps=...) -> History``."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from html import escape
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel

from skfem_ml.learning.checkpoints import load_checkpoint, locked, save_checkpoint
from skfem_ml.progress import Progress

Loss = Callable[[Any, Any], Tensor]
Data = Sequence[Tensor] | Callable[[int], Any] | None


@dataclass(repr=False)
class History:
    """What happened: ``steps``, ``losses`` and ``seconds`` at the records, the ``best`` loss and its step.

    ``status`` is 0 (all steps done), 1 (``tol`` reached), 2 (the optimiser finds no decrease), 3 (``patience`` at its
    end) or -1 (the loss was not finite); ``message`` says it in words. Walked through it gives ``(step, loss,
    seconds)`` of every record; ``pandas.DataFrame(history.to_dict())`` holds them.

    >>> history = History([10, 20], [1.0, 0.25], [0.5, 1.0], best=0.25, best_step=20)
    >>> history, len(history), list(history)[-1]
    (History(2 records to step 20, best 2.500e-01 at step 20), 2, (20, 0.25, 1.0))
    """

    steps: list[int] = field(default_factory=list)
    losses: list[float] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list)
    best: float = math.inf
    best_step: int = 0
    status: int = 0
    message: str = ""

    def __len__(self) -> int:
        return len(self.steps)

    def __bool__(self) -> bool:
        return True  # a run that recorded nothing is a history all the same

    def __iter__(self) -> Iterator[tuple[int, float, float]]:
        return zip(self.steps, self.losses, self.seconds, strict=True)

    def to_dict(self) -> dict[str, list[float]]:
        """Return the columns "step", "loss" and "seconds", one entry a record."""
        return {"step": list(self.steps), "loss": list(self.losses), "seconds": list(self.seconds)}

    def __repr__(self) -> str:
        last = f" to step {self.steps[-1]}" if self.steps else ""
        best = f", best {self.best:.3e} at step {self.best_step}" if math.isfinite(self.best) else ""
        return f"History({len(self)} records{last}{best}{f'; {self.message}' if self.message else ''})"

    def _repr_html_(self) -> str:
        """What a notebook shows: at most ten records, evenly taken, and the summary below."""
        rows = list(self)
        kept = sorted({round(k * (len(rows) - 1) / 9) for k in range(10)}) if rows else []
        body = "".join(f"<tr><td>{s}</td><td>{e:.3e}</td><td>{t:.3g}</td></tr>" for s, e, t in (rows[k] for k in kept))
        head = "<tr><th>step</th><th>loss</th><th>seconds</th></tr>"
        return f"<table>{head}{body}</table><p>{escape(repr(self))}</p>"


def fit(
    net: nn.Module,
    loss: Loss,
    data: Data = None,
    *,
    optimiser: torch.optim.Optimizer,
    steps: int,
    batch: int | None = None,
    seed: int = 0,
    every: int = 10,
    validate: Callable[[Any], float] | None = None,
    schedule: Callable[[int], float] | None = None,
    average: float | None = None,
    patience: int | None = None,
    tol: float = -math.inf,
    checkpoint: str | Path | None = None,
    progress: Progress | None = None,
) -> History:
    """Minimise ``loss(net, batch)`` and leave the best parameters seen in ``net``.

    ``data`` is None (the loss has its own), tensors ``(n, ...)``, of which a step takes ``batch`` rows (None: all), in
    an order drawn from ``seed`` for each pass, or a callable: ``data(step)`` is the batch of a step, and must depend on
    the step alone. Every ``every`` steps ``validate(net)``, default the loss on all data, is recorded, compared with
    the best, told to ``progress(step, steps, text)`` and, if ``checkpoint`` is a path, everything is saved there. A
    run whose checkpoint exists goes on from it, bit for bit as if it had never stopped, provided that the loss draws
    nothing itself. ``schedule(step)`` is the learning rate of a step.

    With ``average`` d, 0 <= d < 1, what is recorded and left in ``net`` are averaged weights: those after the first
    step, then w <- w + (1 - d_k) (net - w) after k more, with d_k = min(d, (1 + k) / (10 + k)) to forget the start. The
    run ends early where the record falls to ``tol``, after ``patience`` records in a row that are no best, or where
    the optimiser says that it is ``stalled``.

    Where the loss is not finite the run stops, ``net`` gets the best parameters, and the history tells the step and the
    last good checkpoint. Raises ValueError for sizes below one, data of different lengths, a callable without
    ``validate`` and a checkpoint of another network or optimiser, CorruptModelError for a damaged one and
    CheckpointInUseError for one that another process holds.
    """
    _check(data, steps, every, batch, patience, average, validate)
    mean = None if average is None else AveragedModel(net, avg_fn=_averaging(average))
    shown = net if mean is None else mean.module
    measure = validate if validate is not None else lambda net: _whole(loss, net, data)
    history, best, first = History(), _copy(net), 0
    with locked(checkpoint):
        if checkpoint is not None and Path(checkpoint).exists():
            history, best, first = _resume(Path(checkpoint), net, optimiser, mean)
            if history.status != 2:  # one that found no decrease would find none now
                history.status, history.message = 0, ""
                _finished(history, tol, patience, stalled=False)
        start = time.perf_counter() - (history.seconds[-1] if history.seconds else 0.0)
        for step, rows in _batches(data, batch, seed, first, steps if history.status == 0 else first):
            if schedule is not None:
                for group in optimiser.param_groups:
                    group["lr"] = schedule(step)

            def closure(rows: Any = rows) -> Tensor:
                optimiser.zero_grad()
                value = loss(net, rows)
                value.backward()
                return value

            value = float(torch.as_tensor(optimiser.step(closure)).detach())  # type: ignore[arg-type]
            if mean is not None:
                mean.update_parameters(net)
            stalled = bool(getattr(optimiser, "stalled", False))
            done = step + 1
            if math.isfinite(value) and done % every and done < steps and not stalled:
                continue
            record = measure(shown) if math.isfinite(value) else value
            if not math.isfinite(record):
                history.status, history.message = -1, _diverged(record, done, history, checkpoint)
                break
            history.steps.append(done)
            history.losses.append(record)
            history.seconds.append(time.perf_counter() - start)
            if record < history.best:
                history.best, history.best_step, best = record, done, _copy(shown)
            finished = _finished(history, tol, patience, stalled)
            if checkpoint is not None:
                parts: dict[str, Any] = {"net": net, "optimiser": optimiser, **({} if mean is None else {"mean": mean})}
                states = {name: part.state_dict() for name, part in parts.items()}
                save_checkpoint(checkpoint, {**states, "history": vars(history), "best": best, "step": done})
            if progress is not None:
                progress(done, steps, f"loss {record:.3e}")
            if finished:
                break
    net.load_state_dict(best)
    history.message = history.message or f"{steps} steps done, best {history.best:.3e} at step {history.best_step}"
    return history


def _finished(history: History, tol: float, patience: int | None, stalled: bool) -> bool:
    """Whether the last record ends the run; the history is told why."""
    if not history.losses:
        return False
    done, since = history.steps[-1], sum(step > history.best_step for step in history.steps)
    if history.losses[-1] <= tol:
        history.status, history.message = 1, f"tol reached at step {done}"
    elif stalled:
        history.status, history.message = 2, f"no decrease found at step {done}"
    elif patience is not None and since >= patience:
        history.status = 3
        history.message = f"no better record after step {history.best_step} ({history.best:.3e}) until step {done}"
    return history.status > 0


def _diverged(record: float, done: int, history: History, checkpoint: str | Path | None) -> str:
    message = f"the loss is {record} at step {done}; best {history.best:.3e} at step {history.best_step}"
    if checkpoint is None or not history.steps:
        return message
    return f"{message}; the last good checkpoint is {checkpoint}, step {history.steps[-1]}"


def _averaging(average: float) -> Callable[[Tensor, Tensor, Any], Tensor]:
    def averaged(mean: Tensor, new: Tensor, count: Any) -> Tensor:
        k = float(count)
        return torch.lerp(mean, new, 1 - min(average, (1 + k) / (10 + k)))

    return averaged


def _batches(data: Data, batch: int | None, seed: int, first: int, steps: int) -> Iterator[tuple[int, Any]]:
    """Yield (step, rows); the order depends on seed and pass alone, so a resumed run sees the same rows."""
    if callable(data):
        yield from ((step, data(step)) for step in range(first, steps))
        return
    if data is None or batch is None or batch >= len(data[0]):
        yield from ((step, data) for step in range(first, steps))
        return
    count, current, order = len(data[0]) // batch, -1, torch.empty(0)
    for step in range(first, steps):
        if step // count != current:
            current = step // count
            order = torch.randperm(len(data[0]), generator=torch.Generator().manual_seed(seed + 1_000_003 * current))
        rows = order[step % count * batch : (step % count + 1) * batch]
        yield step, tuple(tensor[rows] for tensor in data)


def _check(
    data: Data,
    steps: int,
    every: int,
    batch: int | None,
    patience: int | None,
    average: float | None,
    validate: Callable[[Any], float] | None,
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


def _whole(loss: Loss, net: nn.Module, data: Any) -> float:
    with torch.no_grad():
        return float(loss(net, data))


def _copy(net: nn.Module) -> dict[str, Tensor]:
    return {name: tensor.detach().clone() for name, tensor in net.state_dict().items()}


def _resume(
    path: Path, net: nn.Module, optimiser: torch.optim.Optimizer, mean: nn.Module | None
) -> tuple[History, dict[str, Tensor], int]:
    state = load_checkpoint(path)
    try:
        if ("mean" in state) != (mean is not None):
            raise ValueError("averaged weights on one side only")
        net.load_state_dict(state["net"])
        optimiser.load_state_dict(state["optimiser"])
        if mean is not None:
            mean.load_state_dict(state["mean"])
    except (KeyError, RuntimeError, ValueError) as error:
        raise ValueError(
            f"{path}: a checkpoint of another network or optimiser ({error}); remove it or rename"
        ) from error
    return History(**state["history"]), state["best"], state["step"]
