"""Hard data on boxes: distances by side, and one function that has the boundary and the initial data.

With linear factors between two sides the projections ``(P_i g)(x)`` interpolate g between the sides of axis i (Gordon
and Hall 1973), and ``B = g - prod_i (1 - P_i) g`` has the values of g on every side; only those are used. In time
``B(x, t) + u0(x) - B(x, t0)`` has both data where they agree at the start. What they stand for is interpolated at
Chebyshev nodes, which gives all derivatives.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.polynomial import chebyshev as T
from numpy.typing import NDArray
from scipy.fft import dct

from skfem_ml.pinn.jets import Pairs

Array = NDArray[np.float64]
Function = Callable[[Array], Array]  # of z (D, n), to (n,)
MOST = {1: 1024, 2: 192, 3: 40, 4: 20}  # nodes an axis
TOL = 1e-14
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


@dataclass(frozen=True, eq=False)
class Transfinite:
    """B of data by side ``(axis, end)``: on each side it has the value of that side's data.

    Sides that lack data get what the opposite side has. Data of sides that meet must agree there.
    """

    data: Mapping[tuple[int, int], Function]
    low: Array
    high: Array

    def __call__(self, z: Array) -> Array:
        """Return the values ``(n,)`` at z ``(D, n)``, by inclusion and exclusion of the axes with data."""
        axes = sorted({axis for axis, _ in self.data})
        total = np.zeros(z.shape[1:])
        for count in range(1, len(axes) + 1):
            for chosen in itertools.combinations(axes, count):
                total += (-1) ** (count + 1) * self._product(chosen, z)
        return total

    def _product(self, chosen: tuple[int, ...], z: Array) -> Array:
        """(P_i P_j ...) g with the data of the first axis."""
        first, *rest = chosen
        axis = rest.pop() if rest else first

        def at(end: int) -> Array:
            moved = z.copy()
            moved[axis] = (self.low, self.high)[end][axis]
            if axis != first:
                return self._product((first, *rest), moved)
            return np.broadcast_to(np.asarray(self.data[axis, end](moved), dtype=float), z.shape[1:])

        ends = [end for end in (0, 1) if (axis, end) in self.data]
        if len(ends) == 1:
            return at(ends[0])
        s = (z[axis] - self.low[axis]) / (self.high[axis] - self.low[axis])
        return (1 - s) * at(0) + s * at(1)


@dataclass(frozen=True, eq=False)
class Interpolant:
    """``sum_k c_k prod_i T_(k_i)(s_i)``, s in [-1, 1] on the box from ``low`` to ``high``; c has an axis a variable."""

    c: Array
    low: Array
    high: Array

    def __call__(self, z: Array, orders: tuple[int, ...] = ()) -> Array:
        """Return the values ``(n,)`` at z ``(D, n)``, or the derivative of order ``orders[i]`` in each variable."""
        s = (2 * z - (self.low + self.high)[:, None]) / (self.high - self.low)[:, None]
        c = self.c
        for axis, order in enumerate(orders):
            if order:
                c = T.chebder(c, m=order, scl=2 / (self.high[axis] - self.low[axis]), axis=axis)
        total = T.chebvander(s[-1], c.shape[-1] - 1) @ np.moveaxis(c, -1, 0).reshape(c.shape[-1], -1)
        for axis in range(len(z) - 2, -1, -1):
            total = total.reshape(len(total), -1, c.shape[axis])
            total = np.einsum("nrk,nk->nr", total, T.chebvander(s[axis], c.shape[axis] - 1))
        return total[:, 0]


def interpolant(f: Callable[[Array], Array], low: Array, high: Array, label: str) -> Interpolant:
    """Return the interpolant of ``f(z)``, z ``(D, n)``, on a box, of as many nodes an axis as it takes for 14 digits.

    Raises ValueError for a function that is not smooth enough: 8 digits with the most nodes is asked for.
    """
    D = len(low)
    sizes, most = np.full(D, 8 if D > 2 else 16), MOST[D]
    while True:
        c = _coefficients(f, low, high, sizes, label)
        size = max(float(abs(c).max()), 1e-300)
        tails = np.array([abs(np.moveaxis(c, axis, 0)[-max(2, sizes[axis] // 8) :]).max() for axis in range(D)]) / size
        # A tail that stops falling is rounding of f itself.
        rough = tails > TOL
        if not rough.any() or (sizes[rough] >= most).all():
            break
        sizes = np.where(rough, np.minimum(2 * sizes, most), sizes)
    if tails.max() > 1e-8:
        raise ValueError(
            f"{label}: expected smooth data for hard conditions, but {most} Chebyshev nodes an axis leave "
            f"{tails.max():.0e} of it; smooth it, or have it penalised with PDE(..., hard=False)"
        )
    for axis in range(D):
        kept = np.flatnonzero(abs(np.moveaxis(c, axis, 0).reshape(c.shape[axis], -1)).max(axis=1) > 1e-16 * size)
        c = np.take(c, np.arange(kept.max(initial=0) + 1), axis=axis)
    return Interpolant(c, np.asarray(low), np.asarray(high))


def _coefficients(f: Callable[[Array], Array], low: Array, high: Array, sizes: Array, label: str) -> Array:
    axes = [a + (b - a) * (1 + np.cos(np.pi * (np.arange(m) + 0.5) / m)) / 2
            for a, b, m in zip(low, high, sizes, strict=True)]  # fmt: skip
    z = np.stack([axis.ravel() for axis in np.meshgrid(*axes, indexing="ij")])
    values = np.broadcast_to(np.asarray(f(z), dtype=float), z.shape[1:])
    if not np.isfinite(values).all():
        raise ValueError(f"{label}: expected finite values, got nan or inf; check it on the whole domain")
    c = values.reshape(sizes)
    for axis, m in enumerate(sizes):
        c = dct(c, type=2, axis=axis) / m
        np.moveaxis(c, axis, 0)[0] /= 2
    return c
