"""The tensor grid behind a mesh of boxes."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from skfem import Mesh

Array = NDArray[np.float64]


# Coordinates closer than this fraction of the narrowest cell are one lattice line: files keep single precision.
SAME_LINE = 1e-4


@dataclass(frozen=True, eq=False)
class Lattice:
    """A tensor grid of which every cell of a box mesh is exactly one cell.

    ``lines`` holds the grid lines of each axis; ``index`` of shape ``(dim, nelems)`` says which interval of each axis
    a cell occupies. The cells need not fill the grid (an L-shape does not).

    >>> from skfem_ml.meshes import mesh_lattice
    >>> from skfem import MeshQuad
    >>> mesh_lattice(MeshQuad().refined(2))
    Lattice(4 x 4 intervals, 16 cells)
    """

    lines: tuple[Array, ...]
    index: NDArray[np.int64]

    def __repr__(self) -> str:
        return f"Lattice({' x '.join(map(str, self.shape))} intervals, {self.index.shape[1]} cells)"

    @property
    def shape(self) -> tuple[int, ...]:
        """Number of intervals along each axis."""
        return tuple(len(line) - 1 for line in self.lines)


def lattice(points: Array, cells: NDArray) -> Lattice | None:
    """Return the tensor grid behind axis-aligned boxes, or None where the cells are not boxes of one such grid.

    ``points`` is ``(dim, nverts)`` and ``cells`` is ``(2**dim, nelems)``, in scikit-fem's layout and any vertex order.
    """
    dim = points.shape[0]
    if cells.shape[0] != 2**dim:
        return None
    vertices = points[:, cells]
    low, high = vertices.min(axis=1), vertices.max(axis=1)
    narrowest = (high - low).min(axis=1)
    if (narrowest <= 0).any():
        return None
    tolerance = SAME_LINE * narrowest
    off = np.minimum(abs(vertices - low[:, None]), abs(vertices - high[:, None])).max(axis=(1, 2))
    if (off > tolerance).any():
        return None
    lines, starts = [], []
    for axis in range(dim):
        line = _merged(np.concatenate([low[axis], high[axis]]), tolerance[axis])
        start = np.searchsorted(line, low[axis] + tolerance[axis], side="right") - 1
        stop = np.searchsorted(line, high[axis] + tolerance[axis], side="right") - 1
        if (stop != start + 1).any():
            return None
        lines.append(line)
        starts.append(start)
    return Lattice(tuple(lines), np.array(starts))


def mesh_lattice(mesh: Mesh) -> Lattice | None:
    """Return `lattice` of a scikit-fem mesh."""
    return lattice(mesh.p, mesh.t)


def _merged(values: Array, tolerance: float) -> Array:
    ordered = np.unique(values)
    group = np.concatenate([[0], np.cumsum(np.diff(ordered) > tolerance)])
    return np.bincount(group, ordered) / np.bincount(group)
