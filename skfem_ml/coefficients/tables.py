"""Tables of numbers in text files: rows of a raster, separated by commas or semicolons, with or without a header."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from skfem_ml.coefficients.messages import short


def read_csv(path: Path) -> NDArray[np.float64]:
    """Return the numbers of a text file, ``(rows, columns)``.

    A line that holds a semicolon is separated by semicolons, and its decimal marks may be commas; others by commas.
    Lines that start with # and empty ones are left out, and so is a first line without any number, a header. Raises
    ValueError that names row and column of what is no number (rows of numbers are counted, from 1), for rows of
    unequal length, for decimal points beside decimal commas, and for a header of coordinates: a list of points is no
    raster.
    """
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except UnicodeDecodeError as error:
        raise ValueError(f"{path}: not a text file ({error}); expected numbers separated by commas") from error
    lines = [line for line in lines if line.strip() and not line.lstrip().startswith("#")]
    cells = [line.split(";" if ";" in line else ",") for line in lines]
    if cells and any(text.strip() for text in cells[0]) and not any(_is_number(text) for text in cells[0]):
        _refuse_points(path, cells[0])
        lines, cells = lines[1:], cells[1:]
    _refuse_two_marks(path, lines)
    rows: list[list[float]] = []
    for row in cells:
        rows.append([_number(path, text, len(rows) + 1, column) for column, text in enumerate(row, start=1)])
        if len(rows[-1]) != len(rows[0]):
            raise ValueError(
                f"{path}: row {len(rows)} has {len(rows[-1])} values, expected {len(rows[0])} as in row 1; "
                "every row needs the same number"
            )
    if not rows:
        raise ValueError(f"{path}: no numbers found; expected rows separated by commas or semicolons")
    return np.array(rows)


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
