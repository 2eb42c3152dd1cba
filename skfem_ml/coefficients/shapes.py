"""Coefficients with sharp features placed at random: channels, cracks, inclusions."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from skfem import Mesh

from skfem_ml import checks
from skfem_ml.coefficients.grids import iid_multilevel
from skfem_ml.meshes.cells import bounding_box, midpoints, widths


def channels(
    mesh: Mesh, contrast: float, number: int, width: float, rng: np.random.Generator, axis: int = 0
) -> NDArray[np.float64]:
    """Return straight channels of value ``contrast`` > 0 on a background of 1, ``(nelems,)``.

    A channel runs along ``axis`` through the whole bounding box; its place in the other directions is uniform, its
    cross-section an interval (3D: a square) of edge ``width``, in the unit of the mesh's coordinates. On a line, where
    there is no other direction, the channels are intervals. A cell belongs to a channel if its midpoint does.

    Raises ValueError if a channel is narrower than the widest cell (it could fall between the midpoints and vanish) or
    wider than the domain.
    """
    checks.rng(rng)
    checks.positive(contrast, "contrast")
    checks.whole(number, "number")
    checks.positive(width, "width")
    dim = mesh.dim()
    if axis not in range(dim):
        raise ValueError(f"axis: expected one of 0..{dim - 1}, got {axis}")
    across = [k for k in range(dim) if k != axis] or [0]
    lower, upper = (corner[across] for corner in bounding_box(mesh))
    _check_resolved(width, float(widths(mesh)[across].max()), "width")
    if width > (upper - lower).min():
        raise ValueError(f"width: expected at most the extent of the domain, {(upper - lower).min():.6g}, got {width}")
    a = np.ones(mesh.t.shape[1])
    x = midpoints(mesh)[across]
    for _ in range(number):
        centre = rng.uniform(lower + width / 2, upper - width / 2)
        a[(abs(x - centre[:, None]) <= width / 2).all(axis=0)] = contrast
    return a


def cracks(
    mesh: Mesh,
    number: int,
    width: float,
    length: float,
    rng: np.random.Generator,
    background: tuple[float, float] = (1.0, 2.0),
    crack: tuple[float, float] = (4.0, 5.0),
    level: int = 8,
) -> NDArray[np.float64]:
    """Return thin segments on a random background, ``(nelems,)``: Kröpfl, Maier, Peterseim (2022), experiment 3.

    The background is iid U[background] on the regular grid with 2^level cells along each axis (`iid_multilevel`). Each
    crack is a segment of the given ``length`` with a uniform midpoint in the bounding box and a uniform direction; the
    cells whose midpoint lies within ``width / 2`` of it take the crack's one value from U[crack]. Later cracks cover
    earlier ones. Lengths are in the unit of the mesh's coordinates. The paper does not say how its cracks were placed.

    Raises ValueError if a crack is narrower than the widest cell, where it would break into pieces.
    """
    checks.interval(*crack, name="crack")
    checks.whole(number, "number")
    checks.positive(length, "length")
    checks.positive(width, "width")
    _check_resolved(width, float(widths(mesh).max()), "width")
    a = iid_multilevel(mesh, level, *background, rng)
    lower, upper = bounding_box(mesh)
    x = midpoints(mesh)
    for _ in range(number):
        centre = rng.uniform(lower, upper)
        direction = rng.standard_normal(mesh.dim())
        direction /= np.linalg.norm(direction)
        value = rng.uniform(*crack)
        offset = x - centre[:, None]
        along = np.clip(direction @ offset, -length / 2, length / 2)
        distance = np.linalg.norm(offset - direction[:, None] * along, axis=0)
        a[distance <= width / 2] = value
    return a


def inclusions(
    mesh: Mesh, contrast: float, number: int, radius: float, rng: np.random.Generator
) -> NDArray[np.float64]:
    """Return discs (3D: balls, 1D: intervals) of value ``contrast`` > 0 on a background of 1, ``(nelems,)``.

    Centres are uniform in the bounding box and discs may overlap; ``radius`` is in the unit of the mesh's coordinates.
    A cell belongs to a disc if its midpoint does. Raises ValueError if a disc could fall between the midpoints
    (diameter below the diagonal of the largest cell).
    """
    checks.rng(rng)
    checks.positive(contrast, "contrast")
    checks.whole(number, "number")
    checks.positive(radius, "radius")
    _check_resolved(2 * radius, float(np.linalg.norm(widths(mesh), axis=0).max()), "2 * radius")
    lower, upper = bounding_box(mesh)
    a = np.ones(mesh.t.shape[1])
    x = midpoints(mesh)
    for _ in range(number):
        centre = rng.uniform(lower, upper)
        a[np.linalg.norm(x - centre[:, None], axis=0) <= radius] = contrast
    return a


def _check_resolved(size: float, cell: float, name: str) -> None:
    if size < cell * (1 - 1e-9):
        raise ValueError(f"{name}: expected at least {cell:.6g}, the largest cell, got {size}; refine the mesh")
