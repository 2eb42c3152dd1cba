"""Where the cells of a mesh are: midpoints, boxes, the lattice behind a box mesh, and the cell that holds a point.

Everything here goes by position, never by cell number, so refined meshes and meshes read from files (whose cells come
in any order) are treated alike. scikit-fem's own ``element_finder`` builds a dense (points x cells) table where a point
lies on an edge, which is out of reach for 10^5 points on a 256 x 256 mesh; box meshes need two binary searches instead.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import product

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree
from skfem import ElementHex1, ElementLineP1, ElementQuad1, ElementTetP1, ElementTriP1, Mesh

from skfem_ml.meshes.lattice import Lattice, lattice

Array = NDArray[np.float64]
FIRST_ORDER = (ElementLineP1, ElementTriP1, ElementQuad1, ElementTetP1, ElementHex1)
# Points this fraction of the extent outside the mesh still count as boundary points.
ON_BOUNDARY = 1e-8


def midpoints(mesh: Mesh) -> Array:
    """Return the mean of each cell's vertices, shape ``(dim, nelems)``."""
    return mesh.p[:, mesh.t].mean(axis=1)


def bounding_box(mesh: Mesh) -> tuple[Array, Array]:
    """Return the lower and upper corner of the mesh, each of shape ``(dim,)``."""
    vertices = mesh.p[:, mesh.t]
    return vertices.min(axis=(1, 2)), vertices.max(axis=(1, 2))


def widths(mesh: Mesh) -> Array:
    """Return the extent of each cell along each axis, shape ``(dim, nelems)``."""
    vertices = mesh.p[:, mesh.t]
    return vertices.max(axis=1) - vertices.min(axis=1)


def relative_midpoints(mesh: Mesh) -> Array:
    """Return the midpoints mapped so that the bounding box becomes the unit box, shape ``(dim, nelems)``."""
    lower, upper = bounding_box(mesh)
    return (midpoints(mesh) - lower[:, None]) / (upper - lower)[:, None]


def grid_index(relative: Array, shape: tuple[int, ...]) -> NDArray[np.int64]:
    """Return the cell of a regular grid on the unit box that holds each point, shape ``(dim, n)``.

    A point on a grid line belongs to the cell above it, also when rounding puts it slightly below.
    """
    counts = np.asarray(shape)[:, None]
    return np.clip(np.floor(relative * counts + 1e-9).astype(np.int64), 0, counts - 1)


def locate(mesh: Mesh, x: Array) -> NDArray[np.int64]:
    """Return the cell that holds each point, -1 outside the mesh; ``x`` is ``(dim, n)``, the result ``(n,)``.

    A point shared by several cells gets one of them. Raises TypeError for curved or second-order meshes.
    """
    return cell_finder(mesh)(x)


def cell_finder(mesh: Mesh) -> Callable[[Array], NDArray[np.int64]]:
    """Return a function that does `locate` for one mesh, with the search structure built once."""
    if mesh.elem not in FIRST_ORDER:
        raise TypeError(
            f"{type(mesh).__name__}: points are located on first-order meshes only "
            "(MeshLine, MeshTri, MeshQuad, MeshTet, MeshHex); use one of these"
        )
    return points_finder(mesh.p, mesh.t)


def points_finder(points: Array, cells: NDArray) -> Callable[[Array], NDArray[np.int64]]:
    """Return the finder of `cell_finder` for bare arrays: ``points`` ``(dim, nverts)``, ``cells`` ``(k, nelems)``."""
    grid = lattice(points, cells)
    if grid is not None:
        return _LatticeFinder(grid)
    if points.shape[0] == 3 and cells.shape[0] != 4:
        raise TypeError("hexahedra are supported as axis-aligned boxes of one grid only; use boxes or tetrahedra")
    return _TreeFinder(points, cells)


