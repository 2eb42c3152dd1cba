"""Sparse elimination for symmetric positive definite matrices."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from scipy.sparse import csc_matrix, spmatrix
from scipy.sparse.linalg import SuperLU, splu

from skfem_ml.solvers.linear import Prepared, Vector, relative_residual


def solver_direct(tol: float = 1e-8, refinements: int = 2) -> Prepared:
    """Return a direct solver for symmetric positive definite matrices, by sparse LU in symmetric mode.

    The relative residual ``max_k |A x_k - b_k| / |b_k|`` is checked. Above ``tol`` up to ``refinements`` steps of
    iterative refinement follow, which repair a factorisation that lost digits for want of pivoting. ``b`` is ``(n,)``
    or ``(n, k)``; ``solver.prepare(A)`` factorises once for any number of them.

    The solver raises ValueError for a singular matrix and for a residual that stays above ``tol``.
    """

    def prepare(A: spmatrix) -> Callable[[Vector], Vector]:
        matrix = csc_matrix(A)
        if not matrix.shape[0]:
            return np.zeros_like
        try:
            factors = factorised(matrix)
        except RuntimeError as error:
            raise ValueError(
                f"the matrix is singular ({error}); is there a Dirichlet part, and is it condensed out of the system?"
            ) from error

        def solve(b: Vector) -> Vector:
            x = factors.solve(b)
            for _ in range(refinements):
                if relative_residual(matrix, x, b) <= tol:
                    break
                x = x + factors.solve(b - matrix @ x)
            _check(relative_residual(matrix, x, b), tol)
            return x

        return solve

    return Prepared(prepare)


def factorised(A: spmatrix) -> SuperLU:
    """The factors of a symmetric matrix that needs no pivoting: positive definite, or complex as of time steps.

    Minimum degree on A + A^T halves time and fill of finite element matrices. Raises RuntimeError for a zero pivot.
    """
    options = {"SymmetricMode": True}
    return splu(csc_matrix(A), permc_spec="MMD_AT_PLUS_A", diag_pivot_thresh=0.0, options=options)


def _check(residual: float, tol: float) -> None:
    if not residual <= tol:
        raise ValueError(
            f"the relative residual of the direct solve is {residual:.1e}, expected at most {tol:.1e}: the matrix is "
            "singular or badly conditioned; check the Dirichlet part and the contrast of the coefficient, or accept "
            "the loss of digits with solver_direct(tol=...)"
        )
