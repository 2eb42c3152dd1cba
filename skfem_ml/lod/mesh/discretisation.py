"""The coarse, the fine and the coefficient mesh of an LOD, and the maps between them, built when first needed."""

from __future__ import annotations

import copy
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
from numpy import ndarray
from numpy.typing import ArrayLike
from scipy.sparse import coo_matrix, csr_matrix
from skfem import Basis, Mesh
from skfem.assembly import Dofs

from skfem_ml import checks
from skfem_ml.lod.mesh.interpolation import Interpolation, find_interpolation, hat_values, tensor
from skfem_ml.lod.mesh.parameters import check_cells, checked_basis, clipped
from skfem_ml.lod.mesh.patches import Patches
from skfem_ml.lod.mesh.refinement import Refinement, grid_in, refined_grid
from skfem_ml.meshes.boundary import Dirichlet, DirichletPart
from skfem_ml.meshes.cells import widths
from skfem_ml.meshes.forms import cell_basis
from skfem_ml.meshes.grid import ELEMENTS, BoxGrid, corner_nodes

if TYPE_CHECKING:
    from skfem_ml.lod.engine.protocol import Interiors

ON_COARSE = ("grid", "_basis", "m", "ell", "dirichlet", "interpolation", "device", "workers")
MADE = ("coarse", "patches", "cell_size", "all_dirichlet")  # when they are first needed; they depend on the same


