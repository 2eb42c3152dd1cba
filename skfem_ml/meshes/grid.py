"""The cells of a Q1 mesh as boxes of a tensor-product grid: everything is found by position, never by index."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property

import numpy as np
from numpy import ndarray
from skfem import ElementHex1, ElementLineP1, ElementQuad1, Mesh, MeshHex1, MeshLine1, MeshQuad1
from skfem.mapping import MappingAffine

from skfem_ml.meshes.lattice import SAME_LINE, mesh_lattice

SUPPORTED = {1: MeshLine1, 2: MeshQuad1, 3: MeshHex1}
ELEMENTS = {1: ElementLineP1, 2: ElementQuad1, 3: ElementHex1}


def lexicographic(size: int, dim: int) -> ndarray:
    """Multi-indices of a block of ``size**dim`` places, x fastest: ``(dim, size**dim)``."""
    return np.indices((size,) * dim).reshape(dim, -1)[::-1]


def corner_nodes(n: int, dim: int) -> ndarray:
    """Local numbers, among the ``(n + 1)**dim`` nodes of a coarse cell, of the corners of its fine cells: ``(n**dim,
    2**dim)``.
    """
    nodes = np.arange((n + 1) ** dim).reshape((n + 1,) * dim)
    steps = np.indices((2,) * dim).reshape(dim, -1).T
    return np.stack([nodes[tuple(slice(s, s + n) for s in step)].ravel() for step in steps], axis=1)


class BoxMapping(MappingAffine):
    """The affine map of every box, ``F(X) = b + A X``: what the host's isoparametric map is there, at less cost."""

    def _init_Ab(self) -> None:
        corners = type(self.mesh).init_refdom()
        reference = corners.p[:, corners.t[:, 0]]
        origin = int(np.flatnonzero((reference == 0).all(axis=0))[0])
        units = [int(np.flatnonzero((reference == e[:, None]).all(axis=0))[0]) for e in np.eye(self.dim)]
        t = self.mesh.t if self.tind is None else self.mesh.t[:, self.tind]
        self._b = self.mesh.p[:, t[origin]]
        self._A = np.stack([self.mesh.p[:, t[unit]] - self._b for unit in units], axis=1)


