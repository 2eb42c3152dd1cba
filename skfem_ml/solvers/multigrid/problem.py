"""Multigrid as a solver of whole problems, in stages: ``solver_multigrid()(problem) -> FEFunction``."""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial

import numpy as np
from numpy import ndarray
from scipy.sparse import csr_matrix
from skfem import Basis, CellBasis, Element, Mesh

from skfem_ml.problems import Diffusion, Field, Staged, diffusion, load
from skfem_ml.problems.staged import Answer, timed
from skfem_ml.solutions import FEFunction, Record
from skfem_ml.solvers.direct import solver_direct
from skfem_ml.solvers.multigrid.krylov import Solved
from skfem_ml.solvers.multigrid.method import Multigrid
from skfem_ml.solvers.multigrid.spaces import as_basis


def solver_multigrid(
    tol: float | None = 1e-8, element: Element | None = None, coarse: Basis | Mesh | None = None, maxiter: int = 200
) -> Staged:
    """Return ``solver(problem) -> FEFunction``: the Galerkin solution on the problem's mesh by `Multigrid`.

    ``tol`` bounds the estimate of the relative error in energy, ``|u - u*|_A / |u*|_A``, ``u*`` being the Galerkin
    solution (`Multigrid.complete`); None is one full-multigrid pass. With ``coarse``, a mesh of whose cells the
    problem's has 2^k x ... x 2^k in each, the solution is the coarse function with P^T A P u_c = P^T F for the
    operator-induced interpolation P: the null model of homogenisation that multigrid gives for nothing (Moulton, Dendy,
    Hyman 1998). ``element`` is a Lagrange element, default first order; what is not of first order on boxes is left to
    pyamg.

    The solution's ``record`` has ``unknowns``, ``seconds`` of "setup", "assembly" and "solve", and the notes "levels"
    and "coarsest" (who solves there: elimination, or pyamg and why); with ``tol`` "steps", "residual" and "energy
    error" (the estimate), with ``coarse`` "homogenised" instead. The solver works in stages (`problems.Staged`).

    Raises ValueError for a ``tol`` that is not positive; the solver raises RuntimeError where ``maxiter`` steps do not
    reach it.

    >>> from skfem import MeshQuad
    >>> u = solver_multigrid()(Diffusion(MeshQuad().refined(5), np.linspace(1, 5, 1024)))
    >>> u.unknowns, u.record["levels"], u.record["coarsest"], bool(u.record["energy error"] < 1e-8)
    (961, 1, 'elimination', True)
    """
    if tol is not None and not tol > 0:
        raise ValueError(f"tol: expected a positive number, or None for one pass, got {tol}")
    return Staged(partial(_building, tol, element, coarse, maxiter))


def _building(
    tol: float | None, element: Element | None, coarse: Basis | Mesh | None, maxiter: int, problem: Diffusion
) -> Callable[[ndarray], Answer]:
    mesh = _OnMesh(problem, coarse, element)
    return lambda a: _OnFine(mesh, a, tol, maxiter) if mesh.coarse is None else _OnCoarse(mesh, a)


class _OnMesh:
    """What depends on the meshes: bases, boundary values, and the levels, for a constant coefficient to begin with."""

    def __init__(self, problem: Diffusion, coarse: Basis | Mesh | None, element: Element | None):
        self.problem = problem
        self.basis: CellBasis = as_basis(problem.mesh, element)
        self.coarse = Basis(coarse, coarse.elem()) if isinstance(coarse, Mesh) else coarse
        self.values, fixed = problem.dirichlet_values(self.basis), problem.dirichlet_dofs(self.basis)
        self.first, self.seconds = timed(
            lambda: Multigrid(self.basis, diffusion, dirichlet=fixed, coarse=self.coarse, a=1.0)
        )

    def vector(self, f: Field | ndarray) -> ndarray:
        """The load vector of a number or a callable on the problem's mesh, or the vector that is given."""
        return f if isinstance(f, ndarray) else load(f).assemble(self.basis)


class _OnFine:
    """Solutions on the fine mesh, of one coefficient."""

    def __init__(self, mesh: _OnMesh, a: ndarray, tol: float | None, maxiter: int):
        self.mesh, self.tol, self.maxiter = mesh, tol, maxiter
        self.levels, self.seconds = timed(lambda: mesh.first.update(a=a))

    def __call__(self, f: Field | ndarray) -> FEFunction:
        b, x = self.mesh.vector(f), self.mesh.values
        told: dict[str, object] = {"levels": self.levels.levels, "coarsest": self.levels.coarsest_solver}
        start = time.perf_counter()
        if self.tol is None:
            y = self.levels.fmg(b, x)
        else:
            solved: Solved = self.levels.complete(b, x=x, tol=self.tol, maxiter=self.maxiter)
            y = solved.u
            told |= {"steps": solved.steps, "residual": solved.residual, "energy error": solved.energy_error}
        seconds = {"setup": self.mesh.seconds, "assembly": self.seconds, "solve": time.perf_counter() - start}
        return FEFunction(self.mesh.basis, y, Record(len(self.levels.free_dofs), seconds, notes=told))


class _OnCoarse:
    """Coarse functions, of one coefficient."""

    def __init__(self, mesh: _OnMesh, a: ndarray):
        assert mesh.coarse is not None
        self.mesh, self.basis, self.values = mesh, mesh.coarse, mesh.problem.dirichlet_values(mesh.coarse)
        self.free = np.setdiff1d(np.arange(self.basis.N), mesh.problem.dirichlet_dofs(self.basis))
        (self.levels, self.P, self.solve, self.lifted), self.seconds = timed(lambda: self._assembled(a))

    def _assembled(self, a: ndarray) -> tuple[Multigrid, csr_matrix, Callable[[ndarray], ndarray], ndarray]:
        levels = self.mesh.first.update(a=a)
        rows = levels.coarse_matrix[self.free]
        return levels, levels.prolongation, solver_direct().prepare(rows[:, self.free]), rows @ self.values

    def __call__(self, f: Field | ndarray) -> FEFunction:
        y, b = self.values.copy(), self.mesh.vector(f)
        y[self.free], solve = timed(lambda: self.solve((self.P.T @ b)[self.free] - self.lifted))
        told = {"levels": self.levels.levels, "coarsest": self.levels.coarsest_solver, "homogenised": True}
        seconds = {"setup": self.mesh.seconds, "assembly": self.seconds, "solve": solve}
        return FEFunction(self.basis, y, Record(len(self.free), seconds, notes=told))
