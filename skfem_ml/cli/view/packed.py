"""Tables of numbers as text: whole numbers of a fixed width, differences where they are smaller, deflated, base 64."""

from __future__ import annotations

import base64
import zlib
from typing import TypedDict

import numpy as np
from numpy.typing import NDArray

from skfem_ml.pictures.fields import LOG_FROM

TYPES: dict[int, str] = {2: "<u2", 4: "<u4"}


class Packed(TypedDict):
    """A table as text."""

    rows: int
    columns: int
    width: int
    delta: bool
    text: str


class Scale(TypedDict):
    """How values come of levels."""

    low: float
    high: float
    log: bool


def packed(numbers: NDArray, width: int) -> Packed:
    """Pack a table ``(rows, columns)`` of numbers below 256^width: bytes of equal weight stand together.

    ``delta``: what is packed is d = n_ij - n_(i-1)j - n_i(j-1) + n_(i-1)(j-1), small where a field is smooth, as 2 d,
    or -2 d - 1 below zero, all modulo 256^width; taken where the text is shorter with it.

    >>> table = packed(np.arange(6).reshape(2, 3), 2)
    >>> table["rows"], table["columns"], unpacked(table).tolist()
    (2, 3, [[0, 1, 2], [3, 4, 5]])
    """
    plain = numbers.astype(TYPES[width])
    nothing = plain.dtype.type(0)
    d = np.diff(np.diff(plain, axis=0, prepend=nothing), axis=1, prepend=nothing)
    tables = plain, (d << 1) ^ -(d >> (8 * width - 1))
    delta = len(_deflated(tables[1], level=1)) < len(_deflated(plain, level=1))
    text = _deflated(tables[delta], level=6)
    return {"rows": len(plain), "columns": plain.shape[1], "width": width, "delta": delta, "text": text}


def unpacked(table: Packed) -> NDArray:
    """The numbers of `packed`; the page has the same in its own language."""
    planes = np.frombuffer(zlib.decompress(base64.b64decode(table["text"])), dtype=np.uint8)
    numbers = planes.reshape(table["width"], -1).T.copy().view(TYPES[table["width"]]).reshape(table["rows"], -1)
    if not table["delta"]:
        return numbers
    d = (numbers >> 1) ^ -(numbers & 1)
    return d.cumsum(axis=0, dtype=numbers.dtype).cumsum(axis=1, dtype=numbers.dtype)


def quantised(values: NDArray, levels: int) -> tuple[NDArray, Scale]:
    """Numbers 1 to ``levels`` for finite values, 0 for others, and {low, high, log}: how values come of them.

    v = low + (high - low) (n - 1) / (levels - 1), or low (high / low)^((n - 1) / (levels - 1)) for positive values of
    contrast 20 and more, whose logarithms are drawn. A field without a finite value has low = high = 0.

    >>> quantised(np.array([[1.0, 3.0, np.nan]]), 5)
    (array([[1, 5, 0]]), {'low': 1.0, 'high': 3.0, 'log': False})
    """
    there = np.isfinite(values)
    low, high = (float(values[there].min()), float(values[there].max())) if there.any() else (0.0, 0.0)
    log = low > 0 and high >= LOG_FROM * low
    safe = np.where(there, values, low or 1.0)
    heights, ends = (np.log(safe), np.log([low, high])) if log else (safe / 2, np.array([low, high]) / 2)
    span = ends[1] - ends[0]
    place = np.clip((heights - ends[0]) / (span if span > 0 else 1.0), 0, 1)
    return np.where(there, 1 + np.rint(place * (levels - 1)), 0).astype(int), {"low": low, "high": high, "log": log}


def _deflated(table: NDArray, level: int) -> str:
    planes = np.ascontiguousarray(table).view(np.uint8).reshape(-1, table.dtype.itemsize).T
    return base64.b64encode(zlib.compress(planes.tobytes(), level)).decode("ascii")
