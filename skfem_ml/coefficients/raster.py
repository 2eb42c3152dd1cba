"""Rasters in files (image, .npy, .csv) and their resampling onto the cells of a mesh."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from skfem_ml import checks

Array = NDArray[np.float64]
IMAGE_SUFFIXES = (".png", ".jpg", ".jpeg")
RASTER_SUFFIXES = (*IMAGE_SUFFIXES, ".npy", ".csv")
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
    Images (.png, .jpg) need ``low`` and ``high``, the values of black and white; ``scale="log"`` interpolates the
    logarithm between them. Tables (.npy, .csv) hold the values themselves; .csv lines that start with # are comments.

    Raises FileNotFoundError, and ValueError for anything that is not a full table of positive finite numbers; the
    message names row and column, counted from 1 in the order of the file.
    """
    path = Path(path)
    checks.choice(origin, ORIGINS, "origin")
    suffix = path.suffix.lower()
    if suffix not in RASTER_SUFFIXES:
        raise ValueError(f"{path}: unknown suffix {suffix!r}, expected one of {', '.join(RASTER_SUFFIXES)}")
    require_file(path)
    if suffix in IMAGE_SUFFIXES:
        if low is None or high is None:
            raise ValueError(f"{path}: an image holds grey levels; pass low= and high=, the values of black and white")
        values = _read_image(path, low, high, scale)
    elif low is not None or high is not None or scale != "linear":
        raise ValueError(f"{path}: low, high and scale are for images; {suffix} files hold the values themselves")
    else:
        values = _read_npy(path) if suffix == ".npy" else _read_csv(path)
        _check_entries(path, values)
    return np.ascontiguousarray(values[::-1]) if origin == "upper" else values


def require_file(path: Path) -> None:
    """Raise FileNotFoundError or ValueError unless ``path`` is a file that holds something."""
    if not path.is_file():
        raise FileNotFoundError(f"{path}: expected a file, found {'a folder' if path.is_dir() else 'nothing'} there")
    if path.stat().st_size == 0:
        raise ValueError(f"{path}: the file is empty; expected a field")


def _read_npy(path: Path) -> Array:
    try:
        values = np.load(path, allow_pickle=False)
    except (ValueError, OSError, EOFError) as error:
        raise ValueError(
            f"{path}: cannot be read as a plain .npy array ({error}); pickled and object arrays are refused because "
            "they can run code: save numbers with numpy.save(path, values.astype(float))"
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


def _read_csv(path: Path) -> Array:
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except UnicodeDecodeError as error:
        raise ValueError(f"{path}: not a text file ({error}); expected comma-separated numbers") from error
    rows: list[list[float]] = []
    for line in lines:
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        rows.append(_csv_row(path, line, len(rows) + 1))
        if len(rows[-1]) != len(rows[0]):
            raise ValueError(
                f"{path}: row {len(rows)} has {len(rows[-1])} values, expected {len(rows[0])} as in row 1; "
                "every row needs the same number"
            )
    if not rows:
        raise ValueError(f"{path}: no numbers found; expected comma-separated rows")
    return np.array(rows)


def _csv_row(path: Path, line: str, row: int) -> list[float]:
    numbers = []
    for column, text in enumerate(line.split(","), start=1):
        try:
            numbers.append(float(text))
        except ValueError:
            raise ValueError(
                f"{path}: row {row}, column {column}: expected a number, got {text.strip()!r}; "
                "separate by commas and start header lines with #"
            ) from None
    return numbers


def _check_entries(path: Path, values: Array) -> None:
    for bad, what in ((~np.isfinite(values), "not finite"), (values <= 0, "not positive")):
        if bad.any():
            row, column = np.argwhere(bad)[0]
            raise ValueError(
                f"{path}: {int(bad.sum())} of {bad.size} values are {what}, the first is {values[row, column]} in row "
                f"{row + 1}, column {column + 1}; a coefficient is positive everywhere"
            )


def _read_image(path: Path, low: float, high: float, scale: str) -> Array:
    from PIL import Image, UnidentifiedImageError

    checks.interval(low, high)
    checks.choice(scale, SCALES, "scale")
    try:
        with Image.open(path) as image:
            image.load()
            grey = _grey_levels(path, image)
    except (UnidentifiedImageError, OSError, SyntaxError) as error:
        raise ValueError(f"{path}: cannot be read as an image ({error})") from error
    if scale == "log":
        return np.exp(np.log(low) + grey * (np.log(high) - np.log(low)))
    return low + grey * (high - low)


def _grey_levels(path: Path, image) -> Array:
    """Return grey levels between 0 (black) and 1 (white); colours and transparency are refused, not converted."""
    if image.mode.startswith("I"):
        levels = np.asarray(image).astype(float) / 65535
        if levels.max() > 1 or levels.min() < 0:
            raise ValueError(f"{path}: expected at most 16 bits a pixel, got {image.mode!r} with larger values")
        return levels
    if image.mode == "F":
        raise ValueError(f"{path}: floating-point images have no black and white level; save the values as .npy")
    pixels = np.asarray(image.convert("RGBA")).astype(float)
    if (pixels[..., 3] != 255).any():
        raise ValueError(f"{path}: the image has transparent pixels; flatten it first")
    if (pixels[..., :1] != pixels[..., :3]).any():
        raise ValueError(f"{path}: a colour image (mode {image.mode!r}) has no single grey level; make it grayscale")
    return pixels[..., 0] / 255