class BoxGrid:
    """Cells of a mesh of axis-parallel boxes, as entries of a tensor-product grid with holes.

    Parameters
    ----------
    mesh
        ``MeshLine``, ``MeshQuad`` or ``MeshHex`` whose cells are boxes of one tensor-product grid: a rectangle or any
        union of its cells (an L-shape), cells of unequal size, numbered and oriented in any way.
    what
        The name of the mesh in error messages.
    lines
        Grid lines to use, where they are known: a union of cells may leave some of them empty. Those of the mesh must
        be among them, or they are not used.

    Attributes
    ----------
    lines
        Grid lines of each axis, ``dim`` arrays.
    cells, nodes
        Grid index of every cell (its lower corner), ``(dim, nelems)``, and of every vertex, ``(dim, nvertices)``.
    corners
        Vertices of every cell in lexicographic order (x fastest), ``(nelems, 2**dim)``.
    order
        The local vertex numbers which bring a cell's vertices into that order, ``(nelems, 2**dim)``.

    Raises
    ------
    TypeError
        For triangles, tetrahedra, curved or second-order meshes, and cells that are no boxes of one grid.
    ValueError
        If two vertices or two cells lie at the same place.
    """

    def __init__(self, mesh: Mesh, what: str = "mesh", lines: Sequence[ndarray] | None = None):
        if type(mesh) not in SUPPORTED.values():
            names = ", ".join(cls.__name__ for cls in SUPPORTED.values())
            raise TypeError(
                f"{what}: expected one of {names} with straight axis-parallel cells, got "
                f"{type(mesh).__name__}; convert it"
            )
        self.mesh, self.what, self.dim = mesh, what, mesh.p.shape[0]
        lattice = mesh_lattice(mesh)
        if lattice is None:
            raise TypeError(
                f"{what}: expected cells that are boxes of one tensor-product grid (hanging nodes, slanted or "
                "curved cells are not supported); got cells that are not"
            )
        self.lines, self.shape, self.cells = lattice.lines, lattice.shape, lattice.index
        touched = np.zeros(mesh.p.shape[1], dtype=bool)
        touched[mesh.t] = True
        used = np.flatnonzero(touched)
        self.nodes = np.full(mesh.p.shape, -1)
        self.nodes[:, used] = [_nearest(line, x[used]) for line, x in zip(self.lines, mesh.p, strict=True)]
        if lines is not None:
            self._place_on(tuple(lines))
        offset = self.nodes[:, mesh.t] - self.cells[:, None]  # (dim, 2**dim, nelems)
        self.order = np.argsort((offset * 2 ** np.arange(self.dim)[:, None, None]).sum(axis=0), axis=0).T
        self.corners = np.take_along_axis(mesh.t.T, self.order, 1)

    def _place_on(self, lines: tuple[ndarray, ...]) -> None:
        """Count cells and nodes on more grid lines than the mesh has, if it fits on them."""
        tolerance = [10 * SAME_LINE * np.diff(line).min() for line in self.lines]
        number = [_nearest(line, own) for line, own in zip(lines, self.lines, strict=True)]
        gaps = [np.abs(line[k] - own).max() for line, k, own in zip(lines, number, self.lines, strict=True)]
        if any(gap > most for gap, most in zip(gaps, tolerance, strict=True)):
            return
        upper = np.stack([k[index + 1] for k, index in zip(number, self.cells, strict=True)])
        cells = np.stack([k[index] for k, index in zip(number, self.cells, strict=True)])
        if (upper != cells + 1).any():
            return
        used = self.nodes[0] >= 0
        self.nodes[:, used] = [k[index] for k, index in zip(number, self.nodes[:, used], strict=True)]
        self.lines, self.cells, self.shape = lines, cells, tuple(len(line) - 1 for line in lines)

    @cached_property
    def cell_at(self) -> ndarray:
        """Cell number at every grid index (axes reversed, x last), -1 in holes."""
        return self._table(self.cells, self.shape, np.arange(self.cells.shape[1]), "cells")

    @cached_property
    def node_at(self) -> ndarray:
        """Vertex number at every grid index (axes reversed, x last), -1 in holes."""
        used = np.flatnonzero(self.nodes[0] >= 0)
        return self._table(self.nodes[:, used], tuple(n + 1 for n in self.shape), used, "vertices")

    def require_single(self) -> None:
        """Raise ValueError where several cells, or several vertices, lie at one place."""
        _ = self.cell_at, self.node_at

    def _table(self, index: ndarray, shape: tuple[int, ...], numbers: ndarray, what: str) -> ndarray:
        table = np.full(shape[::-1], -1)
        table[tuple(index[::-1])] = numbers
        if np.count_nonzero(table >= 0) != len(numbers):
            raise ValueError(
                f"{self.what}: expected one of the {what} at a place, got several (duplicated vertices, as "
                "on a slit?); merge them first"
            )
        return table

    def cell_windows(self, origin: ndarray, size: int) -> ndarray:
        """Numbers of the cells in blocks of ``size**dim`` with the given origins ``(dim, k)``: ``(k, size**dim)``, -1
        outside.
        """
        return _windows(self.cell_at, origin, size)

    def node_windows(self, origin: ndarray, size: int) -> ndarray:
        """Numbers of the vertices in blocks of ``size**dim`` with the given origins: ``(k, size**dim)``, -1 outside."""
        return _windows(self.node_at, origin, size)

    def facet_sides(self, facets: ndarray) -> tuple[ndarray, ndarray]:
        """The cell of every given boundary facet and its side there, ``2 * axis + (1 if upper else 0)``."""
        cell = self.mesh.f2t[0, facets]
        offset = self.nodes[:, self.mesh.facets[:, facets]] - self.cells[:, None, cell]  # (dim, 2**(dim-1), k)
        flat = (offset == offset[:, :1]).all(axis=1)  # (dim, k): constant along it
        axis = flat.argmax(axis=0)
        return cell, 2 * axis + offset[axis, 0, np.arange(len(cell))]


def _nearest(line: ndarray, values: ndarray) -> ndarray:
    """The number of the grid line nearest to each value."""
    return np.searchsorted((line[1:] + line[:-1]) / 2, values)


def _windows(table: ndarray, origin: ndarray, size: int) -> ndarray:
    dim = table.ndim
    index = origin[:, :, None] + lexicographic(size, dim)[:, None]  # (dim, k, size**dim)
    shape = np.array(table.shape[::-1])[:, None, None]
    inside = ((index >= 0) & (index < shape)).all(axis=0)
    found = table[tuple(np.clip(index, 0, shape - 1)[::-1])]
    return np.where(inside, found, -1)
