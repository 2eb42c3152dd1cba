"""Multigrid as a solver of whole problems, in stages: ``solver_multigrid()(problem) -> FEFunction``."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

import numpy as np
from numpy import ndarray
from scipy.sparse import csr_matrix
from skfem import Basis, CellBasis, Mesh

from skfem_ml.problems import Diffusion, Field, Staged, diffusion, load
from skfem_ml.problems.staged import Answer
from skfem_ml.solutions import FEFunction, Record
from skfem_ml.solvers.direct import solver_direct
from skfem_ml.solvers.multigrid.method import Multigrid

T = TypeVar("T")


def solver_multigrid(rtol: float | None = 1e-8, coarse: Basis | Mesh | None = None) -> Staged:
    """Return ``solver(problem) -> FEFunction``: black-box multigrid on the problem's mesh (`Multigrid`).

    The solution has a relative residual of ``rtol``, by conjugate gradients; with None it is that of one full-multigrid
    pass. With ``coarse``, a mesh of whose cells the problem's has 2^k x ... x 2^k in each, the solution is the coarse
    function with P^T A P u_c = P^T F for the operator-induced interpolation P: the null model of homogenisation that
    multigrid gives for nothing (Moulton, Dendy, Hyman 1998).

    The ``record`` has ``seconds`` of "setup", "assembly" and "solve" and the note "multigrid" (its levels, and what is
    left to pyamg); with ``rtol`` "residual", "energy error" (an estimate) and "steps", with ``coarse`` "homogenised".
    The solver works in stages, see `problems.Staged`.

    Raises ValueError for an ``rtol`` that is not positive; when solving, as `Multigrid`.
    """
    if rtol is not None and not rtol > 0:
        raise ValueError(f"rtol: expected a positive number, or None for one pass, got {rtol}")

    def build(problem: Diffusion) -> Callable[[ndarray], Answer]:
        mesh = _OnMesh(problem, coarse)
        kind = _OnFine if coarse is None else _OnCoarse
        return lambda a: kind(mesh, a, rtol)

    return Staged(build)


class _OnMesh:
    """What depends on the meshes: bases, boundary values, and the levels, for a constant coefficient to begin with."""

    def __init__(self, problem: Diffusion, coarse: Basis | Mesh | None):
        self.problem = problem
        self.basis: CellBasis = Basis(problem.mesh, problem.mesh.elem())
        self.coarse = Basis(coarse, coarse.elem()) if isinstance(coarse, Mesh) else coarse
        self.values, fixed = problem.dirichlet_values(self.basis), problem.dirichlet_dofs(self.basis)
        (self.first, self.seconds) = _timed(
            lambda: Multigrid(self.basis, diffusion, dirichlet=fixed, coarse=self.coarse, a=1.0)
        )

    def vector(self, f: Field | ndarray) -> ndarray:
        """The load vector of a number or a callable on the problem's mesh, or the vector that is given."""
        return f if isinstance(f, ndarray) else load(f).assemble(self.basis)


class _OnFine:
    """Solutions on the fine mesh, of one coefficient."""

    def __init__(self, mesh: _OnMesh, a: ndarray, rtol: float | None):
        self.mesh, self.rtol = mesh, rtol
        self.levels, self.seconds = _timed(lambda: mesh.first.update(a=a))

    def __call__(self, f: Field | ndarray) -> FEFunction:
        b, values = self.mesh.vector(f), self.mesh.values
        y, solve = _timed(lambda: self._solved(b, values))
        told = {"multigrid": repr(self.levels)}
        seconds = {"setup": self.mesh.seconds, "assembly": self.seconds, "solve": solve}
        return FEFunction(self.mesh.basis, y, Record(self.mesh.basis.N, seconds, notes=told))

    def _solved(self, b: ndarray, x: ndarray) -> ndarray:
        return self.levels.fmg(b, x) if self.rtol is None else self.levels.solve(b, x, rtol=self.rtol)


class _OnCoarse:
    """Coarse functions, of one coefficient."""

    def __init__(self, mesh: _OnMesh, a: ndarray, rtol: float | None):
        self.mesh, problem = mesh, mesh.problem
        assert mesh.coarse is not None
        self.basis, self.values = mesh.coarse, problem.dirichlet_values(mesh.coarse)
        (self.P, self.prepared, self.lifted), self.seconds = _timed(lambda: self._assembled(a))

    def _assembled(self, a: ndarray) -> tuple[csr_matrix, Callable[[ndarray], ndarray], ndarray]:
        levels = self.mesh.first.update(a=a)
        self.free = np.setdiff1d(np.arange(self.basis.N), self.mesh.problem.dirichlet_dofs(self.basis))
        rows = levels.coarse_matrix[self.free]
        return levels.prolongation, solver_direct().prepare(rows[:, self.free]), rows @ self.values

    def __call__(self, f: Field | ndarray) -> FEFunction:
        y = self.values.copy()
        b = self.P.T @ self.mesh.vector(f)
        y[self.free], solve = _timed(lambda: self.prepared(b[self.free] - self.lifted))
        seconds = {"setup": self.mesh.seconds, "assembly": self.seconds, "solve": solve}
        return FEFunction(self.basis, y, Record(self.basis.N, seconds, notes={"homogenised": True}))


def _timed(work: Callable[[], T]) -> tuple[T, float]:
    start = time.perf_counter()
    return work(), time.perf_counter() - start
