"""Training of recurrent networks on sequences."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from copy import deepcopy

import numpy as np
import torch
from torch import Tensor, nn

from skfem_ml.baselines.recurrent import KINDS, Recurrent, units_for
from skfem_ml.checks import choice
from skfem_ml.learning.schedules import affordable, cosine
from skfem_ml.learning.training import History, fit
from skfem_ml.problems import Sequence
from skfem_ml.problems.sequences import generated
from skfem_ml.progress import Progress
from skfem_ml.solutions import Generated


def solver_recurrent(
    kind: str = "lstm",
    parameters: int = 20000,
    *,
    steps: int = 1000,
    seconds: float = math.inf,
    window: int = 200,
    batch: int = 8,
    rate: float = 1e-3,
    seed: int = 0,
    progress: Progress | None = None,
) -> Callable[[Sequence], Generated]:
    """Return ``solver(sequence)``: a recurrent network of about ``parameters`` numbers, trained by Adam.

    The loss is the mean squared error of the next state given the exact ones before, on ``batch`` windows of at most
    ``window`` states from random times (all of a sequence that fits into one window). ``seconds`` of CPU time cut the
    ``steps``; the rate falls from ``rate`` to zero like a cosine. The reproduction runs free from the first state and
    an empty memory, the continuation after the exact sequence. ``record`` notes the `Recurrent` as "model". Raises
    ValueError for another kind than "lstm", "cwrnn".
    """
    choice(kind, KINDS, "kind")
    if min(parameters, steps, window - 1, batch) < 1 or not (seconds > 0 and rate > 0):
        raise ValueError(
            "parameters, steps, window, batch, seconds, rate: expected >= 1, >= 1, >= 2, >= 1, > 0, > 0, got "
            f"{parameters}, {steps}, {window}, {batch}, {seconds}, {rate}"
        )

    def solver(sequence: Sequence) -> Generated:
        start, learnt = time.process_time(), sequence.learnt
        units = units_for(kind, learnt.shape[1], parameters)
        with torch.random.fork_rng(devices=[]):  # torch's layers draw from the global generator
            torch.manual_seed(seed)
            model = Recurrent(kind, units, learnt.mean(axis=0), learnt.std() or 1.0)
        windows = _Windows(model.scaled(learnt), min(window, len(learnt) - 1), batch, seed)
        history = _train(model.net, windows, steps, seconds, rate, progress)
        told = {"solver": kind, "rate": rate, "seed": seed, "steps": history.steps[-1]}
        model.card = {**sequence.card, **told, "seconds": time.process_time() - start}
        return generated(sequence, model, model.parameters_fitted, (history,), units=units)

    return solver


def _train(
    net: nn.Module, windows: _Windows, steps: int, seconds: float, rate: float, progress: Progress | None
) -> History:
    def run(count: int, net: nn.Module, loss: _Windows, told: Progress | None = None) -> History:
        return fit(
            net, loss, optimiser=torch.optim.Adam(net.parameters(), rate), steps=count, every=min(10, count),
            validate=lambda net: loss.mean, schedule=cosine(rate, count), progress=told,
        )  # fmt: skip

    trial = lambda count: run(count, deepcopy(net), deepcopy(windows))
    return run(min(steps, affordable(trial, seconds)), net, windows, progress)


class _Windows:
    """The loss of one step on windows drawn anew each time; ``mean`` is a running mean of it."""

    def __init__(self, data: Tensor, window: int, batch: int, seed: int):
        self.data, self.window = data, window
        self.batch = 1 if window == len(data) - 1 else batch
        self.rng, self.mean = np.random.default_rng(seed), math.nan

    def __call__(self, net: nn.Module, rows: None) -> Tensor:
        starts = self.rng.integers(0, len(self.data) - self.window, self.batch)
        x = torch.stack([self.data[s : s + self.window] for s in starts])
        y = torch.stack([self.data[s + 1 : s + 1 + self.window] for s in starts])
        loss = (net(x)[0] - y).square().mean()
        value = float(loss.detach())
        self.mean = value if math.isnan(self.mean) else 0.9 * self.mean + 0.1 * value
        return loss
