"""The Kuramoto-Sivashinsky equation by a Fourier method in space and ETDRK4 in time."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import ArrayLike, NDArray

Array = NDArray[np.float64]
Spectrum = NDArray[np.complex128]
CONTOUR = 32  # points on the circle of the contour integrals


class ETDRK4:
    """Exponential time differencing of order 4 for ``v' = L v + N(v)`` with diagonal L.

    ``linear`` ``(m,)`` is the diagonal, real or complex, ``nonlinear(v)`` maps ``(..., m)`` to ``(..., m)``. The
    phi-functions are means over a circle round ``dt L``, which cancellation at small arguments cannot spoil.
    Source: Cox and Matthews, J. Comput. Phys. 176 (2002), (26) to (29); the contour of Kassam and Trefethen, SIAM J.
    Sci. Comput. 26 (2005), section 3. Raises ValueError for dt not positive.

    >>> import numpy as np
    >>> from skfem_ml.reference import ETDRK4
    >>> scheme = ETDRK4([-1.0], lambda v: 0 * v, 0.5)
    >>> bool(np.isclose(scheme.step(np.ones(1))[0], np.exp(-0.5)))
    True
    """

    def __init__(self, linear: ArrayLike, nonlinear: Callable[[Spectrum], Spectrum], dt: float):
        if not (np.isfinite(dt) and dt > 0):
            raise ValueError(f"dt: expected a positive finite number, got {dt}")
        self.dt, self.nonlinear = float(dt), nonlinear
        L = np.asarray(linear)
        z = dt * L[:, None] + np.exp(2j * np.pi * (np.arange(CONTOUR) + 0.5) / CONTOUR)
        kind = np.real if np.isrealobj(L) else np.asarray
        self._whole, self._half = np.exp(dt * L), np.exp(dt * L / 2)
        self._Q = dt * kind(((np.exp(z / 2) - 1) / z).mean(axis=1))
        self._f1 = dt * kind(((-4 - z + np.exp(z) * (4 - 3 * z + z**2)) / z**3).mean(axis=1))
        self._f2 = dt * kind(((2 + z + np.exp(z) * (z - 2)) / z**3).mean(axis=1))
        self._f3 = dt * kind(((-4 - 3 * z - z**2 + np.exp(z) * (4 - z)) / z**3).mean(axis=1))

    def step(self, v: Spectrum) -> Spectrum:
        """Return the state a time dt later, ``(..., m)``."""
        N0 = self.nonlinear(v)
        a = self._half * v + self._Q * N0
        Na = self.nonlinear(a)
        b = self._half * v + self._Q * Na
        Nb = self.nonlinear(b)
        Nc = self.nonlinear(self._half * a + self._Q * (2 * Nb - N0))
        return self._whole * v + self._f1 * N0 + 2 * self._f2 * (Na + Nb) + self._f3 * Nc


class KuramotoSivashinsky:
    """``u_t = -u u_x - u_xx - u_xxxx``, periodic on ``(0, length)``, on ``points`` equidistant points: a stepper.

    Fourier collocation in space, `ETDRK4` with ``substeps`` steps in each ``dt``. States are ``(points,)`` or
    ``(..., points)``. Raises ValueError for numbers out of range: points even and at least 8, length and dt positive.

    >>> import numpy as np
    >>> from skfem_ml.reference import KuramotoSivashinsky
    >>> equation = KuramotoSivashinsky(64, 22.0)
    >>> equation, bool(equation.step(np.zeros(64)).any())
    (KuramotoSivashinsky(64 points on (0, 22), dt = 0.25), False)
    """

    def __init__(self, points: int = 512, length: float = 32 * np.pi, dt: float = 0.25, substeps: int = 4):
        if points < 8 or points % 2 or substeps < 1 or not (np.isfinite(length) and length > 0):
            raise ValueError(
                f"points, length, substeps: expected even >= 8, positive, >= 1, got {points}, {length}, {substeps}"
            )
        self.points, self.length, self.substeps, self.dt = points, float(length), substeps, float(dt)
        k = 2 * np.pi / length * np.arange(points // 2 + 1)
        # The highest mode has no partner of the other sign, so the derivative leaves it out.
        self._advection = -0.5j * np.append(k[:-1], 0.0)
        self._linear = k**2 - k**4
        self._scheme = ETDRK4(self._linear, self._square, dt / substeps)

    def __repr__(self) -> str:
        return f"KuramotoSivashinsky({self.points} points on (0, {self.length:.4g}), dt = {self.dt:.4g})"

    @property
    def x(self) -> Array:
        """The points ``(points,)``."""
        return self.length * np.arange(self.points) / self.points

    def rhs(self, t: float, u: Array) -> Array:
        """Return ``u_t`` ``(..., points)`` for states ``(..., points)``: the equation itself, for other integrators."""
        v = np.fft.rfft(u)
        return np.fft.irfft(self._linear * v + self._square(v), self.points)

    def step(self, u: ArrayLike) -> Array:
        """Return the state a time ``dt`` later."""
        v = np.fft.rfft(np.asarray(u, dtype=float))
        for _ in range(self.substeps):
            v = self._scheme.step(v)
        return np.fft.irfft(v, self.points)

    def _square(self, v: Spectrum) -> Spectrum:
        return self._advection * np.fft.rfft(np.fft.irfft(v, self.points) ** 2)


def ks_start(x: Array, length: float = 32 * np.pi) -> Array:
    """Return ``cos z (1 + sin z) + cos(2 z + 1) / 2`` with ``z = 2 pi x / length``.

    The first term is the start of Kassam and Trefethen. It is odd about z = pi / 2, and so is its whole orbit, in exact
    arithmetic: half as many dimensions as others. The second term breaks that.
    """
    z = 2 * np.pi * np.asarray(x) / length
    return np.cos(z) * (1 + np.sin(z)) + 0.5 * np.cos(2 * z + 1)
