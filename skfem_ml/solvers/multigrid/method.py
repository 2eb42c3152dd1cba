"""The class `Multigrid`: a fast solver for one form with one set of coefficients on one mesh."""

from __future__ import annotations

import copy
from functools import cached_property

import numpy as np
from numpy import ndarray
from numpy.typing import ArrayLike
from scipy.sparse import csr_matrix, spmatrix
from scipy.sparse.linalg import LinearOperator
from skfem import Basis, BilinearForm, Mesh

from skfem_ml import checks
from skfem_ml.meshes.boundary import Dirichlet
from skfem_ml.meshes.forms import refuse_complex
from skfem_ml.meshes.grid import BoxGrid
from skfem_ml.solvers.linear import Solver
from skfem_ml.solvers.multigrid.coarse import CoarseGrid
from skfem_ml.solvers.multigrid.hierarchy import COARSEST
from skfem_ml.solvers.multigrid.krylov import LEAST, ConjugateGradients, Solved, converged
from skfem_ml.solvers.multigrid.spaces import GridSpace, Space, space_of


class Multigrid:
    r"""Black-box multigrid for Q1 elements: operator-induced interpolation, exact Galerkin coarse matrices.

    Every level is a grid of cells with element matrices; P interpolates by the stencil of the form, K_c is the sum of
    C^T K C over the children of a cell, so that P^T A P = A_c, and the coarse matrices are a homogenisation of the
    coefficient. Where the coefficient is constant on the 2^d children of every cell, P is (bi)linear. Smoothing by
    Chebyshev iteration of degree 2; W-cycles; elimination on the coarsest level. What cannot be coarsened
    (triangles, slanted cells, odd numbers of cells, other elements) is left to pyamg: the ``repr`` says so, and the log
    "skfem_ml". Smoothing is by points: where a tensor is stretched along an axis by 10, 100, 1000 (or cells are 3, 10,
    30 times as long as high), a solution to 1e-6 takes some 6, 20, 70 steps in place of 2 to 4.

    Parameters
    ----------
    basis
        Q1 basis or mesh of lines, quads or hexes: boxes of a tensor grid, of any size and order, or a union of them.
    form
        A symmetric elliptic ``BilinearForm``: tensors, terms of lower order.
    dirichlet
        Gamma_D: names of boundaries, a function of midpoints of facets, degrees of freedom; default the whole boundary.
    coarse
        A coarse mesh (or basis), of whose cells the mesh has 2^k x ... x 2^k in each: that of `coarse_matrix`. Default
        the coarsest grid of the hierarchy.
    coarsest
        Nodes of the coarsest level at most; it is eliminated.
    coefficients
        The form's keyword arguments: numbers, ``(nelems,)``, or tensors ``(d, d, nelems)``, in the mesh's own order.

    Raises
    ------
    TypeError
        For coefficients that are functions.
    ValueError
        For coefficients and meshes that do not fit, a form that is not symmetric or not elliptic, no Gamma_D.

    Examples
    --------
    >>> from skfem import MeshQuad
    >>> from skfem_ml.problems import diffusion
    >>> from skfem_ml.solvers import Multigrid
    >>> mg = Multigrid(MeshQuad().refined(7), diffusion, a=2.0)
    >>> u = mg.solve(np.ones(129 * 129), rtol=1e-8)
    >>> mg
    Multigrid: 128 x 128 quads, 2 levels, operator complexity 1.25, coarsest: elimination
      level    unknowns    nonzeros
          0       16129      148225
          1        3969       37249

    References
    ----------
    Dendy, J. Comput. Phys. 48 (1982); Moulton, Dendy, Hyman, J. Comput. Phys. 142 (1998).
    """

    def __init__(
        self,
        basis: Basis | Mesh | BoxGrid,
        form: BilinearForm,
        *,
        dirichlet: Dirichlet = None,
        coarse: Basis | Mesh | None = None,
        coarsest: int = COARSEST,
        **coefficients: ArrayLike,
    ):
        if not isinstance(form, BilinearForm):
            raise TypeError(f"form: expected a BilinearForm, got {type(form).__name__}")
        refuse_complex(form)
        self.form, self._coarse_mesh, self._coefficients = form, coarse, copy.deepcopy(coefficients)
        self._basis, self._coarsest = basis, checks.whole(coarsest, "coarsest", 1)
        self._space: Space = space_of(basis, form, dirichlet, coefficients, self._coarsest)
        if coarse is not None:
            self._coarse  # noqa: B018 (does it fit?)

    def update(self, **coefficients: ArrayLike) -> Multigrid:
        """The multigrid of other values of some coefficients on the same mesh; what depends on the mesh is shared."""
        unknown = sorted(set(coefficients) - set(self._coefficients))
        if unknown:
            raise TypeError(f"update: expected some of {sorted(self._coefficients)}, got {unknown}")
        new = object.__new__(Multigrid)
        new.__dict__.update({name: value for name, value in self.__dict__.items() if name != "_coarse"})
        new._coefficients = {**self._coefficients, **copy.deepcopy(coefficients)}
        new._space = self._space.renewed(self.form, new._coefficients)
        return new

    def __getstate__(self) -> dict[str, object]:
        """What it is made of, Gamma_D as degrees of freedom: factors are made again."""
        state = {name: value for name, value in self.__dict__.items() if name not in ("_space", "_coarse")}
        return {**state, "fixed": np.setdiff1d(np.arange(self._space.size), self.free_dofs)}

    def __setstate__(self, state: dict[str, object]) -> None:
        fixed = state.pop("fixed")
        self.__dict__.update(state)
        self._space = space_of(self._basis, self.form, fixed, self._coefficients, self._coarsest)

    @property
    def free_dofs(self) -> ndarray:
        """Degrees of freedom off Gamma_D, ascending: the unknowns of `aspreconditioner` and `solver`."""
        return self._space.free_dofs

    @property
    def levels(self) -> int:
        """How many levels there are, the coarsest included."""
        return len(self._space.rows())

    @property
    def coarsest_solver(self) -> str:
        """Who solves on the coarsest level: "elimination", or pyamg and why."""
        return self._space.bottom()

    def apply(self, u: ArrayLike) -> ndarray:
        """A u ``(N,)``, all rows kept."""
        return self._space.apply(self._values(u, "u"))

    def fmg(self, b: ArrayLike, x: ArrayLike | None = None) -> ndarray:
        """One full-multigrid pass for A u = b, u = x on Gamma_D (default 0), ``(N,)``: an error of some 1e-3."""
        given, lift = self._given(x)
        start = self._space.full_multigrid(self._space.inner(self._values(b, "b")), given)
        return lift + self._space.outer(start)

    def solve(self, b: ArrayLike, x: ArrayLike | None = None, rtol: float = 1e-8, maxiter: int = 100) -> ndarray:
        """The solution ``(N,)`` of A u = b, u = x on Gamma_D (default 0), as ``condense`` takes x.

        Conjugate gradients preconditioned by one cycle, from a full-multigrid pass, until ``|b - A u| <= rtol |b|`` at
        the free nodes (b less what the values on Gamma_D contribute). Raises RuntimeError where ``maxiter`` steps do
        not reach that.
        """
        space, (r, lift) = self._space, self._system(b, x)
        start = space.inner(self.fmg(b, x))
        return lift + space.outer(converged(space.product, space.cycle, start, r, rtol, maxiter))

    def complete(
        self,
        b: ArrayLike,
        start: ArrayLike | None = None,
        x: ArrayLike | None = None,
        tol: float = 1e-6,
        maxiter: int = 200,
    ) -> Solved:
        """The solution u of A u = b to a relative error of ``tol`` in energy, as a `Solved`.

        Conjugate gradients preconditioned by one cycle, from ``start`` ``(N,)`` (whose values on Gamma_D give way to x;
        default: a full-multigrid pass), until the estimate of ``|u - u*|_A / |u*|_A`` is below ``tol``, two steps at
        least: the estimate comes of them. With r^T B r between lambda_1(B A) and 1 times the square of the error, it is
        the geometric mean of the two ends, lambda_1 being the smallest Ritz value. ``b`` is ``(N,)`` or ``(N, k)``;
        start and x are as b or ``(N,)``.

        Raises RuntimeError where ``maxiter`` steps do not reach ``tol``.
        """
        b = np.asarray(b, dtype=float)
        if b.ndim == 1:
            return self._completed(b, start, x, tol, maxiter)
        columns = [self._completed(c, _column(start, k), _column(x, k), tol, maxiter) for k, c in enumerate(b.T)]
        told = [[getattr(column, name) for column in columns] for name in ("residual", "energy_error", "steps")]
        return Solved(np.stack([column.u for column in columns], axis=1), *map(np.array, told))

    def _completed(self, b: ndarray, start: ArrayLike | None, x: ArrayLike | None, tol: float, maxiter: int) -> Solved:
        space, inner = self._space, self._space.inner(self.fmg(b, x) if start is None else self._values(start, "start"))
        b, lift = self._system(b, x)
        iterate = ConjugateGradients(space.product, space.cycle, inner, b - space.product(inner))
        image = space.apply(lift)  # |u|_A^2 = |lift|_A^2 + 2 lift A x + x A x
        fixed, across = float(lift @ image), space.inner(image)
        while True:
            size = fixed + float(np.vdot(iterate.x, 2 * across + b - iterate.r))
            error = iterate.energy_error
            whole = float(np.sqrt(max(size, 0.0) + error**2))
            if iterate.done or (iterate.steps >= LEAST and error <= tol * whole):
                break
            if iterate.steps == maxiter:
                raise RuntimeError(
                    f"complete: the error in energy is about {error / whole:.1e} after {maxiter} steps, expected "
                    f"{tol:.1e}; raise tol or maxiter"
                )
            iterate.step()
        r = b - space.product(iterate.x)
        if np.linalg.norm(r - iterate.r) > 0.1 * np.linalg.norm(r):  # rounding: the recursive residual is too small
            error = iterate.energy_of(r)
        residual = float(np.linalg.norm(r)) / (float(np.linalg.norm(b)) or 1.0)
        return Solved(lift + space.outer(iterate.x), residual, error / whole if whole else 0.0, iterate.steps)

    def aspreconditioner(self) -> LinearOperator:
        """One cycle as a symmetric positive definite operator on the free unknowns, ``(n, n)``."""
        space, n = self._space, len(self.free_dofs)

        def cycle(r: ndarray) -> ndarray:
            values = np.zeros(space.size)
            values[space.free_dofs] = r.ravel()
            return space.outer(space.cycle(space.inner(values)))[space.free_dofs]

        return LinearOperator((n, n), matvec=cycle, dtype=float)

    def solver(self, rtol: float = 1e-8, maxiter: int = 100) -> Solver:
        """``solver(A, b)`` for ``skfem.solve(*condense(A, b, x=x, D=D), solver=mg.solver())``.

        A is the matrix of the form on the free unknowns, or one near it: it is A that is solved, with the cycle of this
        object as preconditioner. Raises ValueError for another number of unknowns, RuntimeError as `solve`.
        """
        cycle = self.aspreconditioner().matvec

        def solver(A: spmatrix, b: ndarray) -> ndarray:
            if A.shape[0] != len(self.free_dofs):
                raise ValueError(
                    f"A: expected a matrix of the {len(self.free_dofs)} free unknowns of {self._space.told()}, got "
                    f"{A.shape[0]}; condense with the same Dirichlet part"
                )
            values = np.zeros(self._space.size)
            values[self.free_dofs] = b
            start = self._space.outer(self._space.full_multigrid(self._space.inner(values)))[self.free_dofs]
            return converged(lambda x: A @ x, cycle, start, np.asarray(b, dtype=float), rtol, maxiter)

        return solver

    @property
    def coarse_matrix(self) -> csr_matrix:
        """P^T A P on the nodes of the coarse mesh, ``(Nc, Nc)``, all rows kept: condense it as a matrix of Q1.

        Without ``coarse`` the nodes are those of the coarsest level in lexicographic order, x fastest.
        """
        return self._coarse.matrix()

    @property
    def prolongation(self) -> csr_matrix:
        """P from the nodes of the coarse mesh, ``(N, Nc)``: the right-hand side that goes with `coarse_matrix` is
        P^T b.
        """
        return self._coarse.prolongation()

    @cached_property
    def _coarse(self) -> CoarseGrid:
        if not isinstance(self._space, GridSpace):
            raise ValueError(f"coarse_matrix: expected a grid of boxes, got one {self._space.bottom()}")
        return CoarseGrid(self._space.geometry, self._space.hierarchy, self._coarse_mesh)

    def _values(self, values: ArrayLike, name: str) -> ndarray:
        out = np.asarray(values, dtype=float)
        if out.shape != (self._space.size,):
            raise ValueError(f"{name}: expected one value a degree of freedom, ({self._space.size},), got {out.shape}")
        checks.finite(out, name)
        return out

    def _given(self, x: ArrayLike | None) -> tuple[ndarray | None, ndarray]:
        """The values on Gamma_D, None where they are zero, and the same as an array."""
        lift = np.zeros(self._space.size) if x is None else self._values(x, "x").copy()
        lift[self.free_dofs] = 0.0
        return (lift if lift.any() else None), lift

    def _system(self, b: ArrayLike, x: ArrayLike | None) -> tuple[ndarray, ndarray]:
        """The right-hand side at the free nodes, less what the values on Gamma_D contribute, and these."""
        b, (given, lift) = self._values(b, "b"), self._given(x)
        return self._space.inner(b if given is None else b - self._space.apply(lift)), lift

    def __repr__(self) -> str:
        rows = self._space.rows()
        complexity = sum(row[1] for row in rows) / max(rows[0][1], 1)
        head = f"Multigrid: {self._space.told()}, {len(rows)} levels, operator complexity {complexity:.2f}, "
        table = "".join(f"\n  {k:5d} {free:11d} {nonzeros:11d}" for k, (free, nonzeros) in enumerate(rows))
        return f"{head}coarsest: {self._space.bottom()}\n  level    unknowns    nonzeros{table}"


def _column(values: ArrayLike | None, k: int) -> ndarray | None:
    if values is None:
        return None
    values = np.asarray(values, dtype=float)
    return values if values.ndim == 1 else values[:, k]
