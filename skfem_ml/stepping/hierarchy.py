"""Steppers of nested step sizes, coupled in time: a vectorised roll-out, its dense output, its mean squared error."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import partial
from itertools import pairwise

import numpy as np
from numpy.typing import ArrayLike, NDArray

from skfem_ml.stepping.evolution import OdeResult, check_states
from skfem_ml.stepping.interpolation import KINDS, interpolate
from skfem_ml.stepping.stepper import Rhs, Stepper, check_autonomous, time_dependent

Array = NDArray[np.float64]


class Hierarchy:
    """Steppers of nested steps ``dt_1 > dt_2 > ...``, each a multiple of the next, coupled in time.

    ``maps`` step rows of states ``(rows, n)``: networks, exact flow maps, Runge-Kutta methods; their order does not
    matter. A stepper itself, of the largest step. Raises ValueError for no maps and steps that are not nested,
    TypeError for steppers whose equation depends on time. Source: Liu, Kutz and Brunton (2022), algorithm 1.

    >>> from skfem_ml.stepping import RK4
    >>> hierarchy = Hierarchy([RK4(lambda y: -y, dt) for dt in (0.1, 0.4)])
    >>> hierarchy, hierarchy.solve((0, 2), [1.0, 2.0]).y.round(3)[:, -1]
    (Hierarchy(2 maps, dt 0.4 to 0.1), array([0.135, 0.271]))
    """

    def __init__(self, maps: Sequence[Stepper]):
        if not maps:
            raise ValueError("maps: expected at least one flow map, got none")
        self.maps = sorted(maps, key=lambda m: -m.dt)
        for stepper in self.maps:
            check_autonomous(stepper, "maps")
        self.strides = [round(m.dt / self.maps[-1].dt) for m in self.maps]
        steps = [m.dt for m in self.maps]
        for larger, smaller in pairwise(steps):
            ratio = round(larger / smaller)
            if ratio < 2 or abs(ratio * smaller - larger) > 1e-9 * larger:
                raise ValueError(f"maps: expected each dt to be a multiple (2 or more) of the next, got {steps}")

    def __repr__(self) -> str:
        return f"{type(self).__name__}({describe(self.maps)})"

    @property
    def dt(self) -> float:
        """The largest step."""
        return self.maps[0].dt

    @property
    def size(self) -> int | None:
        """The number of unknowns n where the maps tell it, else None."""
        return next((size for m in self.maps if (size := getattr(m, "size", None))), None)

    def step(self, u: ArrayLike) -> Array:
        """Return the state one largest step later."""
        return self.maps[0].step(np.asarray(u, dtype=float))

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

        ``t_eval`` ``(k,)`` is increasing, default every multiple of the smallest step. Values between knots: "linear",
        "cubic", or "hermite" with the right-hand side ``f(y)`` or ``f(t, y)``, the same at all times (`interpolate`).
        The result has ``t`` ``(k,)``, ``y`` ``(n, k)`` or ``(batch, n, k)``, ``sol``, and status -1 where a state is
        not finite: what comes before is kept, all later values of that trajectory are NaN.

        Raises ValueError for a span that is no multiple of the smallest step, another size of y0 or values that are
        not finite, unsorted t_eval or times outside the span, and an unknown interpolation.
        """
        if interpolation not in KINDS or (interpolation == "hermite" and f is None):
            raise ValueError(f"interpolation: expected one of {KINDS} ('hermite' needs f), got {interpolation!r}")
        start, count, y0 = self.check(t_span, y0)
        dt = self.maps[-1].dt
        times = _check_times(t_eval, start, start + count * dt)
        with np.errstate(over="ignore", invalid="ignore"):
            states, steps, work = self.rollout(y0, count)
        message, status = _mark_divergence(states, start, dt)
        self.watch(states)
        # The equation is autonomous: slopes at all knots in one call.
        slopes = None if f is None else partial(time_dependent(f)[0], start)

        def sol(t: ArrayLike) -> Array:
            t = np.asarray(t, dtype=float)
            values = interpolate(start, dt, states, t.reshape(-1), interpolation, slopes)
            return np.moveaxis(values, 0, -1).reshape(*y0.shape, *t.shape)

        if times is None:
            grid = start + dt * np.arange(count + 1.0)
            return OdeResult(grid, np.moveaxis(states, 0, -1), status, message, steps, sol, work)
        return OdeResult(times, sol(times), status, message, steps, sol, work)

    def predict(self, t: ArrayLike, y0: ArrayLike, *, interpolation: str = "cubic", f: Rhs | None = None) -> OdeResult:
        """Return `solve` at times ``t`` ``(k,)``, t[0] the start, also where the smallest step does not divide the end.

        The roll-out then goes past the end, by less than the smallest step, and is interpolated back. Options and
        errors are those of `solve`.
        """
        t = np.asarray(t, dtype=float)
        if t.ndim != 1 or len(t) < 2 or not t[-1] > t[0]:
            raise ValueError(f"t: expected at least two increasing times (k,), got shape {t.shape}")
        smallest = self.maps[-1].dt
        count = math.ceil((t[-1] - t[0]) / smallest * (1 - 1e-12))
        return self.solve((t[0], t[0] + count * smallest), y0, t, interpolation=interpolation, f=f)

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

    def watch(self, states: Array) -> bool:
        """Return whether states ``(..., n)`` were warned of: here never, see `hits.HiTS` for maps that were learnt."""
        return False


def describe(maps: Sequence[Stepper]) -> str:
    """Return how many maps there are and their steps, largest first, for a repr."""
    steps = f"dt {maps[0].dt:.4g}" + (f" to {maps[-1].dt:.4g}" if len(maps) > 1 else "")
    return f"{len(maps)} map{'s' if len(maps) > 1 else ''}, {steps}"


def mean_squared_error(
    hierarchy: Hierarchy, t: Array, y: Array, interpolation: str = "cubic", f: Rhs | None = None
) -> float:
    """Return the mean over trajectories, unknowns and times of the squared error; infinite where it is not finite.

    ``y`` ``(trajectories, n, k)`` at times ``t`` ``(k,)``, the first of them the start.
    """
    with np.errstate(over="ignore", invalid="ignore"):
        error = float(np.mean((hierarchy.predict(t, y[..., 0], interpolation=interpolation, f=f).y - y) ** 2))
    return error if math.isfinite(error) else math.inf


def select_scales(
    maps: Sequence[Stepper], t: Array, y: Array, interpolation: str = "cubic"
) -> tuple[list[Stepper], dict[tuple[float, float], float]]:
    """Return the contiguous range of scales with the least error on trajectories, and the errors that were tried.

    As published: the upper end u minimises the mean squared error of ``F_1, ..., F_k`` (F_1 the smallest step) over k,
    then the lower end that of ``F_k, ..., F_u``. Errors are by smallest and largest dt of the range.
    """
    ascending = sorted(maps, key=lambda m: m.dt)
    scores: dict[tuple[float, float], float] = {}

    def score(low: int, high: int) -> float:
        key = ascending[low].dt, ascending[high].dt
        if key not in scores:
            scores[key] = mean_squared_error(Hierarchy(ascending[low : high + 1]), t, y, interpolation)
        return scores[key]

    upper = min(range(len(ascending)), key=lambda k: score(0, k))
    lower = min(range(upper + 1), key=lambda k: score(k, upper))
    return ascending[lower : upper + 1], scores


def _rows(stepper: Stepper, states: Array) -> Array:
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
