"""Training of one flow map on trajectories: the recurrent loss (2.5) on windows from any time."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from skfem_ml.checks import choice
from skfem_ml.hits.flow_map import FlowMap
from skfem_ml.learning.optim import SOAP
from skfem_ml.learning.schedules import cosine
from skfem_ml.learning.training import History, fit
from skfem_ml.progress import Progress

LOG = logging.getLogger("skfem_ml")
Array = NDArray[np.float64]
Loss = Callable[[FlowMap, tuple[Tensor]], Tensor]
Optimiser = Callable[[Iterable[Tensor], float], torch.optim.Optimizer]
"""``optimiser(parameters, rate)``: a class such as `SOAP` or ``torch.optim.Adam``, or a function that makes one."""
SAMPLINGS = ("log", "uniform", "start")
CHECKED = 4096  # windows of the loss that is recorded
ATTEMPTS = 3
WARM = 50  # steps over which the rate rises


def fit_map(
    flow_map: FlowMap,
    t: ArrayLike,
    y: ArrayLike,
    *,
    steps: int = 5000,
    batch: int = 1024,
    window: int = 1,
    sampling: str = "log",
    optimiser: Optimiser = SOAP,
    rate: float = 1e-2,
    seed: int = 0,
    normalise: bool = True,
    validation: tuple[ArrayLike, ArrayLike] | None = None,
    every: int = 100,
    checkpoint: str | Path | None = None,
    progress: Progress | None = None,
) -> History:
    """Train one map in place by ``1/(m p) sum_i sum_k |F^k(x_i) - x_i(k dt)|^2 / increment^2``, k = 1, ..., p.

    ``t`` ``(k,)`` and ``y`` ``(trajectories, n, k)`` are training trajectories on equal times that divide the map's
    dt. Windows of ``window`` = p steps start at any of them: "uniform" in time, "log" in its logarithm, which has
    transients as often as what follows, or at the "start" alone. ``normalise`` sets the map's normalisation from the
    windows' first steps; without it the loss is (2.5) as it stands, if increments are 1.

    ``optimiser(parameters, rate)`` makes the optimiser; its rate rises to ``rate`` over 50 steps, then falls to zero
    like a cosine. Every ``every`` steps the loss on windows of ``validation`` ``(t, y)`` (default: of the training
    trajectories) is recorded, and the best weights are kept. Where the loss is not finite, or the record a thousand
    times the best, training starts again from the best weights at a third of the rate. The defaults are those of the
    shipped model; ``checkpoint`` and ``progress`` are those of `training.fit`. Raises ValueError for data that do not
    fit the map, FloatingPointError where training diverges again and again.
    """
    choice(sampling, SAMPLINGS, "sampling")
    generator = torch.Generator().manual_seed(seed)
    loss, starts = _prepare(flow_map, t, y, window, sampling, generator, normalise)
    seen = (loss, starts) if validation is None else _prepare(flow_map, *validation, window, sampling, generator)
    guard = _Guard(seen[0], seen[1][torch.randperm(len(seen[1]), generator=generator)[:CHECKED]])
    data = (starts,)
    run = partial(fit, flow_map, loss, data, steps=steps, batch=batch, every=every, validate=guard, progress=progress)
    return _restarting(run, flow_map, optimiser, rate, steps, seed, checkpoint)


def _restarting(
    run: Callable[..., History],
    flow_map: FlowMap,
    optimiser: Optimiser,
    rate: float,
    steps: int,
    seed: int,
    checkpoint: str | Path | None,
) -> History:
    """The history of the first run that does not diverge; each one goes on from the best weights, at lower rates."""
    for attempt in range(ATTEMPTS):
        top = rate / 3**attempt
        path = None if checkpoint is None else Path(f"{checkpoint}.{attempt}") if attempt else Path(checkpoint)
        history = run(
            optimiser=optimiser(flow_map.parameters(), top), schedule=cosine(top, steps, WARM), seed=seed + attempt,
            checkpoint=path,
        )  # fmt: skip
        if history.status != -1:
            return history
        LOG.info("dt = %g: %s; again at a rate of %.4g", flow_map.dt, history.message, top / 3)
    raise FloatingPointError(f"training of the map for dt = {flow_map.dt} diverged, {history.message}; lower the rate")


def _prepare(
    flow_map: FlowMap,
    t: ArrayLike,
    y: ArrayLike,
    window: int,
    sampling: str,
    generator: torch.Generator,
    normalise: bool = False,
) -> tuple[Loss, Tensor]:
    """The loss on windows of trajectories, and the places where they start; the map is normalised where asked."""
    stride, states = windows(t, y, flow_map, window)
    starts = draw_starts(states, stride * window, sampling, generator)
    if normalise:
        flat = states.reshape(-1, states.shape[-1])
        rows = starts.numpy()  # numpy reads a tensor of one index as a number
        flow_map.normalise(flat[rows], flat[rows + stride])
    return recurrent_loss(states, stride, window, flow_map.center), starts


def windows(t: ArrayLike, y: ArrayLike, flow_map: FlowMap, window: int) -> tuple[int, Array]:
    """Return the stride of one step in the data, and the states ``(trajectories, k, n)``; ValueError where unfit."""
    t, y = np.asarray(t, dtype=float), np.asarray(y, dtype=float)
    if y.ndim != 3 or t.shape != (y.shape[-1],) or len(t) < 2 or not np.isfinite(y).all():
        raise ValueError(f"t, y: expected (k,) and finite (trajectories, n, k), got {t.shape} and {y.shape}")
    if flow_map.size not in (None, y.shape[1]):
        raise ValueError(f"y: expected {flow_map.size} unknowns, as the map has, got {y.shape[1]}")
    spacing = (t[-1] - t[0]) / (len(t) - 1)
    if not (spacing > 0 and np.allclose(np.diff(t), spacing, rtol=1e-6)):
        raise ValueError("t: expected increasing times of equal spacing, got others; interpolate first")
    stride = round(flow_map.dt / spacing)
    if stride < 1 or abs(stride * spacing - flow_map.dt) > 1e-6 * flow_map.dt:
        raise ValueError(f"t: expected a spacing that divides the map's dt = {flow_map.dt}, got {spacing}")
    if window < 1 or window * stride >= len(t):
        raise ValueError(
            f"window: expected 1 to {(len(t) - 1) // stride} steps of dt = {flow_map.dt} in data over {t[-1] - t[0]}, "
            f"got {window}"
        )
    return stride, np.ascontiguousarray(np.moveaxis(y, -1, 1))


def draw_starts(states: Array, span: int, sampling: str, generator: torch.Generator) -> Tensor:
    """Return places in the flattened states where windows of ``span`` intervals start, as many as there are.

    "uniform": each once. "log": ``floor((m + 1)^u) - 1`` with u uniform in (0, 1), for m places in a trajectory.
    "start": the first of each trajectory, once.
    """
    count, length, _ = states.shape
    places = 1 if sampling == "start" else length - span
    first = torch.arange(places).expand(count, places)
    if sampling == "log":
        u = torch.rand(count, places, generator=generator, dtype=torch.float64)
        first = ((places + 1) ** u).long().clamp(1, places) - 1
    return (torch.arange(count)[:, None] * length + first).reshape(-1)


def recurrent_loss(states: Array, stride: int, window: int, like: Tensor) -> Loss:
    """Return ``loss(map, (starts,))``: (2.5) over the squared increments, for windows from the places ``starts``.

    Type and device of the numbers are those of ``like``.
    """
    flat = torch.from_numpy(states.reshape(-1, states.shape[-1])).to(like)

    def loss(flow_map: FlowMap, rows: tuple[Tensor]) -> Tensor:
        weight = torch.where(flow_map.increment > 0, flow_map.increment, 1.0)
        x, total = flat[rows[0]], torch.zeros((), dtype=like.dtype, device=like.device)
        for k in range(1, window + 1):
            x = flow_map(x)
            total = total + ((x - flat[rows[0] + k * stride]) / weight).square().sum(dim=1).mean()
        return total / window

    return loss


class _Guard:
    """The loss on some windows, infinite (which ends a run) where it is far above the best so far."""

    def __init__(self, loss: Loss, starts: Tensor):
        self.loss, self.starts, self.best = loss, starts, math.inf

    def __call__(self, net: FlowMap) -> float:
        with torch.no_grad():
            value = float(self.loss(net, (self.starts,)))
        self.best = min(self.best, value)
        return value if value <= 1e3 * self.best else math.inf
