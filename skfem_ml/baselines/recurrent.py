"""Recurrent networks, the published baselines: LSTM and clockwork RNN, and what one has learnt of a sequence."""

from __future__ import annotations

import math
from pathlib import Path
from typing import ClassVar

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor, nn

from skfem_ml.checks import choice
from skfem_ml.learning.storage import require_entries
from skfem_ml.learning.stored import Card, StoredNetwork, load_network, save_network
from skfem_ml.problems.sequences import check_frames

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


class Recurrent(StoredNetwork):
    """A recurrent network of ``kind`` "lstm" or "cwrnn" for sequences, and their scaling: ``(x - center) / scale``.

    ``center`` is ``(n,)``, ``scale`` one positive number; weights come from torch's own generator. ``card`` tells data,
    budget and seed. Raises ValueError for another kind, and sizes that the network refuses.

    >>> model = Recurrent("lstm", 3, [0.0, 1.0], 0.5)
    >>> model
    Recurrent(LSTM(2 unknowns, 3 units), 92 parameters)
    >>> model.forecast(np.zeros((4, 2)), 3).shape
    (3, 2)
    """

    LIMITS: ClassVar = {"units": 4096}

    def __init__(self, kind: str, units: int, center: ArrayLike, scale: float):
        super().__init__()
        choice(kind, KINDS, "kind")
        self.kind, self.units, self.card = kind, units, dict[str, object]()
        self.center, self.scale = np.array(center, dtype=float), float(scale)
        if self.center.ndim != 1 or not np.isfinite(self.center).all() or not 0 < self.scale < math.inf:
            raise ValueError(f"center, scale: expected finite (n,) and a positive number, got {center!r} and {scale}")
        n = len(self.center)
        self.net = LSTM(n, units) if kind == "lstm" else ClockworkRNN(n, units)

    def __repr__(self) -> str:
        return f"Recurrent({self.net}, {self.parameters_fitted} parameters)"

    @property
    def parameters_fitted(self) -> int:
        """How many numbers are fitted."""
        return self.net.parameter_count(len(self.center), self.units)

    def scaled(self, frames: Array) -> Tensor:
        """Return frames ``(k, n)`` as the network sees them."""
        return torch.from_numpy((frames - self.center) / self.scale).float()

    def forecast(self, frames: Array, count: int) -> Array:
        """Return the ``count`` frames ``(count, n)`` after ``frames`` ``(k, n)``, which are read from an empty memory.

        Raises ValueError for other shapes and frames that are not finite.
        """
        frames = check_frames(frames, len(self.center), count)
        with torch.no_grad():
            free = run_free(self.net, self.scaled(frames), count)
        return free.double().numpy() * self.scale + self.center

    def save(self, path: str | Path, **card: object) -> None:
        """Write network, scaling, what is in ``.card`` and further entries; see `storage.save_model`."""
        save_network(path, self, {**self.card, **card})

    @classmethod
    def load(cls, path: str | Path, **wanted: object) -> Recurrent:
        """Read a file of `save`; ``wanted`` are entries that its card must have.

        Raises FileNotFoundError, CorruptModelError, ModelMismatchError for another card or another kind of model.
        """
        net, card = load_network(path, (cls,))
        net.card = {name: value for name, value in card.items() if name not in ("kind", "sizes")}
        require_entries(str(path), net.card, wanted)
        return net

    def sizes(self) -> Card:
        """Return kind of cell and units; see `StoredNetwork`."""
        return {"cell": self.kind, "units": self.units}

    def made_of(self) -> dict[str, Tensor]:
        """Return the scaling."""
        return {"center": torch.from_numpy(self.center), "scale": torch.tensor(self.scale, dtype=torch.float64)}

    @classmethod
    def made(cls, sizes: Card, tensors: dict[str, Tensor]) -> Recurrent:
        """Return a network of these sizes; see `StoredNetwork`."""
        return cls(str(sizes["cell"]), int(sizes["units"]), tensors["center"].numpy(), float(tensors["scale"]))  # type: ignore[call-overload]
