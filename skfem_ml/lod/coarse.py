"""The coarse system S u = b: whether S is positive definite, and its solution with a check of it."""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property

import numpy as np
from numpy import ndarray
from scipy.sparse import csc_matrix, csr_matrix, diags
from scipy.sparse.linalg import ArpackNoConvergence, SuperLU, eigsh, splu
from skfem import BilinearForm

from skfem_ml import checks
from skfem_ml.lod.mesh.loads import FineLoad
from skfem_ml.problems import diffusion
from skfem_ml.solvers.direct import factorised, tell_loss
from skfem_ml.solvers.linear import backward_error, infinity_norm

CONTRAST = 30.0  # below it no S lost definiteness (crossing channels, ell = 1 to 3); from 50 on some do
FACTORISED = 5000  # unknowns up to which signs are counted exactly; above, the smallest eigenvalue by Lanczos
RESTARTS = 8
ROUNDING = 1e-10
CONSERVED = 1e-6  # sums of rows of S, of its largest entry: networks of single precision stay within
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
            smallest = factorised(scaled).U.diagonal()
        else:
            start = np.random.default_rng(0).standard_normal(len(diagonal))
            lanczos = {"ncv": 20, "maxiter": RESTARTS, "tol": 1e-2, "v0": start, "return_eigenvectors": False}
            smallest = eigsh(scaled, k=1, which="SA", **lanczos)
    except ArpackNoConvergence as stopped:
        smallest = stopped.eigenvalues
    except RuntimeError:  # a pivot that is exactly zero: singular, as where nothing is fixed
        return True
    return not (smallest < -ROUNDING).any()


def check_sum(S: csr_matrix, free: ndarray, form: object, ratio: float, ell: int) -> None:
    """Check the sum of local matrices: warn (UserWarning) where it is not definite on the free nodes.

    Of a form from a contrast ``ratio`` of 30 on; of another local map, which guesses, at any. Such a map is asked for
    more: ValueError for entries that are not finite, and a warning where rows do not sum to zero though the map stands
    for diffusion.
    """
    if isinstance(form, BilinearForm):
        warn_unless_definite(S, free, ratio, f'take ell={ell + 1} or variant="galerkin"')
        return
    bad = int((~np.isfinite(S.data)).sum())
    if bad:
        raise ValueError(
            f"S: expected finite entries, got {bad} of {S.nnz} that are not; the local map gives none for this "
            "coefficient, take exact correctors"
        )
    size, sums = float(np.abs(S.data).max(initial=0.0)), float(np.abs(S @ np.ones(S.shape[1])).max(initial=0.0))
    if getattr(form, "form", None) is diffusion and sums > CONSERVED * size:
        checks.warn(
            f"S: its rows sum to up to {sums / size:.1e} of its largest entry, not to zero, as with a reaction term "
            "that is not there; take a map that conserves constants"
        )
    warn_unless_definite(S, free, ratio, "take exact correctors", least=0.0)


def warn_unless_definite(S: csr_matrix, free: ndarray, ratio: float, remedy: str, least: float = CONTRAST) -> None:
    """Warn (UserWarning) where S is not definite on the free nodes; looked at from a contrast of ``least`` on."""
    if ratio > least and not is_definite(S[free][:, free]):
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


class CoarseSystem:
    """S u = b at the free nodes, u given at the ``fixed`` ones (bool, ``(coarse.N,)``), factorised once for any b.

    Elimination without pivoting in an order of minimum degree (a third of the time of `scipy.sparse.linalg.spsolve`,
    whose order is for matrices of another kind), up to two steps of iterative refinement, and elimination with pivoting
    where that does not do. Raises ValueError where nothing is fixed.
    """

    def __init__(self, S: csr_matrix, fixed: ndarray):
        self.fixed, self.free = fixed, np.flatnonzero(~fixed)
        if len(self.free) and not fixed.any():
            raise ValueError("dirichlet: expected a part of the boundary where u is fixed, got none: S is singular")
        self.rows = S[self.free]
        self.A = self.rows[:, self.free].tocsc()
        self._told = False

    @cached_property
    def _norm(self) -> float:
        return infinity_norm(self.A)

    @cached_property
    def _plain(self) -> SuperLU | None:
        return _factors(factorised, self.A)

    @cached_property
    def _pivoted(self) -> SuperLU | None:
        return _factors(splu, self.A)

    def solve(self, b: ndarray, x: ndarray) -> tuple[ndarray, float]:
        """u ``(coarse.N,)`` with u = x at the fixed nodes, and its backward error.

        The backward error is max |b - S u| / (|S|_inf |u|_inf + |b|_inf); ValueError where it is above 1e-10. Warns
        once of the digits that rounding of S costs, where they are more than 1e-6 of u.
        """
        u = np.array(x, dtype=float)
        if not len(self.free):  # no free node: nothing is left to solve
            return u, 0.0
        right = b[self.free] - self.rows @ np.where(self.fixed, u, 0.0)
        factors = self._plain
        u[self.free], error = self._eliminated(factors, right)
        if not error <= EXACT:
            factors = self._pivoted
            u[self.free], error = self._eliminated(factors, right)
        if not error <= TOLERATED:
            raise ValueError(
                f"S: expected a regular matrix, got a solution of backward error {error:.1e} (at most {TOLERATED:.0e});"
                " check the Dirichlet part and the contrast of the coefficient"
            )
        if not self._told and factors is not None:
            self._told = True
            tell_loss(self.A, factors.solve, u[self.free], "S")
        return u, error

    def _eliminated(self, factors: SuperLU | None, b: ndarray) -> tuple[ndarray, float]:
        """The solution and its backward error, refined up to two times; nan where there are no factors."""
        if factors is None:
            return np.full(len(b), np.nan), np.nan
        u = factors.solve(b)
        error = backward_error(self.A, u, b, self._norm)
        for _ in range(REFINEMENTS):
            if error <= EXACT / 100:
                break
            u = u + factors.solve(b - self.A @ u)
            error = backward_error(self.A, u, b, self._norm)
        return u, error


def solve_coarse(S: csr_matrix, b: ndarray, x: ndarray, fixed: ndarray) -> tuple[ndarray, float]:
    """`CoarseSystem.solve` for one right-hand side."""
    return CoarseSystem(S, fixed).solve(b, x)


def _factors(factorise: Callable[[csc_matrix], SuperLU], A: csc_matrix) -> SuperLU | None:
    try:
        return factorise(A)
    except RuntimeError:  # a zero pivot
        return None
