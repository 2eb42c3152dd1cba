"""Rasters in files: images, .npy, .csv."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from skfem_ml import checks
from skfem_ml.coefficients.images import IMAGE_SUFFIXES, SCALES, holds_grey_levels, read_floats, read_image
from skfem_ml.coefficients.limits import Limits, require_held
from skfem_ml.coefficients.tables import read_csv

Array = NDArray[np.float64]
RASTER_SUFFIXES = (*IMAGE_SUFFIXES, ".npy", ".csv")
MESH_SUFFIXES = (".vtu", ".vtk", ".xdmf", ".msh")
ORIGINS = ("upper", "lower")
__all__ = ["IMAGE_SUFFIXES", "MESH_SUFFIXES", "RASTER_SUFFIXES", "SCALES", "holds_grey_levels", "read_raster"]


def read_raster(
    path: str | Path,
    origin: str = "upper",
    low: float | None = None,
    high: float | None = None,
    scale: str = "linear",
    limits: Limits | None = None,
) -> Array:
    """Return the positive values of a raster file, ``(ny, nx)``, with row 0 at the bottom (smallest y).

    With ``origin="upper"`` the first row of the file is the top, as in an image; with ``"lower"`` it is the bottom.
    Images (.png, .jpg, .tif) need ``low`` and ``high``, the values of black and white; ``scale="log"`` interpolates the
    logarithm between them. Tables (.npy, .csv) hold the values themselves, and so does a .tif of 32-bit floats. A .csv
    is separated by commas or by semicolons (then decimal commas are read); lines that start with # are comments, and a
    first line without a number is a header. ``limits``: what the file may cost, `Limits`.

    Raises FileNotFoundError, and ValueError for anything that is not a full table of positive finite numbers (the
    message names row and column, counted from 1 in the order of the file) and for what is larger than the limits.
    """
    path = Path(path)
    checks.choice(origin, ORIGINS, "origin")
    suffix = path.suffix.lower()
    if suffix not in RASTER_SUFFIXES:
        raise ValueError(
            f"{path}: unknown suffix {suffix!r}, expected a raster ({', '.join(RASTER_SUFFIXES)}), or for from_file "
            f"a mesh ({', '.join(MESH_SUFFIXES)})"
        )
    (limits := limits or Limits()).require_file(path)
    if holds_grey_levels(path, limits):
        if low is None or high is None:
            raise ValueError(f"{path}: an image holds grey levels; pass low= and high=, the values of black and white")
        checks.interval(low, high)
        checks.choice(scale, SCALES, "scale")
        return read_image(path, low, high, scale, origin == "upper", limits)
    if low is not None or high is not None or scale != "linear":
        raise ValueError(f"{path}: low, high and scale are for images of grey levels; this file holds values")
    values = {".npy": _read_npy, ".csv": read_csv}.get(suffix, read_floats)(path, limits)
    _check_entries(path, values)
    return np.ascontiguousarray(values[::-1]) if origin == "upper" else values


def require_file(path: Path) -> None:
    """Raise FileNotFoundError or ValueError unless ``path`` is a file that holds something."""
    Limits().require_file(path)


@checks.reads("a plain .npy array", "save numbers with numpy.save(path, values.astype(float))")
def _read_npy(path: Path, limits: Limits) -> Array:
    with open(path, "rb") as file:
        version = np.lib.format.read_magic(file)
        if version not in ((1, 0), (2, 0)):
            raise ValueError(f"{path}: expected a .npy file of version 1.0 or 2.0, got {version}; save it as float64")
        header = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
        shape, _, dtype = header(file)
        if dtype.hasobject:
            raise ValueError(
                f"{path}: cannot be read as a plain .npy array; pickled and object arrays are refused because they can "
                "run code: save numbers with numpy.save(path, values.astype(float))"
            )
        if dtype.kind not in "fiu":
            raise ValueError(f"{path}: expected an array of real numbers, got {dtype}; save it as float64")
        if len(shape) != 2 or 0 in shape:
            raise ValueError(
                f"{path}: expected a 2-D array (rows, columns) with entries, got shape {shape}; "
                "for a line save values[None, :], for a volume use a mesh file with cell data"
            )
        limits.require_cells(path, shape[0] * shape[1])
        require_held(path, "an array", shape[0] * shape[1] * dtype.itemsize, path.stat().st_size - file.tell())
        file.seek(0)
        return np.lib.format.read_array(file, allow_pickle=False).astype(np.float64)


def _check_entries(path: Path, values: Array) -> None:
    for bad, what in ((~np.isfinite(values), "not finite"), (values <= 0, "not positive")):
        if bad.any():
            row, column = np.unravel_index(int(bad.argmax()), bad.shape)
            raise ValueError(
                f"{path}: {int(bad.sum())} of {bad.size} values are {what}, the first is {values[row, column]} in row "
                f"{row + 1}, column {column + 1}; a coefficient is positive everywhere"
            )
