"""Rasters on the cells of a mesh: by the pixel that holds the midpoint, or by means over the cell."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_matrix
from skfem import Mesh

from skfem_ml import checks
from skfem_ml.meshes.cells import bounding_box, grid_index, relative_midpoints
from skfem_ml.meshes.lattice import mesh_lattice

Array = NDArray[np.float64]


# A mean is the backward transform of the arithmetic mean of the forward one.
TRANSFORMS: dict[str, tuple[Callable[[Array], Array], Callable[[Array], Array]]] = {
    "arithmetic": (np.asarray, np.asarray),
    "harmonic": (np.reciprocal, np.reciprocal),
    "geometric": (np.log, np.exp),
}


RESAMPLING = ("nearest", *TRANSFORMS)
# How far, in widths of the cell, a cell may reach over the edge of its pixel: files keep single precision.
SLACK = 1e-2


def raster_to_cells(values: Array, mesh: Mesh, resample: str | None = None) -> Array:
    """Return a raster stretched over the mesh's bounding box as a coefficient, ``(nelems,)``.

    ``values`` is ``(ny, nx)`` with row 0 at the bottom; a line mesh takes one row. ``resample=None`` takes the pixels
    as they are: every cell lies in one, as where a pixel is a cell or n x n cells. Other meshes need a rule:
    "nearest" (the pixel that holds the cell's midpoint, the upper one on an edge) or the "arithmetic", "harmonic" or
    "geometric" mean over the cell, exact for the piecewise constant raster: ``mean_K v``, ``1 / mean_K(1/v)``,
    ``exp(mean_K log v)``. Raises ValueError where a cell reaches over several pixels and no rule is given, and where
    the means are asked for on a mesh whose cells are not axis-aligned boxes of one grid.
    """
    if resample is not None:
        checks.choice(resample, RESAMPLING, "resample")
    dim = mesh.dim()
    if dim > 2 or (dim == 1 and values.shape[0] != 1):
        raise ValueError(
            f"a raster of shape {values.shape} does not fit a mesh of dimension {dim}; expected a "
            "mesh of dimension 2, or one row on a line mesh"
        )
    by_axis = values.T if dim == 2 else values[0]
    if resample is None:
        _require_one_pixel(mesh, by_axis.shape)
    if resample in (None, "nearest"):
        return by_axis[tuple(grid_index(relative_midpoints(mesh), by_axis.shape))].astype(np.float64)
    grid = mesh_lattice(mesh)
    if grid is None:
        raise ValueError(
            f"resample={resample!r} needs axis-aligned boxes of one grid, got {type(mesh).__name__} with other cells; "
            "use resample='nearest'"
        )
    forward, backward = TRANSFORMS[resample]
    mean = forward(by_axis)
    for axis, line in enumerate(grid.lines):
        weights = _overlaps((line - line[0]) / (line[-1] - line[0]), by_axis.shape[axis])
        mean = np.moveaxis(weights @ np.moveaxis(mean, axis, 0), 0, axis)
    return backward(mean)[tuple(grid.index)]


def _require_one_pixel(mesh: Mesh, shape: tuple[int, ...]) -> None:
    """Raise ValueError unless every cell lies within one pixel of a regular grid on the bounding box."""
    lower, upper = bounding_box(mesh)
    counts = np.array(shape)[:, None]
    vertices = mesh.p[:, mesh.t]
    low, high = (
        (corner - lower[:, None]) / (upper - lower)[:, None] * counts
        for corner in (vertices.min(axis=1), vertices.max(axis=1))
    )
    slack = SLACK * (high - low)
    across = (np.floor(low + slack) < np.ceil(high - slack) - 1).any(axis=0)
    if across.any():
        grid, pixels = mesh_lattice(mesh), " x ".join(map(str, shape))
        cells = f"{mesh.t.shape[1]} cells" if grid is None else f"grid of {' x '.join(map(str, grid.shape))} cells"
        raise ValueError(
            f"resample: expected pixels that are cells or n x n cells, got {pixels} pixels on a {cells}, of which "
            f"{int(across.sum())} reach over several; choose resample='nearest', 'arithmetic', 'harmonic' or "
            "'geometric' (means over the cell), or the pixels' own mesh, meshes.pixel_mesh(values)"
        )


def _overlaps(line: Array, pixels: int) -> csr_matrix:
    """Return the fraction of each interval of ``line`` that lies in each of equal pixels on (0, 1)."""
    cuts = np.unique(np.concatenate([line, np.arange(1, pixels) / pixels]))
    middle = (cuts[1:] + cuts[:-1]) / 2
    interval = np.clip(np.searchsorted(line, middle) - 1, 0, len(line) - 2)
    pixel = np.clip((middle * pixels).astype(int), 0, pixels - 1)
    weights = csr_matrix((np.diff(cuts), (interval, pixel)), shape=(len(line) - 1, pixels))
    # Normalised by their own sum, so that a constant raster stays constant to the last bit or so.
    return csr_matrix(weights.multiply(1 / weights.sum(axis=1)))
