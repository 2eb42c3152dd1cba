"""Eigenpairs by the library: dense, shift-invert Lanczos, and LOBPCG with algebraic multigrid."""

from __future__ import annotations

import warnings
from collections.abc import Callable

import numpy as np
from scipy.linalg import eigh, qr
from scipy.optimize import minimize_scalar
from scipy.sparse import csc_matrix, csr_matrix
from scipy.sparse.linalg import eigsh, lobpcg
from scipy.special import jv

from skfem_ml import checks
from skfem_ml.problems import Eigenproblem
from skfem_ml.problems.eigen import Array, Matrix
from skfem_ml.solutions import Eigenpairs
from skfem_ml.solvers import preconditioner_pyamg

L_SHAPE = (9.6397238, 15.1972519, 19.7392088, 29.5214811)  # first guesses

Solver = Callable[[Eigenproblem], Eigenpairs]


def eig_reference(
    k: int, method: str = "eigh", seed: int = 0, tol: float = 1e-9, start: Solver | None = None
) -> Callable[[Eigenproblem], Eigenpairs]:
    """Return ``solve(problem) -> Eigenpairs``, the ``k`` smallest pairs.

    ``method`` is "eigh" (dense), "eigsh" (shift-invert Lanczos about 0, the matrix must be positive definite) or
    "lobpcg" (block conjugate gradients with one V-cycle of pyamg, positive definite too; ``tol`` bounds the residual
    norm relative to the largest Ritz value). Its block is drawn from ``seed``; the vectors of the pairs that ``start``,
    a solver as this one, gives stand in it first: ``start=eig_subspace(9, space="elements")``.

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
        return _lanczos(problem, k, seed) if method == "eigsh" else _lobpcg(problem, k, seed, tol, start)

    return solve


def _dense(matrix: Matrix | None) -> Array | None:
    return matrix if matrix is None or isinstance(matrix, np.ndarray) else matrix.toarray()


def _lanczos(problem: Eigenproblem, k: int, seed: int) -> Eigenpairs:
    start = np.random.default_rng(seed).standard_normal(problem.size)
    M = None if problem.M is None else csc_matrix(problem.M)
    values, vectors = eigsh(csc_matrix(problem.A), k, M=M, sigma=0.0, v0=start)
    _require_positive(values)
    return Eigenpairs(values, vectors)


def _lobpcg(problem: Eigenproblem, k: int, seed: int, tol: float, first: Solver | None = None) -> Eigenpairs:
    A, M = csr_matrix(problem.A), None if problem.M is None else csr_matrix(problem.M)
    # Guard vectors: the last of a block converges slowest, more so where it splits a cluster.
    start = np.random.default_rng(seed).standard_normal((problem.size, k + max(2, k // 2)))
    if first is not None:
        given = first(problem).vectors
        if given is None or given.shape[1] > start.shape[1]:
            raise ValueError(f"start: expected vectors of at most {start.shape[1]} pairs, got {given}")
        start[:, : given.shape[1]] = given
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


def l_shape_eigenvalues(k: int = 4, terms: int = 50) -> Array:
    """Return the k first Dirichlet eigenvalues of ``-laplace`` on the L-shape (-1, 1)^2 without (0, 1)^2, 1 <= k <= 4.

    Method of particular solutions (Betcke and Trefethen, SIAM Review 47, 2005): the combination of ``J_a(sqrt(l) r)
    sin(a theta)``, ``a = 2j / 3``, that is least on the four far sides among those of unit size inside; its size there
    is zero at an eigenvalue. To about 13 digits with 50 terms. Known to 1000 digits: Jones, arXiv:1512.06696, 2015.

    >>> bool(abs(l_shape_eigenvalues(1)[0] / 9.63972384402194 - 1) < 1e-12)
    True
    """
    if checks.whole(k, "k", 1) > len(L_SHAPE):
        raise ValueError(f"k: expected at most {len(L_SHAPE)}, where a first guess is known, got {k}")
    side = (1 - np.cos(np.pi * (np.arange(2 * terms) + 0.5) / (2 * terms))) / 2  # Chebyshev's points
    one, far = np.ones(len(side)), 2 * side - 1
    rim = np.concatenate([[-one, far], [far, -one], [one, -side], [-side, one]], axis=1)
    inside = np.random.default_rng(0).uniform(-1, 1, (2, 400))
    x = np.concatenate([rim, inside[:, (inside < 0).any(axis=0)]], axis=1)
    r, theta = np.hypot(*x), np.mod(np.arctan2(x[1], x[0]) - np.pi / 2, 2 * np.pi)
    a = 2 * np.arange(1, terms + 1) / 3

    def least(value: float) -> float:
        columns = jv(a, np.sqrt(value) * r[:, None]) * np.sin(a * theta[:, None])
        Q = qr(columns / np.linalg.norm(columns, axis=0), mode="economic")[0]
        return float(np.linalg.svd(Q[: rim.shape[1]], compute_uv=False)[-1])

    # Searched as a distance from the guess: the search ends at a part of its argument.
    found = [minimize_scalar(lambda e, g=g: least(g + e), bounds=(-1e-6, 1e-6), method="bounded",
                             options={"xatol": 1e-14, "maxiter": 200}).x for g in L_SHAPE[:k]]  # fmt: skip
    return np.array(L_SHAPE[:k]) + found
