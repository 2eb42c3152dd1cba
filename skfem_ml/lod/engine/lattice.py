"""Which fine unknowns of a block of coarse quads are free: by edges and nodes of the coarse grid, as arrays."""

from __future__ import annotations

import numpy as np
from numpy import ndarray

from skfem_ml.meshes.boundary import DirichletPart
from skfem_ml.meshes.grid import BoxGrid


class Lattice:
    """A two-dimensional coarse grid as arrays ``[y, x]``: elements, and which edges and nodes are in the domain off
    Gamma_D.

    Attributes
    ----------
    element
        Number of the element at every place, -1 in holes, ``(ny, nx)``.
    """

    def __init__(self, grid: BoxGrid, dirichlet: DirichletPart):
        self.element = grid.cell_at
        nx, ny = self._columns, self._rows = grid.shape[0], grid.shape[1]
        alive = np.pad(self.element >= 0, 1)
        sides = np.zeros((ny + 2, nx + 2, 4), dtype=bool)  # west, east, south, north on Gamma_D
        sides[1:-1, 1:-1] = np.where(alive[1:-1, 1:-1, None], dirichlet.sides[self.element], False)
        fixed_upright = sides[1:-1, :-1, 1] | sides[1:-1, 1:, 0]
        fixed_level = sides[:-1, 1:-1, 3] | sides[1:, 1:-1, 2]
        upright = (alive[1:-1, :-1] | alive[1:-1, 1:]) & ~fixed_upright  # (ny, nx + 1) edges between columns
        level = (alive[:-1, 1:-1] | alive[1:, 1:-1]) & ~fixed_level  # (ny + 1, nx) edges between rows
        node = (grid.node_at >= 0) & ~dirichlet.nodes[grid.node_at]
        self._margin = margin = 2 * max(nx, ny) + 4  # blocks may reach that far outside
        self._alive = np.pad(alive[1:-1, 1:-1], margin)
        self._upright, self._level, self._node = (np.pad(part, margin) for part in (upright, level, node))

    def neighbourhood(self, elements: ndarray, ell: int) -> dict[int, ndarray]:
        """For every row that patches of the elements meet: which of its columns they need, ``(nx,)``."""
        needed = np.zeros(self.element.shape, dtype=bool)
        needed[np.isin(self.element, elements)] = True
        padded = np.pad(needed, ell)
        ny, nx = self._rows, self._columns
        grown = np.logical_or.reduce(
            [padded[dy : dy + ny, dx : dx + nx] for dy in range(2 * ell + 1) for dx in range(2 * ell + 1)]
        )
        return {y: grown[y] for y in range(ny) if grown[y].any()}

    def box(self, y0: int, x0: int, x1: int, height: int) -> Box:
        """The block of rows y0, ..., y0 + height - 1 and columns x0, ..., x1, which may leave the grid."""
        y, x, width = y0 + self._margin, x0 + self._margin, x1 - x0 + 1
        return Box(
            (y0, x0),
            self._alive[y - 1 : y + height + 1, x - 1 : x + width + 1],
            self._upright[y : y + height, x : x + width + 1],
            self._level[y : y + height + 1, x : x + width],
            self._node[y : y + height + 1, x : x + width + 1],
        )


class Box:
    """A block of rows of the coarse grid, cut into strips of one column each.

    A fine unknown on the rim of a patch is free only if no element of the domain outside the patch holds it. Above and
    below, that is settled here for all patches of the block; to the left and right it depends on the patch.
    """

    def __init__(self, origin: tuple[int, int], alive: ndarray, upright: ndarray, level: ndarray, node: ndarray):
        self.origin, self.height = origin, level.shape[0] - 1
        self.alive, self.upright, self.level, self.node = alive, upright, level.copy(), node.copy()
        self.level_inside = level  # rim not yet settled
        for row, beyond in ((0, alive[0]), (-1, alive[-1])):
            self.level[row] &= ~beyond[1:-1]
            self.node[row] &= ~(beyond[:-1] | beyond[1:])

    def line(self, rim: str = "") -> tuple[ndarray, ndarray]:
        """Free edges ``(height, lines)`` and nodes ``(height + 1, lines)`` on upright lines, as ``"left"`` or
        ``"right"`` rim.
        """
        upright, node = self.upright, self.node
        if rim:
            beyond = self.alive[:, :-1] if rim == "left" else self.alive[:, 1:]
            upright = upright & ~beyond[1:-1]
            node = node & ~(beyond[:-1] | beyond[1:])
        return upright, node

    def line_unknowns(self, n: int, rim: str = "") -> ndarray:
        """Which of the ``height * n + 1`` fine nodes of every upright line are free, ``(lines, height * n + 1)``."""
        upright, node = self.line(rim)
        out = np.empty((node.shape[1], self.height * n + 1), dtype=bool)
        out[:, :-1] = np.repeat(upright.T, n, axis=1)
        out[:, ::n] = node.T
        return out

    def rim_is_free(self, starts: ndarray) -> bool:
        """Whether some patch, of ``height`` strips from one of ``starts`` on, has free unknowns on its rim."""
        first, last = starts.min(), starts.max() + self.height
        ends = np.stack([self.level[0], self.level[-1]])[:, first:last].any()
        nodes = np.stack([self.node[0], self.node[-1]])[:, first + 1 : last].any()
        left, right = self.line("left"), self.line("right")
        return bool(
            ends
            or nodes
            or any(part[:, starts].any() for part in left)
            or any(part[:, starts + self.height].any() for part in right)
        )
