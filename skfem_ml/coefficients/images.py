"""Pictures: grey levels between black and white, or 32-bit floats, read in strips of rows."""

from __future__ import annotations

import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from skfem_ml import checks
from skfem_ml.coefficients.limits import Limits, require_held

if TYPE_CHECKING:
    from PIL import Image

Array = NDArray[np.float64]
IMAGE_SUFFIXES = (".png", ".jpg", ".jpeg", ".tif", ".tiff")
FORMATS = ("PNG", "JPEG", "TIFF")  # by content: others are opened by programs (EPS) or untested code
SCALES = ("linear", "log")
STRIP = 2**16  # pixels that are converted at a time
SMALL, PACKED = 2**20, 2**13  # pixels that any file may declare, and how many a byte of a compressed one may hold
_pillow = threading.Lock()


def holds_grey_levels(path: Path, limits: Limits | None = None) -> bool:
    """Whether a raster file is an image whose black and white need values; a .tif of floats holds the values."""
    suffix = path.suffix.lower()
    return suffix in IMAGE_SUFFIXES and (suffix not in (".tif", ".tiff") or _mode(path, limits or Limits()) != "F")


@checks.reads("an image", "is it complete?")
def _mode(path: Path, limits: Limits) -> str:
    with opened(path, limits) as image:
        return image.mode


@checks.reads("an image", "is it complete?")
def read_floats(path: Path, limits: Limits) -> Array:
    """The values of an image of 32-bit floats, first row first."""
    with opened(path, limits) as image:
        return np.asarray(image, dtype=np.float64)


@checks.reads("an image", "is it complete?")
def read_image(path: Path, low: float, high: float, scale: str, upper: bool, limits: Limits) -> Array:
    """Values between ``low`` (black) and ``high`` (white), ``(ny, nx)``; with ``upper`` the last row comes first.

    Besides the picture itself (a byte a pixel and channel) only the result is held, 8 bytes a pixel.
    """
    with opened(path, limits) as image:
        image.load()
        width, height = image.size
        out = np.empty((height, width))
        rows = max(1, STRIP // width)
        for start in range(0, height, rows):
            stop = min(start + rows, height)
            grey = _grey_levels(path, image.crop((0, start, width, stop)))
            if scale == "log":
                values = np.exp(np.log(low) + grey * (np.log(high) - np.log(low)))
            else:
                values = low + grey * (high - low)
            if upper:
                out[height - stop : height - start] = values[::-1]
            else:
                out[start:stop] = values
    return out


@contextmanager
def opened(path: Path, limits: Limits) -> Iterator[Image.Image]:
    """Open an image file; ValueError for what is none, for too many pixels, and for several pages."""
    with _looked_at(path) as image:
        pixels = image.size[0] * image.size[1]
        limits.require_cells(path, pixels)
        if pixels > SMALL:
            require_held(path, "pixels", pixels, path.stat().st_size, PACKED)
        pages = getattr(image, "n_frames", 1)
        if pages > 1:
            raise ValueError(f"{path}: expected one picture, got {pages} pages; save the one that is meant")
        yield image


def _looked_at(path: Path) -> Image.Image:
    """The header of an image: what it may cost is for `Limits` to say, not for a limit of Pillow's."""
    from PIL import Image

    with _pillow, warnings.catch_warnings():  # Pillow's limit belongs to the process
        warnings.simplefilter("ignore", Image.DecompressionBombWarning)
        before, Image.MAX_IMAGE_PIXELS = Image.MAX_IMAGE_PIXELS, None
        try:
            return Image.open(path, formats=FORMATS)
        finally:
            Image.MAX_IMAGE_PIXELS = before


def _grey_levels(path: Path, image: Image.Image) -> Array:
    """Return grey levels between 0 (black) and 1 (white); colours and transparency are refused, not converted."""
    if image.mode.startswith("I"):
        levels = np.asarray(image).astype(float) / 65535
        if levels.max() > 1 or levels.min() < 0:
            raise ValueError(f"{path}: expected at most 16 bits a pixel, got {image.mode!r} with larger values")
        return levels
    if image.mode == "L" and "transparency" not in image.info:
        return np.asarray(image) / 255.0
    pixels = np.asarray(image.convert("RGBA"))
    if (pixels[..., 3] != 255).any():
        raise ValueError(f"{path}: the image has transparent pixels; flatten it first")
    if (pixels[..., :1] != pixels[..., :3]).any():
        raise ValueError(f"{path}: a colour image (mode {image.mode!r}) has no single grey level; make it grayscale")
    return pixels[..., 0] / 255.0
