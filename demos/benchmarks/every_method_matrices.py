"""Matrices that serve diffusion, heat and eigenvalues in one rough material: differences, elements, means, LOD."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import scipy.sparse as sp
from scipy.sparse.linalg import spsolve
from skfem import Basis, BilinearForm, Element, ElementQuad1, MeshQuad

from skfem_ml import LOD, FEFunction
from skfem_ml.lod.local import LocalMap
from skfem_ml.meshes import raster_to_cells
from skfem_ml.problems import Eigenproblem, diffusion, load, mass
from skfem_ml.reference import eig_reference
from skfem_ml.solutions import Eigenpairs, Evolution, Record
from skfem_ml.solvers import solver_direct
from skfem_ml.stepping import IMEX, evolve, semidiscrete

FIELD, T_END, PAIRS = 32, 0.05, 4


def square(cells: int, element: Element | None = None) -> Basis:
    """The unit square."""
    line = np.linspace(0, 1, cells + 1)
    return Basis(MeshQuad.init_tensor(line, line), element or ElementQuad1())


def start(x: np.ndarray) -> np.ndarray:
    """The temperature at t = 0."""
    return 16 * x[0] * (1 - x[0]) * x[1] * (1 - x[1])


@dataclass
class Matrices:
    """``K`` and ``M`` for the free unknowns, the load of 1, the start, and the function that unknowns stand for."""

    K: sp.spmatrix
    M: sp.spmatrix
    load: np.ndarray
    start: np.ndarray
    function: Callable[[np.ndarray], FEFunction]

    def diffusion(self) -> FEFunction:
        """By elimination."""
        return self.function(solver_direct()(self.K, self.load))

    def heat(self, steps: int) -> Evolution:
        """By an L-stable method of order 2, K factorised once."""
        ran = evolve(IMEX(semidiscrete(self.M, self.K), T_END / steps, "ars222"), self.start, T_END)
        return Evolution(self.function, ran.t, ran.y.T, record=Record(len(self.start)))

    def eigenvalues(self, method: str = "eigsh") -> Eigenpairs:
        """Of the symmetric part of K: the rest of a Petrov-Galerkin matrix is of the order of the localisation."""
        found = eig_reference(PAIRS, method)(Eigenproblem((self.K + self.K.T) / 2, self.M))
        return Eigenpairs(found.values, None, Record(len(self.start)))


def on(basis: Basis, free: np.ndarray) -> Callable[[np.ndarray], FEFunction]:
    """What free unknowns stand for on a basis, the others zero."""

    def function(y: np.ndarray) -> FEFunction:
        whole = np.zeros(basis.N)
        whole[free] = y
        return FEFunction(basis, whole, Record(len(free)))

    return function


def centred(cells: int) -> tuple[Basis, np.ndarray]:
    """Bilinear elements through the centres of cells and the boundary; the centres' unknowns, row by row in y."""
    line = np.concatenate([[0], (np.arange(cells) + 0.5) / cells, [1]])
    basis = Basis(MeshQuad.init_tensor(line, line), ElementQuad1())
    free = basis.complement_dofs(basis.get_dofs())
    return basis, free[np.lexsort(basis.doflocs[:, free])]


def elements(basis: Basis, K: sp.spmatrix) -> Matrices:
    """Matrices on a basis, with K as it is given."""
    free = basis.complement_dofs(basis.get_dofs())
    M, b = mass.assemble(basis), load(1.0).assemble(basis)
    return Matrices(K[free][:, free], M[free][:, free], b[free], start(basis.doflocs[:, free]), on(basis, free))


def galerkin(a: np.ndarray, basis: Basis) -> Matrices:
    return elements(basis, diffusion.assemble(basis, a=raster_to_cells(a, basis.mesh)[:, None]))


def averaged(a: np.ndarray, cells: int) -> Matrices:
    """Geometric means over coarse cells."""
    basis = square(cells)
    return elements(basis, diffusion.assemble(basis, a=raster_to_cells(a, basis.mesh, "geometric")[:, None]))


def coarse_elements(a: np.ndarray, cells: int, fine: int) -> Matrices:
    """The field as it is under the integral."""
    lod = LOD(square(cells), refine=fine // cells)
    A = diffusion.assemble(lod.fine, a=raster_to_cells(a, lod.fine.mesh)[:, None])
    return elements(lod.coarse, lod.prolongation.T @ A @ lod.prolongation)


def compressed(a: np.ndarray, lod: LOD, form: BilinearForm | LocalMap = diffusion) -> Matrices:
    """The matrix of LOD, or of a surrogate, with plain coarse mass and load."""
    return elements(lod.coarse, lod.assemble(form, a=raster_to_cells(a, lod.coefficient_mesh)))


def multiscale(a: np.ndarray, lod: LOD) -> Matrices:
    """Everything restricted to the multiscale basis (1 - Q) lambda_j."""
    fine, free = lod.fine, lod.coarse.complement_dofs(lod.coarse.get_dofs())
    system = lod.system(diffusion, a=raster_to_cells(a, lod.coefficient_mesh))
    B, M = system.basis()[:, free], mass.assemble(fine)
    S = B.T @ system.fine_matrix() @ B
    near = spsolve((B.T @ M @ B).tocsc(), B.T @ (M @ start(fine.doflocs)))
    return Matrices(S, B.T @ M @ B, B.T @ load(1.0).assemble(fine), near,
                    lambda y: FEFunction(fine, B @ y, Record(len(free))))  # fmt: skip


def five_points(a: np.ndarray, cells: int) -> Matrices:
    """Cell centres, fluxes by harmonic means of neighbours, half a cell to the boundary."""
    a = np.kron(a, np.ones(2 * [cells // FIELD]))
    jump = sp.diags([1.0, -1.0], [0, -1], shape=(cells + 1, cells))
    along, across = sp.kron(sp.identity(cells), jump), sp.kron(jump, sp.identity(cells))

    def fluxes(a: np.ndarray) -> np.ndarray:
        return 2 / (np.pad(1 / a, ((0, 0), (0, 1))) + np.pad(1 / a, ((0, 0), (1, 0))))

    K = along.T @ sp.diags(fluxes(a).ravel()) @ along + across.T @ sp.diags(fluxes(a.T).T.ravel()) @ across
    basis, free = centred(cells)
    h2 = np.full(cells**2, cells**-2.0)
    return Matrices(K.tocsc(), sp.diags(h2).tocsc(), h2, start(basis.doflocs[:, free]), on(basis, free))
