"""Eigenpairs by the library: dense, shift-invert Lanczos, and LOBPCG with algebraic multigrid."""

from __future__ import annotations

import warnings
from collections.abc import Callable

import numpy as np
from scipy.linalg import eigh
from scipy.sparse import csc_matrix, csr_matrix
from scipy.sparse.linalg import eigsh, lobpcg

from skfem_ml import checks
from skfem_ml.problems import Eigenproblem
from skfem_ml.problems.eigen import Array, Matrix
from skfem_ml.solutions import Eigenpairs
from skfem_ml.solvers import preconditioner_pyamg


def eig_reference(
    k: int, method: str = "eigh", seed: int = 0, tol: float = 1e-9
) -> Callable[[Eigenproblem], Eigenpairs]:
    """Return ``solve(problem) -> Eigenpairs``, the ``k`` smallest pairs.

    ``method`` is "eigh" (dense), "eigsh" (shift-invert Lanczos about 0, the matrix must be positive definite) or
    "lobpcg" (block conjugate gradients with one V-cycle of pyamg, positive definite too; ``tol`` bounds the residual
    norm relative to the largest Ritz value, its start is drawn from ``seed``).

    Raises ValueError for more pairs than the matrix has (Lanczos and LOBPCG: fewer than all), for a matrix that is not
    positive definite where that is needed, RuntimeError where LOBPCG does not reach ``tol``.
    """
    checks.choice(method, ("eigh", "eigsh", "lobpcg"), "method")

    def solve(problem: Eigenproblem) -> Eigenpairs:
        problem.require_pairs(k)
        if method == "eigh":
            return Eigenpairs(*eigh(_dense(problem.A), _dense(problem.M), subset_by_index=[0, k - 1]))
        if (3 * k if method == "lobpcg" else k) >= problem.size:
            raise ValueError(f"k: {method} finds few pairs of a large matrix, got {k} of {problem.size}; use 'eigh'")
        return _lanczos(problem, k, seed) if method == "eigsh" else _lobpcg(problem, k, seed, tol)

    return solve


def _dense(matrix: Matrix | None) -> Array | None:
    return matrix if matrix is None or isinstance(matrix, np.ndarray) else matrix.toarray()


def _lanczos(problem: Eigenproblem, k: int, seed: int) -> Eigenpairs:
    start = np.random.default_rng(seed).standard_normal(problem.size)
    M = None if problem.M is None else csc_matrix(problem.M)
    values, vectors = eigsh(csc_matrix(problem.A), k, M=M, sigma=0.0, v0=start)
    _require_positive(values)
    return Eigenpairs(values, vectors)


def _lobpcg(problem: Eigenproblem, k: int, seed: int, tol: float) -> Eigenpairs:
    A, M = csr_matrix(problem.A), None if problem.M is None else csr_matrix(problem.M)
    # Guard vectors: the last of a block converges slowest, more so where it splits a cluster.
    start = np.random.default_rng(seed).standard_normal((problem.size, k + max(2, k // 2)))
    with warnings.catch_warnings():
        # scipy warns where guard vectors have not converged; the residuals of the wanted pairs are checked below.
        warnings.simplefilter("ignore", UserWarning)
        values, vectors = lobpcg(A, start, B=M, M=preconditioner_pyamg(A), largest=False, tol=tol, maxiter=200)
    order = np.argsort(values)[:k]
    values, vectors = values[order], vectors[:, order]
    _require_positive(values)
    right = vectors if M is None else M @ vectors
    residual = np.linalg.norm(A @ vectors - right * values, axis=0) / (values[-1] * np.linalg.norm(right, axis=0))
    if not residual.max() <= 100 * tol:
        raise RuntimeError(
            f"lobpcg: relative residual {residual.max():.1e} after 200 iterations, expected {100 * tol:.1e}; "
            "raise tol, or use method='eigsh'"
        )
    return Eigenpairs(values, vectors)


def _require_positive(values: np.ndarray) -> None:
    if values.min() <= 0:
        raise ValueError(f"A: expected a positive definite matrix, got the eigenvalue {values.min():.3g}; use 'eigh'")
