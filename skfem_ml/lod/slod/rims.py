"""The outlines of patches: which of their unknowns are free, which lie inside the domain, and what a rim weighs."""

from __future__ import annotations

import numpy as np
from numpy import ndarray
from numpy.lib.stride_tricks import sliding_window_view

from skfem_ml.lod.engine.lattice import Lattice
from skfem_ml.lod.mesh.discretisation import Discretisation
from skfem_ml.lod.mesh.forms import CHUNK, FineForm
from skfem_ml.meshes.cells import widths


class Rims:
    """Outlines of the blocks of p x p elements, p = 2 ell + 1, around the elements of the coarse grid.

    An unknown of an outline is *fixed* where it lies on Gamma_D or outside the domain; *natural* where every element of
    the domain that holds it is in the block (a natural boundary runs there, and it is solved for); else it is on the
    *rim*, where the basis function is zero and leaves a residual.
    """

    def __init__(self, space: Discretisation, lattice: Lattice, fine_form: FineForm):
        self.space, self.lattice, self.size = space, lattice, 2 * space.ell + 1
        self._stiffness = mean_stiffness(space, fine_form)

    def masks(self, y: int) -> tuple[ndarray, ndarray]:
        """Which outline unknowns are on the rim, and which are natural, ``(columns of the grid, outline)`` each.

        For the blocks whose middle elements are in row ``y`` of the grid.
        """
        ell, p, nx = self.space.ell, self.size, self.space.grid.shape[0]
        box = self.lattice.box(y - ell, -ell, nx - 1 + ell, p)
        larger = self.lattice.box(y - ell - 1, -ell, nx - 1 + ell, p + 2)
        every = self._around(
            (larger.upright[1:-1],) * 2,
            (larger.node[1:-1],) * 2,
            larger.level[1:-1][[0, -1]],
            larger.node[1:-1][[0, -1]],
        )
        left, right = box.line("left"), box.line("right")
        natural = self._around((left[0], right[0]), (left[1], right[1]), box.level[[0, -1]], box.node[[0, -1]])
        return every & ~natural, natural

    def _around(
        self, upright: tuple[ndarray, ndarray], nodes: tuple[ndarray, ndarray], level: ndarray, ends: ndarray
    ) -> ndarray:
        """Masks of edges and nodes of a row of the grid as masks of the outlines of its blocks, ``(nx, outline)``."""
        n, p, nx = self.space.n, self.size, self.space.grid.shape[0]
        west, east = (along(edges.T, points.T, n) for edges, points in zip(upright, nodes, strict=True))
        flat = along(level, ends, n)
        south, north = (sliding_window_view(line, p * n + 1)[::n][:nx, 1:-1] for line in flat)
        return np.concatenate([west[:nx], east[p : p + nx], south, north], axis=1)

    def robin(self, y: int) -> ndarray:
        """The Robin term of the unknowns on the rim: length times mean stiffness over diameter, ``(nx, outline)``.

        Without it the Schur complement on the rim does not see constants. Lengths are lumped to the fine nodes.
        """
        ell, p, n = self.space.ell, self.size, self.space.n
        (nx, ny), (xs, ys) = self.space.grid.shape, self.space.grid.lines
        width, height = np.pad(np.diff(xs), ell), np.pad(np.diff(ys), ell)[y : y + p]
        widths_ = sliding_window_view(width, p)
        upright, level = lumped(height[None], n), lumped(widths_, n)
        out = np.concatenate([np.repeat(upright, nx, 0)] * 2 + [level[:, 1:-1]] * 2, axis=1)
        side = p * n + 1
        for at in (0, side - 1, side, 2 * side - 1):  # corners: half a cell of either line
            out[:, at] += level[:, 0] if at < side else level[:, -1]
        middles = np.arange(nx)
        extent = xs[np.minimum(middles + ell + 1, nx)] - xs[np.maximum(middles - ell, 0)]
        tall = ys[min(y + ell + 1, ny)] - ys[max(y - ell, 0)]
        return out * (self._block_means(y) / np.maximum(extent, tall))[:, None]

    def _block_means(self, y: int) -> ndarray:
        """Mean stiffness of the blocks, weighted by area, ``(nx,)``."""
        ell, p = self.space.ell, self.size
        elements = self.space.grid.cell_at
        area = np.where(elements >= 0, widths(self.space.grid.mesh).prod(axis=0)[elements], 0.0)
        total, weight = (
            sliding_window_view(np.pad(part, ell)[y : y + p].sum(axis=0), p).sum(axis=1)
            for part in (area * self._stiffness[elements], area)
        )
        return total / np.maximum(weight, np.finfo(float).tiny)


def along(edges: ndarray, nodes: ndarray, n: int) -> ndarray:
    """Masks of coarse edges ``(lines, k)`` and nodes ``(lines, k + 1)`` as one of fine nodes, ``(lines, k n + 1)``."""
    out = np.empty((len(nodes), edges.shape[1] * n + 1), dtype=bool)
    out[:, :-1] = np.repeat(edges, n, axis=1)
    out[:, ::n] = nodes
    return out


def lumped(edges: ndarray, n: int) -> ndarray:
    """Lengths of coarse edges ``(lines, k)`` lumped to the fine nodes along them, ``(lines, k n + 1)``."""
    fine = np.repeat(edges / (2 * n), n, axis=1)
    return np.pad(fine, [(0, 0), (0, 1)]) + np.pad(fine, [(0, 0), (1, 0)])


def mean_stiffness(space: Discretisation, fine_form: FineForm) -> ndarray:
    """Mean over coarse elements of tr K_t / tr L_t, L_t the Laplacian on the fine cell t: a itself for a scalar a.

    ``(nelems,)``.
    """
    cells = space.refinement.cells.ravel()
    sizes = widths(space.fine_mesh)[:, cells]
    laplace = 4 / 3 * (sizes[0] / sizes[1] + sizes[1] / sizes[0])
    unit = fine_form.unit_matrix
    if unit is not None:
        a = fine_form.coefficients.get("a", 1.0)
        values = a[space.coefficient_cell[cells]] if isinstance(a, ndarray) else np.full(len(cells), float(a))
        traces = values * np.trace(unit)
    else:
        traces = np.empty(len(cells))
        for start in range(0, len(cells), CHUNK):
            part = slice(start, start + CHUNK)
            traces[part] = np.trace(fine_form.matrices(cells[part]), axis1=1, axis2=2)
    return (traces / laplace).reshape(space.refinement.cells.shape).mean(axis=1)
