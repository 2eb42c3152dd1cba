"""A hierarchy of flow maps that learns one sequence: features trained or drawn, outputs by least squares.

The paper trains the network of step s on frames 0, s, 2 s, ... alone (its published program does), so larger steps have
fewer pairs to learn, and the reproduction visits exactly these. Where a map has more features than pairs it memorises.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from collections.abc import Sequence as Several
from copy import deepcopy
from dataclasses import dataclass, replace
from functools import partial
from itertools import product
from typing import TypedDict

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from skfem_ml.hits.box import Box
from skfem_ml.hits.fitting import Optimiser, fit_map
from skfem_ml.hits.flow_map import FlowMap
from skfem_ml.hits.hierarchy import HiTS
from skfem_ml.hits.skip_net import SkipNet, solve_outputs
from skfem_ml.learning.nn import MLP
from skfem_ml.learning.optim import SOAP
from skfem_ml.learning.schedules import affordable, cosine
from skfem_ml.learning.training import History, fit
from skfem_ml.problems import Sequence
from skfem_ml.problems.sequences import generated
from skfem_ml.solutions import Generated

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
    seconds: float = math.inf,
    rate: float = 3e-3,
    ridge: float = 1e-12,
    seed: int = 0,
) -> tuple[FlowMap, StrideFit]:
    """Return the map of ``stride`` frames of ``states`` ``(k, n)`` dt apart, learnt from frames 0, stride, ...

    ``width`` is cut to the number of pairs. ``steps`` steps of SOAP (fewer where ``seconds`` of CPU time end before)
    train the features from a rate of ``rate`` (0: they stay as drawn), then the outputs are solved for. Raises
    ValueError where no pair is left.
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
        done = min(steps, affordable(lambda count: _train(deepcopy(net), z, values, count, rate), seconds))
        history = _train(net, z, values, done, rate)
        residual = solve_outputs(net, z, values, ridge)
    return flow_map, StrideFit(len(x), min(width, len(x)), residual, history)


def _train(net: SkipNet, z: Tensor, values: Tensor, steps: int, rate: float) -> History:
    def loss(model: SkipNet, rows: tuple[Tensor, Tensor]) -> Tensor:
        return (model(rows[0]) - rows[1]).square().mean()

    return fit(
        net, loss, (z, values), optimiser=SOAP(net.parameters(), rate), steps=steps, batch=1024,
        schedule=cosine(rate, steps),
    )  # fmt: skip


def fit_strides(
    states: Array, strides: Several[int], dt: float, *, seconds: float = math.inf, seed: int = 0, **options: float
) -> tuple[list[FlowMap], dict[int, StrideFit]]:
    """Return the maps of `fit_stride` and what it says of each stride; the k-th draws from seed + 1000 k.

    Each stride has an equal part of the ``seconds``.
    """
    maps, told = list[FlowMap](), dict[int, StrideFit]()
    for k, stride in enumerate(strides):
        flow_map, told[stride] = fit_stride(
            states, stride, dt, seconds=seconds / len(strides), seed=seed + 1000 * k,
            **options,  # type: ignore[arg-type]
        )  # fmt: skip
        maps.append(flow_map)
    return maps, told


