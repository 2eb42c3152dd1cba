"""Coefficients that are constant on the cells of regular grids: iid on several levels, checkerboards."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
from numpy.typing import NDArray
from skfem import Mesh

from skfem_ml import checks
from skfem_ml.meshes.cells import grid_index, relative_midpoints


def iid_multilevel(
    mesh: Mesh, levels: int | Iterable[int], low: float, high: float, rng: np.random.Generator
) -> NDArray[np.float64]:
    """Return the mean over the levels k of iid U[low, high] samples on regular grids with 2^k cells along each axis.

    ``a = (1 / #levels) sum_k A_k``, where A_k is constant on the 2^k x 2^k (line: 2^k, hex: 2^k x 2^k x 2^k) grid that
    divides the bounding box of the mesh; each cell takes the value at its midpoint. One level k gives the family A_k of
    Kröpfl, Maier, Peterseim (2022), section 4, and ``range(9)`` our reading of their multiscale family (its formula is
    missing from the text). ``low`` and ``high`` are positive; the result is ``(nelems,)`` within [low, high].

    The same ``rng`` gives the same field on every mesh of the same bounding box. Raises ValueError for an empty or
    negative level and for an interval that is not positive.
    """
    checks.interval(low, high)
    checks.rng(rng)
    chosen = [levels] if isinstance(levels, (int, np.integer)) else list(levels)
    if not chosen:
        raise ValueError("levels: expected at least one level, got none; pass for example range(9)")
    relative = relative_midpoints(mesh)
    total = np.zeros(mesh.t.shape[1])
    for level in chosen:
        checks.whole(level, "levels")
        shape = (2 ** int(level),) * mesh.dim()
        total += rng.uniform(low, high, size=shape)[tuple(grid_index(relative, shape))]
    # The mean of equal values may round past the ends of the interval.
    return np.clip(total / len(chosen), low, high)


def checkerboard(mesh: Mesh, cells: int | Sequence[int], low: float, high: float) -> NDArray[np.float64]:
    """Return a checkerboard of two values, ``(nelems,)``.

    The bounding box is divided into ``cells`` fields along every axis (an integer, or one integer per axis). The field
    at the lower corner has the value ``low``, its neighbours ``high``; a mesh cell takes the value at its midpoint.
    Raises ValueError for values that are not ``0 < low <= high`` and for a wrong number of axes.
    """
    checks.interval(low, high)
    dim = mesh.dim()
    shape = (int(cells),) * dim if isinstance(cells, (int, np.integer)) else tuple(cells)
    if len(shape) != dim:
        raise ValueError(f"cells: expected an integer or {dim} integers, one per axis, got {len(shape)}")
    for count in shape:
        checks.whole(count, "cells", least=1)
    odd = grid_index(relative_midpoints(mesh), shape).sum(axis=0) % 2
    return np.where(odd == 1, float(high), float(low))
