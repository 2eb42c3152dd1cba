"""Names of subdomains and boundaries, carried from a fine mesh to the coarse one whose cells hold its cells."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from skfem import Mesh

from skfem_ml.meshes.cells import cell_finder, midpoints

Index = NDArray[np.int64]


def cell_sets(mesh: Mesh) -> dict[str, Index]:
    """Return the subdomains of a mesh, name -> cells, without what Gmsh 4.1 saves for itself.

    Its ``gmsh:bounding_entities`` are signed numbers of curves, which come as a subdomain through meshio.
    """
    named = mesh.subdomains or {}
    return {name: np.asarray(index) for name, index in named.items() if not name.startswith("gmsh:")}


def carried(fine: Mesh, coarse: Mesh) -> Mesh:
    """Return the coarse mesh with the names of the fine one that fit it, beside its own.

    A subdomain fits where every coarse cell lies in it or outside of it; a boundary where its facets fill facets of
    the coarse mesh. A name that cuts a coarse cell or facet, or lies inside a coarse cell, stays with the fine mesh.
    Both meshes are boxes of one grid; a name that both have is that of the fine mesh.
    """
    parent = cell_finder(coarse)(midpoints(fine))
    cells = {
        name: found
        for name, index in cell_sets(fine).items()
        if (found := _filled(parent, parent[index], coarse.t.shape[1])) is not None
    }
    named = {name: np.asarray(index) for name, index in (fine.boundaries or {}).items()}
    if named:
        above = _coarse_facets(fine, coarse, parent)
        facets = {
            name: found
            for name, index in named.items()
            if (above[index] >= 0).all() and (found := _filled(above, above[index], coarse.facets.shape[1])) is not None
        }
        coarse = coarse.with_boundaries(facets) if facets else coarse
    return coarse.with_subdomains(cells) if cells else coarse


def _filled(parent: Index, chosen: Index, count: int) -> Index | None:
    """The parents of what is chosen, or None where one of them has children that are not."""
    wanted = np.bincount(chosen, minlength=count)
    full = np.bincount(parent[parent >= 0], minlength=count)
    return np.flatnonzero(wanted) if (wanted == np.where(wanted > 0, full, 0)).all() else None


def _coarse_facets(fine: Mesh, coarse: Mesh, parent: Index) -> Index:
    """The coarse facet in which each fine facet lies, -1 inside coarse cells: by cell, axis and side."""
    table = np.empty(coarse.t.shape[1] * 2 * coarse.dim(), dtype=np.int64)
    keys, facets, _ = _sides(coarse, np.arange(coarse.t.shape[1]))
    table[keys] = facets
    corners = coarse.p[:, coarse.t]
    ends = np.stack([corners.min(axis=1), corners.max(axis=1)])  # side, axis, cell
    keys, facets, place = _sides(fine, parent)
    cell, axis, side = np.unravel_index(keys, (coarse.t.shape[1], coarse.dim(), 2))
    width = (ends[1] - ends[0])[axis, cell]
    on = abs(place[axis, np.arange(len(keys))] - ends[side, axis, cell]) <= 1e-6 * width
    result = np.full(fine.facets.shape[1], -1, dtype=np.int64)
    result[facets[on]] = table[keys[on]]
    return result


def _sides(mesh: Mesh, owner: Index) -> tuple[Index, Index, NDArray[np.float64]]:
    """Of every facet of every cell: a number for owner of the cell, axis and side, the facet, and its midpoint."""
    place = mesh.p[:, mesh.facets].mean(axis=1)[:, mesh.t2f]
    toward = (place - midpoints(mesh)[:, None]) / np.ptp(mesh.p[:, mesh.t], axis=1)[:, None]
    axis = abs(toward).argmax(axis=0)
    side = np.take_along_axis(toward, axis[None], axis=0)[0] > 0
    keys = (np.broadcast_to(owner, axis.shape) * mesh.dim() + axis) * 2 + side
    return keys.ravel(), mesh.t2f.ravel(), place.reshape(mesh.dim(), -1)
