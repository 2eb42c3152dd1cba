"""Fine and coarse meshes for a field: one cell per pixel, and the mesh whose cells hold n x n of them."""

from __future__ import annotations

from collections.abc import Sequence
from math import gcd

import numpy as np
from numpy.typing import NDArray
from skfem import Mesh, MeshHex, MeshLine, MeshQuad

from skfem_ml import checks
from skfem_ml.meshes.lattice import Lattice, mesh_lattice
from skfem_ml.meshes.names import carried
from skfem_ml.meshes.rasters import raster_to_cells

Array = NDArray[np.float64]
TENSOR = {1: MeshLine, 2: MeshQuad, 3: MeshHex}


def pixel_mesh(values: Array, extent: Sequence[float] | None = None) -> tuple[Mesh, Array]:
    """Return a mesh with one cell per pixel and the pixels' values as coefficient, unchanged, ``(nelems,)``.

    ``values`` is ``(ny, nx)`` with row 0 at the bottom (`coefficients.read_raster`). ``extent`` is the size of the
    domain, ``(width, height)``; without it pixels are squares and the longer side has length 1. A single row becomes
    a line mesh. Boundaries are called left, right, bottom and top.

    Raises ValueError for an extent that is not positive or of the wrong length.
    """
    ny, nx = values.shape
    counts = (nx,) if ny == 1 else (nx, ny)
    if extent is None:
        extent = tuple(count / max(counts) for count in counts)
    if len(extent) != len(counts):
        raise ValueError(f"extent: expected {len(counts)} lengths for {nx} x {ny} pixels, got {len(extent)}")
    for length in extent:
        checks.positive(length, "extent")
    lines = [np.linspace(0, length, count + 1) for length, count in zip(extent, counts, strict=True)]
    mesh = named_sides(TENSOR[len(counts)].init_tensor(*lines))
    return mesh, raster_to_cells(values, mesh)


def named_sides(mesh: Mesh) -> Mesh:
    """Return the mesh with the sides of its bounding box as boundaries: left, right, bottom, top, front, back."""
    if mesh.dim() > 1:
        return mesh.with_defaults()
    # scikit-fem 12 has no default names on lines.
    low, high = mesh.p.min(), mesh.p.max()
    return mesh.with_boundaries({"left": lambda x: x[0] == low, "right": lambda x: x[0] == high})


def coarsened(mesh: Mesh, n: int) -> Mesh:
    """Return the coarse mesh whose every cell holds n x ... x n equal cells of a mesh of boxes, sides named.

    The grid lines behind the mesh are thinned to every n-th; a union of such coarse cells (an L-shape) stays one. Names
    of subdomains and boundaries are carried where they fit: no coarse cell or facet lies partly in one (`carried`).

    Raises TypeError for cells that are not boxes of one grid, ValueError for an n that divides not all axes (the
    message lists those that do) or whose coarse cells would be partly empty or cut unequally.
    """
    grid = box_lattice(mesh)
    fits = refinements(grid.shape)
    if n not in fits:
        size = " x ".join(map(str, grid.shape))
        raise ValueError(
            f"refine: expected a number that divides all sides of the {size} cells, got {n}; "
            + (f"these do: {', '.join(map(str, fits))}" if fits else _no_divisor(grid.shape))
        )
    _check_equal(grid, n)
    coarse = TENSOR[mesh.dim()].init_tensor(*(line[::n] for line in grid.lines))
    filled = np.zeros(tuple(count // n for count in grid.shape), dtype=int)
    np.add.at(filled, tuple(grid.index // n), 1)
    if ((filled > 0) & (filled < n ** mesh.dim())).any():
        count = int(((filled > 0) & (filled < n ** mesh.dim())).sum())
        raise ValueError(
            f"refine: {count} coarse cells of {n} cells along an edge would lie partly outside the domain;"
            f" take another of {', '.join(map(str, fits))}"
        )
    if not filled.all():
        place = mesh_lattice(coarse)
        assert place is not None
        coarse = coarse.restrict(np.flatnonzero(filled[tuple(place.index)]))
    return carried(mesh, named_sides(coarse))


def refinements(shape: Sequence[int]) -> list[int]:
    """Return the n > 1 that divide every axis of a grid of cells, in ascending order."""
    common = gcd(*shape)
    return [n for n in range(2, common + 1) if common % n == 0]


def default_refinement(shape: Sequence[int]) -> int:
    """Return fine cells along a coarse edge for a grid of cells: the largest common divisor up to 8 of all axes.

    Smaller where it would leave fewer than four coarse cells along the shortest side, if there is such a divisor.
    Raises ValueError where no common divisor above 1 leaves two coarse cells along every side.
    """
    fits = [n for n in refinements(shape) if n <= min(shape) // 2]
    if not fits:
        raise ValueError(
            f"{' x '.join(map(str, shape))} cells do not split into coarse cells of n x ... x n, two or "
            "more along every side: " + _no_divisor(shape)
        )
    return max([n for n in fits if n <= min(8, min(shape) // 4)], default=fits[0])


def box_lattice(mesh: Mesh) -> Lattice:
    """Return the tensor grid behind a mesh of boxes (`cells.mesh_lattice`); TypeError where there is none."""
    grid = mesh_lattice(mesh)
    if grid is None or len(mesh.t) != 2 ** mesh.dim():
        raise TypeError(
            f"{type(mesh).__name__}: expected a mesh of axis-parallel boxes of one tensor grid (lines, "
            "quads, hexahedra), got other cells; mesh the domain by boxes, or save the field as a raster"
        )
    return grid


def _check_equal(grid: Lattice, n: int) -> None:
    for axis, line in enumerate(grid.lines):
        widths = np.diff(line).reshape(-1, n)
        if (np.ptp(widths, axis=1) > 1e-6 * widths.max(axis=1)).any():
            raise ValueError(
                f"refine: expected {n} equal cells along every coarse edge, got unequal ones on axis "
                f"{axis}; take an n that keeps cells of one size together"
            )


def _no_divisor(shape: Sequence[int]) -> str:
    """Say which sizes nearby would split; nothing is padded or cropped silently."""
    if min(shape) < 4:
        return "too few cells; take a field of at least 4 cells along every side"
    n = min((n for n in range(2, min(8, min(shape) // 2) + 1)), key=lambda n: (sum(k % n for k in shape), -n))
    near = " x ".join(str(k - k % n) for k in shape)
    return f"their sides have no such divisor in common; crop or resample the field, for example to {near} (n = {n})"
