"""What `H2Operator` is built by: from a kernel, a matrix, a solver, or data; each to a tolerance or with a rank."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Protocol, TypeVar

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.sparse import bsr_matrix

from skfem_ml.fmm.building import Kernel, check_goal, evaluated, relative, to_tolerance
from skfem_ml.fmm.columnwise import from_columns, unit_columns
from skfem_ml.fmm.nested import Entries, Nested, blocks, far_points, nested
from skfem_ml.fmm.skeleton import H2Skeleton, Index

Array = NDArray[np.float64]
PROBES = 32  # columns of the matrix that measure the error of an operator made from a kernel


class Product(Protocol):
    """What a builder makes: a linear map on the points of a skeleton, with the error that was measured."""

    error: float

    def matvec(self, q: ArrayLike, /) -> Array:
        """Return the product with ``q`` ``(N, k)``."""


P = TypeVar("P", bound=Product)
# From skeleton, row bases, column bases, far blocks and close blocks to an operator: the class itself.
Make = Callable[[H2Skeleton, list[Array], list[Array], list[bsr_matrix], bsr_matrix], P]


def of_kernel(
    make: Make[P], skeleton: H2Skeleton, kernel: Kernel, tol: float | None, rank: int | None, symmetric: bool
) -> P:
    """Return the operator of ``a_ij = kernel(x_i, x_j)``; see `H2Operator.from_kernel`."""
    check_goal(tol, rank)
    entries = evaluated(skeleton, kernel)
    probes, unit = _probes(skeleton.N)
    exact = entries(np.arange(skeleton.N)[:, None], probes[None, :])
    size = max(2 * skeleton.width, 64)
    close = _close(skeleton, entries)

    def build(attempt: int, local: float) -> P:
        far = far_points(skeleton, size << attempt)
        return make(skeleton, *_compressed(skeleton, entries, far, local, rank, symmetric), close)

    return to_tolerance(build, lambda op: relative(op.matvec(unit), exact), tol, rank, _depth(skeleton))


def of_matrix(make: Make[P], skeleton: H2Skeleton, matrix: ArrayLike, tol: float | None, rank: int | None) -> P:
    """Return the operator of a dense matrix ``(N, N)``; see `H2Operator.from_matrix`."""
    check_goal(tol, rank)
    A = np.asarray(matrix, dtype=float)
    N = skeleton.N
    if A.shape != (N, N):
        raise ValueError(f"matrix: expected shape ({N}, {N}), one row and column per point, got {A.shape}")
    if not np.isfinite(A).all():
        i, j = np.argwhere(~np.isfinite(A))[0]
        raise ValueError(f"matrix: expected finite entries, got {A[i, j]} at row {i}, column {j}")
    far = far_points(skeleton, None)
    symmetric = bool(np.array_equal(A, A.T))

    def entries(i: Index, j: Index) -> Array:
        return A[i, j]

    close = _close(skeleton, entries)

    def build(attempt: int, local: float) -> P:
        return make(skeleton, *_compressed(skeleton, entries, far, local, rank, symmetric), close)

    return to_tolerance(build, lambda op: _error(op, A), tol, rank, _depth(skeleton))


def of_solver(
    make: Make[P],
    skeleton: H2Skeleton,
    solve: Callable[[Array], Array],
    tol: float | None,
    rank: int | None,
    chunk: int,
) -> P:
    """Return the operator of a linear solver, by all of its N columns; see `H2Operator.from_solver`."""
    check_goal(tol, rank)
    columns = unit_columns(solve, skeleton.N)
    starts = range(0, skeleton.N, chunk)
    parts = [columns(np.arange(k, min(k + chunk, skeleton.N))) for k in starts]
    return of_matrix(make, skeleton, np.concatenate(parts, axis=1), tol, rank)


def of_symmetric_solver(
    make: Make[P],
    skeleton: H2Skeleton,
    solve: Callable[[Array], Array],
    tol: float | None,
    rank: int | None,
    chunk: int,
) -> P:
    """Return the symmetric operator of a symmetric linear solver; see `H2Operator.from_solver`."""
    check_goal(tol, rank)
    columns = unit_columns(solve, skeleton.N)
    far = far_points(skeleton, None)
    probes, unit = _probes(skeleton.N)
    exact = columns(probes)
    corner = exact[probes]
    if not np.allclose(corner, corner.T, rtol=0, atol=1e-6 * np.abs(corner).max()):
        raise ValueError(
            f"symmetric: expected a symmetric solver, got entries of the inverse that differ by "
            f"{np.abs(corner - corner.T).max():.1e} from the transposed ones; pass symmetric=False"
        )

    def build(attempt: int, local: float) -> P:
        bases, blocks, close = from_columns(skeleton, columns, far, local, rank, chunk)
        return make(skeleton, bases.bases, bases.bases, blocks, close)

    return to_tolerance(build, lambda op: relative(op.matvec(unit), exact), tol, rank, _depth(skeleton))


def checked_data(skeleton: H2Skeleton, inputs: ArrayLike, outputs: ArrayLike, ridge: float) -> tuple[Array, Array]:
    """Return inputs and outputs ``(samples, N)`` as arrays; ValueError for data that `H2Operator.from_data` refuses."""
    q, w = np.asarray(inputs, dtype=float), np.asarray(outputs, dtype=float)
    for name, data in (("inputs", q), ("outputs", w)):
        if data.ndim != 2 or data.shape[1] != skeleton.N or data.shape[0] < 1:
            raise ValueError(
                f"{name}: expected shape (samples, {skeleton.N}), one column per point of the "
                f"skeleton, got {data.shape}"
            )
        if not np.isfinite(data).all():
            raise ValueError(f"{name}: expected finite values, got {int((~np.isfinite(data)).sum())} that are not")
    if len(q) != len(w):
        raise ValueError(f"inputs, outputs: expected one number of samples, got {len(q)} and {len(w)}")
    if not ridge > 0:
        raise ValueError(f"ridge: expected a positive number, got {ridge!r}")
    return q, w


def _compressed(
    skeleton: H2Skeleton, entries: Entries, far: list[list[Index]], tol: float, rank: int | None, symmetric: bool
) -> tuple[list[Array], list[Array], list[bsr_matrix]]:
    """Row bases, column bases and far blocks of the matrix with these entries."""
    rows = nested(skeleton, entries, far, tol, rank)
    columns: Nested = rows if symmetric else nested(skeleton, lambda i, j: entries(j, i), far, tol, rank)
    levels = skeleton.levels[skeleton.first :]
    interactions = [
        blocks(entries, level.far, r, c, skeleton.N)
        for level, r, c in zip(levels, rows.chosen, columns.chosen, strict=True)
    ]
    return rows.bases, columns.bases, interactions


def _close(skeleton: H2Skeleton, entries: Entries) -> bsr_matrix:
    """The close blocks, which no tolerance changes."""
    leaves = skeleton.leaf_index()
    return blocks(entries, skeleton.close, leaves, leaves, skeleton.N)


def _depth(skeleton: H2Skeleton) -> int:
    return len(skeleton.levels) - skeleton.first


def _probes(N: int) -> tuple[Index, Array]:
    """The columns that measure an error, and their unit vectors ``(N, columns)``."""
    probes = np.unique(np.linspace(0, N - 1, PROBES).astype(int))
    unit = np.zeros((N, len(probes)))
    unit[probes, np.arange(len(probes))] = 1.0
    return probes, unit


def _error(operator: Product, A: Array, chunk: int = 256) -> float:
    total = 0.0
    for start in range(0, len(A), chunk):
        unit = np.eye(len(A), min(chunk, len(A) - start), -start)
        total += float(((operator.matvec(unit) - A[:, start : start + chunk]) ** 2).sum())
    size = float(np.linalg.norm(A))
    return math.sqrt(total) / (size or 1.0)
