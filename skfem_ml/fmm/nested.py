"""Nested bases of an H2-matrix by interpolative decomposition: rows (columns) of far blocks through a few of them.

For a cluster with points R and far points S, a pivoted QR of ``A[R, S]`` chooses a skeleton R' of R and T with
``A[R, S] = T A[R', S]``. The clusters of the next level choose among the skeletons of their children, so T is a
transfer matrix there, and an admissible block is represented by the entries ``A[R', S']`` themselves.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import qr, solve_triangular
from scipy.sparse import bsr_matrix

from skfem_ml.fmm.skeleton import H2Skeleton, Index

Array = NDArray[np.float64]
Entries = Callable[[Index, Index], Array]
CHUNK = 1 << 20  # matrix entries that are evaluated at a time


@dataclass(frozen=True, eq=False)
class Nested:
    """Bases from the leaves up to the first level with admissible pairs, one array and one skeleton a level.

    ``bases[-1]`` is ``(leaves, width, rank)``, ``bases[k]`` ``(n, children * rank below, rank)``; ``chosen[k]``
    ``(n, rank)`` holds the points of the skeletons, N where a cluster needs fewer.
    """

    bases: list[Array]
    chosen: list[Index]


def far_points(skeleton: H2Skeleton, count: int | None) -> list[list[Index]]:
    """Return for each cluster of each level the points that it, or an ancestor, is admissible with.

    With ``count`` about that many of each level's pairs are taken, evenly along the tree order, and as many of the
    parent's; None takes all.
    """
    result: list[list[Index]] = []
    for level in skeleton.levels:
        bounds = np.searchsorted(level.far[0], np.arange(level.n + 1))
        mine: list[Index] = []
        for k in range(level.n):
            others = level.far[1, bounds[k] : bounds[k + 1]]
            parts = [_spread(skeleton, level.starts[j], level.starts[j + 1], count, len(others)) for j in others]
            if result:
                above = result[-1][k // level.children]
                if count is not None and len(above) > count:
                    above = above[np.arange(count) * len(above) // count]
                parts.append(above)
            mine.append(np.concatenate(parts) if parts else np.empty(0, dtype=np.int64))
        result.append(mine)
    return result


def _spread(skeleton: H2Skeleton, start: int, stop: int, count: int | None, parts: int) -> Index:
    size = int(stop - start)
    m = size if count is None else min(size, -(-count // parts))
    return skeleton.order[start + (2 * np.arange(m) + 1) * size // (2 * m)]


def nested(skeleton: H2Skeleton, entries: Entries, far: list[list[Index]], tol: float, rank: int | None) -> Nested:
    """Return nested bases for the rows of ``entries(i, j)``; for the columns pass the transposed entries.

    Every cluster's error is at most about ``tol`` relative to its far block (Frobenius norm), and its rank at most
    ``rank``. All clusters of a level get the level's largest rank; smaller ones are filled with zeros.
    """
    candidates = skeleton.leaf_index()
    bases: list[Array] = []
    chosen: list[Index] = []
    for l in range(len(skeleton.levels) - 1, skeleton.first - 1, -1):
        found = [
            interpolative(entries(rows[None, :], columns[:, None]), rows, tol, rank)
            for rows, columns in zip((c[c < skeleton.N] for c in candidates), far[l], strict=True)
        ]
        basis, points = stacked(found, candidates, skeleton.N)
        bases.insert(0, basis)
        chosen.insert(0, points)
        candidates = points.reshape(-1, skeleton.levels[l].children * points.shape[1])
    return Nested(bases, chosen)


def stacked(found: list[tuple[Index, Array]], candidates: Index, N: int) -> tuple[Array, Index]:
    """Return the bases ``(n, candidates, rank)`` and chosen points ``(n, rank)`` of the clusters of one level."""
    r = max(1, max(len(points) for points, _ in found))
    basis, points = np.zeros((*candidates.shape, r)), np.full((len(candidates), r), N)
    for k, (picked, weights) in enumerate(found):
        points[k, : len(picked)] = picked
        basis[k, candidates[k] < N, : len(picked)] = weights
    return basis, points


def interpolative(block: Array, rows: Index, tol: float, rank: int | None) -> tuple[Index, Array]:
    """Return chosen ``rows`` ``(k,)`` and weights ``(len(rows), k)`` with ``block.T = weights @ block.T[chosen]``.

    ``block`` ``(columns, len(rows))`` is overwritten.
    """
    if not block.size:
        return rows[:0], np.zeros((len(rows), 0))
    triangle, pivots = qr(block, mode="r", pivoting=True, overwrite_a=True, check_finite=False)
    size = min(block.shape)
    squares = (triangle[:size] ** 2).sum(axis=1)
    tails = np.sqrt(np.cumsum(squares[::-1])[::-1])  # norm of what is left after k steps
    floor = max(tol, 1e-15) * tails[0]
    k = int((tails > floor).sum())
    k = min(k, size if rank is None else rank)
    weights = np.zeros((len(rows), k))
    weights[pivots[:k]] = np.eye(k)
    weights[pivots[k:]] = solve_triangular(triangle[:k, :k], triangle[:k, k:], check_finite=False).T
    return rows[pivots[:k]], weights


def blocks(entries: Entries, pairs: Index, rows: Index, columns: Index, N: int) -> bsr_matrix:
    """Return the block-sparse matrix with ``entries(rows[i], columns[j])`` in block (i, j) for each of ``pairs``.

    ``pairs`` ``(2, m)`` is sorted by row; ``rows`` ``(n, a)`` and ``columns`` ``(n, b)`` are points, N for none.
    """
    a, b = rows.shape[1], columns.shape[1]
    data = np.zeros((pairs.shape[1], a, b))
    step = max(1, CHUNK // (a * b))
    for start in range(0, pairs.shape[1], step):
        i, j = rows[pairs[0, start : start + step], :, None], columns[pairs[1, start : start + step], None, :]
        inside = (i < N) & (j < N)
        i, j = np.broadcast_arrays(i, j)
        data[start : start + step][inside] = entries(i[inside], j[inside])
    return block_sparse(data, pairs, len(rows), len(columns))


def block_sparse(data: Array, pairs: Index, n: int, m: int) -> bsr_matrix:
    """Return the BSR matrix of ``n`` by ``m`` blocks from ``data`` ``(k, a, b)`` at ``pairs`` ``(2, k)`` (by row)."""
    bounds = np.searchsorted(pairs[0], np.arange(n + 1))
    return bsr_matrix((data, pairs[1], bounds), shape=(n * data.shape[1], m * data.shape[2]))
