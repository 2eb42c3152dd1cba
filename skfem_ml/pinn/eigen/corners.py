"""Singular functions of a corner, for spaces in which smooth features gain little."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.polynomial import legendre
from numpy.typing import NDArray

from skfem_ml import checks
from skfem_ml.pinn.distances import Smooth

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Corner:
    """Two straight edges that meet at ``at`` ``(2,)`` under the ``angle`` omega; u = 0 on both.

    ``start`` is the direction of the first edge, from which ``angle`` is counted counterclockwise through the domain
    (radians, measured from the x-axis). Solutions of second-order equations with smooth coefficients are sums of
    ``r^(j pi / omega + 2 m) sin(j pi theta / omega)`` there (Grisvard, Elliptic Problems in Nonsmooth Domains, 1985).

    >>> corner = Corner((0.0, 0.0), start=0.0, angle=1.5 * np.pi)
    >>> features = corner.features(orders=2, degree=3, radius=1.0)
    >>> corner.powers(2).round(4).tolist(), features
    ([0.6667, 1.3333], CornerFeatures(9 functions, r^0.67 to r^1.33 at (0, 0)))
    >>> float(abs(features(np.array([[0.5, 0.0], [0.0, -0.5]]))).max().round(12))  # on both edges
    0.0
    """

    at: tuple[float, float]
    start: float
    angle: float

    def __post_init__(self) -> None:
        if not 0 < self.angle <= 2 * np.pi + 1e-12:
            raise ValueError(f"angle: expected the opening in radians, above 0 and at most 2 pi, got {self.angle}")

    def powers(self, orders: int) -> Array:
        """Return ``j pi / omega`` for j = 1, ..., ``orders``."""
        return np.asarray(np.arange(1, checks.whole(orders, "orders", 1) + 1) * np.pi / self.angle, dtype=np.float64)

    def features(
        self, orders: int = 8, degree: int = 12, envelope: Smooth | None = None, radius: float | None = None
    ) -> CornerFeatures:
        """Return the functions ``e(x) r^a sin(a theta) p(x)``, ``a = j pi / omega``, for `eig_subspace`'s ``extra``.

        j goes from 1 to ``orders``, p through the products of Legendre's polynomials of total degree up to ``degree -
        a`` about the corner. The ``envelope`` e must vanish on the Dirichlet sides that do not meet at the corner (on
        the L-shape: `box_distance` of its bounding box), and should be as smooth as can be. Without one e is the
        cut-off ``(1 - r^2 / radius^2)^6`` inside of ``radius``, zero outside.

        Raises ValueError unless one of ``envelope`` and ``radius`` is given.
        """
        if (envelope is None) == (radius is None):
            raise ValueError("envelope, radius: expected one of them, a function that vanishes on the other sides, or "
                             "the radius of a cut-off")  # fmt: skip
        if radius is not None:
            checks.positive(radius, "radius")
        powers = [a for a in self.powers(orders) if a <= checks.whole(degree, "degree", 1)]
        pairs = [(a, m, n) for a in powers for m in range(degree + 1) for n in range(degree + 1) if m + n <= degree - a]
        return CornerFeatures(self, tuple(pairs), Cutoff(self.at, radius) if envelope is None else envelope)


@dataclass(frozen=True)
class Cutoff:
    """``(1 - r^2 / radius^2)^6`` where that is positive, else zero: five times continuously differentiable.

    >>> Cutoff((0.0, 0.0), 0.5)(np.array([[0.0, 0.3, 0.6], [0.0, 0.0, 0.0]])).round(4).tolist()
    [1.0, 0.0687, 0.0]
    """

    at: Sequence[float]
    radius: float | None

    def _parts(self, x: Array) -> tuple[Array, Array]:
        away = (x - np.reshape(self.at, (-1, *[1] * (x.ndim - 1)))) / (self.radius or 1.0)
        return away, np.maximum(1 - (away**2).sum(axis=0), 0.0)

    def __call__(self, x: Array, /) -> Array:
        """Return the values ``(...)`` at ``x`` ``(2, ...)``."""
        return self._parts(x)[1] ** 6

    def grad(self, x: Array, /) -> Array:
        """Return the gradient ``(2, ...)``."""
        away, inside = self._parts(x)
        return -12 * away * inside**5 / (self.radius or 1.0)


@dataclass(frozen=True, eq=False, repr=False)
class CornerFeatures:
    """The functions of `Corner.features`: values ``(n, m)`` and gradients ``(2, n, m)`` at points ``(2, n)``.

    >>> features = Corner((0.0, 0.0), 0.0, 1.5 * np.pi).features(orders=1, degree=1, radius=1.0)
    >>> x, h = np.array([[0.1], [0.3]]), 1e-6
    >>> slope = (features(x + [[h], [0]]) - features(x - [[h], [0]])) / (2 * h)
    >>> features(x).shape, bool(abs(features.grad(x)[0] - slope).max() < 1e-8)
    ((1, 1), True)
    """

    corner: Corner
    indices: tuple[tuple[float, int, int], ...]  # power of r, degrees in x and y
    envelope: Smooth

    def __repr__(self) -> str:
        powers = [a for a, _, _ in self.indices]
        at = ", ".join(f"{value:g}" for value in self.corner.at)
        return f"CornerFeatures({len(powers)} functions, r^{min(powers):.2f} to r^{max(powers):.2f} at ({at}))"

    def __call__(self, x: Array, /) -> Array:
        """Return the values ``(n, m)``."""
        return self._both(x)[0]

    def grad(self, x: Array, /) -> Array:
        """Return the gradients ``(2, n, m)``."""
        return self._both(x)[1]

    def _both(self, x: Array) -> tuple[Array, Array]:
        away = np.asarray(x, dtype=float) - np.reshape(self.corner.at, (2, 1))
        e, slope = np.asarray(self.envelope(x)), np.asarray(self.envelope.grad(x))
        top = max((m + n for _, m, n in self.indices), default=0)
        P = legendre.legvander(away, top)  # (2, n, top + 1)
        dP = np.stack([legendre.legval(away, legendre.legder(row)) for row in np.eye(top + 1)], axis=-1)
        values, slopes, singular = [], [], {a: self._singular(away, a) for a, _, _ in self.indices}
        for a, m, n in self.indices:
            s, ds = singular[a]
            p, dp = P[0, :, m] * P[1, :, n], np.stack([dP[0, :, m] * P[1, :, n], P[0, :, m] * dP[1, :, n]])
            values.append(e * s * p)
            slopes.append(slope * (s * p) + e * (ds * p + s * dp))
        return np.stack(values, axis=-1), np.stack(slopes, axis=-1)

    def _singular(self, away: Array, a: float) -> tuple[Array, Array]:
        """``r^a sin(a theta)`` and its gradient, which is infinite at the corner where a < 1 (there it is zero)."""
        start = self.corner.start
        r, theta = np.hypot(*away), np.mod(np.arctan2(away[1], away[0]) - start, 2 * np.pi)
        # Rounding puts points of the first edge below it.
        theta = np.where(theta > np.pi + self.corner.angle / 2, theta - 2 * np.pi, theta)
        size = a * np.where(r > 0, r, np.inf if a < 1 else 0.0) ** (a - 1)
        turned = (a - 1) * theta - start
        return r**a * np.sin(a * theta), size * np.stack([np.sin(turned), np.cos(turned)])
