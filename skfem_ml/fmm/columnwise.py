"""A symmetric H2 operator from the columns of a matrix alone, solved for when needed: no N^2 numbers at any time."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import bsr_matrix

from skfem_ml.fmm.nested import Nested, block_sparse, interpolative, stacked
from skfem_ml.fmm.skeleton import H2Skeleton, Index

Array = NDArray[np.float64]
Columns = Callable[[Index], Array]


def unit_columns(solve: Callable[[Array], Array], N: int) -> Columns:
    """Return ``columns(j)``: the solutions ``(N, len(j))`` of the unit loads j; ValueError for another shape."""

    def columns(j: Index) -> Array:
        b = np.zeros((N, len(j)))
        b[j, np.arange(len(j))] = 1.0
        x = np.asarray(solve(b), dtype=float)
        if x.shape != b.shape:
            raise ValueError(f"solve: expected shape {b.shape} for right sides of that shape, got {x.shape}")
        if not np.isfinite(x).all():
            raise ValueError(f"solve: expected finite values, got {int((~np.isfinite(x)).sum())} that are not")
        return x

    return columns


def from_columns(
    skeleton: H2Skeleton, columns: Columns, far: list[list[Index]], tol: float, rank: int | None, chunk: int
) -> tuple[Nested, list[bsr_matrix], bsr_matrix]:
    """Return bases, far and close blocks of a symmetric matrix, from its columns at most about ``chunk`` at a time.

    From the leaves up, the columns of a cluster's candidates give its basis, and the blocks between the candidates:
    at the leaves these are the close blocks, above them the far blocks of the level below. Of an N by N matrix about
    ``N (1 + 4/3 rank / leaf)`` columns are asked for (2D, four children).
    """
    candidates = skeleton.leaf_index()
    pairs, width = skeleton.close, 1  # the blocks between groups of candidates that this level can fill
    bases: list[Array] = []
    chosen: list[Index] = []
    made: list[bsr_matrix] = []
    for l in range(len(skeleton.levels) - 1, skeleton.first - 2, -1):
        top = l < skeleton.first
        groups = candidates.reshape(-1, candidates.shape[1] // width)
        blocks = np.zeros((pairs.shape[1], groups.shape[1], groups.shape[1]))
        bounds = np.searchsorted(pairs[0], np.arange(len(groups) + 1))
        found: list[tuple[Index, Array]] = []
        for k, rows, x in _solved(columns, candidates, skeleton.N, chunk):
            for m in range(k * width, (k + 1) * width):
                _fill(blocks, pairs, bounds, groups, m, rows, x, skeleton.N)
            if not top:
                found.append(interpolative(x[far[l][k]], rows, tol, rank))
        made.insert(0, _symmetric(blocks, pairs, len(groups)))
        if top:
            break
        basis, points = stacked(found, candidates, skeleton.N)
        bases.insert(0, basis)
        chosen.insert(0, points)
        pairs, width = skeleton.levels[l].far, skeleton.levels[l].children
        candidates = points.reshape(-1, width * points.shape[1])
    return Nested(bases, chosen), made[:-1], made[-1]


def _solved(columns: Columns, candidates: Index, N: int, chunk: int) -> Iterator[tuple[int, Index, Array]]:
    """Yield (cluster, its candidates that are points, their columns), solving for several clusters at once."""
    step = max(1, chunk // candidates.shape[1])
    for start in range(0, len(candidates), step):
        parts = [rows[rows < N] for rows in candidates[start : start + step]]
        ends = np.cumsum([0, *map(len, parts)])
        x = columns(np.concatenate(parts))
        for k, rows in enumerate(parts):
            yield start + k, rows, x[:, ends[k] : ends[k + 1]]


def _fill(blocks: Array, pairs: Index, bounds: Index, groups: Index, m: int, rows: Index, x: Array, N: int) -> None:
    """Fill the blocks of row ``m`` from the columns ``x`` of ``rows``, by the symmetry of the matrix."""
    mine = np.flatnonzero(groups[m] < N)
    where = {int(point): k for k, point in enumerate(rows)}
    at = [where[int(point)] for point in groups[m, mine]]
    for e in range(bounds[m], bounds[m + 1]):
        others = groups[pairs[1, e]]
        theirs = np.flatnonzero(others < N)
        blocks[e][np.ix_(mine, theirs)] = x[np.ix_(others[theirs], at)].T


def _symmetric(blocks: Array, pairs: Index, n: int) -> bsr_matrix:
    """Return the mean of the matrix and its transpose, which differ by the rounding of the solver."""
    turned = np.lexsort((pairs[0], pairs[1]))  # the lists are symmetric: transposed, they are in this order
    return block_sparse((blocks + blocks[turned].transpose(0, 2, 1)) / 2, pairs, n, n)
