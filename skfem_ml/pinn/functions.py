"""Functions of z = (x, t) with their derivatives: what lifts and distances are made of."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from skfem_ml.pinn.boxes import Interpolant, axis_factors, product_jet
from skfem_ml.pinn.distances import Smooth, require_laplacian
from skfem_ml.pinn.jets import Pairs

Array = NDArray[np.float64]


class JetFunction(Protocol):
    """A function of z = (x, t) with its derivatives."""

    def jet(self, z: Array, pairs: Pairs) -> Array:
        """Return value, first and second derivatives ``(1 + D + P, n)`` at z ``(D, n)``."""


@dataclass(frozen=True, eq=False)
class Constant:
    """The same value everywhere."""

    value: float

    def jet(self, z: Array, pairs: Pairs) -> Array:
        """See `JetFunction`."""
        total = np.zeros((1 + len(z) + len(pairs), z.shape[1]))
        total[0] = self.value
        return total


@dataclass(frozen=True, eq=False)
class BoxDistance:
    """A product of one factor an axis, which vanishes at the ``ends`` given, times ``t - start`` in time."""

    low: Array
    high: Array
    ends: tuple[tuple[bool, bool], ...]
    start: float | None = None

    def jet(self, z: Array, pairs: Pairs) -> Array:
        """See `JetFunction`."""
        factors = [axis_factors(*one) for one in zip(self.low, self.high, self.ends, z, strict=False)]
        if len(z) > len(factors):
            one = np.ones(z.shape[1])
            factors.append((one, 0 * one, 0 * one) if self.start is None else (z[-1] - self.start, one, 0 * one))
        return product_jet(factors, pairs)


@dataclass(frozen=True, eq=False)
class OfValues:
    """What a Chebyshev interpolant is, in x alone or in all variables."""

    inner: Interpolant

    def jet(self, z: Array, pairs: Pairs) -> Array:
        """See `JetFunction`."""
        D, known = len(z), len(self.inner.low)

        def term(*axes: int) -> Array:
            if any(axis >= known for axis in axes):
                return np.zeros(z.shape[1])
            return self.inner(z[:known], tuple(int(n) for n in np.bincount(axes, minlength=known)) if axes else ())

        return np.stack([term(), *(term(i) for i in range(D)), *(term(i, j) for i, j in pairs)])


@dataclass(frozen=True, eq=False)
class InSpace:
    """A function of x in ``dim`` dimensions, known with its gradient, times ``t - start`` where that is given."""

    function: Smooth
    label: str
    dim: int
    start: float | None = None

    def jet(self, z: Array, pairs: Pairs) -> Array:
        """See `JetFunction`; ValueError for second derivatives in space that the function does not have."""
        x, D = z[: self.dim], len(z)
        value, slope = np.asarray(self.function(x)), self.function.grad(x)
        space = np.zeros((1 + D + len(pairs), z.shape[1]))
        space[0], space[1 : 1 + self.dim] = value, slope
        inner = [(p, pair) for p, pair in enumerate(pairs) if max(pair) < self.dim]
        if inner:
            second = self._second(x)
            for p, (i, j) in inner:
                space[1 + D + p] = second[i, j]
        if self.start is None:
            return space
        one = np.ones(z.shape[1])
        axes = [(one, 0 * one, 0 * one)] * self.dim + [(z[-1] - self.start, one, 0 * one)]
        return multiplied(space, product_jet(axes, pairs), pairs)

    def _second(self, x: Array) -> Array:
        if hasattr(self.function, "hess"):
            return np.asarray(self.function.hess(x))
        laplacian = require_laplacian(self.function, self.label)
        if self.dim > 1:
            raise ValueError(
                f"{self.label}: the strong form in {self.dim} dimensions needs second derivatives, expected "
                f"hess(x) of shape ({self.dim}, {self.dim}, ...), got a Laplacian; give them, or use form='weak'"
            )
        return laplacian(x)[None, None]


def multiplied(a: Array, b: Array, pairs: Pairs) -> Array:
    """Return the jet of a product of two functions from their jets ``(1 + D + P, ...)``, by Leibniz' rule."""
    D = len(a) - 1 - len(pairs)
    out = a[0] * b
    out[1:] += a[1:] * b[0]
    for p, (i, j) in enumerate(pairs):
        out[1 + D + p] += a[1 + i] * b[1 + j] + a[1 + j] * b[1 + i]
    return out


def factor_matrix(zeta: Array, pairs: Pairs) -> Array:
    """Return the matrix ``(E, E, n)`` that takes the jet of N to that of ``zeta N``, for ``zeta`` ``(E, n)``."""
    E = len(zeta)
    unit = np.eye(E)[:, :, None] * np.ones(zeta.shape[1])
    return np.stack([multiplied(zeta, unit[f], pairs) for f in range(E)], axis=1)
