"""Fine meshes in coarse ones: which cells and nodes lie where, and names that are carried over."""

from __future__ import annotations

from functools import cached_property

import numpy as np
from numpy import ndarray
from skfem import Mesh

from skfem_ml.meshes.grid import SUPPORTED, BoxGrid
from skfem_ml.meshes.lattice import SAME_LINE
from skfem_ml.meshes.names import cell_sets


class Refinement:
    """Which fine cells and nodes lie in which coarse cell.

    Parameters
    ----------
    coarse, fine
        The two grids; every coarse cell holds ``n**dim`` equal fine cells.

    Attributes
    ----------
    n
        Fine cells along a coarse edge.
    cells
        Fine cells of every coarse cell, x fastest, ``(nelems, n**dim)``.
    nodes
        Fine nodes of every coarse cell, x fastest, ``(nelems, (n + 1)**dim)``.

    Raises
    ------
    ValueError
        If the fine mesh is not such a refinement.
    """

    def __init__(self, coarse: BoxGrid, fine: BoxGrid):
        self.n = n = cells_along_edge(coarse, fine.mesh)
        matching = fine.dim == coarse.dim and all(
            len(f) == n * (len(c) - 1) + 1 and np.abs(f - subdivide(c, n)).max() < 10 * SAME_LINE * np.diff(f).min()
            for f, c in zip(fine.lines, coarse.lines, strict=True)
        )
        if matching:
            self.cells = fine.cell_windows(n * coarse.cells, n)
            matching = self.cells.size == fine.cells.shape[1] and self.cells.min() >= 0
        if not matching:
            raise ValueError(
                f"{fine.what}: expected n x ... x n equal cells in every cell of the {coarse.what}, got "
                f"{fine.cells.shape[1]} cells on a {fine.shape} grid over a {coarse.shape} one; leave it out "
                "and give refine=n to have it built"
            )
        self._coarse, self._fine = coarse, fine

    @cached_property
    def nodes(self) -> ndarray:
        return self._fine.node_windows(self.n * self._coarse.cells, self.n + 1)

    @cached_property
    def parent(self) -> ndarray:
        """The coarse cell of every fine cell, ``(fine nelems,)``."""
        parent = np.empty(self.cells.size, dtype=int)
        parent[self.cells] = np.arange(len(self.cells))[:, None]
        return parent


def subdivide(line: ndarray, n: int) -> ndarray:
    """A grid line with every interval cut into n equal ones."""
    inner = line[:-1, None] + np.diff(line)[:, None] * (np.arange(n) / n)
    return np.append(inner.ravel(), line[-1])


def cells_along_edge(coarse: BoxGrid, fine: Mesh) -> int:
    """How many fine cells lie along an edge of a coarse one, if the fine mesh is a refinement: by their number."""
    return max(round((fine.t.shape[1] / coarse.cells.shape[1]) ** (1 / coarse.dim)), 1)


def grid_in(coarse: BoxGrid, fine: Mesh, what: str) -> BoxGrid:
    """The grid of a mesh that is to be a refinement of the coarse one, with the lines of its holes."""
    if fine.p.shape[0] != coarse.dim:
        return BoxGrid(fine, what)
    n = cells_along_edge(coarse, fine)
    return BoxGrid(fine, what, [subdivide(line, n) for line in coarse.lines])


def refined_grid(coarse: BoxGrid, n: int, what: str = "fine mesh") -> BoxGrid:
    """The mesh with every cell of the coarse one cut into ``n**dim`` equal cells, as a grid: ``.mesh`` is the mesh.

    Names of boundaries and subdomains are carried over. The order of its cells is its own; fields belong to it by
    position.
    """
    mesh = SUPPORTED[coarse.dim].init_tensor(*(subdivide(line, n) for line in coarse.lines))
    fine = BoxGrid(mesh, what)
    if coarse.cells.shape[1] < np.prod(coarse.shape):  # holes: drop the cells in them
        mesh = mesh.restrict(np.sort(fine.cell_windows(n * coarse.cells, n).ravel()))
        fine = grid_in(coarse, mesh, what)
    refinement = Refinement(coarse, fine) if coarse.mesh.boundaries or coarse.mesh.subdomains else None
    if refinement is not None and coarse.mesh.boundaries:
        mesh = mesh.with_boundaries(_carried_boundaries(coarse, fine, refinement))
    if refinement is not None and coarse.mesh.subdomains:
        cells = {name: np.sort(refinement.cells[named].ravel()) for name, named in cell_sets(coarse.mesh).items()}
        mesh = mesh.with_subdomains(cells)
    fine.mesh = mesh  # the same cells and vertices, with names
    return fine


def _carried_boundaries(coarse: BoxGrid, fine: BoxGrid, refinement: Refinement) -> dict[str, ndarray]:
    outer = coarse.mesh.boundary_facets()
    facets = fine.mesh.boundary_facets()
    cell, side = fine.facet_sides(facets)
    carried = {}
    for name, named in coarse.mesh.boundaries.items():
        marked = np.zeros((coarse.cells.shape[1], 2 * coarse.dim), dtype=bool)
        marked[coarse.facet_sides(np.intersect1d(named, outer))] = True
        carried[name] = facets[marked[refinement.parent[cell], side]]
    return carried
