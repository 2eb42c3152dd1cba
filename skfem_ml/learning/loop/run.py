"""What a training keeps beside network and optimiser: best and averaged weights, the records, and the file of all."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel

from skfem_ml.learning.checkpoints import save_checkpoint, state_in
from skfem_ml.learning.history import History
from skfem_ml.learning.loop.determined import Schedule, Settings, rates_of, require_same
from skfem_ml.learning.loop.ranks import Ranks
from skfem_ml.learning.states import copied, tensors_of
from skfem_ml.learning.storage import regular
from skfem_ml.progress import Progress

Measure = Callable[[nn.Module], float]


class Run:
    """The state of `training.fit`: `start` takes it from the checkpoint, `after` a step keeps it, `end` gives it back.

    ``measure(net)`` is what is recorded, ``settings`` what determines the weights (`determined`), which the checkpoint
    keeps and a resumed run must have, but for what ``extend`` names. Of ``ranks`` the first saves and tells, and its
    records count. The other arguments are those of `training.fit`.
    """

    def __init__(
        self, net: nn.Module, optimiser: torch.optim.Optimizer, measure: Measure, steps: int, every: int,
        average: float | None, patience: int | None, tol: float, checkpoint: str | Path | None,
        progress: Progress | None, schedule: Schedule | None, settings: Settings, extend: Sequence[str] = (),
        ranks: Ranks | None = None,
    ):  # fmt: skip
        self.ranks = Ranks() if ranks is None else ranks
        self.schedule, self.settings, self.extend = schedule, settings, extend
        self.net, self.optimiser, self.measure, self.steps, self.every = net, optimiser, measure, steps, every
        self.patience, self.tol, self.progress = patience, tol, progress
        self.checkpoint = None if checkpoint is None else Path(checkpoint)
        self.mean = None if average is None else AveragedModel(net, avg_fn=_averaging(average))
        self.shown: nn.Module = net if self.mean is None else self.mean.module
        self.history, self.best, self.began = History(), copied(net), 0.0

    def start(self) -> int:
        """Go on from the checkpoint if there is one; return the first step, ``steps`` where the run had ended."""
        first, history = 0, self.history
        if self.checkpoint is not None and (found := self.ranks.bytes(partial(_content, self.checkpoint))):
            first, history = self._resume(self.checkpoint, found)
            if history.status != 2:  # one that found no decrease would find none now
                history.status, history.message = 0, ""
                self._finished(stalled=False)
        self.began = time.perf_counter() - (history.seconds[-1] if history.seconds else 0.0)
        return first if history.status == 0 else self.steps

    def after(self, done: int, value: float) -> bool:
        """Keep what there is to keep after ``done`` steps, the last with loss ``value``; return whether to stop."""
        if self.mean is not None:
            self.mean.update_parameters(self.net)
        stalled = bool(getattr(self.optimiser, "stalled", False))
        if math.isfinite(value) and done % self.every and done < self.steps and not stalled:
            return False
        record = self.measure(self.shown) if math.isfinite(value) else value
        record, seconds = self.ranks.numbers(record, time.perf_counter() - self.began)
        history = self.history
        if not math.isfinite(record):
            history.status, history.message = -1, self._diverged(record, done)
            return True
        history.steps.append(done)
        history.losses.append(record)
        history.seconds.append(seconds)
        if record < history.best:
            history.best, history.best_step, self.best = record, done, copied(self.shown)
        finished = self._finished(stalled)
        if self.checkpoint is not None and self.ranks.first:
            settings = {**self.settings, "rates": rates_of(self.schedule, done)}
            save_checkpoint(self.checkpoint, {**self._states(), "settings": settings, "best": self.best, "step": done})
        if self.progress is not None and self.ranks.first:
            self.progress(done, self.steps, f"loss {record:.3e}")
        return finished

    def end(self) -> History:
        """Leave the best parameters in the network and return the history."""
        self.net.load_state_dict(self.best)
        history = self.history
        done = f"{self.steps} steps done, best {history.best:.3e} at step {history.best_step}"
        history.message = history.message or done
        return history

    def _states(self) -> dict[str, dict]:
        mean = {} if self.mean is None else {"mean": tensors_of(self.mean)}
        states = {"net": tensors_of(self.net), "optimiser": self.optimiser.state_dict(), **mean}
        return {**states, "history": vars(self.history)}

    def _resume(self, path: Path, content: bytes) -> tuple[int, History]:
        state = state_in(content, path)
        require_same(path, self.settings, state.get("settings", {}), self.schedule, self.extend)
        try:
            if ("mean" in state) != (self.mean is not None):
                raise ValueError("averaged weights on one side only")
            self.net.load_state_dict(state["net"])
            own = [{k: v for k, v in group.items() if k != "params"} for group in self.optimiser.param_groups]
            self.optimiser.load_state_dict(state["optimiser"])
            if "optimiser" in self.extend:  # its settings may change, so the new ones hold
                for group, settings in zip(self.optimiser.param_groups, own, strict=True):
                    group.update(settings)
            if self.mean is not None:
                self.mean.load_state_dict(state["mean"])
        except (KeyError, RuntimeError, ValueError) as error:
            raise ValueError(
                f"{path}: a checkpoint of another network or optimiser ({error}); remove it or rename"
            ) from error
        self.history, self.best = History(**state["history"]), state["best"]
        return state["step"], self.history

    def _finished(self, stalled: bool) -> bool:
        """Whether the last record ends the run; the history is told why."""
        history = self.history
        if not history.losses:
            return False
        done, since = history.steps[-1], sum(step > history.best_step for step in history.steps)
        if history.losses[-1] <= self.tol:
            history.status, history.message = 1, f"tol reached at step {done}"
        elif stalled:
            history.status, history.message = 2, f"no decrease found at step {done}"
        elif self.patience is not None and since >= self.patience:
            history.status = 3
            history.message = f"no better record after step {history.best_step} ({history.best:.3e}) until step {done}"
        return history.status > 0

    def _diverged(self, record: float, done: int) -> str:
        history = self.history
        message = f"the loss is {record} at step {done}; best {history.best:.3e} at step {history.best_step}"
        if self.checkpoint is None or not history.steps:
            return message
        return f"{message}; the last good checkpoint is {self.checkpoint}, step {history.steps[-1]}"


def _content(path: Path) -> bytes:
    return regular(path).read_bytes() if path.exists() else b""


def _averaging(average: float) -> Callable[[Tensor, Tensor, Tensor | int], Tensor]:
    def averaged(mean: Tensor, new: Tensor, count: Tensor | int) -> Tensor:
        k = float(count)
        return torch.lerp(mean, new, 1 - min(average, (1 + k) / (10 + k)))

    return averaged
