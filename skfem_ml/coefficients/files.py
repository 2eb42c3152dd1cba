"""Coefficients from files: images and tables by pixel, cell data and physical groups of mesh files by position."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from skfem import Mesh

from skfem_ml.coefficients.cell_data import cell_data
from skfem_ml.coefficients.limits import Limits
from skfem_ml.coefficients.raster import IMAGE_SUFFIXES, MESH_SUFFIXES, RASTER_SUFFIXES, read_raster
from skfem_ml.coefficients.validation import validate
from skfem_ml.meshes.rasters import raster_to_cells


def from_image(
    path: str | Path,
    mesh: Mesh,
    low: float,
    high: float,
    resample: str | None = None,
    origin: str = "upper",
    scale: str = "linear",
    limits: Limits | None = None,
) -> NDArray[np.float64]:
    """Return a grayscale image (.png, .jpg, .tif) stretched over the mesh's bounding box as a coefficient.

    Black becomes ``low`` > 0 and white ``high``, linearly or (``scale="log"``) linearly in the logarithm. The image's
    first row is the top (``origin="upper"``). ``resample`` and ``limits`` are as in `from_file`; the result is
    ``(nelems,)``. Raises ValueError for colour images and for pixels that are not cells, where ``resample`` is None.
    """
    if Path(path).suffix.lower() not in IMAGE_SUFFIXES:
        raise ValueError(f"{path}: expected an image ({', '.join(IMAGE_SUFFIXES)}); use from_file for other fields")
    return _on_cells(path, read_raster(path, origin, low, high, scale, limits), mesh, resample)


def from_file(
    path: str | Path,
    mesh: Mesh,
    resample: str | None = None,
    origin: str = "upper",
    name: str | None = None,
    low: float | None = None,
    high: float | None = None,
    scale: str = "linear",
    tags: Mapping[int | str, float] | None = None,
    limits: Limits | None = None,
) -> NDArray[np.float64]:
    """Return the field in a file as a coefficient on ``mesh``, ``(nelems,)``, in the mesh's own cell order.

    Rasters (.png, .jpg, .tif, .npy, .csv; see `read_raster` for ``origin``, ``low``, ``high``, ``scale``) are stretched
    over the mesh's bounding box. Where pixels are cells, or n x n cells, nothing more is needed; else ``resample`` says
    what a cell takes: "nearest" (the pixel that holds its midpoint) or the "arithmetic", "harmonic" or "geometric" mean
    over it (see `raster_to_cells`). Nothing is resampled without it.

    Mesh files (.vtu, .vtk, .xdmf, .msh) are read by meshio at their own coordinates: a cell takes the cell data called
    ``name`` (needed where there are several, besides ``gmsh:...`` tags) of the source cell that it lies in, or with
    ``resample="nearest"`` of the one that holds its midpoint. ``tags`` maps Gmsh's physical groups, by name or number,
    to values, ``tags={"rock": 1.0, "sand": 100.0}``; with ``name`` it maps the whole numbers of that cell data.

    ``limits`` is what the file may cost, by its header and before anything is allocated: see `Limits`. Raises
    FileNotFoundError, ImportError where meshio lacks a library (h5py for .xdmf), and ValueError for broken and large
    files, pixels that are not cells, tags without a value, cells without a source, values not positive.
    """
    path = Path(path)
    if path.suffix.lower() in RASTER_SUFFIXES:
        if name is not None or tags is not None:
            raise ValueError(
                f"{path}: name= and tags= are for cell data of a mesh file; a {path.suffix.lower()} file has one field"
            )
        return _on_cells(path, read_raster(path, origin, low, high, scale, limits), mesh, resample)
    _require_mesh_file(path, resample)
    if (origin, low, high, scale) != ("upper", None, None, "linear"):
        raise ValueError(f"{path}: origin, low, high and scale are for rasters; leave them out")
    a = cell_data(path, mesh, name, tags, resample, limits or Limits())
    return validate(a, mesh.t.shape[1], name=str(path))


def _require_mesh_file(path: Path, resample: str | None) -> None:
    """Raise ValueError for another suffix than those of mesh files, and for a rule that is for rasters."""
    if path.suffix.lower() not in MESH_SUFFIXES:
        supported = ", ".join(RASTER_SUFFIXES + MESH_SUFFIXES)
        raise ValueError(f"{path}: unknown suffix {path.suffix.lower()!r}, expected one of {supported}")
    if resample not in (None, "nearest"):
        raise ValueError(f"{path}: expected resample=None or 'nearest' for a mesh file, got {resample!r}")


def _on_cells(path: str | Path, values: NDArray[np.float64], mesh: Mesh, resample: str | None) -> NDArray[np.float64]:
    try:
        a = raster_to_cells(values, mesh, resample)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from None
    return validate(a, mesh.t.shape[1], name=str(path))
