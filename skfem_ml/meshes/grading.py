"""Meshes that are finer towards a point, where a solution is singular."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TypeVar

import numpy as np
from skfem import Mesh, MeshTri

from skfem_ml import checks

M = TypeVar("M", bound=Mesh)


def graded(mesh: M, at: Sequence[float], exponent: float, radius: float = 1.0) -> M:
    """Return the mesh with its vertices drawn to the point ``at``: ``r -> radius (r / radius)^exponent``.

    r is the distance to ``at``; vertices from ``radius`` on stay, so inside of it the domain must be a cone about the
    point: straight edges that meet at a corner. Cells of size h at distance 1 have the size ``h^exponent`` at the
    point. For elements of order p and a solution like ``r^a`` an exponent of ``p / a`` or more restores the rate of
    smooth solutions. Raises ValueError for an exponent below 1 and a radius that is not positive, TypeError for meshes
    with curved cells.
    """
    checks.positive(radius, "radius")
    if not 1 <= exponent < np.inf:
        raise ValueError(f"exponent: expected at least 1 (no grading), got {exponent}")
    if mesh.p.shape[1] != mesh.nvertices:
        raise TypeError(
            f"{type(mesh).__name__}: expected straight cells; grade before the mesh is made of higher order"
        )
    point = np.asarray(at, dtype=float)
    if point.shape != (mesh.dim(),):
        raise ValueError(f"at: expected {mesh.dim()} coordinates, got {at!r}")
    away = mesh.p - point[:, None]
    r = np.minimum(np.linalg.norm(away, axis=0) / radius, 1.0)
    return replace(mesh, doflocs=point[:, None] + away * r ** (exponent - 1))


def refined_towards(mesh: MeshTri, at: Sequence[float], levels: int) -> MeshTri:
    """Return a mesh of triangles of which those that touch ``at`` are refined ``levels`` times, with what conforms.

    The smallest cells are ``2^-levels`` of what they were, and each ring has as many as the next: what quadrature of a
    singular function needs. Raises ValueError where no cell touches the point.
    """
    point = np.reshape(np.asarray(at, dtype=float), (-1, 1))
    for _ in range(checks.whole(levels, "levels")):
        near = np.linalg.norm(mesh.p - point, axis=0) <= 1e-14 * abs(mesh.p).max()
        if not near.any():
            raise ValueError(f"at: expected a vertex of the mesh, got {at!r}")
        mesh = mesh.refined(np.flatnonzero(near[mesh.t].any(axis=0)))
    return mesh
