"""Values between equidistant knots: linear, cubic through four knots, cubic Hermite where the slope is known."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from skfem_ml.stepping.stepper import Rhs, time_dependent

Array = NDArray[np.float64]
KINDS = ("linear", "cubic", "hermite")


def interpolate(
    start: float, dt: float, knots: Array, t: ArrayLike, kind: str = "cubic", f: Rhs | None = None
) -> Array:
    """Return ``(times, ...)``, the values at times ``t`` ``(times,)`` between ``knots`` ``(k, ...)`` at start + i dt.

    "linear" is of order 2. "cubic" is the polynomial through the four nearest knots, of order 4 (fewer knots: of lower
    degree). "hermite" takes values and slopes at both ends of the interval, of order 4 with a smaller constant: those
    of ``f(y)`` for all knots at once, or of ``f(t, y)`` knot by knot. All are local: what is wrong at one knot stays
    near it. Raises ValueError for an unknown kind, "hermite" without f, and times outside the knots.

    >>> import numpy as np
    >>> knots = np.arange(6.0) ** 3
    >>> interpolate(0.0, 1.0, knots, [0.5, 2.5]).round(9)
    array([ 0.125, 15.625])
    >>> interpolate(0.0, 1.0, knots, [0.5, 2.5], "hermite", lambda t, y: 3 * t**2).round(9)
    array([ 0.125, 15.625])
    """
    if kind not in KINDS or (kind == "hermite" and f is None):
        raise ValueError(f"interpolation: expected one of {KINDS} ('hermite' needs f), got {kind!r}, f = {f}")
    t = np.asarray(t, dtype=float)
    last = len(knots) - 1
    place = (t - start) / dt
    slack = 1e-9 * max(1, last)
    if len(t) and not (place.min() >= -slack and place.max() <= last + slack):
        raise ValueError(f"t: expected times in [{start}, {start + last * dt}], got [{t.min()}, {t.max()}]")
    # A time within rounding of a knot is the knot.
    place = np.where(abs(place - np.rint(place)) <= slack, np.rint(place), place)
    left = np.clip(np.floor(place).astype(int), 0, max(last - 1, 0))
    if last == 0:
        return np.repeat(knots, len(t), axis=0)
    s = (place - left).reshape(-1, *[1] * (knots.ndim - 1))
    if kind == "hermite":
        assert f is not None
        return _hermite(start, dt, knots, left, s, f)
    width = min(2 if kind == "linear" else 4, last + 1)
    first = np.clip(left - (width - 2) // 2, 0, last + 1 - width)
    return _lagrange(knots, first, width, s + (left - first).reshape(s.shape))


def _lagrange(knots: Array, first: NDArray[np.int_], width: int, s: Array) -> Array:
    """Polynomials through ``width`` knots each, at ``s`` counted from the first of them."""
    total = np.zeros((len(first), *knots.shape[1:]))
    for i in range(width):
        weight = np.ones_like(s)
        for j in range(width):
            weight = weight * ((s - j) / (i - j) if j != i else 1.0)
        # A weight of zero must not spread NaN from a neighbour to a knot that is sound.
        total += np.where(weight == 0, 0.0, weight * knots[first + i])
    return total


def _hermite(start: float, dt: float, knots: Array, left: NDArray[np.int_], s: Array, f: Rhs) -> Array:
    # A knot may serve many times; its slope is computed once.
    used, places = np.unique(np.concatenate([left, left + 1]), return_inverse=True)
    slope, timed = time_dependent(f)
    if timed:
        slopes = dt * np.stack([np.broadcast_to(slope(start + k * dt, knots[k]), knots[k].shape) for k in used])
    else:
        slopes = dt * slope(start, knots[used])
    fa, fb = slopes[places[: len(left)]], slopes[places[len(left) :]]
    a, b = knots[left], knots[left + 1]
    return a + s * (fa + s * (3 * (b - a) - 2 * fa - fb + s * (fa + fb - 2 * (b - a))))
