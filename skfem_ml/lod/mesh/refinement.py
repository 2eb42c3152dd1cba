"""Fine meshes in coarse ones: which cells and nodes lie where, and names that are carried over."""

from __future__ import annotations

from functools import cached_property

import numpy as np
from numpy import ndarray
from skfem import Mesh

from skfem_ml.lod.mesh.grid import SUPPORTED, BoxGrid
from skfem_ml.meshes.lattice import SAME_LINE


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
        self.n = n = max(fine.shape[0] // coarse.shape[0], 1)
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


def refined_mesh(coarse: BoxGrid, n: int) -> Mesh:
    """The mesh with every cell of the coarse one cut into ``n**dim`` equal cells; names of boundaries are carried over.

    The order of its cells is its own; fields belong to it by position.
    """
    mesh = SUPPORTED[coarse.dim].init_tensor(*(subdivide(line, n) for line in coarse.lines))
    if coarse.cells.shape[1] < np.prod(coarse.shape):  # holes: drop the cells in them
        whole = BoxGrid(mesh)
        mesh = mesh.restrict(np.sort(whole.cell_windows(n * coarse.cells, n).ravel()))
    if coarse.mesh.boundaries:
        fine = BoxGrid(mesh)
        mesh = mesh.with_boundaries(_carried_boundaries(coarse, fine, Refinement(coarse, fine)))
    return mesh


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
