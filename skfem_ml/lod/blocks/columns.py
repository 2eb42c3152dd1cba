"""S = sum over T of S_T by blocks of rows of T, in a fixed pattern of at most (2 ell + 3)^d entries a column.

A column of S belongs to a node j and has entries at the nodes within ell + 1 of it. It gets contributions of the row of
elements below j and of the row above; each row is summed by itself and then the two, so that the sum does not depend on
where a block ends.
"""

from __future__ import annotations

import numpy as np
from numpy import ndarray
from scipy.sparse import csc_matrix, csr_matrix

from skfem_ml.lod.mesh.windows import Window
from skfem_ml.meshes.grid import BoxGrid, lexicographic


def column_sums(window: Window, local: ndarray) -> ndarray:
    """Columns of the sum of local matrices ``(k, (2 ell + 2)**d, 2**d)`` of a window's own elements.

    By rows of nodes, from below the first row of elements to above the last, ``(rows + 1, ..., nx + 1,
    (2 ell + 3)**d)``: entries at i - j, x fastest. The first and the last row want what other blocks add.
    """
    dim, size = window.grid.dim, 2 * window.ell + 2
    at = window.grid.cells[:, window.own].copy()
    at[-1] -= window.rows.start - window.first
    nodes = (len(window.rows) + 1, *(n + 1 for n in window.grid.shape[-2::-1]))
    halves = [np.zeros(nodes + (size + 1,) * dim) for _ in range(2)]
    blocks = local.reshape((len(local),) + (size,) * dim + (2**dim,))
    for number, corner in enumerate(lexicographic(2, dim).T):
        place = tuple((at + corner[:, None])[::-1])
        entries = tuple(slice(1 - c, 1 - c + size) for c in corner[::-1])
        target = halves[corner[-1]]
        target[(*place, *entries)] += blocks[..., number]
    return (halves[1] + halves[0]).reshape(*nodes, -1)


class Columns:
    """S filled block by block, ``csr()`` at the end."""

    def __init__(self, grid: BoxGrid, ell: int, count: int):
        self.grid, self.reach, self.count = grid, ell + 1, count
        self._carried: dict[int, ndarray] = {}
        lengths = np.zeros(count, dtype=np.int64)
        for y in range(len(grid.node_at)):
            nodes, rows = self._pattern(y)
            lengths[nodes] = (rows >= 0).sum(axis=1)
        self._start = np.concatenate([[0], np.cumsum(lengths)])
        self._data = np.zeros(self._start[-1])
        self._rows = np.zeros(self._start[-1], dtype=np.int32)

    def _pattern(self, y: int) -> tuple[ndarray, ndarray]:
        """The nodes of a row, ``(k,)``, and the rows of S at which their columns have entries, -1 where none."""
        at = self.grid.node_at[y]
        index = np.argwhere(at >= 0).T  # (d - 1, k)
        origin = np.stack([*index[::-1], np.full(index.shape[1], y)]) - self.reach
        return np.atleast_1d(at[tuple(index)]), self.grid.node_windows(origin, 2 * self.reach + 1)

    def add(self, first: int, sums: ndarray) -> None:
        """Add `column_sums` of the rows of elements from ``first`` on; blocks come from below."""
        for y, row in enumerate(sums, first):
            total = self._carried.pop(y) + row if y in self._carried else row
            if y == first + len(sums) - 1:
                self._carried[y] = total
            else:
                self._fill(y, total)

    def csr(self) -> csr_matrix:
        """S ``(coarse.N, coarse.N)``, rows test functions."""
        for y in sorted(self._carried):
            self._fill(y, self._carried.pop(y))
        return csc_matrix((self._data, self._rows, self._start), shape=(self.count,) * 2).tocsr()

    def _fill(self, y: int, total: ndarray) -> None:
        nodes, rows = self._pattern(y)
        there = rows >= 0
        place = (self._start[nodes][:, None] + np.cumsum(there, axis=1) - 1)[there]
        self._data[place] = total[self.grid.node_at[y] >= 0].reshape(there.shape)[there]
        self._rows[place] = rows[there]
