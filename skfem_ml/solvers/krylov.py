"""Krylov methods preconditioned by algebraic multigrid, nonsymmetric matrices too; as exact as elimination.

BiCGStab and GMRES see the matrix A, multigrid sees A or a matrix near to it: one of fewer entries with the same long
waves, as that of plain finite elements is for a matrix of LOD. What is left of b is solved for again (iterative
refinement) until the backward error is that of an elimination.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property, partial

import numpy as np
from scipy.sparse import csr_matrix, spmatrix
from scipy.sparse.linalg import LinearOperator, bicgstab, cg, gmres

from skfem_ml import checks
from skfem_ml.solvers.linear import Prepared, Vector
from skfem_ml.solvers.refined import Refined

METHODS: dict[str, tuple[Callable[..., tuple[Vector, int]], dict[str, int]]] = {
    "cg": (cg, {}),
    "bicgstab": (bicgstab, {}),
    "gmres": (gmres, {"restart": 20}),  # of which maxiter counts the restarts
}
SYMMETRIC = 1e-12
STRENGTH = 0.05  # below it couplings are weak: without it aggregates span 7 x 7 nodes of a matrix of LOD


def solver_krylov(
    near: spmatrix | None = None, tol: float = 1e-14, method: str | None = None, maxiter: int = 50
) -> Prepared:
    """Return a Krylov method preconditioned by one V-cycle of smoothed aggregation (pyamg), for regular matrices.

    ``near`` is what the hierarchy is built of, a symmetric positive definite matrix ``(n, n)`` near to A and sparser
    than it; None: A itself. ``method`` is "cg", "bicgstab" or "gmres"; None: "cg" for symmetric A, else "bicgstab".

    Solutions are refined until their backward error, ``max |b - A x| / (|A|_inf |x|_inf + |b|_inf)``, is ``tol`` or
    does not fall any more; each of at most four rounds has ``maxiter`` iterations. ``b`` is ``(n,)`` or ``(n, k)``;
    ``solver.prepare(A)`` builds the hierarchy once for any number of them. Two runs agree bit for bit.

    The solver raises RuntimeError, with the error that was reached, where it stays above 100 ``tol``; ValueError for an
    unknown method and a ``near`` of another size. Sources: van der Vorst, SIAM J. Sci. Stat. Comput. 13 (1992); Vanek,
    Mandel, Brezina, Computing 56 (1996).
    """
    if method is not None:
        checks.choice(method, tuple(METHODS), "method")
    return Prepared(partial(Krylov, near=near, tol=tol, method=method, maxiter=checks.whole(maxiter, "maxiter", 1)))


class Krylov(Refined):
    """``x = solve(b)`` for one matrix, its hierarchy built once; what `solver_krylov` prepares.

    ``iterations`` are those of the last solution, by round; they tell, and change nothing.

    >>> import numpy as np
    >>> from scipy.sparse import diags
    >>> from skfem_ml.solvers import solver_krylov
    >>> solve = solver_krylov().prepare(diags([-1.2, 3.0, -0.8], [-1, 0, 1], shape=(50, 50)))
    >>> solve, bool(abs(solve.A @ solve(np.ones(50)) - 1).max() < 1e-13)
    (Krylov(bicgstab, 50 unknowns, hierarchy of the matrix itself), True)
    """

    CACHED = ("_cycle",)

    def __init__(
        self, A: spmatrix, near: spmatrix | None = None, tol: float = 1e-14, method: str | None = None,
        maxiter: int = 50,
    ):  # fmt: skip
        super().__init__(A, near, tol)
        self.maxiter, self.method = maxiter, method or ("cg" if _is_symmetric(self.A) else "bicgstab")
        self.iterations: list[int] = []
        if self.A.shape[0]:
            self._cycle  # noqa: B018 (made now)

    def __repr__(self) -> str:
        of = "the matrix itself" if self.near is None else f"one of {self.near.nnz / self.A.nnz:.0%} of its entries"
        return f"Krylov({self.method}, {self.A.shape[0]} unknowns, hierarchy of {of})"

    @cached_property
    def _cycle(self) -> LinearOperator:
        return _cycle_of(csr_matrix(self.A if self.near is None else self.near))

    def stopped(self, error: float) -> str:
        """What to say, and to do, where the backward error is too large."""
        steps = " + ".join(map(str, self.iterations))
        return (
            f"{self.method} stopped at a backward error of {error:.1e} after {steps} iterations, expected at most "
            f"{100 * self.tol:.1e}; raise maxiter or tol, give another near matrix, or use solver_direct()"
        )

    def converges(self) -> bool:
        """Whether a fixed right-hand side loses two digits within a third of the iterations: what loads may expect."""
        b = np.ones(self.A.shape[0])
        left = b - self.A @ self._round(b, 1e-2, max(1, self.maxiter // 3))[0]
        return bool(np.linalg.norm(left) <= 0.1 * np.linalg.norm(b))  # the recursive residual may drift

    def _refined(self, b: Vector) -> tuple[Vector, float]:
        self.iterations = []
        return super()._refined(b)

    def round(self, b: Vector, share: float) -> Vector:
        """A solution whose residual is ``share`` of b, or what ``maxiter`` iterations made of it."""
        change, count = self._round(b, share, self.maxiter)
        self.iterations.append(count)
        return change

    def _round(self, b: Vector, share: float, maxiter: int) -> tuple[Vector, int]:
        """A solution whose residual is ``share`` of b, or what ``maxiter`` iterations made of it, and their number."""
        method, options = METHODS[self.method]
        count = 0

        def counted(_: object) -> None:
            nonlocal count
            count += 1

        if self.method == "gmres":
            options = {**options, "callback_type": "pr_norm"}  # type: ignore[dict-item]
            maxiter = -(-maxiter // 20)
        with np.errstate(all="ignore"):  # a breakdown shows in the backward error
            x, _ = method(self.A, b, rtol=share, atol=0.0, maxiter=maxiter, M=self._cycle, callback=counted, **options)
        return x, count


def _cycle_of(A: csr_matrix) -> LinearOperator:
    """One V-cycle, by nothing that draws random numbers: the smoother of prolongation is weighted by sums of rows."""
    import pyamg

    strength = ("symmetric", {"theta": STRENGTH})
    try:
        hierarchy = pyamg.smoothed_aggregation_solver(A, strength=strength, smooth=("jacobi", {"weighting": "local"}))
        cycle = hierarchy.aspreconditioner(cycle="V")
        sound = bool(np.isfinite(cycle @ np.ones(A.shape[0])).all())
    except (ArithmeticError, ValueError, np.linalg.LinAlgError):  # entries that are not finite on a coarse level
        sound = False
    if not sound:
        raise RuntimeError("near: expected a positive definite matrix, got one whose hierarchy is not finite")
    return cycle


def _is_symmetric(A: csr_matrix) -> bool:
    return bool(abs(A - A.T).max() <= SYMMETRIC * abs(A).max()) if A.nnz else True
