"""Windows of a space: some rows of the coarse grid with the rows around them that their patches see.

Patches, boundary and interpolation of the rows inside are those of the whole. A patch of ell layers has nodes whose
averages reach one layer further, so ell + 1 rows lie on either side. Beyond them the domain is cut: there is neither
Gamma_D nor a neighbour, and no patch of the rows inside sees it.
"""

from __future__ import annotations

import copy
from functools import cache, cached_property

import numpy as np
from numpy import ndarray
from skfem import Basis
from skfem.assembly import Dofs

from skfem_ml import checks
from skfem_ml.lod.mesh.discretisation import MADE, ON_COARSE, Discretisation
from skfem_ml.lod.mesh.parameters import check_cells
from skfem_ml.lod.mesh.refinement import Refinement, subdivide
from skfem_ml.meshes.forms import cell_basis
from skfem_ml.meshes.grid import ELEMENTS, SUPPORTED, BoxGrid, lexicographic

OF_WINDOW = ("elements", "rows", "first", "own")


class Window(Discretisation):
    """The part of a space around some rows of coarse elements (layers along the last axis).

    Its fine and coefficient cells are numbered coarse element by element, x fastest in each, so that no table of them
    is stored; meshes of them are built only for what asks for one.

    Parameters
    ----------
    whole
        The space.
    rows
        The rows.
    halo
        How many rows around them belong to the window; by default ell + 1.

    Attributes
    ----------
    rows, first
        The rows, and the first row of the window.
    elements
        The numbers, in the whole, of the coarse elements of the window.
    own
        Which of them, by their number here, lie in the rows.
    """

    def __init__(self, whole: Discretisation, rows: range, halo: int | None = None):
        reach = whole.ell + 1 if halo is None else halo
        first, last = max(rows.start - reach, 0), min(rows.stop + reach, whole.grid.shape[-1])
        at = whole.grid.cell_at[first:last]
        self.elements = np.sort(at[at >= 0])
        self.rows, self.first = rows, first
        self.grid, nodes = _part(whole.grid, self.elements, slice(first, last + 1))
        lines = whole.grid.cells[-1, self.elements]
        self.own = np.flatnonzero((lines >= rows.start) & (lines < rows.stop))
        self.dirichlet = whole.dirichlet.part(self.grid, self.elements, nodes)
        self._basis, self._given = None, None
        self.n, self.m, self.ell, self.interpolation = whole.n, whole.m, whole.ell, whole.interpolation
        self.device, self.workers, self.interiors = whole.device, whole.workers, whole.interiors
        self.cell_size, self.all_dirichlet = whole.cell_size, whole.all_dirichlet

    def with_fine(self, n: int) -> Window:
        """The same with n fine cells along a coarse edge; errors as for `Discretisation.with_fine`."""
        n = checks.whole(n, "refine", 1)
        check_cells(n, self.m)
        other = copy.copy(self)
        kept = ON_COARSE + MADE + OF_WINDOW
        other.__dict__ = {name: self.__dict__[name] for name in kept if name in self.__dict__}
        other.__dict__ |= {"n": n, "_given": None}
        return other

    @cached_property
    def refinement(self) -> ByElement:
        return ByElement(self.grid, self.n, "fine mesh")

    @cached_property
    def coefficient_refinement(self) -> ByElement:
        return self.refinement if self.m == self.n else ByElement(self.grid, self.m, "coefficient mesh")

    @cached_property
    def fine_grid(self) -> BoxGrid:
        return self.refinement.fine

    @cached_property
    def coefficient_grid(self) -> BoxGrid:
        return self.coefficient_refinement.fine

    def fine_basis(self, cells: ndarray) -> Basis:
        """The Q1 basis of some fine cells, on a mesh of these alone."""
        p = self.refinement.corners_at(cells)
        dim, size = self.grid.dim, 2**self.grid.dim
        t = np.arange(len(cells) * size).reshape(len(cells), size)[:, np.argsort(unit_order(dim))].T
        mesh = SUPPORTED[dim](np.ascontiguousarray(p.reshape(dim, -1)), np.ascontiguousarray(t))
        return cell_basis(mesh, np.arange(len(cells)), Dofs(mesh, ELEMENTS[dim]()))

    def fine_order(self, cells: ndarray) -> ndarray:
        """The local vertex numbers which bring the vertices of fine cells into lexicographic order, ``(k, 2**d)``."""
        order = unit_order(self.grid.dim)
        return np.broadcast_to(order, (len(cells), len(order)))


class ByElement(Refinement):
    """Fine cells in coarse ones, numbered coarse cell by coarse cell; their mesh is built when it is first needed."""

    def __init__(self, coarse: BoxGrid, n: int, what: str):
        self.n, self.what, self._coarse = n, what, coarse

    @cached_property
    def cells(self) -> ndarray:  # type: ignore[override]  # made when it is first asked for
        count = self._coarse.cells.shape[1]
        return np.arange(count * self.n**self._coarse.dim).reshape(count, -1)

    @cached_property
    def fine(self) -> BoxGrid:
        """The grid of the fine mesh, its vertices x fastest."""
        dim, lines = self._coarse.dim, self._lines
        index = self._corners(np.arange(self.cells.size))
        shape = tuple(len(line) for line in lines)
        used, t = np.unique(np.ravel_multi_index(tuple(index[::-1]), shape[::-1]), return_inverse=True)
        p = np.stack([line[i] for line, i in zip(lines, np.unravel_index(used, shape[::-1])[::-1], strict=True)])
        t = t.reshape(-1, 2**dim)[:, np.argsort(unit_order(dim))]
        return BoxGrid(SUPPORTED[dim](p, np.ascontiguousarray(t.T)), self.what, lines)

    @cached_property
    def _fine(self) -> BoxGrid:  # type: ignore[override]  # made when it is first asked for
        return self.fine

    @cached_property
    def _lines(self) -> list[ndarray]:
        return [subdivide(line, self.n) for line in self._coarse.lines]

    def _corners(self, cells: ndarray) -> ndarray:
        """Grid index of the corners of fine cells, ``(d, k, 2**d)``."""
        dim = self._coarse.dim
        coarse, within = np.divmod(cells, self.n**dim)
        lower = self.n * self._coarse.cells[:, coarse] + lexicographic(self.n, dim)[:, within]
        return lower[:, :, None] + lexicographic(2, dim)[:, None]

    def corners_at(self, cells: ndarray) -> ndarray:
        """Places of the corners of fine cells, x fastest, ``(d, k, 2**d)``."""
        return np.stack([line[i] for line, i in zip(self._lines, self._corners(cells), strict=True)])


@cache
def unit_order(dim: int) -> ndarray:
    """The local vertex numbers of a box in lexicographic order, for meshes as the host makes them."""
    unit: list[ndarray] = [np.array([0.0, 1.0])] * dim
    return BoxGrid(SUPPORTED[dim].init_tensor(*unit)).order[0]


def _part(grid: BoxGrid, cells: ndarray, last: slice) -> tuple[BoxGrid, ndarray]:
    """The grid of some cells on a part of the lines of the last axis, and the numbers of its nodes in the whole."""
    t = grid.mesh.t[:, cells]
    nodes, inverse = np.unique(t, return_inverse=True)
    mesh = SUPPORTED[grid.dim](np.ascontiguousarray(grid.mesh.p[:, nodes]), inverse.reshape(t.shape))
    return BoxGrid(mesh, grid.what, [*grid.lines[:-1], grid.lines[-1][last]]), nodes
