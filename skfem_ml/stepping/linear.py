"""Steppers of linear systems ``M u' + K u = b(t)``, and the classical Runge-Kutta method."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csc_matrix, spmatrix

from skfem_ml.solvers import direct
from skfem_ml.stepping.stepper import Rhs, start_time, time_dependent

Array = NDArray[np.float64]
Matrix: TypeAlias = "spmatrix | NDArray[np.float64]"  # scipy's sparse matrices have no types
Load = Callable[[float], Array]


def factorised(matrix: Matrix) -> Callable[[Array], Array]:
    """Return ``solve(b)`` with the sparse LU factors of a symmetric (real or complex) matrix, computed once."""
    return direct.factorised(matrix).solve


class ThetaMethod:
    """``(M + theta dt K) u' = (M - (1 - theta) dt K) u + dt b(t + theta dt)``, factorised once.

    theta = 1/2 is Crank-Nicolson (order 2), 1 is backward Euler (order 1). ``load`` is ``b(t)`` or None for zero.
    Raises ValueError for theta outside [1/2, 1], where the method would not be unconditionally stable.

    >>> import numpy as np
    >>> from scipy.sparse import identity
    >>> stepper = ThetaMethod(identity(3), identity(3), 0.5, theta=1.0)
    >>> stepper, stepper.step(np.ones(3)).round(4)
    (ThetaMethod(3 unknowns, dt 0.5, theta 1), array([0.6667, 0.6667, 0.6667]))
    """

    def __init__(self, M: Matrix, K: Matrix, dt: float, theta: float = 0.5, load: Load | None = None):
        if not 0.5 <= theta <= 1:
            raise ValueError(f"theta: expected between 0.5 and 1, got {theta}")
        self.dt, self.theta, self.load, self.timed, self.size = dt, theta, load, load is not None, M.shape[0]
        self._solve = factorised(M + theta * dt * K)
        self._right = csc_matrix(M - (1 - theta) * dt * K)

    def __repr__(self) -> str:
        return f"ThetaMethod({self.size} unknowns, dt {self.dt:g}, theta {self.theta:g}{_loaded(self.timed)})"

    def step(self, u: Array, t: float | None = None) -> Array:
        """Return the state one step later, ``(n,)``, or the states, ``(batch, n)``; ``t`` is needed with a load."""
        t = start_time(t, self.timed)
        right = (self._right @ u.T).T
        if self.load is not None:
            right = right + self.dt * self.load(t + self.theta * self.dt)
        return self._solve(right.T).T


class Gauss4:
    """The two-stage Gauss method of order 4 with one complex factorisation.

    The Butcher matrix ``[[1/4, 1/4 - r], [1/4 + r, 1/4]]``, ``r = sqrt(3) / 6``, has conjugate eigenvalues
    ``l = 1/4 +- i sqrt(3) / 12``. In its eigenbasis the stages part, ``(M + dt l K) w = (V^-1 (b - K u))``, and the
    second stage is the conjugate of the first. ``load`` is ``b(t)`` or None for zero.

    >>> import numpy as np
    >>> from scipy.sparse import identity
    >>> stepper = Gauss4(identity(3), identity(3), 0.5)
    >>> stepper, bool(abs(stepper.step(np.ones(3)) - np.exp(-0.5)).max() < 1e-4)
    (Gauss4(3 unknowns, dt 0.5), True)
    """

    def __init__(self, M: Matrix, K: Matrix, dt: float, load: Load | None = None):
        self.dt, self.load, self.timed, self.size = dt, load, load is not None, M.shape[0]
        self.K = csc_matrix(K)
        r = np.sqrt(3) / 6
        self._nodes = np.array([0.5 - r, 0.5 + r])
        eigenvalues, vectors = np.linalg.eig(np.array([[0.25, 0.25 - r], [0.25 + r, 0.25]]))
        self._inverse = np.linalg.inv(vectors)[0]
        # u' = u + dt (k1 + k2) / 2; both conjugate stages contribute, hence twice the real part.
        self._weight = dt * vectors[:, 0].sum()
        self._solve = factorised(M + dt * eigenvalues[0] * self.K)

    def __repr__(self) -> str:
        return f"Gauss4({self.size} unknowns, dt {self.dt:g}{_loaded(self.timed)})"

    def step(self, u: Array, t: float | None = None) -> Array:
        """Return the state one step later, ``(n,)``, or the states, ``(batch, n)``; ``t`` is needed with a load."""
        t = start_time(t, self.timed)
        right = self._inverse.sum() * -(self.K @ u.T).T
        if self.load is not None:
            for weight, node in zip(self._inverse, self._nodes, strict=True):
                right = right + weight * self.load(t + node * self.dt)
        return u + (self._weight * self._solve(right.T.astype(complex))).real.T


class RK4:
    """The classical Runge-Kutta method of order 4 for ``y' = f(t, y)``, ``substeps`` equal ones in a step of ``dt``.

    ``f`` takes states ``(n,)`` or ``(batch, n)`` as `step` does, as ``f(y)`` where it does not depend on time, else as
    ``f(t, y)``. `evolve` then gives the time; where steps are taken out of order (a hierarchy, parareal) it is refused,
    unless ``timed=False`` says that f does not look at t. Raises ValueError for dt not positive and substeps below one,
    TypeError for an f whose signature does not tell.

    >>> import numpy as np
    >>> from skfem_ml.stepping import evolve
    >>> forced = RK4(lambda t, y: np.cos(t) - 0 * y, 0.1)
    >>> forced, bool(abs(evolve(forced, np.zeros(1), 1.0).y[0, -1] - np.sin(1)) < 1e-7)
    (RK4(dt 0.1, depends on time), True)
    >>> RK4(lambda y: -y, 0.1, substeps=2)
    RK4(dt 0.1, 2 substeps)
    """

    def __init__(self, f: Rhs, dt: float, substeps: int = 1, timed: bool | None = None):
        if not (dt > 0 and substeps >= 1):
            raise ValueError(f"dt, substeps: expected dt > 0 and substeps >= 1, got {dt}, {substeps}")
        self.f, self.timed = time_dependent(f, timed)
        self.dt, self.substeps = dt, substeps

    def __repr__(self) -> str:
        substeps = f", {self.substeps} substeps" if self.substeps > 1 else ""
        return f"RK4(dt {self.dt:g}{substeps}{', depends on time' if self.timed else ''})"

    def step(self, u: Array, t: float | None = None) -> Array:
        """Return the state or states one step later; ``t``, the time at its start, is needed where f depends on it."""
        t = start_time(t, self.timed)
        h = self.dt / self.substeps
        for k in range(self.substeps):
            s = t + k * h
            k1 = self.f(s, u)
            k2 = self.f(s + h / 2, u + h / 2 * k1)
            k3 = self.f(s + h / 2, u + h / 2 * k2)
            k4 = self.f(s + h, u + h * k3)
            u = u + h / 6 * (k1 + 2 * (k2 + k3) + k4)
        return u


def _loaded(timed: bool) -> str:
    return ", load in time" if timed else ""
