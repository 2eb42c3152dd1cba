"""Sparse elimination for symmetric positive definite matrices, every solution checked by its backward error."""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property, partial

import numpy as np
from scipy.sparse import csc_matrix, spmatrix
from scipy.sparse.linalg import SuperLU, splu

from skfem_ml import checks
from skfem_ml.solvers.linear import Prepared, Vector, backward_error, infinity_norm

GOOD = 1e-15  # backward errors below it are not refined: a few units of rounding
SPREAD = 1e6  # of the diagonal: from here on the loss of digits is estimated
LOST = 1e-6  # a loss of digits that is warned of


def solver_direct(tol: float = 1e-12, refinements: int = 4) -> Prepared:
    """Return a direct solver for symmetric positive definite matrices, by sparse LU in symmetric mode.

    Every solution is checked by its backward error, ``max |b - A x| / (|A|_inf |x|_inf + |b|_inf)`` (`backward_error`),
    which is small for a good solution whatever the contrast; steps of iterative refinement with residuals in extended
    precision follow where it is not, up to ``refinements``, and then elimination with pivoting. ``b`` is ``(n,)`` or
    ``(n, k)``; ``solver.prepare(A)`` factorises once for any number of them.

    A small backward error is no small error where the matrix is badly conditioned: warns (UserWarning) with the digits
    that rounding of the entries of A costs, ``|A^-1| (|A| |x|) eps``, where they are more than 1e-6 of x. The solver
    raises ValueError for a singular matrix and for a backward error that stays above ``tol``.
    """
    return Prepared(partial(Elimination, tol=tol, refinements=refinements))


class Elimination:
    """``x = solve(b)`` for one matrix, factorised once; what `solver_direct` prepares.

    >>> import numpy as np
    >>> from scipy.sparse import csr_matrix
    >>> from skfem_ml.solvers import solver_direct
    >>> solve = solver_direct().prepare(csr_matrix([[2.0, 0.0], [0.0, 4.0]]))
    >>> solve
    Elimination(2 unknowns)
    >>> solve(np.array([2.0, 2.0])).tolist()
    [1.0, 0.5]
    """

    def __init__(self, A: spmatrix, tol: float = 1e-12, refinements: int = 4):
        self.A, self.tol, self.refinements = csc_matrix(A), tol, refinements
        self._told = False
        if self.A.shape[0]:
            self._factors  # noqa: B018 (a singular matrix is told now)

    def __repr__(self) -> str:
        return f"Elimination({self.A.shape[0]} unknowns)"

    def __getstate__(self) -> dict[str, object]:
        return {name: value for name, value in self.__dict__.items() if name not in ("_factors", "_pivoted")}

    def __call__(self, b: Vector) -> Vector:
        """The solution ``(n,)``, or ``(n, k)`` for k right-hand sides."""
        if not self.A.shape[0]:
            return np.zeros_like(b)
        x, error = self._refined(self._factors, b)
        if not error <= self.tol and self.refinements:
            x, error = self._refined(self._pivoted, b)
        if not error <= self.tol:
            raise ValueError(
                f"the backward error of the direct solve is {error:.1e}, expected at most {self.tol:.1e}: the matrix "
                "is singular or not finite; check the Dirichlet part and the coefficient"
            )
        if not self._told:
            self._told = True
            tell_loss(self.A, self._factors.solve, x if x.ndim == 1 else x[:, 0], "A")
        return x

    @cached_property
    def _norm(self) -> float:
        return infinity_norm(self.A)

    @cached_property
    def _factors(self) -> SuperLU:
        return _regular(partial(factorised, self.A))

    @cached_property
    def _pivoted(self) -> SuperLU:
        return _regular(partial(splu, self.A))

    def _refined(self, factors: SuperLU, b: Vector) -> tuple[Vector, float]:
        x = factors.solve(b)
        error = backward_error(self.A, x, b, self._norm)
        for _ in range(self.refinements):
            if error <= GOOD or not np.isfinite(error):
                break
            better = x + factors.solve(_residual(self.A, x, b))
            less = backward_error(self.A, better, b, self._norm)
            if not less < error:
                break
            x, error = better, less
        return x, error


def tell_loss(A: spmatrix, solve: Callable[[Vector], Vector], x: Vector, name: str, spread: float = SPREAD) -> None:
    """Warn (UserWarning) where rounding of the entries of a matrix costs more than 1e-6 of the solution.

    The loss is |A^-1| |A| |x| eps (Skeel 1979); A^-1 stands for its absolute value, as it is for M-matrices. Looked at
    where the diagonal spans more than ``spread``.
    """
    diagonal = np.abs(A.diagonal())
    if not diagonal.max(initial=0.0) > spread * diagonal.min(initial=np.inf):
        return
    loss = np.abs(solve(abs(A) @ np.abs(x))).max() * np.finfo(float).eps
    if loss > LOST * np.abs(x).max():
        checks.warn(
            f"{name}: rounding of its entries may change the solution by {loss / np.abs(x).max():.1e} of its largest "
            f"value: that is what the contrast of the coefficient costs, though the backward error is small"
        )


def factorised(A: spmatrix) -> SuperLU:
    """The factors of a symmetric matrix that needs no pivoting: positive definite, or complex as of time steps.

    Minimum degree on A + A^T halves time and fill of finite element matrices. Raises RuntimeError for a zero pivot.
    """
    options = {"SymmetricMode": True}
    return splu(csc_matrix(A), permc_spec="MMD_AT_PLUS_A", diag_pivot_thresh=0.0, options=options)


def _regular(factorise: partial[SuperLU]) -> SuperLU:
    try:
        return factorise()
    except RuntimeError as error:
        raise ValueError(
            f"the matrix is singular ({error}); is there a Dirichlet part, and is it condensed out of the system?"
        ) from error


def _residual(A: spmatrix, x: Vector, b: Vector) -> Vector:
    """b - A x in extended precision, where the machine has it."""
    return np.asarray(b - A.astype(np.longdouble) @ x.astype(np.longdouble), dtype=float)
