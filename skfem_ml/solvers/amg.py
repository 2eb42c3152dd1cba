"""Algebraic multigrid of pyamg: it needs the matrix alone."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_matrix, spmatrix
from scipy.sparse.linalg import LinearOperator, cg

from skfem_ml.solvers.linear import Solver, relative_residual


def solver_pyamg(tol: float = 1e-10, hierarchy: str = "smoothed aggregation", maxiter: int = 500) -> Solver:
    """Return conjugate gradients preconditioned by one V-cycle of pyamg, for symmetric positive definite matrices.

    ``hierarchy`` is "smoothed aggregation" or "ruge-stuben". A fresh hierarchy is built for every matrix. ``tol``
    bounds the relative residual ``|A x - b| / |b|``; ``b`` is ``(n,)``.

    The solver raises RuntimeError, with residual and iterations, where ``maxiter`` iterations do not reach ``tol``.
    """
    _check(hierarchy)

    def solver(A: spmatrix, b: NDArray[np.float64]) -> NDArray[np.float64]:
        if b.shape[0] == 0:
            return np.zeros_like(b, dtype=float)
        matrix = csr_matrix(A)
        preconditioner = preconditioner_pyamg(matrix, hierarchy)
        count = [0]

        def callback(_: NDArray) -> None:
            count[0] += 1

        # A little tighter than asked: the recursive residual of CG drifts away from the true one.
        x, _ = cg(matrix, b, rtol=tol / 2, atol=0.0, maxiter=maxiter, M=preconditioner, callback=callback)
        residual = relative_residual(matrix, x, b)
        if not residual <= tol:
            raise RuntimeError(
                f"conjugate gradients stopped at a relative residual of {residual:.1e} after {count[0]} iterations, "
                f"expected {tol:.1e}; raise maxiter or tol, change the hierarchy, or use solver_direct()"
            )
        return x

    return solver


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
