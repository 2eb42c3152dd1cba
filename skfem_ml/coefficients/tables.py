"""Tables of numbers in text files: rows of a raster, separated by commas or semicolons, with or without a header."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from skfem_ml import checks
from skfem_ml.checks import short
from skfem_ml.coefficients.limits import Limits


@checks.reads("a table", "separate numbers by commas or semicolons")
def read_csv(path: Path, limits: Limits) -> NDArray[np.float64]:
    """Return the numbers of a text file, ``(rows, columns)``.

    A line that holds a semicolon is separated by semicolons, and its decimal marks may be commas; others by commas.
    Lines that start with # and empty ones are left out, and so is a first line without any number, a header. Raises
    ValueError that names row and column of what is no number (rows of numbers are counted, from 1), for rows of
    unequal length, for decimal points beside decimal commas, for a header of coordinates (a list of points is no
    raster), and for more cells than the limits allow, counted by separators and lines.
    """
    lines = _lines(path, limits)
    first = _cells(lines[0]) if lines else []
    if any(text.strip() for text in first) and not any(_is_number(text) for text in first):
        _refuse_points(path, first)
        lines = lines[1:]
    _refuse_two_marks(path, lines)
    rows: list[NDArray[np.float64]] = []
    for count, line in enumerate(lines, start=1):
        row = np.array([_number(path, text, count, column) for column, text in enumerate(_cells(line), start=1)])
        if rows and len(row) != len(rows[0]):
            raise ValueError(
                f"{path}: row {count} has {len(row)} values, expected {len(rows[0])} as in row 1; "
                "every row needs the same number"
            )
        rows.append(row)
    if not rows:
        raise ValueError(f"{path}: no numbers found; expected rows separated by commas or semicolons")
    return np.array(rows)


def _lines(path: Path, limits: Limits) -> list[str]:
    """What may be rows of numbers."""
    data = path.read_bytes()
    limits.require_cells(path, sum(data.count(mark) for mark in (b",", b";", b"\n")))
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise ValueError(f"{path}: not a text file ({error}); expected numbers separated by commas") from error
    return [line for line in text.splitlines() if line.strip() and not line.lstrip().startswith("#")]


def _cells(line: str) -> list[str]:
    return line.split(";" if ";" in line else ",")


def _is_number(text: str) -> bool:
    try:
        float(text.replace(",", "."))
    except ValueError:
        return False
    return True


def _number(path: Path, text: str, row: int, column: int) -> float:
    if not _is_number(text):
        raise ValueError(
            f"{path}: row {row}, column {column}: expected a number, got {short(text.strip())!r}; separate numbers by "
            "commas or semicolons, and start comments with #"
        )
    return float(text.replace(",", "."))


def _refuse_two_marks(path: Path, lines: list[str]) -> None:
    """Beside decimal commas a point may part thousands: 1.234 would be read a thousand times too small."""
    marked = [line for line in lines if ";" in line]
    if any("," in line for line in marked) and any("." in line for line in marked):
        raise ValueError(f"{path}: decimal commas and points in one file; write all numbers with one mark")


def _refuse_points(path: Path, header: list[str]) -> None:
    names = {text.strip().strip("\"'").lower() for text in header}
    if {"x", "y"} <= names:
        raise ValueError(
            f"{path}: the header names coordinates, x and y; expected a raster, one line of values per row of pixels: "
            "sort the points into rows, or save them as cell data of a mesh"
        )
