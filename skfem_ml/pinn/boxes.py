"""Hard data on boxes: distances by side, and one function that has the boundary and the initial data.

With linear factors between two sides the projections ``(P_i g)(x)`` interpolate g between the sides of axis i (Gordon
and Hall 1973), and ``B = g - prod_i (1 - P_i) g`` has the values of g on every side; only those are used. In time
``B(x, t) + u0(x) - B(x, t0)`` has both data where they agree at the start.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from skfem_ml.pinn.jets import Pairs

Array = NDArray[np.float64]
Function = Callable[[Array], Array]  # of z (D, n), to (n,)
SIDE_OF = {"left": (0, 0), "right": (0, 1), "bottom": (1, 0), "top": (1, 1), "front": (2, 0), "back": (2, 1)}


def axis_factors(low: float, high: float, ends: tuple[bool, bool], x: Array) -> tuple[Array, Array, Array]:
    """Return a factor that vanishes at the ends given, of largest value 1, with two derivatives, at x ``(n,)``."""
    length, zero = high - low, np.zeros_like(x)
    if all(ends):
        scale = 4 / length**2
        return scale * (x - low) * (high - x), scale * (low + high - 2 * x), zero - 2 * scale
    if not any(ends):
        return zero + 1, zero, zero
    sign = 1 / length if ends[0] else -1 / length
    return sign * (x - (low if ends[0] else high)), zero + sign, zero


def product_jet(factors: Sequence[tuple[Array, Array, Array]], pairs: Pairs) -> Array:
    """Return the jet ``(1 + D + P, n)`` of a product of functions of one variable each, with two derivatives."""
    D = len(factors)

    def term(*axes: int) -> Array:
        orders = np.bincount(np.asarray(axes, dtype=int), minlength=D)
        return np.prod([factor[order] for factor, order in zip(factors, orders, strict=True)], axis=0)

    return np.stack([term(), *(term(i) for i in range(D)), *(term(i, j) for i, j in pairs)])


def transfinite(data: Mapping[tuple[int, int], Function], low: Array, high: Array) -> Function:
    """Return B of data by side ``(axis, end)``: on each side it has the value of that side's data.

    Sides that lack data get what the opposite side has. Data of sides that meet must agree there.
    """
    axes = sorted({axis for axis, _ in data})

    def at_side(function: Function, axis: int, end: int) -> Function:
        def fixed(z: Array) -> Array:
            moved = z.copy()
            moved[axis] = (low, high)[end][axis]
            return np.broadcast_to(np.asarray(function(moved), dtype=float), z.shape[1:])

        return fixed

    def between(axis: int, z: Array, values: Callable[[int], Array]) -> Array:
        ends = [end for end in (0, 1) if (axis, end) in data]
        if len(ends) == 1:
            return values(ends[0])
        s = (z[axis] - low[axis]) / (high[axis] - low[axis])
        return (1 - s) * values(0) + s * values(1)

    def product(chosen: tuple[int, ...], z: Array) -> Array:
        """(P_i P_j ...) g with the data of the first axis."""
        first, *rest = chosen
        if not rest:
            return between(first, z, lambda end: at_side(data[first, end], first, end)(z))
        last = rest.pop()

        def moved(end: int) -> Array:
            y = z.copy()
            y[last] = (low, high)[end][last]
            return product((first, *rest), y)

        return between(last, z, moved)

    def B(z: Array) -> Array:
        total = np.zeros(z.shape[1:])
        for count in range(1, len(axes) + 1):
            for chosen in itertools.combinations(axes, count):
                total += (-1) ** (count + 1) * product(chosen, z)
        return total

    return B
