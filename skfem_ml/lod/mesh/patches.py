"""Element-neighbourhood patches and the local-to-global maps; both depend on the mesh only."""

from __future__ import annotations

import numpy as np
from numpy import ndarray

from skfem_ml.meshes.grid import BoxGrid, lexicographic


class Patches:
    """The patches N^l(T): T and ``ell`` layers of cells sharing a vertex, clipped to the domain.

    A patch is listed in the unclipped block of ``(2 ell + 1)**dim`` cells around T, x fastest.

    Attributes
    ----------
    cells
        Coarse cells of every patch, ``(nelems, (2 ell + 1)**dim)``, -1 where the block leaves the patch.
    nodes
        Coarse nodes of every patch, ``(nelems, (2 ell + 2)**dim)``, -1 outside: the rows pi_T of a local matrix.
    corners
        Corners of every T, ``(nelems, 2**dim)``: the columns phi_T of a local matrix.
    regular
        Whether the patch is its whole block within the domain, ``(nelems,)``. It is not where the block reaches over
        a gap, from one arm of a U to the other.
    """

    def __init__(self, grid: BoxGrid, ell: int):
        self.ell, self.dim = ell, grid.dim
        block = grid.cell_windows(grid.cells - ell, 2 * ell + 1)
        inside = self._connected(block >= 0)
        self.regular = (inside == (block >= 0)).all(axis=1)
        self.cells = np.where(inside, block, -1)
        self.nodes = np.where(self._touched(inside), grid.node_windows(grid.cells - ell, 2 * ell + 2), -1)
        self.corners = grid.corners

    def _connected(self, present: ndarray) -> ndarray:
        """Cells reached from the middle in ell steps over shared vertices."""
        if present.all(axis=1).all():
            return present
        width, dim = 2 * self.ell + 1, self.dim
        shape = (len(present),) + (width,) * dim
        allowed = present.reshape(shape)
        reached = np.zeros_like(allowed)
        reached[(slice(None),) + (self.ell,) * dim] = True
        for _ in range(self.ell):
            padded = np.pad(reached, [(0, 0)] + [(1, 1)] * dim)
            for step in lexicographic(3, dim).T:
                reached = reached | padded[(slice(None),) + tuple(slice(s, s + width) for s in step)]
            reached &= allowed
        return reached.reshape(present.shape)

    def _touched(self, inside: ndarray) -> ndarray:
        """Nodes of the block that belong to a cell of the patch."""
        width, dim = 2 * self.ell + 1, self.dim
        cells = inside.reshape((len(inside),) + (width,) * dim)
        nodes = np.zeros((len(inside),) + (width + 1,) * dim, dtype=bool)
        for step in lexicographic(2, dim).T:
            nodes[(slice(None),) + tuple(slice(s, s + width) for s in step)] |= cells
        return nodes.reshape(len(inside), -1)

    def scatter(self) -> tuple[ndarray, ndarray]:
        """Global row and column of every entry of the local matrices, each ``(nelems, rows, 2**dim)``.

        Rows outside the domain carry zeros; they point at the entry of T's own corner, which is in the pattern anyway.
        """
        own = np.broadcast_to(self.corners[:, None, :], self.nodes.shape + self.corners.shape[1:])
        rows = np.where(self.nodes[:, :, None] >= 0, self.nodes[:, :, None], own)
        return rows, own
