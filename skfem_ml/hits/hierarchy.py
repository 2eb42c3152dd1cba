"""A hierarchy of flow maps: vectorised roll-out, the hybrid with a classical stepper, selection of scales."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from skfem_ml.hits.files import load_maps, save_maps
from skfem_ml.hits.fitting import fit_map
from skfem_ml.hits.flow_map import FlowMap
from skfem_ml.learning.training import History
from skfem_ml.stepping.evolution import OdeResult, check_states
from skfem_ml.stepping.interpolation import KINDS, Rhs, interpolate

Array = NDArray[np.float64]


class HiTS:
    """Flow maps of nested steps ``dt_1 > dt_2 > ...``, each a multiple of the next, coupled in time.

    ``maps`` are steppers (``.dt`` and ``step(u)`` for rows of states ``(rows, n)``): `FlowMap`, or anything else, such
    as an exact flow map or a Runge-Kutta method; their order does not matter. A stepper itself, of the largest step.
    Raises ValueError for no maps and steps that are not nested, TypeError for steppers whose equation depends on time.
    """

    def __init__(self, maps: Sequence[Any]):
        if not maps:
            raise ValueError("maps: expected at least one flow map, got none")
        self.maps = sorted(maps, key=lambda m: -m.dt)
        self.scores: dict[tuple[float, float], float] = {}
        self.card: dict[str, Any] = {}
        for stepper in self.maps:
            if getattr(stepper, "timed", False):
                raise TypeError(f"maps: expected steppers of autonomous equations, got {stepper} with timed = True")
        self.strides = [round(m.dt / self.maps[-1].dt) for m in self.maps]
        steps = [m.dt for m in self.maps]
        for larger, smaller in pairwise(steps):
            ratio = round(larger / smaller)
            if ratio < 2 or abs(ratio * smaller - larger) > 1e-9 * larger:
                raise ValueError(f"maps: expected each dt to be a multiple (2 or more) of the next, got {steps}")

    @property
    def dt(self) -> float:
        """The largest step."""
        return self.maps[0].dt

    def step(self, u: ArrayLike) -> Array:
        """Return the state one largest step later."""
        return self.maps[0].step(u)

    def rollout(self, y0: ArrayLike, count: int) -> tuple[Array, int, int]:
        """Return the states at all ``count + 1`` multiples of the smallest step, ``(count + 1, ..., n)``: algorithm 1.

        The largest step comes first; each finer map then advances all knots there are at once, ``dt_{i-1} / dt_i - 1``
        times. Also returns the number of steps one after the other, and of states stepped in all.
        """
        y0 = np.asarray(y0, dtype=float)
        states = np.empty((count + 1, *y0.shape))
        states[0] = y0
        steps = work = 0
        stride = 0  # of the knots at hand; 0: there is only the start
        for stepper, finer in zip(self.maps, self.strides, strict=True):
            knots = np.arange(0, count + 1, stride) if stride else np.array([0])
            current = states[knots]
            for j in range(1, (stride or count + finer) // finer):
                knots = knots[knots + j * finer <= count]  # less than a whole step may be left after the last knots
                if not len(knots):
                    break
                current = _rows(stepper, current[: len(knots)])
                states[knots + j * finer] = current
                steps, work = steps + 1, work + current.size // y0.shape[-1]
            stride = finer if stride or finer <= count else 0
        return states, steps, work

    def solve(
        self,
        t_span: Sequence[float],
        y0: ArrayLike,
        t_eval: ArrayLike | None = None,
        *,
        interpolation: str = "cubic",
        f: Rhs | None = None,
    ) -> OdeResult:
        """Return the states from ``y0`` ``(n,)`` or ``(batch, n)`` over ``t_span``, like scipy's ``solve_ivp``.

        ``t_eval`` ``(k,)`` is increasing, default every multiple of the smallest step. Values between knots:
        "linear", "cubic", or "hermite" with the right-hand side ``f(t, y)`` (`interpolate`). The result has ``t``
        ``(k,)``, ``y`` ``(n, k)`` or ``(batch, n, k)``, ``sol``, and status -1 where a state is not finite: what comes
        before is kept, all later values of that trajectory are NaN.

        Raises ValueError for a span that is no multiple of the smallest step, another size of y0 or values that are
        not finite, unsorted t_eval or times outside the span, and an unknown interpolation.
        """
        if interpolation not in KINDS or (interpolation == "hermite" and f is None):
            raise ValueError(f"interpolation: expected one of {KINDS} ('hermite' needs f), got {interpolation!r}")
        start, count, y0 = self.check(t_span, y0)
        times = _check_times(t_eval, start, start + count * self.maps[-1].dt)
        with np.errstate(over="ignore", invalid="ignore"):
            states, steps, work = self.rollout(y0, count)
        message, status = _mark_divergence(states, start, self.maps[-1].dt)

        def sol(t: ArrayLike) -> Array:
            t = np.asarray(t, dtype=float)
            values = interpolate(start, self.maps[-1].dt, states, t.reshape(-1), interpolation, f)
            return np.moveaxis(values, 0, -1).reshape(*y0.shape, *t.shape)

        if times is None:
            grid = start + self.maps[-1].dt * np.arange(count + 1)
            return OdeResult(grid, np.moveaxis(states, 0, -1), status, message, steps, sol, work)
        return OdeResult(times, sol(times), status, message, steps, sol, work)

    def fit(self, t: ArrayLike, y: ArrayLike, *, folder: str | Path | None = None, **options: Any) -> list[History]:
        """Train every map on trajectories, the largest step first, and return their histories.

        ``y`` is ``(trajectories, n, k)`` at times ``t`` ``(k,)``; ``options`` are those of `fitting.fit_map`. With a
        ``folder`` (made if missing) each map has a checkpoint there, and a run that was stopped goes on. Raises
        TypeError where a map is no `FlowMap`.
        """
        for stepper in self.maps:
            if not isinstance(stepper, FlowMap):
                raise TypeError(f"maps: expected FlowMaps to train, got {type(stepper).__name__}")
        if folder is not None:
            Path(folder).mkdir(parents=True, exist_ok=True)
        paths = [None if folder is None else Path(folder) / f"dt-{stepper.dt:g}.pt" for stepper in self.maps]
        return [fit_map(m, t, y, checkpoint=path, **options) for m, path in zip(self.maps, paths, strict=True)]

    def select(self, t: ArrayLike, y: ArrayLike, interpolation: str = "cubic") -> HiTS:
        """Return the hierarchy of the contiguous range of scales with the least error on validation trajectories.

        ``y`` ``(trajectories, n, k)`` at times ``t`` ``(k,)``, the first of them the start. As published: the upper end
        u minimises the mean squared error of ``F_1, ..., F_k`` (F_1 the smallest step) over k, then the lower end that
        of ``F_k, ..., F_u``. The errors tried are kept in ``.scores``, by smallest and largest dt of the range.
        """
        t, y = np.asarray(t, dtype=float), np.asarray(y, dtype=float)
        ascending = self.maps[::-1]
        scores: dict[tuple[float, float], float] = {}

        def score(low: int, high: int) -> float:
            chosen = HiTS(ascending[low : high + 1])
            key = chosen.maps[-1].dt, chosen.dt
            if key not in scores:
                scores[key] = mean_squared_error(chosen, t, y, interpolation)
            return scores[key]

        upper = min(range(len(ascending)), key=lambda k: score(0, k))
        lower = min(range(upper + 1), key=lambda k: score(k, upper))
        best = HiTS(ascending[lower : upper + 1])
        best.scores, best.card = scores, self.card
        return best

    def predict(self, t: ArrayLike, y0: ArrayLike, **options: Any) -> OdeResult:
        """Return `solve` at times ``t`` ``(k,)``, t[0] the start, also where the smallest step does not divide the end.

        The roll-out then goes past the end, by less than the smallest step, and is interpolated back. ``options`` and
        errors are those of `solve`.
        """
        t = np.asarray(t, dtype=float)
        if t.ndim != 1 or len(t) < 2 or not t[-1] > t[0]:
            raise ValueError(f"t: expected at least two increasing times (k,), got shape {t.shape}")
        smallest = self.maps[-1].dt
        count = math.ceil((t[-1] - t[0]) / smallest * (1 - 1e-12))
        return self.solve((t[0], t[0] + count * smallest), y0, t, **options)

    def check(self, t_span: Sequence[float], y0: ArrayLike) -> tuple[float, int, Array]:
        """Return start, number of smallest steps and states; ValueError where the maps cannot go there from them."""
        start, end = map(float, t_span)
        smallest = self.maps[-1].dt
        count = round((end - start) / smallest)
        if count < 1 or abs(count * smallest - (end - start)) > 1e-9 * abs(end - start):
            raise ValueError(
                f"t_span: expected a length that is a positive multiple of the smallest step {smallest}, got "
                f"({start}, {end}); end at {start + max(1, count) * smallest!r}, or add a map of a finer step"
            )
        return start, count, check_states(y0, self.size)

    def save(self, path: str | Path, **card: Any) -> None:
        """Write weights, normalisation, what is in ``.card`` and further entries to one file; see `storage.save_model`.

        Raises TypeError for maps that are no `FlowMap` of an `nn.MLP`.
        """
        save_maps(path, self.maps, {**self.card, **card})

    @classmethod
    def load(cls, name_or_path: str | Path, **wanted: Any) -> HiTS:
        """Read a hierarchy, in double precision: a path, or the name of a model of the package ("van-der-pol").

        ``wanted`` are entries that the card must have, such as ``system="van-der-pol"``. Raises FileNotFoundError with
        the names there are, CorruptModelError for what `save` did not write, ModelMismatchError for another card.
        """
        maps, card = load_maps(name_or_path, wanted)
        loaded = cls(maps)
        loaded.card = card
        return loaded

    @property
    def size(self) -> int | None:
        """The number of unknowns n where the maps tell it, else None."""
        return next((m.size for m in self.maps if getattr(m, "size", None)), None)


def hybrid(maps: HiTS | Sequence[Any], stepper: Any) -> HiTS:
    """Return the hierarchy of the maps with ``dt`` above ``stepper.dt``, and the classical stepper below: algorithm 2.

    The networks make the knots, and the stepper advances all of them at once. Raises ValueError where no map is left,
    and what `HiTS` raises.
    """
    given = maps.maps if isinstance(maps, HiTS) else list(maps)
    coarse = [m for m in given if m.dt > stepper.dt * (1 + 1e-9)]
    if not coarse:
        raise ValueError(
            f"maps: expected at least one dt above the stepper's {stepper.dt}, got {[m.dt for m in given]}"
        )
    return HiTS([*coarse, stepper])


def mean_squared_error(hits: HiTS, t: Array, y: Array, interpolation: str = "cubic", f: Rhs | None = None) -> float:
    """Return the mean over trajectories, unknowns and times of the squared error; infinite where it is not finite."""
    with np.errstate(over="ignore", invalid="ignore"):
        error = float(np.mean((hits.predict(t, y[..., 0], interpolation=interpolation, f=f).y - y) ** 2))
    return error if math.isfinite(error) else math.inf


def _rows(stepper: Any, states: Array) -> Array:
    """One step of states ``(..., n)`` as rows ``(rows, n)``."""
    return np.asarray(stepper.step(states.reshape(-1, states.shape[-1]))).reshape(states.shape)


def _check_times(t_eval: ArrayLike | None, start: float, end: float) -> Array | None:
    if t_eval is None:
        return None
    times = np.asarray(t_eval, dtype=float)
    if times.ndim != 1 or (np.diff(times) <= 0).any() or not np.isfinite(times).all():
        raise ValueError("t_eval: expected increasing finite times (k,), got unsorted ones or another shape; sort them")
    slack = 1e-9 * (end - start)
    if len(times) and (times[0] < start - slack or times[-1] > end + slack):
        raise ValueError(f"t_eval: expected times within t_span ({start}, {end}), got {times[0]} to {times[-1]}")
    return times


def _mark_divergence(states: Array, start: float, dt: float) -> tuple[str, int]:
    """Set to NaN, in place, what follows a state that is not finite; return message and status."""
    wrong = ~np.isfinite(states).all(axis=-1)
    if not wrong.any():
        return "reached the end of t_span", 0
    gone = np.logical_or.accumulate(wrong, axis=0)
    states[gone] = np.nan
    first = int(gone.reshape(len(gone), -1).any(axis=1).argmax())
    count, total = int(gone[-1].sum()), gone[-1].size
    return f"{count} of {total} trajectories not finite, the first from t = {start + first * dt:.6g} on", -1
