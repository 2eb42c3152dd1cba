"""Algebraic multigrid of pyamg: it needs the matrix alone."""

from __future__ import annotations

from functools import cached_property, partial

import numpy as np
from scipy.sparse import csr_matrix, spmatrix
from scipy.sparse.linalg import LinearOperator, cg

from skfem_ml.solvers.linear import Prepared, Vector, relative_residual


def solver_pyamg(tol: float = 1e-10, hierarchy: str = "smoothed aggregation", maxiter: int = 500) -> Prepared:
    """Return conjugate gradients preconditioned by one V-cycle of pyamg, for symmetric positive definite matrices.

    ``hierarchy`` is "smoothed aggregation" or "ruge-stuben". A fresh hierarchy is built for every matrix, and
    for any number of b by ``solver.prepare(A)``. ``tol``
    bounds the relative residual ``|A x - b| / |b|``; ``b`` is ``(n,)``.

    The solver raises RuntimeError, with residual and iterations, where ``maxiter`` iterations do not reach ``tol``.
    """
    _check(hierarchy)
    return Prepared(partial(_Amg, tol=tol, hierarchy=hierarchy, maxiter=maxiter))


class _Amg:
    """``x = solve(b)`` for one matrix."""

    def __init__(self, A: spmatrix, tol: float, hierarchy: str, maxiter: int):
        self.matrix, self.tol, self.hierarchy, self.maxiter = csr_matrix(A), tol, hierarchy, maxiter
        if self.matrix.shape[0]:
            self._preconditioner  # noqa: B018 (made now)

    def __getstate__(self) -> dict[str, object]:
        return {name: value for name, value in self.__dict__.items() if name != "_preconditioner"}  # made again

    @cached_property
    def _preconditioner(self) -> LinearOperator:
        return preconditioner_pyamg(self.matrix, self.hierarchy)

    def __call__(self, b: Vector) -> Vector:
        if not self.matrix.shape[0]:
            return np.zeros_like(b)
        steps: list[Vector] = []
        # A little tighter than asked: the recursive residual of CG drifts away from the true one.
        options = {"rtol": self.tol / 2, "atol": 0.0, "maxiter": self.maxiter, "M": self._preconditioner}
        x, _ = cg(self.matrix, b, callback=steps.append, **options)
        residual = relative_residual(self.matrix, x, b)
        if not residual <= self.tol:
            raise RuntimeError(
                f"conjugate gradients stopped at a relative residual of {residual:.1e} after {len(steps)} "
                f"iterations, expected {self.tol:.1e}; raise maxiter or tol, change the hierarchy, or use "
                "solver_direct()"
            )
        return x


def preconditioner_pyamg(A: spmatrix, hierarchy: str = "smoothed aggregation") -> LinearOperator:
    """Return one V-cycle of pyamg as a symmetric linear operator, for positive definite matrices.

    ``hierarchy`` is "smoothed aggregation" or "ruge-stuben"; see `solver_pyamg`.
    """
    import pyamg

    _check(hierarchy)
    build = pyamg.smoothed_aggregation_solver if hierarchy.startswith("smoothed") else pyamg.ruge_stuben_solver
    return build(csr_matrix(A)).aspreconditioner(cycle="V")


def _check(hierarchy: str) -> None:
    if hierarchy not in ("smoothed aggregation", "ruge-stuben"):
        raise ValueError(f"hierarchy: expected 'smoothed aggregation' or 'ruge-stuben', got {hierarchy!r}")
