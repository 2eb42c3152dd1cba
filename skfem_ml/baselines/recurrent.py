"""Recurrent networks that generate sequences: LSTM and clockwork RNN, the published baselines."""

from __future__ import annotations

import math
import sys
import time
from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from skfem_ml.checks import choice
from skfem_ml.learning.schedules import cosine
from skfem_ml.learning.training import History, fit
from skfem_ml.problems import Sequence
from skfem_ml.progress import Progress
from skfem_ml.solutions import Generated, Record

Array = NDArray[np.float64]
Hidden = tuple[Tensor, Tensor] | None
KINDS = ("lstm", "cwrnn")


class LSTM(nn.Module):
    """One layer of long short-term memory and a linear read-out: states ``(batch, k, n)`` to the next ones.

    >>> net = LSTM(2, 3)
    >>> predictions, hidden = net(torch.zeros(1, 5, 2))
    >>> net, tuple(predictions.shape), LSTM.parameter_count(2, 3)
    (LSTM(2 unknowns, 3 units), (1, 5, 2), 92)

    Source: Hochreiter and Schmidhuber, Neural Computation 9 (1997), with forget gates.
    """

    def __init__(self, n: int, units: int):
        super().__init__()
        self.cell, self.output = nn.LSTM(n, units, batch_first=True), nn.Linear(units, n)

    def __repr__(self) -> str:
        return f"LSTM({self.output.out_features} unknowns, {self.output.in_features} units)"

    def forward(self, x: Tensor, hidden: Hidden = None, start: int = 0) -> tuple[Tensor, Hidden]:
        """Return predictions ``(batch, k, n)`` and the hidden state after them."""
        h, hidden = self.cell(x, hidden)
        return self.output(h), hidden

    @staticmethod
    def parameter_count(n: int, units: int) -> int:
        """Return how many numbers are fitted."""
        return 4 * units * (n + units + 2) + units * n + n


class ClockworkRNN(nn.Module):
    """``h_i(t) = tanh(W_i x + sum_{j >= i} U_ij h_j + b_i)`` where t is a multiple of the period of module i.

    Else ``h_i`` stays. ``modules`` modules of equal size have periods ``4^i``, as in the published program; a module
    hears itself and the slower ones. Predictions are linear in h. Source: Koutnik, Greff, Gomez and Schmidhuber, A
    clockwork RNN (ICML 2014), equations (1) to (4). Raises ValueError for units that are no multiple of ``modules``.

    >>> net = ClockworkRNN(2, 10)
    >>> predictions, hidden = net(torch.zeros(1, 5, 2))
    >>> net, tuple(predictions.shape), ClockworkRNN.parameter_count(2, 10)
    (ClockworkRNN(2 unknowns, 10 units, periods 1 to 256), (1, 5, 2), 112)
    """

    mask: Tensor
    period: Tensor

    def __init__(self, n: int, units: int, modules: int = 5):
        super().__init__()
        if units < modules or units % modules:
            raise ValueError(f"units: expected a multiple of the {modules} modules, got {units}")
        self.input, self.output = nn.Linear(n, units), nn.Linear(units, n)
        self.recurrent = nn.Parameter((torch.rand(units, units) * 2 - 1) / math.sqrt(units))
        module = torch.arange(units) // (units // modules)
        self.register_buffer("mask", (module[None, :] >= module[:, None]).float())
        self.register_buffer("period", 4**module)

    def __repr__(self) -> str:
        units, n = self.output.in_features, self.output.out_features
        return f"ClockworkRNN({n} unknowns, {units} units, periods 1 to {int(self.period.max())})"

    def forward(self, x: Tensor, hidden: Tensor | None = None, start: int = 0) -> tuple[Tensor, Tensor]:
        """Return predictions ``(batch, k, n)`` and the hidden state; ``start`` is the time of the first state."""
        inputs, weights = self.input(x), (self.recurrent * self.mask).T
        h = x.new_zeros(len(x), weights.shape[0]) if hidden is None else hidden
        states = []
        for k in range(x.shape[1]):
            active = (start + k) % self.period == 0
            h = torch.where(active, torch.tanh(torch.addmm(inputs[:, k], h, weights)), h)
            states.append(h)
        return self.output(torch.stack(states, dim=1)), h

    @staticmethod
    def parameter_count(n: int, units: int, modules: int = 5) -> int:
        """Return how many numbers are fitted: only the connections there are."""
        return units * (2 * n + 1) + n + units**2 * (modules + 1) // (2 * modules)


