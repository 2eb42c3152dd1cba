"""The one training loop: ``fit(net, loss, data, optimiser=..., steps=...) -> History``."""

from __future__ import annotations

import math
import os
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

Loss = Callable[[Any, Any], Tensor]


@dataclass
class History:
    """What happened: ``steps``, ``losses`` and ``seconds`` at the records, the ``best`` loss and its step.

    ``status`` is 0 (all steps done), 1 (``tol`` reached), 2 (the optimiser finds no decrease) or -1 (the loss was not
    finite); ``message`` says it in words.
    """

    steps: list[int] = field(default_factory=list)
    losses: list[float] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list)
    best: float = math.inf
    best_step: int = 0
    status: int = 0
    message: str = ""


def fit(
    net: nn.Module,
    loss: Loss,
    data: Sequence[Tensor] | None = None,
    *,
    optimiser: torch.optim.Optimizer,
    steps: int,
    batch: int | None = None,
    seed: int = 0,
    every: int = 10,
    validate: Callable[[Any], float] | None = None,
    schedule: Callable[[int], float] | None = None,
    tol: float = -math.inf,
    checkpoint: str | Path | None = None,
    progress: Callable[[int, int, float], None] | None = None,
) -> History:
    """Minimise ``loss(net, batch)`` and leave the best parameters seen in ``net``.

    ``data`` is None (the loss has its own), or tensors ``(n, ...)``, of which a step takes ``batch`` rows (None: all),
    in an order drawn from ``seed`` for each pass. Every ``every`` steps ``validate(net)``, default the loss on all
    data, is recorded, compared with the best, told to ``progress(step, steps, value)`` and, if ``checkpoint`` is a
    path, everything is saved there. A run whose checkpoint exists goes on from it, bit for bit as if it had never
    stopped. ``schedule(step)`` is the learning rate of a step. The run ends early where the record falls to ``tol``,
    or the optimiser says that it is ``stalled``.

    Where the loss is not finite the run stops, ``net`` gets the best parameters, and the history tells the step. Raises
    ValueError for sizes below one, data of different lengths and a checkpoint of another network or optimiser.
    """
    if steps < 1 or every < 1 or (batch is not None and batch < 1):
        raise ValueError(f"steps, every, batch: expected at least 1, got {steps}, {every}, {batch}")
    history, best, first = History(), _copy(net), 0
    if checkpoint is not None and Path(checkpoint).exists():
        history, best, first = _resume(Path(checkpoint), net, optimiser)
        if history.status == 2:  # it found no decrease then, and would find none now
            net.load_state_dict(best)
            return history
        history.status, history.message = 0, ""
    measure = validate if validate is not None else lambda net: _whole(loss, net, data)
    start = time.perf_counter() - (history.seconds[-1] if history.seconds else 0.0)
    for step, rows in _batches(data, batch, seed, first, steps):
        if schedule is not None:
            for group in optimiser.param_groups:
                group["lr"] = schedule(step)

        def closure(rows: Any = rows) -> Tensor:
            optimiser.zero_grad()
            value = loss(net, rows)
            value.backward()
            return value

        value = float(torch.as_tensor(optimiser.step(closure)).detach())  # type: ignore[arg-type]
        stalled = bool(getattr(optimiser, "stalled", False))
        done = step + 1
        if math.isfinite(value) and done % every and done < steps and not stalled:
            continue
        record = measure(net) if math.isfinite(value) else value
        if not math.isfinite(record):
            history.status = -1
            history.message = (
                f"the loss is {record} at step {done}; best {history.best:.3e} at step {history.best_step}"
            )
            break
        history.steps.append(done)
        history.losses.append(record)
        history.seconds.append(time.perf_counter() - start)
        if record < history.best:
            history.best, history.best_step, best = record, done, _copy(net)
        if record <= tol or stalled:
            history.status = 1 if record <= tol else 2
            history.message = f"{'tol reached' if record <= tol else 'no decrease found'} at step {done}"
        if checkpoint is not None:
            save_checkpoint(Path(checkpoint), net, optimiser, history, best, done)
        if progress is not None:
            progress(done, steps, record)
        if history.status:
            break
    net.load_state_dict(best)
    history.message = history.message or f"{steps} steps done, best {history.best:.3e} at step {history.best_step}"
    return history


def _batches(
    data: Sequence[Tensor] | None, batch: int | None, seed: int, first: int, steps: int
) -> Iterator[tuple[int, Any]]:
    """Yield (step, rows); the order depends on seed and pass alone, so a resumed run sees the same rows."""
    if data is None or batch is None or batch >= len(data[0]):
        yield from ((step, data) for step in range(first, steps))
        return
    if len({len(tensor) for tensor in data}) != 1:
        raise ValueError(f"data: expected tensors of one length, got {[len(tensor) for tensor in data]}")
    count, current, order = len(data[0]) // batch, -1, torch.empty(0)
    for step in range(first, steps):
        if step // count != current:
            current = step // count
            order = torch.randperm(len(data[0]), generator=torch.Generator().manual_seed(seed + 1_000_003 * current))
        rows = order[step % count * batch : (step % count + 1) * batch]
        yield step, tuple(tensor[rows] for tensor in data)


def _whole(loss: Loss, net: nn.Module, data: Any) -> float:
    with torch.no_grad():
        return float(loss(net, data))


def _copy(net: nn.Module) -> dict[str, Tensor]:
    return {name: tensor.detach().clone() for name, tensor in net.state_dict().items()}


def save_checkpoint(
    path: Path, net: nn.Module, optimiser: torch.optim.Optimizer, history: History, best: dict, step: int
) -> None:
    """Write a resumable state to a temporary file beside ``path``, then replace ``path`` by it at once."""
    state = {"net": net.state_dict(), "optimiser": optimiser.state_dict(), "history": vars(history), "best": best}
    handle, temporary = tempfile.mkstemp(prefix=".", suffix=".pt", dir=path.parent)
    try:
        with os.fdopen(handle, "wb") as file:
            torch.save({**state, "step": step}, file)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    finally:
        Path(temporary).unlink(missing_ok=True)


def _resume(path: Path, net: nn.Module, optimiser: torch.optim.Optimizer) -> tuple[History, dict[str, Tensor], int]:
    state = torch.load(path, weights_only=True)
    try:
        net.load_state_dict(state["net"])
        optimiser.load_state_dict(state["optimiser"])
    except (KeyError, RuntimeError, ValueError) as error:
        raise ValueError(
            f"{path}: a checkpoint of another network or optimiser ({error}); remove it or rename"
        ) from error
    return History(**state["history"]), state["best"], state["step"]
