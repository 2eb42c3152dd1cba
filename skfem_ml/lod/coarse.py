"""The coarse system S u = b: whether S is positive definite, and its solution with a check of it."""

from __future__ import annotations

import numpy as np
from numpy import ndarray
from scipy.sparse import csc_matrix, csr_matrix, diags
from scipy.sparse.linalg import ArpackNoConvergence, eigsh, splu

from skfem_ml import checks
from skfem_ml.lod.mesh.loads import FineLoad

CONTRAST = 30.0  # below it no S lost definiteness (crossing channels, ell = 1 to 3); from 50 on some do
FACTORISED = 5000  # unknowns up to which signs are counted exactly; above, the smallest eigenvalue by Lanczos
RESTARTS = 8
ROUNDING = 1e-10
# Share of a load that coarse functions do not see (`FineLoad.unseen`) from which one is warned: with sines, discs,
# steps, bells and sums of them the energy error is above 70 % where it is exceeded, and the share below .2 elsewhere.
UNSEEN = 0.3
REFINEMENTS = 2
EXACT, TOLERATED = 1e-12, 1e-10  # backward errors: of a good elimination, and of one that is refused


def contrast(coefficients: dict[str, float | ndarray]) -> float:
    """The largest ratio of two values (eigenvalues of tensors) of one positive coefficient."""
    ratios = [1.0]
    for value in coefficients.values():
        if isinstance(value, ndarray):
            values = value if value.ndim == 1 else np.linalg.eigvalsh(value.transpose(2, 0, 1))
            if len(value) and values.min() > 0:
                ratios.append(float(values.max() / values.min()))
    return max(ratios)


def is_definite(S: csr_matrix) -> bool:
    """Whether (S + S^T) / 2 has no negative eigenvalue, up to rounding.

    The matrix is scaled to unit diagonal. Up to 5000 unknowns the signs of the pivots of one factorisation tell; above,
    Lanczos, which finds the negative eigenvalues first, where there are some: one that is found is a proof.
    """
    symmetric = ((S + S.T) / 2).tocsc()
    diagonal = symmetric.diagonal()
    if not len(diagonal) or diagonal.min() <= 0:
        return not len(diagonal)
    scaled = (diags(1 / np.sqrt(diagonal)) @ symmetric @ diags(1 / np.sqrt(diagonal))).tocsc()
    try:
        if len(diagonal) <= FACTORISED:
            options = {"SymmetricMode": True}
            smallest = splu(scaled, permc_spec="MMD_AT_PLUS_A", diag_pivot_thresh=0.0, options=options).U.diagonal()
        else:
            start = np.random.default_rng(0).standard_normal(len(diagonal))
            lanczos = {"ncv": 20, "maxiter": RESTARTS, "tol": 1e-2, "v0": start, "return_eigenvectors": False}
            smallest = eigsh(scaled, k=1, which="SA", **lanczos)
    except ArpackNoConvergence as stopped:
        smallest = stopped.eigenvalues
    except RuntimeError:  # a pivot that is exactly zero: singular, as where nothing is fixed
        return True
    return not (smallest < -ROUNDING).any()


def warn_unless_definite(S: csr_matrix, free: ndarray, ratio: float, remedy: str) -> None:
    """Warn (UserWarning) where S is not definite on the free nodes; looked at from a contrast of 30 on."""
    if ratio > CONTRAST and not is_definite(S[free][:, free]):
        checks.warn(
            f"S: not positive definite, the smallest eigenvalue of (S + S^T) / 2 is negative (contrast {ratio:.4g}): "
            f"the solution may be worse than coarse FEM; {remedy}"
        )


def warn_unseen(load: FineLoad) -> None:
    """Warn (UserWarning) of a load that the coarse mesh does not see."""
    if load.unseen > UNSEEN:
        checks.warn(
            f"load: {load.unseen:.0%} of it (in the norm of its solution) oscillates below the coarse mesh and is not "
            "seen; take corrected=True here and prolong(u, load=f)"
        )


def solve_coarse(S: csr_matrix, b: ndarray, x: ndarray, fixed: ndarray) -> tuple[ndarray, float]:
    """u with S u = b at the free nodes and u = x at the ``fixed`` ones (bool), ``(coarse.N,)``, and its backward error.

    Elimination without pivoting in an order of minimum degree (a third of the time of `scipy.sparse.linalg.spsolve`,
    whose order is for matrices of another kind), up to two steps of iterative refinement, and elimination with pivoting
    where that does not do. The backward error is max |b - S u| / (|S|_inf |u|_inf + |b|_inf).

    Raises ValueError where nothing is fixed, for a singular S, and for a backward error above 1e-10.
    """
    u, free = np.array(x, dtype=float), np.flatnonzero(~fixed)
    if not len(free):  # no free node: nothing is left to solve
        return u, 0.0
    if not fixed.any():
        raise ValueError("dirichlet: expected a part of the boundary where u is fixed, got none: S is singular")
    A, right = S[free][:, free].tocsc(), b[free] - S[free] @ np.where(fixed, u, 0.0)
    u[free] = _eliminated(A, right, permc_spec="MMD_AT_PLUS_A", diag_pivot_thresh=0.0, options={"SymmetricMode": True})
    error = backward_error(A, u[free], right)
    if not error <= EXACT:
        u[free] = _eliminated(A, right)
        error = backward_error(A, u[free], right)
    if not error <= TOLERATED:
        raise ValueError(
            f"S: expected a regular matrix, got a solution of backward error {error:.1e} (at most {TOLERATED:.0e}); "
            "check the Dirichlet part and the contrast of the coefficient"
        )
    return u, error


def _eliminated(A: csc_matrix, b: ndarray, **options: object) -> ndarray:
    try:
        factors = splu(A, **options)
    except RuntimeError:  # a zero pivot
        return np.full(len(b), np.nan)
    u = factors.solve(b)
    for _ in range(REFINEMENTS):
        if backward_error(A, u, b) <= EXACT / 100:
            break
        u = u + factors.solve(b - A @ u)
    return u


def backward_error(A: csr_matrix, u: ndarray, b: ndarray) -> float:
    """max |b - A u| / (|A|_inf |u|_inf + |b|_inf); zero for u = b = 0, nan where u is not finite."""
    size = float(abs(A).sum(axis=1).max() * np.abs(u).max() + np.abs(b).max())
    return float(np.abs(b - A @ u).max()) / size if size else 0.0
