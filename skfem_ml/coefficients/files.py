"""Coefficients from files: images, tables, and cell data of mesh files."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from skfem import Mesh

from skfem_ml.coefficients.raster import IMAGE_SUFFIXES, RASTER_SUFFIXES, read_raster, require_file
from skfem_ml.coefficients.validation import validate
from skfem_ml.meshes.cells import midpoints, points_finder
from skfem_ml.meshes.rasters import raster_to_cells

MESH_SUFFIXES = (".vtu", ".vtk", ".xdmf", ".msh")
CELL_TYPES = {1: ("line",), 2: ("triangle", "quad"), 3: ("tetra", "hexahedron")}


def from_image(
    path: str | Path,
    mesh: Mesh,
    low: float,
    high: float,
    resample: str = "nearest",
    origin: str = "upper",
    scale: str = "linear",
) -> NDArray[np.float64]:
    """Return a grayscale image (.png, .jpg) stretched over the mesh's bounding box as a coefficient, ``(nelems,)``.

    Black becomes ``low`` > 0 and white ``high``, linearly or (``scale="log"``) linearly in the logarithm. The image's
    first row is the top (``origin="upper"``). ``resample`` is as in `from_file`. Raises ValueError for colour images.
    """
    if Path(path).suffix.lower() not in IMAGE_SUFFIXES:
        raise ValueError(f"{path}: expected an image ({', '.join(IMAGE_SUFFIXES)}); use from_file for other fields")
    values = raster_to_cells(read_raster(path, origin, low, high, scale), mesh, resample)
    return validate(values, mesh.t.shape[1], name=str(path))


def from_file(
    path: str | Path,
    mesh: Mesh,
    resample: str = "nearest",
    origin: str = "upper",
    name: str | None = None,
    low: float | None = None,
    high: float | None = None,
    scale: str = "linear",
) -> NDArray[np.float64]:
    """Return the field in a file as a coefficient on ``mesh``, ``(nelems,)``, in the mesh's own cell order.

    Rasters (.png, .jpg, .npy, .csv; see `read_raster` for ``origin``, ``low``, ``high``, ``scale``) are stretched over
    the mesh's bounding box. ``resample`` is "nearest" (the pixel that holds the cell's midpoint) or the "arithmetic",
    "harmonic" or "geometric" mean over the cell (see `raster_to_cells`).

    Mesh files (.vtu, .vtk, .xdmf, .msh) are read by meshio at their own coordinates: a cell takes the cell data called
    ``name`` (needed where there are several, besides ``gmsh:...`` tags) of the source cell that holds its midpoint.

    Raises FileNotFoundError, ImportError where meshio lacks a library (h5py for .xdmf), and ValueError for broken
    files, unknown suffixes, cells without a source cell and values that are not positive and finite.
    """
    path = Path(path)
    suffix = path.suffix.lower()
    if suffix in RASTER_SUFFIXES:
        if name is not None:
            raise ValueError(f"{path}: name={name!r} chooses cell data of a mesh file; a {suffix} file has one field")
        values = raster_to_cells(read_raster(path, origin, low, high, scale), mesh, resample)
    elif suffix in MESH_SUFFIXES:
        if (resample, origin, low, high, scale) != ("nearest", "upper", None, None, "linear"):
            raise ValueError(f"{path}: resample, origin, low, high and scale are for rasters; leave them out")
        values = _cell_data(path, mesh, name)
    else:
        supported = ", ".join(RASTER_SUFFIXES + MESH_SUFFIXES)
        raise ValueError(f"{path}: unknown suffix {suffix!r}, expected one of {supported}")
    return validate(values, mesh.t.shape[1], name=str(path))


def _cell_data(path: Path, mesh: Mesh, name: str | None) -> NDArray[np.float64]:
    source = _read_mesh(path)
    dim = mesh.dim()
    blocks = [k for k, block in enumerate(source.cells) if block.type in CELL_TYPES[dim]]
    if not blocks:
        types = sorted({block.type for block in source.cells})
        raise ValueError(f"{path}: expected cells of type {' or '.join(CELL_TYPES[dim])}, got {', '.join(types)}")
    name = _choose(path, sorted(source.cell_data), name)
    points = np.asarray(source.points, dtype=float).T
    if points.shape[0] > dim and np.ptp(points[dim:], axis=1).max() > 1e-9 * np.ptp(points):
        raise ValueError(f"{path}: the points do not lie in the first {dim} coordinates; expected a flat mesh")
    x = midpoints(mesh)
    values = np.full(x.shape[1], np.nan)
    found = np.zeros(x.shape[1], dtype=bool)
    for k in blocks:
        data = np.asarray(source.cell_data[name][k], dtype=float)
        data = data[:, 0] if data.ndim == 2 and data.shape[1] == 1 else data
        if data.ndim != 1:
            raise ValueError(f"{path}: cell data {name!r} has shape {data.shape}; expected one number per cell")
        place = points_finder(points[:dim], source.cells[k].data.T)(x)
        values[place >= 0] = data[place[place >= 0]]
        found |= place >= 0
    if not found.all():
        first = int((~found).argmax())
        raise ValueError(
            f"{path}: {int((~found).sum())} of {found.size} cells have no source cell, the first is cell {first} with "
            f"midpoint {x[:, first].tolist()}; the file covers {points[:dim].min(axis=1).tolist()} to "
            f"{points[:dim].max(axis=1).tolist()}"
        )
    return values


def _read_mesh(path: Path):
    import meshio

    require_file(path)
    try:
        return meshio.read(path)
    except ImportError as error:
        library = error.name
        raise ImportError(
            f"{path}: meshio reads {path.suffix} files with {library}, which is not installed; pip install {library}"
        ) from error
    except (Exception, SystemExit) as error:  # meshio leaves through sys.exit on some broken files
        raise ValueError(f"{path}: cannot be read as a mesh ({type(error).__name__}: {error})") from error


def _choose(path: Path, names: list[str], name: str | None) -> str:
    if name is None:
        # Every gmsh file carries these tags; they number regions and are never meant as the field.
        names = [n for n in names if not n.startswith("gmsh:")]
    if not names:
        raise ValueError(f"{path}: no cell data found; expected one positive value per cell")
    if name is None and len(names) > 1:
        raise ValueError(f"{path}: several fields of cell data, choose one by name=: {', '.join(names)}")
    if name is not None and name not in names:
        raise ValueError(f"{path}: no cell data called {name!r}; the file has {', '.join(names)}")
    return names[0] if name is None else name
