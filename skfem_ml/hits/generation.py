"""A hierarchy of flow maps that learns one sequence: features trained or drawn, outputs by least squares.

The paper trains the network of step s on frames 0, s, 2 s, ... alone (its published program does), so larger steps have
fewer pairs to learn, and the reproduction visits exactly these. Where a map has more features than pairs it memorises.
"""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Sequence as Several
from dataclasses import dataclass, replace
from itertools import product
from typing import TypedDict

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from skfem_ml.hits.fitting import Optimiser, fit_map
from skfem_ml.hits.flow_map import FlowMap
from skfem_ml.hits.hierarchy import HiTS
from skfem_ml.hits.skip_net import SkipNet, solve_outputs
from skfem_ml.learning.nn import MLP
from skfem_ml.learning.optim import SOAP
from skfem_ml.learning.schedules import cosine
from skfem_ml.learning.training import History, fit
from skfem_ml.problems import Sequence
from skfem_ml.solutions import Generated, Record

Array = NDArray[np.float64]
RIDGES = (1e-12, 1e-10, 1e-8, 1e-6, 1e-4, 1e-2)


@dataclass(frozen=True)
class StrideFit:
    """What learning one stride did: pairs of frames, features, residual over the increments' size, the history."""

    pairs: int
    width: int
    residual: float
    history: History | None


class Choice(TypedDict, total=False):
    """Options of `solver_hits` that `solver_chosen` chooses."""

    strides: Several[int]
    gain: float
    ridge: float


def strides_for(frames: int, factor: int = 4) -> tuple[int, ...]:
    """Return 1, ``factor``, ``factor^2``, ..., up to a step that fits twice into the frames."""
    if frames < 3 or factor < 2:
        raise ValueError(f"frames, factor: expected at least 3 and 2, got {frames} and {factor}")
    strides = [1]
    while 2 * strides[-1] * factor < frames:
        strides.append(strides[-1] * factor)
    return tuple(strides)