class _LatticeFinder:
    def __init__(self, grid: Lattice):
        self.grid = grid
        keys = np.ravel_multi_index(tuple(grid.index), grid.shape)
        self.order = np.argsort(keys)
        self.keys = keys[self.order]

    def __call__(self, x: Array) -> NDArray[np.int64]:
        found = self._lookup(x)
        extent = np.array([line[-1] - line[0] for line in self.grid.lines])
        missing = np.flatnonzero(found < 0)
        # A boundary point can fall into the empty side of its grid line: look a hair to every side.
        for side in product((-1.0, 1.0), repeat=len(extent)):
            if not missing.size:
                break
            nudge = ON_BOUNDARY * extent * np.array(side)
            found[missing] = self._lookup(x[:, missing] + nudge[:, None])
            missing = missing[found[missing] < 0]
        return found

    def _lookup(self, x: Array) -> NDArray[np.int64]:
        shape = self.grid.shape
        lines = self.grid.lines
        index = np.array([np.searchsorted(line, c, side="right") - 1 for line, c in zip(lines, x, strict=True)])
        inside = np.all((index >= 0) & (index < np.array(shape)[:, None]), axis=0) & np.isfinite(x).all(axis=0)
        keys = np.ravel_multi_index(tuple(np.where(inside, index, 0)), shape)
        place = np.minimum(np.searchsorted(self.keys, keys), len(self.keys) - 1)
        inside &= self.keys[place] == keys
        return np.where(inside, self.order[place], -1)


class _TreeFinder:
    """Triangles, tetrahedra and convex quads: nearest midpoints first, ever more of them until the cell is found."""

    def __init__(self, points: Array, cells: NDArray):
        self.vertices = points[:, cells]
        self.scale = (self.vertices.max(axis=1) - self.vertices.min(axis=1)).mean(axis=1)[:, None]
        self.tree = cKDTree((self.vertices.mean(axis=1) / self.scale).T)

    def __call__(self, x: Array) -> NDArray[np.int64]:
        found = np.full(x.shape[1], -1, dtype=np.int64)
        total = self.vertices.shape[2]
        missing = np.flatnonzero(np.isfinite(x).all(axis=0))
        for count in sorted({min(c, total) for c in (8, 64, total)}):
            chunk = max(1, 2**20 // count)
            for start in range(0, len(missing), chunk):
                part = missing[start : start + chunk]
                near = self.tree.query((x[:, part] / self.scale).T, count)[1].reshape(len(part), count)
                inside = self._inside(near, x[:, part])
                found[part] = np.where(inside.any(axis=1), near[np.arange(len(part)), inside.argmax(axis=1)], -1)
            missing = missing[found[missing] < 0]
        return found

    def _inside(self, near: NDArray, x: Array) -> NDArray[np.bool_]:
        corners = self.vertices[:, :, near]
        toward = x[:, None, :, None] - corners
        if self.vertices.shape[0] == 3:
            edges = (corners[:, 1:] - corners[:, :1]).transpose(2, 3, 0, 1)
            local = np.linalg.solve(edges, toward[:, 0].transpose(1, 2, 0)[..., None])[..., 0]
            return (local >= -ON_BOUNDARY).all(axis=-1) & (local.sum(axis=-1) <= 1 + ON_BOUNDARY)
        along = np.roll(corners, -1, axis=1) - corners
        turn = along[0] * toward[1] - along[1] * toward[0]
        slack = ON_BOUNDARY * (along**2).sum(axis=0)
        return (turn >= -slack).all(axis=0) | (turn <= slack).all(axis=0)


def reference_coordinates(mesh: Mesh, cells: NDArray, x: Array) -> Array:
    """Return the reference coordinates of points in given cells, shape ``(dim, n)``.

    ``x`` is ``(dim, n)`` and ``cells`` is ``(n,)``. Simplices, boxes and parallelograms are inverted exactly, other
    quads by scikit-fem's Newton iteration.
    """
    corner = type(mesh).init_refdom()
    reference = corner.p[:, corner.t[:, 0]]
    vertices = mesh.p[:, mesh.t]
    origin = int(np.flatnonzero((reference == 0).all(axis=0))[0])
    units = [int(np.flatnonzero((reference == e[:, None]).all(axis=0))[0]) for e in np.eye(len(reference))]
    start = vertices[:, origin]
    jacobian = np.stack([vertices[:, k] - start for k in units], axis=1)
    predicted = start[:, None] + np.einsum("ijn,jk->ikn", jacobian, reference)
    if abs(predicted - vertices).max() > 1e-9 * abs(jacobian).max():
        return mesh.mapping().invF(x[:, :, None], tind=cells)[:, :, 0]
    inverse = np.linalg.inv(jacobian.transpose(2, 0, 1))
    return np.einsum("nij,jn->in", inverse[cells], x - start[:, cells])
