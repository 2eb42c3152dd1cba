"""The coarse system S u = b: whether S is positive definite, and its solution with a check of it."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from functools import cached_property, partial
from typing import TYPE_CHECKING

import numpy as np
from numpy import ndarray
from scipy.sparse import csc_matrix, csr_matrix, diags
from scipy.sparse.linalg import ArpackNoConvergence, SuperLU, eigsh, splu
from skfem import BilinearForm

from skfem_ml import checks
from skfem_ml.lod.mesh.loads import FineLoad
from skfem_ml.problems import diffusion
from skfem_ml.solvers.direct import factorised, tell_loss
from skfem_ml.solvers.krylov import Krylov
from skfem_ml.solvers.linear import Solver, Vector, backward_error, infinity_norm, prepared

if TYPE_CHECKING:
    from skfem_ml.lod.mesh.discretisation import Discretisation

LOG = logging.getLogger("skfem_ml")

CONTRAST = 30.0  # below it no S lost definiteness (crossing channels, ell = 1 to 3); from 50 on some do
FACTORISED = 5000  # unknowns up to which signs are counted exactly; above, the smallest eigenvalue by Lanczos
RESTARTS = 8
ROUNDING = 1e-10
CONSERVED = 1e-6  # sums of rows of S, of its largest entry: networks of single precision stay within
# Share of a load that coarse functions do not see (`FineLoad.unseen`) from which one is warned: with sines, discs,
# steps, bells and sums of them the energy error is above 70 % where it is exceeded, and the share below .2 elsewhere.
UNSEEN = 0.3
REFINEMENTS = 2
# Unknowns from which on one load costs less by a Krylov method than by elimination: with a near matrix (measured at
# 128^2: .22 s for .52 s), and with the hierarchy of S itself (at 256^2 as much). A further load costs six times more.
ITERATED, ALONE = 10_000, 60_000
NEAR = 100.0  # contrast up to which plain finite elements precondition S; above, S itself does in fewer iterations
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


def plain_matrix(space: Discretisation, form: BilinearForm, coefficients: Mapping[str, float | ndarray]) -> csr_matrix:
    """The matrix ``(coarse.N, coarse.N)`` of a form on the coarse basis, coefficients averaged over coarse cells.

    The arithmetic mean: as a preconditioner it is as good as the geometric one, better at high contrast (measured).
    """
    cells = space.coefficient_refinement.cells
    means = {
        name: value[..., cells].mean(axis=-1)[..., None] if isinstance(value, ndarray) else value
        for name, value in coefficients.items()
    }
    return form.assemble(space.coarse, **means).tocsr()


def near_matrix(
    space: Discretisation, form: object, coefficients: Mapping[str, float | ndarray]
) -> Callable[[], csr_matrix] | None:
    """What makes `plain_matrix` of a form or of that behind a local map; None without one, and above a contrast of 100.

    At a contrast of 1000 the hierarchy of S itself takes a quarter of the iterations.
    """
    form = form if isinstance(form, BilinearForm) else getattr(form, "form", None)
    if not isinstance(form, BilinearForm) or contrast(dict(coefficients)) > NEAR:
        return None
    return partial(plain_matrix, space, form, coefficients)


class CoarseSystem:
    """S u = b at the free nodes, u given at the ``fixed`` ones (bool, ``(coarse.N,)``), prepared once for any b.

    Below 10,000 unknowns (60,000 without ``near``) elimination without pivoting in an order of minimum degree (a third
    of the time of `scipy.sparse.linalg.spsolve`, whose order is for matrices of another kind), up to two steps of
    iterative refinement, and elimination with pivoting where that does not do. From there on `Krylov`, as exact, its
    hierarchy that of ``near()`` ``(coarse.N, coarse.N)``, plain finite elements (None: of S); where it does not
    converge elimination follows, told to the logger "skfem_ml". For many loads elimination is cheaper at any size, if
    its factors fit in memory: ``solver`` (`solver_direct`, `solver_krylov`...) takes the place of all that. Raises
    ValueError where nothing is fixed.
    """

    def __init__(
        self,
        S: csr_matrix,
        fixed: ndarray,
        near: Callable[[], csr_matrix] | None = None,
        solver: Solver | None = None,
    ):
        self.fixed, self.free, self.near, self.solver = fixed, np.flatnonzero(~fixed), near, solver
        if len(self.free) and not fixed.any():
            raise ValueError("dirichlet: expected a part of the boundary where u is fixed, got none: S is singular")
        self.rows = S[self.free]
        self.A = self.rows[:, self.free].tocsc()
        self._told = False

    def __repr__(self) -> str:
        way = self.solver or (self._krylov if self._iterates else None) or "elimination"
        return f"CoarseSystem({len(self.free)} of {len(self.fixed)} nodes free, {way})"

    def __getstate__(self) -> dict[str, object]:
        made_again = ("_plain", "_pivoted", "_chosen")  # factors and hierarchies are
        return {name: value for name, value in self.__dict__.items() if name not in made_again}

    @property
    def _iterates(self) -> bool:
        return len(self.free) >= (ALONE if self.near is None else ITERATED)

    @cached_property
    def _norm(self) -> float:
        return infinity_norm(self.A)

    @cached_property
    def _plain(self) -> SuperLU | None:
        return _factors(factorised, self.A)

    @cached_property
    def _pivoted(self) -> SuperLU | None:
        return _factors(splu, self.A)

    @cached_property
    def _chosen(self) -> Callable[[Vector], Vector] | None:
        """The user's solver for this matrix."""
        return None if self.solver is None else prepared(self.solver, self.A)

    @cached_property
    def _krylov(self) -> Krylov | None:
        """The Krylov method where it is expected to converge."""
        near = None if self.near is None else self.near()[self.free][:, self.free]
        try:
            krylov = Krylov(self.A, near)
            good = krylov.converges()
        except RuntimeError:
            good = False
        if not good:
            LOG.info("S: a Krylov method does not converge on its %d unknowns, elimination follows", len(self.free))
        return krylov if good else None

    def solve(self, b: ndarray, x: ndarray) -> tuple[ndarray, float]:
        """u ``(coarse.N,)`` with u = x at the fixed nodes, and its backward error; for b ``(coarse.N, k)`` k of both.

        The backward error is max |b - S u| / (|S|_inf |u|_inf + |b|_inf), the largest of k; ValueError where it is
        above 1e-10. Warns once of the digits that rounding of S costs, where they are more than 1e-6 of u.
        """
        if b.ndim == 2:
            each = [self.solve(column, x if x.ndim == 1 else x[:, k]) for k, column in enumerate(b.T)]
            return np.array([u for u, _ in each]).reshape(-1, len(b)).T, max((error for _, error in each), default=0.0)
        u = np.array(x, dtype=float)
        if not len(self.free):  # no free node: nothing is left to solve
            return u, 0.0
        right = b[self.free] - self.rows @ np.where(self.fixed, u, 0.0)
        u[self.free], error, inverse = self._solved(right)
        if not error <= TOLERATED:
            raise ValueError(
                f"S: expected a regular matrix, got a solution of backward error {error:.1e} (at most {TOLERATED:.0e});"
                " check the Dirichlet part and the contrast of the coefficient"
            )
        if not self._told and inverse is not None:
            self._told = True
            tell_loss(self.A, inverse, u[self.free], "S")
        return u, error

    def _solved(self, b: ndarray) -> tuple[ndarray, float, Callable[[Vector], Vector] | None]:
        """The solution at the free nodes, its backward error, and what applies the inverse."""
        if self._chosen is not None:
            u = self._chosen(b)
            return u, backward_error(self.A, u, b, self._norm), self._chosen
        krylov = self._krylov if self._iterates else None
        if krylov is not None:
            try:
                u = krylov(b)
                return u, backward_error(self.A, u, b, self._norm), krylov
            except RuntimeError as stopped:
                LOG.info("S: %s; elimination follows", stopped)
        factors = self._plain
        u, error = self._eliminated(factors, b)
        if not error <= EXACT:
            factors = self._pivoted
            u, error = self._eliminated(factors, b)
        return u, error, None if factors is None else factors.solve

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