def units_for(kind: str, n: int, parameters: int) -> int:
    """Return the most units with at most ``parameters`` fitted numbers, or the fewest possible."""
    choice(kind, KINDS, "kind")
    count, step = (LSTM.parameter_count, 1) if kind == "lstm" else (ClockworkRNN.parameter_count, 5)
    units = step
    while count(n, units + step) <= parameters:
        units += step
    return units


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
    an empty memory, the continuation after the exact sequence. Raises ValueError for another kind than "lstm", "cwrnn".
    """
    choice(kind, KINDS, "kind")
    if min(parameters, steps, window - 1, batch) < 1 or not (seconds > 0 and rate > 0):
        raise ValueError(
            "parameters, steps, window, batch, seconds, rate: expected >= 1, >= 1, >= 2, >= 1, > 0, > 0, got "
            f"{parameters}, {steps}, {window}, {batch}, {seconds}, {rate}"
        )

    def solver(sequence: Sequence) -> Generated:
        learnt = sequence.learnt
        center, scale = learnt.mean(axis=0), learnt.std() or 1.0
        data = torch.from_numpy((learnt - center) / scale).float()
        net, units = _drawn(kind, learnt.shape[1], parameters, seed)
        history = _train(net, _Windows(data, min(window, len(data) - 1), batch, seed), steps, seconds, rate, progress)
        with torch.no_grad():
            reproduced = run_free(net, data[:1], len(data) - 1)
            continued = run_free(net, data, sequence.held_out)
        made = [to_states(part, center, scale) for part in (torch.cat([data[:1], reproduced]), continued)]
        count = net.parameter_count(learnt.shape[1], units)
        return Generated(made[0], made[1], Record(count, history=(history,), notes={"units": units}))

    return solver


def _drawn(kind: str, n: int, parameters: int, seed: int) -> tuple[LSTM | ClockworkRNN, int]:
    """An untrained network of n unknowns, and its units."""
    units = units_for(kind, n, parameters)
    with torch.random.fork_rng(devices=[]):  # torch's layers draw from the global generator
        torch.manual_seed(seed)
        return LSTM(n, units) if kind == "lstm" else ClockworkRNN(n, units), units


def _train(
    net: nn.Module, loss: _Windows, steps: int, seconds: float, rate: float, progress: Progress | None
) -> History:
    done = min(steps, affordable(net, loss, seconds))
    return fit(
        net, loss, optimiser=torch.optim.Adam(net.parameters(), rate), steps=done, every=min(10, done),
        validate=lambda net: loss.mean, schedule=cosine(rate, done), progress=progress,
    )  # fmt: skip


def run_free(net: nn.Module, read: Tensor, count: int) -> Tensor:
    """Return ``count`` states ``(count, n)`` after the states ``read`` ``(k, n)``, each fed back as the next input."""
    if not count:
        return read.new_zeros(0, read.shape[1])
    predictions, hidden = net(read[None])
    states, x = [predictions[:, -1]], predictions[:, -1:]
    for k in range(count - 1):
        x, hidden = net(x, hidden, len(read) + k)
        states.append(x[:, 0])
    return torch.cat(states)


def to_states(values: Tensor, center: Array, scale: float) -> Array:
    """Return network values ``(k, n)`` as states in double precision."""
    return values.double().numpy() * scale + center


def affordable(net: nn.Module, loss: Callable[[nn.Module, None], Tensor], seconds: float, tried: int = 3) -> int:
    """Return how many steps of training fit into so many CPU seconds, at least one, by timing ``tried`` of them."""
    if math.isinf(seconds):
        return sys.maxsize
    loss(net, None).backward()  # the first one allocates
    start = time.process_time()
    for _ in range(tried):
        loss(net, None).backward()
    net.zero_grad()
    return max(1, int(seconds * tried / max(time.process_time() - start, 1e-9)))


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
