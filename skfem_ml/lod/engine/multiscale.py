"""The correctors of all coarse basis functions as one sparse matrix."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy import ndarray
from scipy.sparse import coo_matrix, csr_matrix

from skfem_ml.lod.engine.choice import progress_over
from skfem_ml.lod.mesh.discretisation import Discretisation
from skfem_ml.progress import Progress

FOLD = 2**24  # entries collected before they are summed: bounds the memory


def corrector_matrix(space: Discretisation, engine: Any, progress: bool | Progress) -> csr_matrix:
    """Q ``(fine.N, coarse.N)``: the sum over T of Q_T lambda_j on the fine mesh, for every coarse node j."""
    shape = (space.fine_mesh.p.shape[1], space.coarse.N)
    total, parts, held = csr_matrix(shape), [], 0
    elements = space.in_rows(space.all_elements)
    for done, nodes, values in progress_over(engine.correct(elements), len(elements), progress):
        parts.append(_entries(nodes, space.grid.corners[done], values))
        held += len(parts[-1][0])
        if held > FOLD:
            total, parts, held = total + _folded(parts, shape), [], 0
    return total + _folded(parts, shape) if parts else total


def _entries(nodes: ndarray, corners: ndarray, values: ndarray) -> tuple[ndarray, ndarray, ndarray]:
    """Values, rows and columns of correctors ``(k, nodes, corners)``; nodes outside the domain are -1."""
    used = np.broadcast_to((nodes >= 0)[:, :, None], values.shape) & (values != 0)
    rows, columns = np.broadcast_arrays(nodes[:, :, None], corners[:, None])
    return values[used], rows[used], columns[used]


def _folded(parts: list[tuple[ndarray, ndarray, ndarray]], shape: tuple[int, int]) -> csr_matrix:
    values, rows, columns = (np.concatenate(part) for part in zip(*parts, strict=True))
    return coo_matrix((values, (rows, columns)), shape=shape).tocsr()
