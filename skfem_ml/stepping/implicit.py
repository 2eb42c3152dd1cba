"""Steppers for semi-discretisations: linearly implicit (IMEX Runge-Kutta) and fully implicit (Newton)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.sparse import csc_matrix
from scipy.sparse.linalg import splu

from skfem_ml.stepping.linear import Matrix, factorised
from skfem_ml.stepping.semidiscrete import SemiDiscrete, check_rows
from skfem_ml.stepping.stepper import start_time

Array = NDArray[np.float64]
_G = 1 - 1 / np.sqrt(2)


@dataclass(frozen=True)
class Tableau:
    """Lower triangles of an IMEX pair: implicit ``a`` with equal diagonal, explicit ``b``, at times ``c``.

    The first stage is the old state, the last one the new state (globally stiffly accurate pairs).

    >>> from skfem_ml.stepping import Tableau
    >>> from skfem_ml.stepping.implicit import TABLEAUX
    >>> euler = Tableau(a=((0.0, 1.0),), b=((1.0,),), c=(0.0, 1.0))
    >>> euler == TABLEAUX["euler"]
    True
    """

    a: tuple[tuple[float, ...], ...]
    b: tuple[tuple[float, ...], ...]
    c: tuple[float, ...]


# Ascher, Ruuth and Spiteri, Implicit-explicit Runge-Kutta methods (1997), sections 2.1, 2.6 and 2.8.
TABLEAUX = {
    "euler": Tableau(((0.0, 1.0),), ((1.0,),), (0.0, 1.0)),
    "ars222": Tableau(
        ((0.0, _G), (0.0, 1 - _G, _G)),
        ((_G,), (1 - 1 / (2 * _G), 1 / (2 * _G))),
        (0.0, _G, 1.0),
    ),
    "ars443": Tableau(
        ((0.0, 0.5), (0.0, 1 / 6, 0.5), (0.0, -0.5, 0.5, 0.5), (0.0, 1.5, -1.5, 0.5, 0.5)),
        ((0.5,), (11 / 18, 1 / 18), (5 / 6, -5 / 6, 0.5), (0.25, 1.75, 0.75, -1.75)),
        (0.0, 0.5, 2 / 3, 0.5, 1.0),
    ),
}


class IMEX:
    """K implicit, F explicit: ``(M + dt a_ii K) y_i = M y_0 + dt sum_{j<i} (b_ij F(y_j) - a_ij K y_j)``.

    One factorisation for all stages and steps; a batch of states is solved at once. ``scheme`` is "euler" (order 1),
    "ars222" (2), "ars443" (3) or a `Tableau`. A stepper. Raises ValueError for dt not positive and an unknown scheme.

    >>> import numpy as np
    >>> from skfem import Basis, ElementQuad1, MeshQuad
    >>> from skfem_ml.stepping import allen_cahn
    >>> stepper = IMEX(allen_cahn(Basis(MeshQuad().refined(2), ElementQuad1()), 0.1), 0.1)
    >>> stepper, stepper.step(np.full(25, 0.5)).round(3)[:2]
    (IMEX(25 unknowns, dt 0.1, ars443), array([0.538, 0.538]))
    """

    def __init__(self, semi: SemiDiscrete, dt: float, scheme: str | Tableau = "ars443"):
        _check_dt(dt)
        if isinstance(scheme, str) and scheme not in TABLEAUX:
            raise ValueError(f"scheme: expected one of {sorted(TABLEAUX)} or a Tableau, got {scheme!r}")
        self.semi, self.dt, self.size, self.timed = semi, float(dt), semi.size, semi.load is not None
        self.scheme = scheme if isinstance(scheme, str) else "a tableau"
        self._tableau = TABLEAUX[scheme] if isinstance(scheme, str) else scheme
        self._solve = factorised(semi.M + dt * self._tableau.a[0][-1] * semi.K)

    def __repr__(self) -> str:
        return f"IMEX({self.size} unknowns, dt {self.dt:g}, {self.scheme}{', load in time' if self.timed else ''})"

    def step(self, u: ArrayLike, t: float | None = None) -> Array:
        """Return the state or states ``(batch, n)`` one step later; ``t`` is needed with a load in time."""
        t = start_time(t, self.timed)
        y = check_rows(u, self.size)
        table, semi = self._tableau, self.semi
        start = (semi.M @ y.T).T
        explicit: list[Array] = []
        implicit: list[Array] = []
        for i, (a, b) in enumerate(zip(table.a, table.b, strict=True)):
            explicit.append(semi.rhs(y, t + table.c[i] * self.dt))
            # The first column of the implicit tableau is zero: nothing there is used.
            implicit.append((semi.K @ y.T).T if i else np.zeros(0))
            right = start
            for j in range(i + 1):
                right = right + self.dt * b[j] * explicit[j]
                if a[j]:
                    right = right - self.dt * a[j] * implicit[j]
            y = self._solve(right.T).T
        return y


class Newton:
    """The implicit theta-method ``M (y' - y) + dt theta G(y') + dt (1 - theta) G(y) = 0``, ``G = K y - F(y)``.

    theta = 1/2 is the trapezoidal rule (order 2), 1 backward Euler. Newton iterations to a change below ``tol`` in the
    largest entry, the matrix factorised anew for each state and iteration; with ``at``, a state ``(n,)``, it is
    factorised once, linearised there (simplified Newton), and a batch is solved at once.

    Raises ValueError for dt, theta outside [1/2, 1], tol, and `at` of another size; ``step`` raises RuntimeError where
    ``maxiter`` iterations do not suffice.

    >>> import numpy as np
    >>> from skfem import Basis, ElementQuad1, MeshQuad
    >>> from skfem_ml.stepping import allen_cahn
    >>> stepper = Newton(allen_cahn(Basis(MeshQuad().refined(2), ElementQuad1()), 0.1), 0.1)
    >>> stepper, stepper.step(np.full(25, 0.5)).round(3)[:2]
    (Newton(25 unknowns, dt 0.1, theta 0.5), array([0.538, 0.538]))
    """

    def __init__(
        self,
        semi: SemiDiscrete,
        dt: float,
        theta: float = 0.5,
        *,
        at: ArrayLike | None = None,
        tol: float = 1e-10,
        maxiter: int = 50,
    ):
        _check_dt(dt)
        if not (0.5 <= theta <= 1 and tol > 0 and maxiter >= 1):
            raise ValueError(f"theta, tol, maxiter: expected in [0.5, 1], > 0, >= 1, got {theta}, {tol}, {maxiter}")
        self.semi, self.dt, self.size, self.timed = semi, float(dt), semi.size, semi.load is not None
        self.theta, self.tol, self.maxiter = theta, tol, maxiter
        self.iterations = 0  # in all steps so far
        self._frozen = None if at is None else factorised(self._matrix(semi.check(at, "at")))

    def __repr__(self) -> str:
        kind = ", factorised once" if self._frozen is not None else ""
        return f"Newton({self.size} unknowns, dt {self.dt:g}, theta {self.theta:g}{kind})"

    def step(self, u: ArrayLike, t: float | None = None) -> Array:
        """Return the state or states ``(batch, n)`` one step later; ``t`` is needed with a load in time."""
        t = start_time(t, self.timed)
        y = check_rows(u, self.size)
        old = (self.semi.M @ y.T).T - self.dt * (1 - self.theta) * self._slope(y, t)
        new, end = y, t + self.dt
        for _ in range(self.maxiter):
            residual = (self.semi.M @ new.T).T + self.dt * self.theta * self._slope(new, end) - old
            change = self._correct(new, residual)
            new = new - change
            self.iterations += 1
            # A state that is not finite stays so, for the caller to see, and keeps no other from converging.
            size = float(np.where(np.isfinite(change), abs(change), 0.0).max())
            if size <= self.tol:
                return new
        raise RuntimeError(
            f"Newton's method: change {size:.3g} after {self.maxiter} iterations, expected below {self.tol:g}; take a "
            f"smaller dt (now {self.dt:g}), a larger maxiter, or at=None"
        )

    def _slope(self, y: Array, t: float) -> Array:
        return (self.semi.K @ y.T).T - self.semi.rhs(y, t)

    def _matrix(self, y: Array) -> Matrix:
        return self.semi.M + self.theta * self.dt * (self.semi.K - self.semi.jacobian(y))

    def _correct(self, y: Array, residual: Array) -> Array:
        if self._frozen is not None:
            return self._frozen(residual.T).T
        if y.ndim == 1:
            if not np.isfinite(residual).all():
                return np.full_like(y, np.nan)
            # F' need not be symmetric, so this pivots.
            return splu(csc_matrix(self._matrix(y))).solve(residual)
        return np.stack([self._correct(one, rest) for one, rest in zip(y, residual, strict=True)])


def _check_dt(dt: float) -> None:
    if not (np.isfinite(dt) and dt > 0):
        raise ValueError(f"dt: expected a positive finite number, got {dt}")