def parameter_count(sequence: Sequence, width: int) -> int:
    """Return how many weights and biases the hierarchy of `solver_hits` has, for baselines of equal size."""
    n, frames = sequence.states.shape[1], sequence.train
    widths = [min(width, (frames - 1) // stride) for stride in strides_for(frames)]
    return sum(w * (2 * n + 1) + n * n + n for w in widths)


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
) -> tuple[FlowMap, StrideFit]:
    """Return the map of ``stride`` frames of ``states`` ``(k, n)`` dt apart, learnt from frames 0, stride, ...

    ``width`` is cut to the number of pairs. ``steps`` steps of SOAP train the features (0: they stay as drawn), then
    the outputs are solved for. Raises ValueError where no pair is left.
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
        history = _train(net, z, values, steps)
        residual = solve_outputs(net, z, values, ridge)
    return flow_map, StrideFit(len(x), min(width, len(x)), residual, history)


def _train(net: SkipNet, z: Tensor, values: Tensor, steps: int) -> History:
    def loss(model: SkipNet, rows: tuple[Tensor, Tensor]) -> Tensor:
        return (model(rows[0]) - rows[1]).square().mean()

    rate = 3e-3
    return fit(
        net, loss, (z, values), optimiser=SOAP(net.parameters(), rate), steps=steps, batch=1024,
        schedule=cosine(rate, steps),
    )  # fmt: skip


def fit_strides(
    states: Array, strides: Several[int], dt: float, width: int, gain: float, steps: int, ridge: float, seed: int
) -> tuple[list[FlowMap], dict[int, StrideFit]]:
    """Return the maps of `fit_stride` and what it says of each stride; the k-th draws from seed + 1000 k."""
    maps, told = list[FlowMap](), dict[int, StrideFit]()
    for k, stride in enumerate(strides):
        flow_map, told[stride] = fit_stride(
            states, stride, dt, width=width, gain=gain, steps=steps, ridge=ridge, seed=seed + 1000 * k
        )
        maps.append(flow_map)
    return maps, told


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

    The reproduction starts from the first frame, the continuation from the last one learnt. The ``record`` counts
    all weights and biases as ``unknowns`` and notes the hierarchy "hits" and "maps" (what `fit_stride` says of each
    stride). Raises as `fit_stride` and `HiTS`.
    """

    def solver(sequence: Sequence) -> Generated:
        ladder = strides_for(sequence.train) if strides is None else strides
        maps, told = fit_strides(sequence.learnt, ladder, sequence.dt, width, gain, steps, ridge, seed)
        return _generate(maps, sequence, maps=told)

    return solver


def solver_chosen(
    width: int = 512, *, ridges: Several[float] = RIDGES, gains: Several[float] = (0.3, 1.0), seed: int = 0
) -> Callable[[Sequence], Generated]:
    """Return `solver_hits` with strides, ridge and gain chosen for the continuation, on the last frames learnt.

    As many frames as are held out (at most a third) are kept apart; hierarchies 1, ..., 4^k of all k, ridges and gains
    learn the frames before and continue them; the best learns everything. ``record["chosen"]`` tells it. Raises
    ValueError where nothing is held out, and what `solver_hits` raises.
    """

    def solver(sequence: Sequence) -> Generated:
        aside = min(sequence.held_out, sequence.train // 3)
        if aside < 1:
            raise ValueError("sequence: expected frames held out, to be continued, got none")
        learnt = sequence.learnt
        trial = Sequence(sequence.name, learnt, sequence.train - aside, sequence.dt)
        ladder = strides_for(trial.train)
        options: Choice = {}
        best = np.inf
        for gain, ridge in product(gains, ridges):
            maps, _ = fit_strides(trial.learnt, ladder, trial.dt, width, gain, 0, ridge, seed)
            for k in range(len(ladder)):
                found = _generate(maps[: k + 1], trial).continued
                with np.errstate(over="ignore", invalid="ignore"):
                    error = float(((found - trial.states[trial.train :]) ** 2).mean())
                if error < best:
                    best, options = error, {"strides": ladder[: k + 1], "gain": gain, "ridge": ridge}
        if not options:
            raise FloatingPointError("every hierarchy diverged on the frames kept apart; add larger ridges")
        result = solver_hits(width, seed=seed, **options)(sequence)
        return replace(result, record=result.record.with_notes(chosen=options))

    return solver


def solver_trained(
    width: int = 512,
    strides: Several[int] | None = None,
    *,
    activation: str = "relu",
    optimiser: Optimiser = torch.optim.Adam,
    steps: int = 1000,
    window: int = 5,
    seed: int = 0,
) -> Callable[[Sequence], Generated]:
    """Return the hierarchy as published: networks ``(n, width, n)``, ReLU, Adam, loss (2.5) over ``window`` steps.

    The strides and the frames each map learns from are those of `solver_hits`; ``record.history`` has one entry a map.
    Raises as `fit_map` and `HiTS`.
    """

    def solver(sequence: Sequence) -> Generated:
        learnt, maps, histories = sequence.learnt, list[FlowMap](), list[History]()
        n = learnt.shape[1]
        for k, stride in enumerate(strides_for(len(learnt)) if strides is None else strides):
            knots = learnt[::stride]
            generator = torch.Generator().manual_seed(seed + 1000 * k)
            net = MLP((n, min(width, len(knots) - 1), n), activation, generator=generator)
            flow_map = FlowMap(net, stride * sequence.dt)
            history = fit_map(
                flow_map, np.arange(len(knots)) * flow_map.dt, knots.T[None], steps=steps, batch=100,
                window=max(1, min(window, (len(knots) - 1) // 2)), optimiser=optimiser, rate=1e-3, seed=seed,
                sampling="uniform",
            )  # fmt: skip
            histories.append(history)
            maps.append(flow_map)
        return _generate(maps, sequence, histories)

    return solver


def _generate(
    flow_maps: list[FlowMap], sequence: Sequence, history: Several[History] = (), **notes: object
) -> Generated:
    hits, learnt = HiTS(flow_maps), sequence.learnt
    with np.errstate(over="ignore", invalid="ignore"):
        reproduced = hits.rollout(learnt[0], len(learnt) - 1)[0]
        continued = hits.rollout(learnt[-1], sequence.held_out)[0][1:]
    unknowns = sum(p.numel() for m in flow_maps for p in m.parameters())
    return Generated(reproduced, continued, Record(unknowns, history=tuple(history), notes={"hits": hits, **notes}))
