"""Algebraic multigrid of pyamg: it needs the matrix alone."""

from __future__ import annotations

from collections.abc import Callable

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

    def prepare(A: spmatrix) -> Callable[[Vector], Vector]:
        matrix = csr_matrix(A)
        if not matrix.shape[0]:
            return np.zeros_like
        preconditioner = preconditioner_pyamg(matrix, hierarchy)

        def solve(b: Vector) -> Vector:
            steps: list[Vector] = []
            # A little tighter than asked: the recursive residual of CG drifts away from the true one.
            x, _ = cg(matrix, b, rtol=tol / 2, atol=0.0, maxiter=maxiter, M=preconditioner, callback=steps.append)
            residual = relative_residual(matrix, x, b)
            if not residual <= tol:
                raise RuntimeError(
                    f"conjugate gradients stopped at a relative residual of {residual:.1e} after {len(steps)} "
                    f"iterations, expected {tol:.1e}; raise maxiter or tol, change the hierarchy, or use "
                    "solver_direct()"
                )
            return x

        return solve

    return Prepared(prepare)


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
