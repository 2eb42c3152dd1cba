"""Time stepping for ``M u' + K u = b(t)`` and anything else that has ``dt`` and ``step``.

A new stepper is a class with an attribute ``dt`` and a method ``step(u) -> u`` of one step. One whose equation depends
on time sets ``timed = True`` and takes ``step(u, t)``, t at the start of the step. `evolve` runs either.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csc_matrix
from scipy.sparse.linalg import splu

Array = NDArray[np.float64]
Load = Callable[[float], Array]


def factorised(matrix: Any) -> Callable[[Array], Array]:
    """Return ``solve(b)`` with the sparse LU factors of a symmetric (real or complex) matrix, computed once."""
    factors = splu(
        csc_matrix(matrix), permc_spec="MMD_AT_PLUS_A", diag_pivot_thresh=0.0, options={"SymmetricMode": True}
    )
    return factors.solve


class ThetaMethod:
    """``(M + theta dt K) u' = (M - (1 - theta) dt K) u + dt b(t + theta dt)``, factorised once.

    theta = 1/2 is Crank-Nicolson (order 2), 1 is backward Euler (order 1). ``load`` is ``b(t)`` or None for zero.
    Raises ValueError for theta outside [1/2, 1], where the method would not be unconditionally stable.
    """

    def __init__(self, M: Any, K: Any, dt: float, theta: float = 0.5, load: Load | None = None):
        if not 0.5 <= theta <= 1:
            raise ValueError(f"theta: expected between 0.5 and 1, got {theta}")
        self.dt, self.theta, self.load, self.timed = dt, theta, load, load is not None
        self._solve = factorised(M + theta * dt * K)
        self._right = csc_matrix(M - (1 - theta) * dt * K)

    def step(self, u: Array, t: float = 0.0) -> Array:
        """Return the state one step later, ``(n,)``, or the states, ``(batch, n)``."""
        right = (self._right @ u.T).T
        if self.load is not None:
            right = right + self.dt * self.load(t + self.theta * self.dt)
        return self._solve(right.T).T


class Gauss4:
    """The two-stage Gauss method of order 4 with one complex factorisation.

    The Butcher matrix ``[[1/4, 1/4 - r], [1/4 + r, 1/4]]``, ``r = sqrt(3) / 6``, has conjugate eigenvalues
    ``l = 1/4 +- i sqrt(3) / 12``. In its eigenbasis the stages part, ``(M + dt l K) w = (V^-1 (b - K u))``, and the
    second stage is the conjugate of the first. ``load`` is ``b(t)`` or None for zero.
    """

    def __init__(self, M: Any, K: Any, dt: float, load: Load | None = None):
        self.dt, self.load, self.timed = dt, load, load is not None
        self.K = csc_matrix(K)
        r = np.sqrt(3) / 6
        self._nodes = np.array([0.5 - r, 0.5 + r])
        eigenvalues, vectors = np.linalg.eig(np.array([[0.25, 0.25 - r], [0.25 + r, 0.25]]))
        self._inverse = np.linalg.inv(vectors)[0]
        # u' = u + dt (k1 + k2) / 2; both conjugate stages contribute, hence twice the real part.
        self._weight = dt * vectors[:, 0].sum()
        self._solve = factorised(M + dt * eigenvalues[0] * self.K)

    def step(self, u: Array, t: float = 0.0) -> Array:
        """Return the state one step later, ``(n,)``, or the states, ``(batch, n)``."""
        right = self._inverse.sum() * -(self.K @ u.T).T
        if self.load is not None:
            for weight, node in zip(self._inverse, self._nodes, strict=True):
                right = right + weight * self.load(t + node * self.dt)
        return u + (self._weight * self._solve(right.T.astype(complex))).real.T


class RK4:
    """The classical Runge-Kutta method of order 4 for ``y' = f(t, y)``, ``substeps`` equal ones in a step of ``dt``.

    ``f`` takes states ``(n,)`` or ``(batch, n)`` as `step` does. ``timed=True`` where f depends on time. Raises
    ValueError for dt not positive and substeps below one.
    """

    def __init__(self, f: Callable[[float, Array], Array], dt: float, substeps: int = 1, timed: bool = False):
        if not (dt > 0 and substeps >= 1):
            raise ValueError(f"dt, substeps: expected dt > 0 and substeps >= 1, got {dt}, {substeps}")
        self.f, self.dt, self.substeps, self.timed = f, dt, substeps, timed

    def step(self, u: Array, t: float = 0.0) -> Array:
        """Return the state or states one step later."""
        h = self.dt / self.substeps
        for k in range(self.substeps):
            s = t + k * h
            k1 = self.f(s, u)
            k2 = self.f(s + h / 2, u + h / 2 * k1)
            k3 = self.f(s + h / 2, u + h / 2 * k2)
            k4 = self.f(s + h, u + h * k3)
            u = u + h / 6 * (k1 + 2 * (k2 + k3) + k4)
        return u
