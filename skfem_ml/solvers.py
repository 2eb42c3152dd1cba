"""Linear solvers in scikit-fem's idiom: a factory returns ``solver(A, b)`` for ``skfem.solve(..., solver=...)``."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csc_matrix, csr_matrix, spmatrix
from scipy.sparse.linalg import LinearOperator, cg, splu

Solver = Callable[[spmatrix, NDArray[np.float64]], NDArray[np.float64]]


def solver_direct(tol: float = 1e-8, refinements: int = 2) -> Solver:
    """Return a direct solver for symmetric positive definite matrices, by sparse LU in symmetric mode.

    The relative residual ``max_k |A x_k - b_k| / |b_k|`` is checked. Above ``tol`` up to ``refinements`` steps of
    iterative refinement follow, which repair a factorisation that lost digits for want of pivoting. ``b`` is ``(n,)``
    or ``(n, k)``.

    The solver raises ValueError for a singular matrix and for a residual that stays above ``tol``.
    """

    def solver(A: spmatrix, b: NDArray[np.float64]) -> NDArray[np.float64]:
        b = np.asarray(b, dtype=float)
        if b.shape[0] == 0:
            return np.zeros_like(b)
        matrix = csc_matrix(A)
        try:
            # Minimum degree on A + A^T without pivoting halves time and fill of finite element matrices.
            factors = splu(matrix, permc_spec="MMD_AT_PLUS_A", diag_pivot_thresh=0.0, options={"SymmetricMode": True})
        except RuntimeError as error:
            raise ValueError(
                f"the matrix is singular ({error}); is there a Dirichlet part, and is it condensed out of the system?"
            ) from error
        x = factors.solve(b)
        for _ in range(refinements):
            if relative_residual(matrix, x, b) <= tol:
                break
            x = x + factors.solve(b - matrix @ x)
        _check(relative_residual(matrix, x, b), tol)
        return x

    return solver


def solver_pyamg(tol: float = 1e-10, hierarchy: str = "smoothed aggregation", maxiter: int = 500) -> Solver:
    """Return conjugate gradients preconditioned by one V-cycle of pyamg, for symmetric positive definite matrices.

    ``hierarchy`` is "smoothed aggregation" or "ruge-stuben". A fresh hierarchy is built for every matrix. ``tol``
    bounds the relative residual ``|A x - b| / |b|``; ``b`` is ``(n,)``.

    The solver raises RuntimeError, with residual and iterations, where ``maxiter`` iterations do not reach ``tol``.
    """
    if hierarchy not in ("smoothed aggregation", "ruge-stuben"):
        raise ValueError(f"hierarchy: expected 'smoothed aggregation' or 'ruge-stuben', got {hierarchy!r}")

    def solver(A: spmatrix, b: NDArray[np.float64]) -> NDArray[np.float64]:
        import pyamg

        if b.shape[0] == 0:
            return np.zeros_like(b, dtype=float)
        matrix = csr_matrix(A)
        build = pyamg.smoothed_aggregation_solver if hierarchy.startswith("smoothed") else pyamg.ruge_stuben_solver
        preconditioner = build(matrix).aspreconditioner(cycle="V")
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


def preconditioner_pyamg(A: spmatrix) -> LinearOperator:
    """Return one V-cycle of smoothed aggregation (pyamg) as a linear operator, for positive definite matrices."""
    import pyamg

    return pyamg.smoothed_aggregation_solver(csr_matrix(A)).aspreconditioner(cycle="V")


def relative_residual(A: spmatrix, x: NDArray[np.float64], b: NDArray[np.float64]) -> float:
    """Return ``|A x - b| / |b|`` (the largest over the columns), the plain ``|A x|`` where b vanishes; nan if x is."""
    size = np.linalg.norm(b, axis=0)
    residual = np.linalg.norm(A @ x - b, axis=0)
    return float(np.max(residual / np.where(size > 0, size, 1.0)))


def _check(residual: float, tol: float) -> None:
    if not residual <= tol:
        raise ValueError(
            f"the relative residual of the direct solve is {residual:.1e}, expected at most {tol:.1e}: the matrix is "
            "singular or badly conditioned; check the Dirichlet part and the contrast of the coefficient, or accept "
            "the loss of digits with solver_direct(tol=...)"
        )