class Discretisation:
    """What the engines work on: meshes, patches, boundary, interpolation, device. Parameters as for ``LOD``."""

    interiors: Interiors | None = None  # in the place of the interiors of elements on the fine mesh

    def __init__(
        self,
        coarse: Basis | Mesh,
        refine: int | None,
        cells: int | None,
        ell: int,
        *,
        fine: Mesh | Basis | None,
        dirichlet: Dirichlet,
        interpolation: str | Interpolation,
        device: str,
        workers: int,
    ):
        self.grid = BoxGrid(coarse if isinstance(coarse, Mesh) else coarse.mesh, "coarse mesh")
        self.grid.require_single()
        self._basis = None if isinstance(coarse, Mesh) else checked_basis(coarse, self.grid.dim)
        if (refine is None) == (fine is None):
            raise ValueError(
                "refine, fine: expected one of them (refine=n to have the fine mesh built, or fine=mesh), got "
                + ("neither" if fine is None else "both")
            )
        self._given = fine if fine is None or isinstance(fine, Mesh) else fine.mesh
        if fine is not None:
            self.n = self.refinement.n
        else:
            self.n = checks.whole(refine, "refine", 1)
        self.m = self.n if cells is None else checks.whole(cells, "cells", 1)
        check_cells(self.n, self.m)
        self.ell = clipped(checks.whole(ell, "ell", 1), self.grid)
        self.dirichlet = DirichletPart(self.grid, self._basis or self._dofs, dirichlet)
        self.interpolation = find_interpolation(interpolation)
        checks.device(device)
        self.device, self.workers = device, checks.whole(workers, "workers", 1)

    def with_fine(self, n: int) -> Discretisation:
        """The same with n fine cells along a coarse edge; it shares the coefficient mesh, with its order of cells.

        Raises ValueError where n is no multiple of the coefficient cells along a coarse edge.
        """
        n = checks.whole(n, "refine", 1)
        check_cells(n, self.m)
        other = copy.copy(self)
        other.__dict__ = {name: self.__dict__[name] for name in ON_COARSE + MADE if name in self.__dict__}
        shared = {"coefficient_grid": self.coefficient_grid, "coefficient_refinement": self.coefficient_refinement}
        if n == self.m:
            shared = {"fine_grid": self.coefficient_grid, "refinement": self.coefficient_refinement}
        other.__dict__ |= {"n": n, "_given": None, **shared}
        return other

    def fine_basis(self, cells: ndarray) -> Basis:
        """The Q1 basis of the fine mesh on some of its cells."""
        return cell_basis(self.fine_grid.mesh, cells, self.fine_dofs)

    def fine_order(self, cells: ndarray) -> ndarray:
        """The local vertex numbers which bring the vertices of fine cells into lexicographic order, ``(k, 2**d)``."""
        return self.fine_grid.order[cells]

    @cached_property
    def coarse(self) -> Basis:
        """The coarse Q1 basis: the one given, or one that is made when it is first needed."""
        return self._basis or Basis(self.grid.mesh, ELEMENTS[self.grid.dim]())

    @property
    def _dofs(self) -> Dofs:
        return Dofs(self.grid.mesh, ELEMENTS[self.grid.dim]())

    @cached_property
    def patches(self) -> Patches:
        return Patches(self.grid, self.ell)

    @cached_property
    def cell_size(self) -> ndarray | None:
        """The extents of a coarse cell ``(d,)``, where all cells are congruent; else None."""
        size = widths(self.grid.mesh)
        return None if np.ptp(size, axis=1).max() > 1e-10 * size.min() else size[:, 0]

    @cached_property
    def all_dirichlet(self) -> bool:
        """Whether Gamma_D is the whole boundary."""
        return bool(self.dirichlet.sides.sum() == len(self.grid.mesh.boundary_facets()))

    @cached_property
    def coarse_count(self) -> int:
        """How many degrees of freedom the coarse basis has, ``coarse.N``: one a vertex."""
        return int(self.grid.mesh.t.max()) + 1

    @cached_property
    def fine_grid(self) -> BoxGrid:
        if self._given is not None:
            return grid_in(self.grid, self._given, "fine mesh")
        return refined_grid(self.grid, self.n)

    @property
    def fine_mesh(self) -> Mesh:
        return self.fine_grid.mesh

    @cached_property
    def fine_dofs(self) -> Dofs:
        return Dofs(self.fine_mesh, ELEMENTS[self.grid.dim]())

    @cached_property
    def refinement(self) -> Refinement:
        return Refinement(self.grid, self.fine_grid)

    @cached_property
    def coefficient_grid(self) -> BoxGrid:
        return self.fine_grid if self.m == self.n else refined_grid(self.grid, self.m, "coefficient mesh")

    @property
    def coefficient_mesh(self) -> Mesh:
        return self.coefficient_grid.mesh

    @cached_property
    def coefficient_refinement(self) -> Refinement:
        return self.refinement if self.m == self.n else Refinement(self.grid, self.coefficient_grid)

    @cached_property
    def coefficient_cell(self) -> ndarray:
        """The coefficient cell of every fine cell, ``(fine nelems,)``."""
        if self.m == self.n:
            return np.arange(self.refinement.cells.size)
        index = np.indices((self.n,) * self.grid.dim) // (self.n // self.m)
        within = np.ravel_multi_index(tuple(index), (self.m,) * self.grid.dim).ravel()
        out = np.empty(self.refinement.cells.size, dtype=int)
        out[self.refinement.cells] = self.coefficient_refinement.cells[:, within]
        return out

    @cached_property
    def fine_corners_in_cell(self) -> ndarray:
        return corner_nodes(self.n, self.grid.dim)

    @cached_property
    def fine_node_cells(self) -> ndarray:
        """How many coarse cells hold a fine node."""
        return np.bincount(self.refinement.nodes.ravel(), minlength=self.fine_mesh.p.shape[1])

    @cached_property
    def fine_dirichlet(self) -> ndarray:
        """Which fine nodes lie on Gamma_D."""
        out = np.zeros(self.fine_mesh.p.shape[1], dtype=bool)
        out[self.refinement.nodes[self.dirichlet.fine_nodes(self.n)]] = True
        return out

    @cached_property
    def fixed(self) -> ndarray:
        """Which coarse degrees of freedom lie on Gamma_D, ``(coarse.N,)``."""
        return self.dirichlet.nodes[: self.coarse_count].copy()  # vertices are numbered alike

    @cached_property
    def floating(self) -> ndarray:
        """Which patches have neither Dirichlet boundary nor a neighbour, ``(nelems,)``: their stiffness may be
        singular.
        """
        around = np.bincount(self.grid.corners.ravel(), minlength=self.grid.mesh.p.shape[1])
        nodes, cells = self.patches.nodes, self.patches.cells
        closed = np.where(nodes >= 0, around[nodes], 0).sum(axis=1) == (cells >= 0).sum(axis=1) * 2**self.grid.dim
        return closed & ~self.dirichlet_of_patches().any(axis=1)

    @cached_property
    def averages(self) -> ndarray:
        """Weights of the quasi-interpolation's average, ``(nelems, 2**d)``: the share of T at each of its corners."""
        share = (
            np.ones(len(self.grid.corners))
            if self.interpolation.average == "count"
            else widths(self.grid.mesh).prod(axis=0)
        )
        share = np.broadcast_to(share[:, None], self.grid.corners.shape)
        total = np.bincount(self.grid.corners.ravel(), share.ravel(), minlength=self.grid.mesh.p.shape[1])
        return share / total[self.grid.corners]

    @cached_property
    def prolongation(self) -> csr_matrix:
        """Nodal prolongation P of V_h into the fine space, ``(fine.N, coarse.N)``."""
        hats = tensor(hat_values(self.n), self.grid.dim)
        nodes, first = np.unique(self.refinement.nodes, return_index=True)
        cell, local = np.unravel_index(first, self.refinement.nodes.shape)
        values, columns = hats[:, local].T, self.grid.corners[cell]
        shape = (self.fine_mesh.p.shape[1], self.coarse.N)
        matrix = coo_matrix((values.ravel(), (np.repeat(nodes, values.shape[1]), columns.ravel())), shape=shape).tocsr()
        matrix.eliminate_zeros()
        return matrix

    @cached_property
    def quasi_interpolation(self) -> csr_matrix:
        """I_h as a matrix ``(coarse.N, fine.N)``; rows of nodes on Gamma_D, which constrain nothing, are kept."""
        local = self.averages[:, :, None] * self.interpolation.local(self.n, self.grid.dim)
        rows, columns = np.broadcast_arrays(self.grid.corners[:, :, None], self.refinement.nodes[:, None, :])
        shape = (self.coarse.N, self.fine_mesh.p.shape[1])
        return coo_matrix((local.ravel(), (rows.ravel(), columns.ravel())), shape=shape).tocsr()

    @property
    def all_elements(self) -> ndarray:
        """The numbers of all coarse elements."""
        return np.arange(len(self.grid.corners))

    def chosen(self, elements: ArrayLike) -> ndarray:
        """Numbers of coarse elements, from numbers or a mask. Raises ValueError for what is none."""
        chosen, count = np.asarray(elements), len(self.grid.corners)
        if chosen.dtype == bool and chosen.shape == (count,):
            return np.flatnonzero(chosen)
        good = chosen.ndim == 1 and chosen.dtype.kind in "iu"
        if chosen.size and not (good and chosen.min() >= 0 and chosen.max() < count):
            raise ValueError(
                f"elements: expected numbers of coarse elements, 0 to {count - 1}, got {chosen.ravel()[:5]}"
            )
        return chosen.astype(int).ravel()

    def on_coarse(self, name: str, values: ArrayLike) -> ndarray:
        """Values of the coarse degrees of freedom as floats ``(coarse.N,)``. Raises ValueError for other shapes."""
        values = np.asarray(values)
        if values.shape != (self.coarse.N,) or values.dtype.kind not in "fiu":
            raise ValueError(
                f"{name}: expected {self.coarse.N} real values, one per coarse degree of freedom, got shape "
                f"{values.shape} of {values.dtype}"
            )
        return values.astype(float)

    def on_coefficient_cells(self, name: str, values: ndarray) -> ndarray:
        """Values by fine cell ``(..., fine nelems)`` on the coefficient mesh. ValueError where they vary in a cell."""
        if self.m == self.n:
            return values
        out = np.empty((*values.shape[:-1], self.coefficient_refinement.cells.size))
        out[..., self.coefficient_cell] = values
        varies = out[..., self.coefficient_cell] != values
        if varies.any():
            raise ValueError(
                f"{name}: expected a coefficient that is constant on the {self.m}^{self.grid.dim} coefficient cells of "
                f"a coarse one, got one that varies within {len(np.unique(self.coefficient_cell[varies]))} of them; "
                f"leave out cells={self.m}"
            )
        return out

    def in_rows(self, elements: ndarray) -> ndarray:
        """Elements ordered by their place, x fastest, so that neighbours are treated together."""
        return elements[np.lexsort(self.grid.cells[:, elements])]

    def gathered(self, a: ndarray) -> ndarray:
        """Values by coefficient cell on every patch ``(nelems, ((2 ell + 1) m)**d)``, x fastest, zero outside."""
        cells, m, dim, width = self.patches.cells, self.m, self.grid.dim, 2 * self.ell + 1
        values = np.where(cells[:, :, None] >= 0, a[self.coefficient_refinement.cells[cells]], 0)
        blocks = values.reshape((len(cells),) + (width,) * dim + (m,) * dim)
        pairs = zip(range(1, dim + 1), range(dim + 1, 2 * dim + 1), strict=True)
        order = [0] + [axis for pair in pairs for axis in pair]
        return blocks.transpose(order).reshape(len(cells), -1)

    def dirichlet_of_patches(self) -> ndarray:
        """Which nodes of each patch lie on Gamma_D, ``(nelems, (2 ell + 2)**d)``."""
        nodes = self.patches.nodes
        return (nodes >= 0) & self.dirichlet.nodes[nodes]
