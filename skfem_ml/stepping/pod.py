"""Proper orthogonal decomposition in the inner product of a mass matrix."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.sparse import csc_matrix

from skfem_ml.solvers.direct import factorised
from skfem_ml.stepping.linear import Matrix
from skfem_ml.stepping.semidiscrete import check_rows

Array = NDArray[np.float64]


class POD:
    """The r functions that hold most of a set of snapshots: modes V with ``V' M V = I``, ``u = lift + V c``.

    They minimise ``sum_k |u_k - lift - V V' M (u_k - lift)|_M^2``, whose smallest value is ``sum_{i > r} s_i^2`` for
    the singular values s. ``M`` ``(n, n)`` is symmetric positive definite: the mass matrix makes it the L2 norm.
    ``lift`` ``(n,)`` is subtracted first: a function with the Dirichlet data, or the mean, so that all modes vanish
    where the data are given.

    Raises ValueError for r < 1, a matrix that is not square and symmetric, and a lift of another size.

    >>> import numpy as np
    >>> pod = POD(np.eye(3), 1).fit([[1.0, 2.0, 2.0], [2.0, 4.0, 4.0]])
    >>> pod, bool(pod.tail < 1e-12), pod.decode(pod.encode([2.0, 4.0, 4.0])).round(9)
    (POD(1 mode of 3 unknowns), True, array([2., 4., 4.]))
    """

    modes: Array
    singular_values: Array

    def __init__(self, M: Matrix, r: int, lift: ArrayLike | None = None):
        if M.shape[0] != M.shape[1] or abs(M - M.T).max() > 1e-10 * abs(M).max():
            raise ValueError(
                f"M: expected a symmetric matrix (n, n), got shape {M.shape}, or one that is not symmetric"
            )
        if not 1 <= r <= M.shape[0]:
            raise ValueError(f"r: expected 1 to n = {M.shape[0]} modes, got {r}")
        self.M, self.r, self.size = csc_matrix(M), int(r), M.shape[0]
        self.lift = np.zeros(self.size) if lift is None else np.asarray(lift, dtype=float)
        if self.lift.shape != (self.size,) or not np.isfinite(self.lift).all():
            raise ValueError(f"lift: expected finite values ({self.size},), got shape {self.lift.shape}, or NaN in it")

    def __repr__(self) -> str:
        fitted = "" if hasattr(self, "modes") else ", not fitted"
        return f"POD({self.r} mode{'s' if self.r > 1 else ''} of {self.size} unknowns{fitted})"

    def fit(self, snapshots: ArrayLike) -> POD:
        """Take the modes of snapshots ``(k, n)`` and return self.

        Raises ValueError for fewer snapshots than modes, or fewer independent ones, another size, and values that are
        not finite; TypeError for a matrix without Cholesky factors.
        """
        U = check_rows(snapshots, self.size, "snapshots")
        if U.ndim != 2 or len(U) < self.r:
            raise ValueError(f"snapshots: expected at least r = {self.r} rows (k, {self.size}), got {U.shape}")
        if not np.isfinite(U).all():
            bad = np.flatnonzero(~np.isfinite(U).all(axis=1))
            raise ValueError(f"snapshots: expected finite values, got {len(bad)} rows with NaN, the first is {bad[0]}")
        factor, solve = _cholesky(self.M)
        left, s, _ = np.linalg.svd(factor.T @ (U - self.lift).T, full_matrices=False)
        rank = int((s > s[0] * np.finfo(float).eps * max(U.shape)).sum()) if s[0] > 0 else 0
        if rank < self.r:
            raise ValueError(
                f"snapshots: expected at least r = {self.r} independent ones, got {rank}; take a smaller r"
            )
        # F^-T = M^-1 F, with M = F F'.
        self.modes, self.singular_values = solve(factor @ left[:, : self.r]), s
        return self

    @property
    def tail(self) -> float:
        """The root of ``sum_{i > r} s_i^2``: the error of all snapshots together."""
        return float(np.sqrt((self.singular_values[self.r :] ** 2).sum()))

    def encode(self, u: ArrayLike) -> Array:
        """Return the coefficients ``V' M (u - lift)``, ``(r,)`` or ``(batch, r)``: the best approximation in M."""
        self._require_modes()
        return (check_rows(u, self.size) - self.lift) @ self._dual

    def decode(self, c: ArrayLike) -> Array:
        """Return ``lift + V c``, ``(n,)`` or ``(batch, n)``."""
        self._require_modes()
        return check_rows(c, self.r, "c") @ self.modes.T + self.lift

    def truncated(self, r: int) -> POD:
        """Return the decomposition with the first r of its modes."""
        self._require_modes()
        if r > self.r:
            raise ValueError(f"r: expected at most {self.r}, the modes there are, got {r}; fit again with a larger r")
        other = POD(self.M, r, self.lift)
        other.modes, other.singular_values = self.modes[:, :r], self.singular_values
        return other

    @property
    def _dual(self) -> Array:
        cached = self.__dict__.get("_duals")
        if cached is None or cached[0] is not self.modes:
            cached = self.__dict__["_duals"] = (self.modes, np.ascontiguousarray(self.M @ self.modes))
        return cached[1]

    def _require_modes(self) -> None:
        if not hasattr(self, "modes"):
            raise ValueError("modes: expected fit(snapshots) before, got none")


def _cholesky(M: Matrix) -> tuple[Matrix, Callable[[Array], Array]]:
    """A sparse factor F of ``M = F F'`` in the order of M, and the solver of M."""
    lu = factorised(M)
    pivots = lu.U.diagonal()
    if not ((lu.perm_r == lu.perm_c).all() and (pivots > 0).all()):
        raise TypeError("M: expected a positive definite matrix, got one without Cholesky factors")
    return (lu.L.multiply(np.sqrt(pivots)[None]).tocsr())[lu.perm_r], lu.solve
