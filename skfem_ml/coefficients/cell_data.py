"""Cell data and physical groups of mesh files (meshio), taken by position."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from contextlib import redirect_stderr, redirect_stdout
from importlib import import_module
from io import StringIO
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from skfem import Mesh

from skfem_ml import checks
from skfem_ml.coefficients.declared import require_declared
from skfem_ml.coefficients.limits import Limits
from skfem_ml.meshes.cells import midpoints, points_finder

if TYPE_CHECKING:
    import meshio

Array = NDArray[np.float64]
CELL_TYPES = {1: ("line",), 2: ("triangle", "quad"), 3: ("tetra", "hexahedron")}
GROUPS = "gmsh:physical"
FORMATS = {".msh": "gmsh", ".vtu": "vtu", ".vtk": "vtk", ".xdmf": "xdmf"}
_screen = Lock()
INWARD = 1e-2  # how far corners are moved to the midpoint, where the cell that holds them is unique


@checks.reads("a mesh", "is it complete?")
def cell_data(
    path: Path,
    mesh: Mesh,
    name: str | None,
    tags: Mapping[int | str, float] | None,
    resample: str | None,
    limits: Limits,
) -> Array:
    """Return the cell data of a mesh file on the cells of ``mesh``, ``(nelems,)``; arguments as in `from_file`."""
    limits.require_file(path)
    require_declared(path, limits)
    source, dim = _read(path), mesh.dim()
    blocks = [k for k, block in enumerate(source.cells) if block.type in CELL_TYPES[dim] and len(block.data)]
    if not blocks:
        types = sorted({block.type for block in source.cells})
        raise ValueError(
            f"{path}: expected cells of type {' or '.join(CELL_TYPES[dim])}, got {', '.join(types) or 'none'}"
        )
    _require_points(path, source, blocks)
    name = _choose(path, source, name, tags is not None, dim)
    data = [_numbers(path, name, source.cell_data[name][k]) for k in blocks]
    if tags is not None:
        data = _mapped(path, name, data, tags, _names(source, dim) if name == GROUPS else {})
    return _by_position(path, source, [source.cells[k].data.T for k in blocks], data, mesh, resample)


@checks.reads("a mesh", "is it complete?")
def mesh_of(path: Path, limits: Limits) -> Mesh:
    """The mesh of a file as scikit-fem's; raises as `from_file`."""
    from skfem.io.meshio import from_meshio

    limits.require_file(path)
    require_declared(path, limits)
    return from_meshio(_read(path))


@checks.reads("a mesh", "is it complete?")
def mesh_file(path: Path, limits: Limits) -> meshio.Mesh:
    """The mesh and the data of a file as meshio's, with corners that are there; raises as `from_file`."""
    limits.require_file(path)
    require_declared(path, limits)
    source = _read(path)
    _require_points(path, source, [k for k, block in enumerate(source.cells) if len(block.data)])
    return source


def _require_points(path: Path, source: meshio.Mesh, blocks: list[int]) -> None:
    """Raise ValueError unless points are finite and all corners of the cells are among them."""
    points = np.asarray(source.points)
    if points.ndim != 2 or points.dtype.kind not in "fiu" or not np.isfinite(points).all():
        raise ValueError(
            f"{path}: expected points of finite coordinates, (n, 2) or (n, 3), got others; is it complete?"
        )
    for k in blocks:
        corners = source.cells[k].data
        if corners.min() < 0 or corners.max() >= len(points):
            raise ValueError(
                f"{path}: expected corners of cells among the {len(points)} points, got {corners.min()} to "
                f"{corners.max()}; is it complete?"
            )


def _by_position(
    path: Path, source: meshio.Mesh, cells: list[NDArray], data: list[Array], mesh: Mesh, resample: str | None
) -> Array:
    dim = mesh.dim()
    points = np.asarray(source.points, dtype=float).T
    if points.shape[0] > dim and np.ptp(points[dim:], axis=1).max() > 1e-9 * np.ptp(points):
        raise ValueError(f"{path}: the points do not lie in the first {dim} coordinates; expected a flat mesh")
    x = midpoints(mesh)
    values, place = np.full(x.shape[1], np.nan), np.full(x.shape[1], -1)
    within, before = np.ones(x.shape[1], dtype=bool), 0
    for block, numbers in zip(cells, data, strict=True):
        find = points_finder(points[:dim], block)
        here = find(x)
        values[here >= 0] = numbers[here[here >= 0]]
        place[here >= 0] = here[here >= 0] + before
        for corner in mesh.t:
            inside = find(mesh.p[:, corner] + INWARD * (x - mesh.p[:, corner])) == here
            within &= inside | (here < 0)
        before += block.shape[1]
    if (place < 0).any():
        first = int((place < 0).argmax())
        raise ValueError(
            f"{path}: {int((place < 0).sum())} of {place.size} cells have no source cell, the first is cell {first} "
            f"with midpoint {x[:, first].tolist()}; the file covers {points[:dim].min(axis=1).tolist()} to "
            f"{points[:dim].max(axis=1).tolist()}"
        )
    if resample is None and not within.all():
        raise ValueError(
            f"{path}: {int((~within).sum())} of {within.size} cells reach over several of the file's {before} cells; "
            "take the file's mesh (skfem.Mesh.load) or a refinement of it, or resample='nearest', the value at a "
            "cell's midpoint"
        )
    return values


