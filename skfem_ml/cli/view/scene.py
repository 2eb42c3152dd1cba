"""What is drawn: a flat mesh, as a grid of lines where it is one, and fields on its points and cells."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from skfem_ml.coefficients import Limits
from skfem_ml.coefficients.cell_data import FORMATS, mesh_file
from skfem_ml.meshes.lattice import Lattice, lattice

if TYPE_CHECKING:
    import meshio

Array = NDArray[np.float64]
CORNERS = {"triangle": 3, "triangle6": 3, "quad": 4, "quad8": 4, "quad9": 4}
LIMITS = Limits(cells=2**21, bytes=2**31)  # what a browser can hold
FLAT = 1e-9  # of the size: points that are further from a plane make no flat mesh
SPARSE = 4  # intervals of a grid a cell from which it is no grid but cells
BODIES = "a page shows flat meshes; PyVista (pip install pyvista) and ParaView draw bodies and curves"


@dataclass(frozen=True, eq=False)
class Field:
    """Numbers on the ``points`` or ``cells`` of a scene, as a table: of a grid, or of one row."""

    name: str
    where: str
    values: Array


@dataclass(frozen=True, eq=False)
class Scene:
    """A flat mesh with fields.

    ``grid`` are the lines of a tensor grid, whose tables have rows from the lowest y up, with nan where nothing is;
    without it ``points`` ``(2, n)`` and ``corners`` ``(3 or 4, m)``, block after block, are the mesh.
    """

    title: str
    cells: int
    fields: tuple[Field, ...]
    points: Array
    corners: tuple[NDArray[np.int64], ...] = ()
    grid: tuple[Array, ...] | None = None


def read_scene(path: Path) -> Scene:
    """The fields of a mesh file; raises ValueError for what is not flat or has no fields, and as `from_file`."""
    if path.suffix.lower() not in FORMATS:
        raise ValueError(f"{path}: expected a result as {', '.join(FORMATS)}, got {path.suffix or 'no suffix'}")
    source = mesh_file(path, LIMITS)
    blocks = [k for k, block in enumerate(source.cells) if block.type in CORNERS and len(block.data)]
    types = sorted({block.type for block in source.cells})
    bodies = [kind for kind in types if kind.startswith(("tetra", "hexa", "wedge", "pyramid", "polyhedron"))]
    if bodies or not blocks:
        raise ValueError(f"{path}: expected triangles or quadrilaterals, got {', '.join(bodies or types)}; {BODIES}")
    LIMITS.require_cells(path, sum(len(source.cells[k].data) for k in blocks))
    points = np.pad(np.asarray(source.points, dtype=float), ((0, 0), (0, 1)))[:, :3].T
    corners = [source.cells[k].data[:, : CORNERS[source.cells[k].type]].T.astype(np.int64) for k in blocks]
    used = points[:, np.unique(np.concatenate([block.ravel() for block in corners]))]
    if np.ptp(used[2]) > FLAT * np.ptp(used):
        raise ValueError(
            f"{path}: expected points of one z, got z from {used[2].min():g} to {used[2].max():g}; {BODIES}"
        )
    fields = _fields(source, blocks)
    if not fields:
        raise ValueError(f"{path}: expected numbers on points or cells, found none; is it a mesh without a result?")
    return _scene(path.name, points[:2], corners, fields)


def _fields(source: meshio.Mesh, blocks: list[int]) -> list[Field]:
    cells = {name: np.concatenate([np.asarray(data[k]) for k in blocks]) for name, data in source.cell_data.items()}
    return [*_columns(cells, "cells"), *_columns(source.point_data, "points")]


def _columns(data: Mapping[str, NDArray], where: str) -> Iterator[Field]:
    """The numbers of a file; vectors component by component."""
    for name, values in data.items():
        values = np.asarray(values)
        if values.dtype.kind not in "fiub":
            continue
        table = values.reshape(len(values), -1).astype(float)
        for k, column in enumerate(table.T):
            yield Field(name if table.shape[1] == 1 else f"{name}[{k}]", where, column[None])


def _scene(title: str, points: Array, corners: list[NDArray[np.int64]], fields: list[Field]) -> Scene:
    count = sum(block.shape[1] for block in corners)
    if all(len(block) == 4 for block in corners):
        quads = np.concatenate(corners, axis=1)
        grid = lattice(points, quads)
        if grid is not None and np.prod(grid.shape) <= SPARSE * count:
            places = _places(grid, points, quads)
            if places is not None:
                return Scene(title, count, tuple(_tabled(grid, places, fields)), points, grid=grid.lines)
    return Scene(title, count, tuple(fields), points, tuple(corners))


def _places(grid: Lattice, points: Array, quads: NDArray[np.int64]) -> tuple[NDArray, NDArray] | None:
    """(used points, their row and column among the nodes of the grid); None where two points share a node."""
    used = np.unique(quads)
    middles = [(line[1:] + line[:-1]) / 2 for line in grid.lines]
    column, row = (np.searchsorted(middle, points[axis, used]) for axis, middle in enumerate(middles))
    nodes = row * len(grid.lines[0]) + column
    return (used, np.stack([row, column])) if len(np.unique(nodes)) == len(nodes) else None


def _tabled(grid: Lattice, places: tuple[NDArray, NDArray], fields: list[Field]) -> Iterator[Field]:
    used, nodes = places
    columns, rows = grid.shape
    for field in fields:
        on_points = field.where == "points"
        table = np.full((rows + on_points, columns + on_points), np.nan)
        index = nodes if on_points else grid.index[::-1]
        table[tuple(index)] = field.values[0, used] if on_points else field.values[0]
        yield Field(field.name, field.where, table)
