"""Coefficients that are read by windows of rows: rasters of any kind of array, functions of midpoints, numbers."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol, TypeAlias

import numpy as np
from numpy import ndarray

from skfem_ml.lod.mesh.discretisation import Discretisation
from skfem_ml.lod.mesh.windows import Window
from skfem_ml.meshes.grid import lexicographic


class Raster(Protocol):
    """What has a shape and is read by slices: an array, a ``numpy.memmap``, a zarr array."""

    @property
    def shape(self) -> tuple[int, ...]:
        """Cells along y and x, the last axis being x."""

    def __getitem__(self, rows: slice, /) -> ndarray:
        """Some rows."""


Windowed: TypeAlias = float | Raster | Callable[[ndarray], ndarray]
"""A number, a raster ``(ny, nx)`` of coefficient cells whose row 0 is the lowest, or a function of midpoints."""


def check_raster(name: str, value: Windowed, space: Discretisation) -> None:
    """Raise ValueError for a raster of another shape than the coefficient cells of the grid."""
    wanted = tuple(space.m * count for count in space.grid.shape[::-1])
    if callable(value) or isinstance(value, float | int):
        return
    if tuple(value.shape) != wanted:
        raise ValueError(
            f"{name}: expected a raster {wanted}, one value a coefficient cell, row 0 at the bottom (smallest y), got "
            f"shape {tuple(value.shape)}; values in the order of lod.coefficient_mesh are for lod.system"
        )


def values_in(window: Window, value: Windowed) -> float | ndarray:
    """The values on the coefficient cells of a window, in its order ``(cells,)``; a number as it is."""
    m, dim, grid = window.m, window.grid.dim, window.grid
    if callable(value):
        cells = window.coefficient_refinement
        return np.asarray(value(cells.corners_at(cells.cells.ravel()).mean(axis=2)), dtype=float)
    if isinstance(value, float | int):
        return float(value)
    first, count = window.first * m, grid.shape[-1] * m
    rows = np.asarray(value[first : first + count], dtype=float)
    index = m * grid.cells[:, :, None] + lexicographic(m, dim)[:, None]
    return rows[tuple(index[::-1])].ravel()
