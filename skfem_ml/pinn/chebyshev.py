"""Chebyshev interpolation on boxes: a smooth function known by its values, with derivatives of what stands for it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.polynomial import chebyshev as T
from numpy.typing import NDArray
from scipy.fft import dct

Array = NDArray[np.float64]
MOST = {1: 1024, 2: 192, 3: 40, 4: 20}  # nodes an axis
TOL = 1e-14


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
