"""Rasters in files: images, .npy, .csv."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from skfem_ml import checks
from skfem_ml.coefficients.messages import short
from skfem_ml.coefficients.tables import read_csv

if TYPE_CHECKING:
    from PIL import Image

Array = NDArray[np.float64]
IMAGE_SUFFIXES = (".png", ".jpg", ".jpeg", ".tif", ".tiff")
RASTER_SUFFIXES = (*IMAGE_SUFFIXES, ".npy", ".csv")
MESH_SUFFIXES = (".vtu", ".vtk", ".xdmf", ".msh")
ORIGINS = ("upper", "lower")
SCALES = ("linear", "log")


def read_raster(
    path: str | Path,
    origin: str = "upper",
    low: float | None = None,
    high: float | None = None,
    scale: str = "linear",
) -> Array:
    """Return the positive values of a raster file, ``(ny, nx)``, with row 0 at the bottom (smallest y).

    With ``origin="upper"`` the first row of the file is the top, as in an image; with ``"lower"`` it is the bottom.
    Images (.png, .jpg, .tif) need ``low`` and ``high``, the values of black and white; ``scale="log"`` interpolates the
    logarithm between them. Tables (.npy, .csv) hold the values themselves, and so does a .tif of 32-bit floats. A .csv
    is separated by commas or by semicolons (then decimal commas are read); lines that start with # are comments, and a
    first line without a number is a header.

    Raises FileNotFoundError, and ValueError for anything that is not a full table of positive finite numbers; the
    message names row and column, counted from 1 in the order of the file.
    """
    path = Path(path)
    checks.choice(origin, ORIGINS, "origin")
    suffix = path.suffix.lower()
    if suffix not in RASTER_SUFFIXES:
        raise ValueError(
            f"{path}: unknown suffix {suffix!r}, expected a raster ({', '.join(RASTER_SUFFIXES)}), or for from_file "
            f"a mesh ({', '.join(MESH_SUFFIXES)})"
        )
    require_file(path)
    if holds_grey_levels(path):
        if low is None or high is None:
            raise ValueError(f"{path}: an image holds grey levels; pass low= and high=, the values of black and white")
        values = _read_image(path, low, high, scale)
    elif low is not None or high is not None or scale != "linear":
        raise ValueError(f"{path}: low, high and scale are for images of grey levels; this file holds values")
    else:
        values = _read_npy(path) if suffix == ".npy" else read_csv(path) if suffix == ".csv" else _read_floats(path)
        _check_entries(path, values)
    return np.ascontiguousarray(values[::-1]) if origin == "upper" else values


def require_file(path: Path) -> None:
    """Raise FileNotFoundError or ValueError unless ``path`` is a file that holds something."""
    if not path.is_file():
        raise FileNotFoundError(f"{path}: expected a file, found {'a folder' if path.is_dir() else 'nothing'} there")
    if path.stat().st_size == 0:
        raise ValueError(f"{path}: the file is empty; expected a field")


def holds_grey_levels(path: Path) -> bool:
    """Whether a raster file is an image whose black and white need values; a .tif of floats holds the values."""
    suffix = path.suffix.lower()
    if suffix not in (".tif", ".tiff"):
        return suffix in IMAGE_SUFFIXES
    with opened(path) as image:
        return image.mode != "F"


@contextmanager
def opened(path: Path) -> Iterator[Image.Image]:
    """Open an image file; ValueError for what is none, and for several pages."""
    from PIL import Image, UnidentifiedImageError

    try:
        with Image.open(path) as image:
            pages = getattr(image, "n_frames", 1)
            if pages > 1:
                raise ValueError(f"{path}: expected one picture, got {pages} pages; save the one that is meant")
            yield image
    except (UnidentifiedImageError, OSError, SyntaxError) as error:
        raise ValueError(
            f"{path}: cannot be read as an image ({short(str(error).replace(str(path), path.name))})"
        ) from error


def _read_floats(path: Path) -> Array:
    with opened(path) as image:
        return np.asarray(image, dtype=np.float64)


def _read_npy(path: Path) -> Array:
    try:
        values = np.load(path, allow_pickle=False)
    except (ValueError, OSError, EOFError) as error:
        raise ValueError(
            f"{path}: cannot be read as a plain .npy array ({short(str(error))}); pickled and object arrays are "
            "refused because they can run code: save numbers with numpy.save(path, values.astype(float))"
        ) from error
    if not isinstance(values, np.ndarray) or values.dtype.kind not in "fiu":
        kind = getattr(values, "dtype", type(values).__name__)
        raise ValueError(f"{path}: expected an array of real numbers, got {kind}; save it as float64")
    if values.ndim != 2 or values.size == 0:
        raise ValueError(
            f"{path}: expected a 2-D array (rows, columns) with entries, got shape {values.shape}; "
            "for a line save values[None, :], for a volume use a mesh file with cell data"
        )
    return values.astype(np.float64)


def _check_entries(path: Path, values: Array) -> None:
    for bad, what in ((~np.isfinite(values), "not finite"), (values <= 0, "not positive")):
        if bad.any():
            row, column = np.argwhere(bad)[0]
            raise ValueError(
                f"{path}: {int(bad.sum())} of {bad.size} values are {what}, the first is {values[row, column]} in row "
                f"{row + 1}, column {column + 1}; a coefficient is positive everywhere"
            )


def _read_image(path: Path, low: float, high: float, scale: str) -> Array:
    checks.interval(low, high)
    checks.choice(scale, SCALES, "scale")
    with opened(path) as image:
        grey = _grey_levels(path, image)
    if scale == "log":
        return np.exp(np.log(low) + grey * (np.log(high) - np.log(low)))
    return low + grey * (high - low)


def _grey_levels(path: Path, image: Image.Image) -> Array:
    """Return grey levels between 0 (black) and 1 (white); colours and transparency are refused, not converted."""
    if image.mode.startswith("I"):
        levels = np.asarray(image).astype(float) / 65535
        if levels.max() > 1 or levels.min() < 0:
            raise ValueError(f"{path}: expected at most 16 bits a pixel, got {image.mode!r} with larger values")
        return levels
    pixels = np.asarray(image.convert("RGBA")).astype(float)
    if (pixels[..., 3] != 255).any():
        raise ValueError(f"{path}: the image has transparent pixels; flatten it first")
    if (pixels[..., :1] != pixels[..., :3]).any():
        raise ValueError(f"{path}: a colour image (mode {image.mode!r}) has no single grey level; make it grayscale")
    return pixels[..., 0] / 255