def _read(path: Path) -> meshio.Mesh:
    """The mesh in a file, read as what its suffix says: meshio tries several formats, of which one never ends."""
    kind = FORMATS[path.suffix.lower()]
    try:
        # What meshio prints would stand among our own lines; streams belong to the process, hence the lock.
        with _screen, redirect_stdout(StringIO()), redirect_stderr(StringIO()):
            return import_module(f"meshio.{kind}").read(str(path))
    except ImportError as error:
        library = error.name
        raise ImportError(
            f"{path}: meshio reads {path.suffix} files with {library}, which is not installed; pip install {library}"
        ) from error


def _choose(path: Path, source: meshio.Mesh, name: str | None, tagged: bool, dim: int) -> str:
    names = sorted(source.cell_data)
    if name is not None and name not in names:
        raise ValueError(f"{path}: no cell data called {name!r}; the file has {', '.join(names) or 'none'}")
    if name is not None:
        return name
    if tagged and GROUPS in names:
        return GROUPS
    # Every Gmsh file carries numbers of regions, which are never meant as the field.
    fields = [n for n in names if not n.startswith("gmsh:")]
    if tagged:
        raise ValueError(
            f"{path}: tags= maps physical groups, the file has none; give regions Physical names in Gmsh and save it "
            f"as MSH, or choose whole numbers by name=: {', '.join(fields) or 'there is no cell data'}"
        )
    if not fields:
        remedy = ""
        if GROUPS in names:
            groups = [
                source.cell_data[GROUPS][k] for k, block in enumerate(source.cells) if block.type in CELL_TYPES[dim]
            ]
            there = _listed(np.unique(np.concatenate(groups)), _names(source, dim))
            remedy = f"; its physical groups are {there}: give each a value by tags="
        raise ValueError(f"{path}: no cell data found; expected one positive value per cell{remedy}")
    if len(fields) > 1:
        raise ValueError(f"{path}: several fields of cell data, choose one by name=: {', '.join(fields)}")
    return fields[0]


def _numbers(path: Path, name: str, data: NDArray) -> Array:
    numbers = np.asarray(data, dtype=float)
    numbers = numbers[:, 0] if numbers.ndim == 2 and numbers.shape[1] == 1 else numbers
    if numbers.ndim != 1:
        raise ValueError(f"{path}: cell data {name!r} has shape {numbers.shape}; expected one number per cell")
    return numbers


def _names(source: meshio.Mesh, dim: int) -> dict[str, int]:
    """The numbers of the physical groups that have a name."""
    return {name: int(pair[0]) for name, pair in source.field_data.items() if int(pair[1]) == dim}


def _mapped(
    path: Path, name: str, data: list[Array], tags: Mapping[int | str, float], names: Mapping[str, int]
) -> list[Array]:
    """The values of tags in place of the tags; every tag in the file needs one, and every one must be in the file."""
    there = np.unique(np.concatenate(data))
    if (there != there.round()).any():
        raise ValueError(f"{path}: cell data {name!r} holds numbers that are not whole; tags= maps whole numbers")
    values = {names.get(tag, tag) if isinstance(tag, str) else int(tag): float(value) for tag, value in tags.items()}
    unknown = [tag for tag in values if tag not in there]
    missing = [int(tag) for tag in there if int(tag) not in values]
    if unknown or missing:
        what = f"no value for {_listed(missing, names)}" if missing else f"no cell has {', '.join(map(repr, unknown))}"
        raise ValueError(f"{path}: tags: {what}; the file has {_listed(there, names)}")
    table = np.array([values[int(tag)] for tag in there])
    return [table[np.searchsorted(there, numbers)] for numbers in data]


def _listed(tags: Iterable[float], names: Mapping[str, int]) -> str:
    """Tags with their names: ``1 ('rock'), 2 ('sand')``."""
    label = {number: f" ({name!r})" for name, number in names.items()}
    return ", ".join(f"{int(tag)}{label.get(int(tag), '')}" for tag in tags)
