"""A hierarchy of flow maps that learns one sequence: features trained or drawn, outputs by least squares.

The paper trains the network of step s on frames 0, s, 2 s, ... alone (its published program does), so larger steps have
fewer pairs to learn, and the reproduction visits exactly these. Where a map has more features than pairs it memorises.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence as Several
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from skfem_ml.hits.flow_map import FlowMap
from skfem_ml.hits.hierarchy import HiTS
from skfem_ml.optim import SOAP
from skfem_ml.problems import Sequence
from skfem_ml.solutions import Generated
from skfem_ml.training import History, fit

Array = NDArray[np.float64]
Progress = Callable[[int, int, float], None]


class SkipNet(nn.Module):
    """``net(z) = A z + b + C tanh(W z + d)``: one hidden layer beside a linear map, ``(rows, n)`` to ``(rows, n)``.

    W is drawn from the normal distribution with variance ``gain^2 / n``, d with variance ``gain^2 / 4``; A, b and C are
    zero until `solve_outputs`. Raises ValueError for sizes below one and a gain not positive.
    """

    def __init__(self, n: int, width: int, gain: float = 1.0, *, generator: torch.Generator):
        super().__init__()
        if n < 1 or width < 1 or not gain > 0:
            raise ValueError(f"n, width, gain: expected >= 1, >= 1 and positive, got {n}, {width}, {gain}")
        self.hidden = nn.Linear(n, width, dtype=torch.float64)
        self.output = nn.Linear(width + n, n, dtype=torch.float64)
        nn.init.normal_(self.hidden.weight, std=gain / n**0.5, generator=generator)
        nn.init.normal_(self.hidden.bias, std=gain / 2, generator=generator)
        nn.init.zeros_(self.output.weight)
        nn.init.zeros_(self.output.bias)

    def features(self, z: Tensor) -> Tensor:
        """Return hidden layer and input side by side, ``(rows, width + n)``."""
        return torch.cat([torch.tanh(self.hidden(z)), z], dim=1)

    def forward(self, z: Tensor) -> Tensor:
        """Return the values ``(rows, n)``."""
        return self.output(self.features(z))


def solve_outputs(net: SkipNet, z: Tensor, values: Tensor, ridge: float) -> float:
    """Set the output layer to ``argmin |net(z) - values|^2 + mu |weights|^2`` and return the root mean square residual.

    ``mu = ridge`` times the largest eigenvalue of ``F F'``, F the features ``(rows, k)``. Solved by Cholesky in the
    smaller of rows and k. Raises ValueError for a ridge below 1e-15, which rounding would not let through.
    """
    if not ridge >= 1e-15:
        raise ValueError(f"ridge: expected at least 1e-15, got {ridge}")
    with torch.no_grad():
        F = torch.cat([net.features(z), z.new_ones(len(z), 1)], dim=1)
        wide = F.shape[0] < F.shape[1]
        G = F @ F.T if wide else F.T @ F
        mu = ridge * float(torch.linalg.matrix_norm(G, ord=2)) if len(G) <= 512 else ridge * float(G.diagonal().sum())
        factor = torch.linalg.cholesky(G + mu * torch.eye(len(G), dtype=G.dtype))
        weights = F.new_zeros(F.shape[1], values.shape[1])
        for _ in range(2):  # the second is iterative refinement
            gap = values - F @ weights
            if wide:
                weights += F.T @ torch.cholesky_solve(gap, factor)
            else:
                weights += torch.cholesky_solve(F.T @ gap, factor)
        net.output.weight.copy_(weights[:-1].T)
        net.output.bias.copy_(weights[-1])
        return float((F @ weights - values).square().mean().sqrt())


def strides_for(frames: int, factor: int = 4) -> tuple[int, ...]:
    """Return 1, ``factor``, ``factor^2``, ..., up to a step that fits twice into the frames."""
    if frames < 3 or factor < 2:
        raise ValueError(f"frames, factor: expected at least 3 and 2, got {frames} and {factor}")
    strides = [1]
    while 2 * strides[-1] * factor < frames:
        strides.append(strides[-1] * factor)
    return tuple(strides)


def fit_stride(
    states: Array,
    stride: int,
    dt: float,
    *,
    width: int = 512,
    gain: float = 1.0,
    steps: int = 0,
    ridge: float = 1e-12,
    seed: int = 0,
    checkpoint: Any = None,
    progress: Progress | None = None,
) -> tuple[FlowMap, dict[str, Any]]:
    """Return the map of ``stride`` frames of ``states`` ``(k, n)`` dt apart, learnt from frames 0, stride, 2 stride, ...

    ``width`` is cut to the number of pairs. ``steps`` steps of SOAP train the features (0: they stay as drawn), then
    the outputs are solved for. The second result holds pairs, width, residual (root mean square over that of the
    increments) and the history. Raises ValueError where no pair is left.
    """
    knots = states[::stride]
    if len(knots) < 2:
        raise ValueError(f"stride: expected below {len(states)}, the number of frames, got {stride}")
    x, y = torch.from_numpy(knots[:-1].copy()), torch.from_numpy(knots[1:].copy())
    generator = torch.Generator().manual_seed(seed)
    net = SkipNet(states.shape[1], min(width, len(x)), gain, generator=generator)
    # One scale for all coordinates: POD coordinates of little energy stay little.
    change = float((y - x).square().mean().sqrt()) or 1.0
    flow_map = FlowMap(net, stride * dt, center=states.mean(axis=0), scale=states.std() or 1.0, increment=change)
    z, values = (x - flow_map.center) / flow_map.scale, (y - x) / change
    residual = solve_outputs(net, z, values, ridge)
    history = None
    if steps:
        history = _train(net, z, values, steps, checkpoint, progress)
        residual = solve_outputs(net, z, values, ridge)
    return flow_map, {"pairs": len(x), "width": min(width, len(x)), "residual": residual, "history": history}


def _train(net: SkipNet, z: Tensor, values: Tensor, steps: int, checkpoint: Any, progress: Progress | None) -> History:
    def loss(model: SkipNet, rows: Any) -> Tensor:
        return (model(rows[0]) - rows[1]).square().mean()

    rate = 3e-3
    return fit(
        net, loss, (z, values), optimiser=SOAP(net.parameters(), lr=rate), steps=steps, batch=1024,
        schedule=lambda step: rate * 0.5 * (1 + np.cos(np.pi * step / steps)), checkpoint=checkpoint, progress=progress,
    )  # fmt: skip


def solver_hits(
    width: int = 512,
    strides: Several[int] | None = None,
    *,
    gain: float = 1.0,
    steps: int = 0,
    ridge: float = 1e-12,
    seed: int = 0,
) -> Callable[[Sequence], Generated]:
    """Return ``solver(sequence)``: one map a stride (default 1, 4, 16, ...), coupled by `HiTS`.

    The reproduction starts from the first frame, the continuation from the last one learnt. ``info`` has the hierarchy,
    ``maps`` (what `fit_stride` says of each) and ``unknowns``, all weights and biases. Raises as `fit_stride` and `HiTS`.
    """

    def solver(sequence: Sequence) -> Generated:
        learnt, maps, told = sequence.learnt, [], {}
        for k, stride in enumerate(strides_for(len(learnt)) if strides is None else strides):
            flow_map, told[stride] = fit_stride(
                learnt, stride, sequence.dt, width=width, gain=gain, steps=steps, ridge=ridge, seed=seed + 1000 * k
            )
            maps.append(flow_map)
        hits = HiTS(maps)
        reproduced = hits.rollout(learnt[0], len(learnt) - 1)[0]
        continued = hits.rollout(learnt[-1], sequence.held_out)[0][1:]
        unknowns = sum(p.numel() for m in maps for p in m.parameters())
        return Generated(reproduced, continued, {"unknowns": unknowns, "maps": told, "hits": hits})

    return solver
