"""Coefficients that are read by windows of rows: rasters of any kind of array, functions of midpoints, numbers."""

from __future__ import annotations

import mmap
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, TypeAlias

import numpy as np
from numpy import ndarray

from skfem_ml.learning.storage import whole
from skfem_ml.lod.mesh.discretisation import Discretisation
from skfem_ml.lod.mesh.windows import ByElement, Window
from skfem_ml.meshes.grid import lexicographic

CHUNK = 2**17  # cells at whose midpoints a function is evaluated at a time


class Rows(Protocol):
    """What gives rows by slices."""

    def __getitem__(self, rows: slice, /) -> ndarray:
        """Some rows."""


class Raster(Rows, Protocol):
    """What has a shape and gives rows by slices: an array, a ``numpy.memmap``, a zarr array."""

    @property
    def shape(self) -> tuple[int, ...]:
        """Cells along y and x, the last axis being x."""


Values: TypeAlias = float | Raster | Callable[[ndarray], ndarray]
"""A number, a raster ``(ny, nx)`` of coefficient cells whose row 0 is the lowest, or a function of midpoints."""
Windowed: TypeAlias = Values | str | Path
"""`Values`, the path of a raster in a ``.npy`` file, or values in the order of the coefficient mesh ``(nelems,)``."""
Carried: TypeAlias = float | Rows | Callable[[ndarray], ndarray]
"""What a task holds of `Values`: see `carried`."""


@dataclass(frozen=True)
class FileRows:
    """The rows of a raster in a file, which is opened where they are read."""

    path: str
    dtype: str
    offset: int
    shape: tuple[int, ...]

    def __getitem__(self, rows: slice, /) -> ndarray:
        return np.array(np.memmap(self.path, self.dtype, "r", self.offset, self.shape)[rows])


@dataclass(frozen=True)
class SomeRows:
    """Rows of a raster in memory, from ``first`` on."""

    first: int
    rows: ndarray

    def __getitem__(self, rows: slice, /) -> ndarray:
        return self.rows[rows.start - self.first : rows.stop - self.first]


def opened(name: str, value: Windowed, space: Discretisation) -> Values:
    """A coefficient ready to be read, a file as a memory map.

    Raises ValueError for a raster of another shape than the coefficient cells of the grid and for paths of other files.
    """
    raster: Values = value if not isinstance(value, str | Path) else _file(name, Path(value))
    if callable(raster) or isinstance(raster, float | int):
        return raster
    wanted = tuple(space.m * count for count in space.grid.shape[::-1])
    count = len(space.grid.corners) * space.m**space.grid.dim
    if tuple(raster.shape) == (count,) and space.grid.dim > 1:
        return _by_place(space, np.asarray(raster), wanted)
    if tuple(raster.shape) != wanted:
        raise ValueError(
            f"{name}: expected a raster {wanted}, one value a coefficient cell, row 0 at the bottom (smallest y), or "
            f"({count},) in the order of lod.coefficient_mesh, got shape {tuple(raster.shape)}"
        )
    return raster


def _by_place(space: Discretisation, values: ndarray, shape: tuple[int, ...]) -> ndarray:
    """The raster of values in the order of the coefficient mesh."""
    index = space.m * space.grid.cells[:, :, None] + lexicographic(space.m, space.grid.dim)[:, None]
    raster = np.zeros(shape, dtype=values.dtype)
    raster[tuple(index[::-1])] = values[space.coefficient_refinement.cells]
    return raster


def _file(name: str, path: Path) -> np.memmap:
    if path.suffix != ".npy":
        raise ValueError(f"{name}: expected the path of a .npy file, got {path}; read others by numpy.memmap")
    return np.load(path, mmap_mode="r", allow_pickle=False)


def saved(value: Values, path: Path) -> Values:
    """An array in memory as one in a file at ``path``, which is written whole or not at all; others as they are."""
    if not isinstance(value, ndarray) or _mapped(value):
        return value
    with whole(path) as file:
        np.save(file, value)
    return np.load(path, mmap_mode="r")


def _mapped(value: ndarray) -> bool:
    """Whether an array is a whole file, not a view of one: only then its offset is that of the file."""
    return isinstance(value, np.memmap) and isinstance(value.base, mmap.mmap) and value.flags.c_contiguous


def carried(value: Values, rows: range) -> Carried:
    """What a task carries of a coefficient to read some rows of it: of a memory map its file, of an array the rows."""
    if isinstance(value, np.memmap) and _mapped(value):
        return FileRows(str(Path(str(value.filename)).resolve()), value.dtype.str, value.offset, value.shape)
    return SomeRows(rows.start, value[rows.start : rows.stop]) if isinstance(value, ndarray) else value


def _at_midpoints(refinement: ByElement, function: Callable[[ndarray], ndarray]) -> ndarray:
    """Values in all cells, of some of them at a time."""
    cells = refinement.cells.ravel()
    out = np.empty(len(cells))
    for start in range(0, len(cells), CHUNK):
        part = cells[start : start + CHUNK]
        out[start : start + CHUNK] = function(refinement.corners_at(part).mean(axis=2))
    return out


def values_in(window: Window, value: Carried) -> float | ndarray:
    """The values on the coefficient cells of a window, in its order ``(cells,)``; a number as it is."""
    m, dim, grid = window.m, window.grid.dim, window.grid
    if callable(value):
        return _at_midpoints(window.coefficient_refinement, value)
    if isinstance(value, float | int):
        return float(value)
    first, count = window.first * m, grid.shape[-1] * m
    rows = np.asarray(value[first : first + count], dtype=float)
    index = m * grid.cells[:, :, None] + lexicographic(m, dim)[:, None]
    return rows[tuple(index[::-1])].ravel()