def solver_hits(
    width: int = 512,
    strides: Several[int] | None = None,
    *,
    gain: float = 1.0,
    steps: int = 0,
    seconds: float = math.inf,
    rate: float = 3e-3,
    ridge: float = 1e-12,
    seed: int = 0,
) -> Callable[[Sequence], Generated]:
    """Return ``solver(sequence)``: one map a stride (default 1, 4, 16, ...), coupled by `HiTS`.

    The reproduction starts from the first frame, the continuation from the last one learnt. With ``steps`` above zero
    the features are trained, for as long as ``seconds`` of CPU time allow. The ``record`` counts all weights and biases
    as ``unknowns`` and notes the hierarchy as "model", and "maps" (what `fit_stride` says of each stride). Raises
    ValueError for strides without 1, and as `fit_stride` and `HiTS`.
    """

    def solver(sequence: Sequence) -> Generated:
        start = time.process_time()
        ladder = strides_for(sequence.train) if strides is None else strides
        options = {"width": width, "gain": gain, "steps": steps, "rate": rate, "ridge": ridge}
        maps, told = fit_strides(sequence.learnt, ladder, sequence.dt, seconds=seconds, seed=seed, **options)
        done = [0 if one.history is None else one.history.steps[-1] for one in told.values()]
        card = {"solver": "hits", "width": width, "gain": gain, "ridge": ridge, "seed": seed, "steps": done}
        card |= {"rate": rate} if steps else {}
        return _generate(maps, sequence, {**card, "seconds": time.process_time() - start}, maps=told)

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
        trial = sequence.trial()
        ladder = strides_for(trial.train)
        options: Choice = {}
        best = np.inf
        for gain, ridge in product(gains, ridges):
            maps, _ = fit_strides(trial.learnt, ladder, trial.dt, width=width, gain=gain, ridge=ridge, seed=seed)
            for k in range(len(ladder)):
                found = _generate(maps[: k + 1], trial, {}).continued
                with np.errstate(over="ignore", invalid="ignore"):
                    error = float(((found - trial.states[trial.train :]) ** 2).mean())
                if error < best:
                    best, options = error, {"strides": ladder[: k + 1], "gain": gain, "ridge": ridge}
        if not options:
            raise FloatingPointError("every hierarchy diverged on the frames kept apart; add larger ridges")
        result = solver_hits(width, seed=seed, **options)(sequence)
        result.record["model"].card["solver"] = "chosen"
        return replace(result, record=result.record.with_notes(chosen=options))

    return solver


def solver_trained(
    width: int = 512,
    strides: Several[int] | None = None,
    *,
    activation: str = "relu",
    optimiser: Optimiser = torch.optim.Adam,
    steps: int = 1000,
    seconds: float = math.inf,
    rate: float = 1e-3,
    window: int = 5,
    seed: int = 0,
) -> Callable[[Sequence], Generated]:
    """Return the hierarchy as published: networks ``(n, width, n)``, ReLU, Adam, loss (2.5) over ``window`` steps.

    The strides and the frames each map learns from are those of `solver_hits`; ``steps`` and ``seconds`` of CPU time,
    of which each stride has an equal part, end the training. ``record.history`` has one entry a map. Raises as
    `solver_hits` and `fit_map`.
    """

    def solver(sequence: Sequence) -> Generated:
        start, maps, histories = time.process_time(), list[FlowMap](), list[History]()
        ladder = strides_for(sequence.train) if strides is None else strides
        for k, stride in enumerate(ladder):
            knots = sequence.learnt[::stride]
            widths = (knots.shape[1], min(width, len(knots) - 1), knots.shape[1])
            net = MLP(widths, activation, generator=torch.Generator().manual_seed(seed + 1000 * k))
            maps.append(FlowMap(net, stride * sequence.dt))
            train = partial(
                fit_map, t=maps[-1].dt * np.arange(len(knots)), y=knots.T[None], batch=100, optimiser=optimiser,
                window=max(1, min(window, (len(knots) - 1) // 2)), rate=rate, seed=seed, sampling="uniform",
            )  # fmt: skip
            histories.append(_within(seconds / len(ladder), steps, train, maps[-1]))
        card = {"solver": "trained", "width": width, "rate": rate, "seed": seed}
        card |= {"steps": [one.steps[-1] for one in histories], "seconds": time.process_time() - start}
        return _generate(maps, sequence, card, histories)

    return solver


def _within(seconds: float, steps: int, train: Callable[..., History], flow_map: FlowMap) -> History:
    """Train a map for at most so many steps, as many as the seconds allow."""
    return train(flow_map, steps=min(steps, affordable(lambda count: train(deepcopy(flow_map), steps=count), seconds)))


def _generate(
    flow_maps: list[FlowMap],
    sequence: Sequence,
    card: dict[str, object],
    history: Several[History] = (),
    **notes: object,
) -> Generated:
    """Couple the maps and generate; the card tells the data besides what it is given."""
    hits = HiTS(flow_maps)
    if abs(hits.maps[-1].dt - sequence.dt) > 1e-9 * sequence.dt:
        raise ValueError(f"strides: expected 1 among them, got {[round(m.dt / sequence.dt) for m in hits.maps[::-1]]}")
    hits.card = {**sequence.card, **card}
    found = generated(sequence, hits, sum(p.numel() for m in flow_maps for p in m.parameters()), history, **notes)
    # Not before: what diverges here is seen in the errors, and is not warned of.
    hits.box = Box.of(sequence.dt * np.arange(sequence.train), sequence.learnt.T[None])
    return found
