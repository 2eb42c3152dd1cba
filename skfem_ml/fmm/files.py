"""H2 operators as named arrays and sizes, from which they are made again: what files hold of them."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import bsr_matrix

from skfem_ml.fmm.nested import block_sparse
from skfem_ml.fmm.skeleton import H2Skeleton

Array = NDArray[np.float64]


class Parts(Protocol):
    """What an `H2Operator` consists of."""

    skeleton: H2Skeleton
    rows: list[Array]
    columns: list[Array]
    far: list[bsr_matrix]
    close: bsr_matrix
    error: float


P = TypeVar("P", bound=Parts)
Make = Callable[[H2Skeleton, list[Array], list[Array], list[bsr_matrix], bsr_matrix, float], P]


def arrays_of(op: Parts) -> dict[str, Array]:
    """Return points, bases and blocks by name; bases that rows and columns share stand there once."""
    arrays = {"points": op.skeleton.points, "close": _data(op.close)}
    arrays |= {f"far {k}": _data(block) for k, block in enumerate(op.far)}
    arrays |= {f"rows {k}": basis for k, basis in enumerate(op.rows)}
    if op.columns is not op.rows:
        arrays |= {f"columns {k}": basis for k, basis in enumerate(op.columns)}
    return arrays


def sizes_of(op: Parts) -> dict[str, object]:
    """Return leaf, admissibility and measured error (None where it is unknown)."""
    return {
        "leaf": op.skeleton.leaf,
        "eta": op.skeleton.eta,
        "error": None if math.isnan(op.error) else op.error,
    }


def operator_of(make: Make[P], arrays: Mapping[str, Array], sizes: Mapping[str, object]) -> P:
    """Return the operator of `arrays_of` and `sizes_of`; ValueError, TypeError, KeyError where they do not fit."""
    leaf, eta, error = sizes["leaf"], sizes["eta"], sizes["error"]
    if not isinstance(leaf, int) or not isinstance(eta, float) or not isinstance(error, float | None):
        raise ValueError(f"leaf, eta, error: expected an integer and two numbers, got {leaf!r}, {eta!r}, {error!r}")
    skeleton = H2Skeleton(arrays["points"], leaf, eta)
    levels, last = skeleton.levels[skeleton.first :], skeleton.levels[-1].n
    rows = [arrays[f"rows {k}"] for k in range(len(levels))]
    columns = [arrays[f"columns {k}"] for k in range(len(levels))] if "columns 0" in arrays else rows
    for bases in (rows, columns):
        _require_bases(skeleton, bases)
    far = [
        _blocks(arrays[f"far {k}"], level.far, level.n, rows[k].shape[2], columns[k].shape[2])
        for k, level in enumerate(levels)
    ]
    close = _blocks(arrays["close"], skeleton.close, last, skeleton.width, skeleton.width)
    return make(skeleton, rows, columns, far, close, math.nan if error is None else error)


def _data(blocks: bsr_matrix) -> Array:
    """The blocks ``(m, a, b)``, by row and column: the order of the pairs of a skeleton."""
    return blocks.sorted_indices().data


def _blocks(data: Array, pairs: NDArray[np.int64], n: int, a: int, b: int) -> bsr_matrix:
    if data.shape != (pairs.shape[1], a, b):
        raise ValueError(f"blocks: expected shape {(pairs.shape[1], a, b)}, got {data.shape}")
    return block_sparse(data, pairs, n, n)


def _require_bases(skeleton: H2Skeleton, bases: list[Array]) -> None:
    levels = skeleton.levels[skeleton.first :]
    for k, (level, basis) in enumerate(zip(levels, bases, strict=True)):
        last = k == len(levels) - 1
        size = skeleton.width if last else levels[k + 1].children * bases[k + 1].shape[2]
        if basis.ndim != 3 or basis.shape[:2] != (level.n, size):
            raise ValueError(f"bases: expected shape ({level.n}, {size}, rank), got {basis.shape}")
