"""Linear H2 operators: built from a kernel, a matrix, a solver or data; applied in O(N)."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.sparse import bsr_matrix
from scipy.sparse.linalg import LinearOperator

from skfem_ml.fmm.building import Kernel, evaluated, regression, relative, to_tolerance
from skfem_ml.fmm.columnwise import from_columns, unit_columns
from skfem_ml.fmm.nested import Entries, Nested, blocks, far_points, nested
from skfem_ml.fmm.skeleton import H2Skeleton, Index

Array = NDArray[np.float64]
PROBES = 32  # columns of the matrix that measure the error of an operator made from a kernel


@dataclass(frozen=True)
class Storage:
    """What an operator keeps: ``numbers`` stored, ``dense`` = N^2, ``ranks`` from the first level, ``error``.

    ``error`` is the relative Frobenius error that was measured: of all entries; of 32 columns for a kernel and a
    symmetric solver.
    """

    numbers: int
    dense: int
    ranks: tuple[tuple[int, int], ...]
    error: float

    @property
    def ratio(self) -> float:
        """How many times less than the dense matrix is kept."""
        return self.dense / self.numbers

    def __str__(self) -> str:
        ranks = ", ".join(f"{r}" if r == c else f"{r}/{c}" for r, c in self.ranks) or "none"
        return (
            f"{self.numbers:,} numbers ({8 * self.numbers / 2**20:.1f} MiB), 1/{self.ratio:.1f} of dense; "
            f"ranks {ranks}; relative error {self.error:.1e}"
        )


class H2Operator:
    """The linear map ``w = C q + sum_l (U_L ... U_l) M_l (V_l ... V_L) q`` on the points of a skeleton.

    Made by `from_kernel`, `from_matrix`, `from_solver` and `from_data`; source: FMM-Net, equation (18), with one
    upward and one downward pass. ``rows`` and ``columns`` are the nested bases U and V (see `nested.Nested`), ``far``
    the block-sparse M_l from the first level with admissible pairs on, ``close`` the block-sparse C.
    """

    def __init__(
        self,
        skeleton: H2Skeleton,
        rows: list[Array],
        columns: list[Array],
        far: list[bsr_matrix],
        close: bsr_matrix,
        error: float = math.nan,
    ):
        self.skeleton, self.rows, self.columns, self.far, self.close = skeleton, rows, columns, far, close
        self.error = error
        self._leaves = skeleton.leaf_index()

    @classmethod
    def from_kernel(
        cls,
        skeleton: H2Skeleton,
        kernel: Kernel,
        *,
        tol: float | None = 1e-6,
        rank: int | None = None,
        symmetric: bool = False,
    ) -> H2Operator:
        """Return the operator of ``a_ij = kernel(x_i, x_j)`` in O(N) evaluations, time and memory.

        ``kernel(x, y)`` takes coordinates ``(dim, ...)`` twice and returns ``(...)``; it is also called for x = y, and
        has to say there what a_ii is. The bases are chosen on a sample of the far points; the relative Frobenius error
        is then measured on 32 columns, and the sample and the ranks grow until it is at most ``tol``. With ``rank`` no
        rank exceeds it, and the error is only measured. ``symmetric=True`` (a_ij = a_ji) halves the work.

        Raises ValueError for values that are not finite or of a wrong shape, RuntimeError where ``tol`` is not reached.
        """
        entries = evaluated(skeleton, kernel)
        probes, unit = _probes(skeleton.N)
        exact = entries(np.arange(skeleton.N)[:, None], probes[None, :])
        size = max(2 * skeleton.width, 64)

        def build(attempt: int, local: float) -> H2Operator:
            far = far_points(skeleton, size << attempt)
            return _compressed(cls, skeleton, entries, far, local, rank, symmetric)

        return to_tolerance(build, lambda op: relative(op.matvec(unit), exact), tol, rank)

    @classmethod
    def from_matrix(
        cls, skeleton: H2Skeleton, matrix: ArrayLike, *, tol: float | None = 1e-6, rank: int | None = None
    ) -> H2Operator:
        """Return the operator of a dense matrix ``(N, N)``, to a relative Frobenius error of at most ``tol``.

        The error is measured on all entries. With ``rank`` no rank exceeds it, and the error is only measured. Takes
        O(N^2) time. Raises ValueError for another shape and entries that are not finite.
        """
        A = np.asarray(matrix, dtype=float)
        N = skeleton.N
        if A.shape != (N, N):
            raise ValueError(f"matrix: expected shape ({N}, {N}), one row and column per point, got {A.shape}")
        if not np.isfinite(A).all():
            i, j = np.argwhere(~np.isfinite(A))[0]
            raise ValueError(f"matrix: expected finite entries, got {A[i, j]} at row {i}, column {j}")
        far = far_points(skeleton, None)
        symmetric = bool(np.array_equal(A, A.T))

        def build(attempt: int, local: float) -> H2Operator:
            return _compressed(cls, skeleton, lambda i, j: A[i, j], far, local, rank, symmetric)

        return to_tolerance(build, lambda op: _error(op, A), tol, rank)

    @classmethod
    def from_solver(
        cls,
        skeleton: H2Skeleton,
        solve: Callable[[Array], Array],
        *,
        tol: float | None = 1e-6,
        rank: int | None = None,
        symmetric: bool = False,
        chunk: int = 256,
    ) -> H2Operator:
        """Return the operator of a linear solver: ``solve(b)`` takes ``(N, k)`` and returns ``(N, k)``.

        Unit loads are solved ``chunk`` at a time: all N, and N^2 numbers are held while it is built, not afterwards.
        ``symmetric=True``, for a symmetric solver, has the same bases for rows and columns: the operator is symmetric,
        as a preconditioner of conjugate gradients has to be, and half the bases are kept. It holds no N^2 numbers at
        any time, and solves some N (1 + rank / leaf) unit loads; its error is measured on 32 columns. It is positive
        definite only where ``tol`` is small against the smallest eigenvalue.
        ``functools.partial(solver_direct(), A)`` and ``splu(A).solve`` are solvers; the second factors once.

        Raises ValueError as `from_matrix`, and for a solver that is not symmetric where ``symmetric=True``.
        """
        columns = unit_columns(solve, skeleton.N)
        if not symmetric:
            starts = range(0, skeleton.N, chunk)
            parts = [columns(np.arange(k, min(k + chunk, skeleton.N))) for k in starts]
            return cls.from_matrix(skeleton, np.concatenate(parts, axis=1), tol=tol, rank=rank)
        far = far_points(skeleton, None)
        probes, unit = _probes(skeleton.N)
        exact = columns(probes)
        corner = exact[probes]
        if not np.allclose(corner, corner.T, rtol=0, atol=1e-6 * np.abs(corner).max()):
            raise ValueError(
                f"symmetric: expected a symmetric solver, got entries of the inverse that differ by "
                f"{np.abs(corner - corner.T).max():.1e} from the transposed ones; pass symmetric=False"
            )

        def build(attempt: int, local: float) -> H2Operator:
            bases, blocks, close = from_columns(skeleton, columns, far, local, rank, chunk)
            return cls(skeleton, bases.bases, bases.bases, blocks, close)

        return to_tolerance(build, lambda op: relative(op.matvec(unit), exact), tol, rank)

    @classmethod
    def from_data(
        cls,
        skeleton: H2Skeleton,
        inputs: ArrayLike,
        outputs: ArrayLike,
        *,
        ridge: float = 1e-10,
        tol: float | None = None,
        rank: int | None = 6,
    ) -> H2Operator:
        """Return the operator of the ridge regression ``min |inputs A^T - outputs|^2 + s |A|^2``, compressed.

        ``inputs`` and ``outputs`` are ``(samples, N)``; ``s`` is ``ridge`` times the mean eigenvalue of the Gram
        matrix. The regression is dense, O(N^2) memory. Of directions that no input has it knows nothing: with few
        samples its matrix need not compress, and `storage().error` tells how far it did.

        Raises ValueError for data of another N or sample count, not finite, and ``ridge <= 0``.
        """
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
        return cls.from_matrix(skeleton, regression(q, w, ridge), tol=tol, rank=rank)

    @property
    def T(self) -> H2Operator:
        """The transposed operator."""
        far = [block.T.tobsr() for block in self.far]
        return H2Operator(self.skeleton, self.columns, self.rows, far, self.close.T.tobsr(), self.error)

    def matvec(self, q: ArrayLike) -> Array:
        """Return the product with ``q`` of shape ``(N,)`` or ``(N, k)``, same shape; one pass up, one down.

        Raises ValueError for another N.
        """
        q = np.asarray(q, dtype=float)
        N = self.skeleton.N
        if q.ndim not in (1, 2) or q.shape[0] != N:
            raise ValueError(f"q: expected shape ({N},) or ({N}, k), one row per point of the skeleton, got {q.shape}")
        if not q.size:
            return q.copy()
        padded = np.concatenate([q.reshape(N, -1), np.zeros((1, q.size // N))])
        leaves = padded[self._leaves]
        n, width, k = leaves.shape
        result = (self.close @ leaves.reshape(-1, k)).reshape(n, width, k)
        if self.far:
            result += self._far_part(leaves)
        padded[self._leaves] = result
        return padded[:N].reshape(q.shape)

    def _far_part(self, x: Array) -> Array:
        k = x.shape[2]
        moments: list[Array] = []
        for basis in reversed(self.columns):
            x = x.reshape(basis.shape[0], basis.shape[1], k)  # the children's moments, one below the other
            x = basis.transpose(0, 2, 1) @ x
            moments.insert(0, x)
        y: Array | float = 0.0
        for basis, block, x in zip(self.rows, self.far, moments, strict=True):
            here = (block @ x.reshape(-1, k)).reshape(basis.shape[0], basis.shape[2], k)
            y = basis @ (here + (y if np.isscalar(y) else np.reshape(y, here.shape)))
        return np.asarray(y)

    def __matmul__(self, q: ArrayLike) -> Array:
        return self.matvec(q)

    def aslinearoperator(self) -> LinearOperator:
        """Return scipy's LinearOperator ``(N, N)`` with products and transposed products."""
        shape, transposed = (self.skeleton.N, self.skeleton.N), self.T
        # Without a dtype scipy would probe the operator with integers.
        return LinearOperator(
            shape,
            matvec=lambda q: self.matvec(np.ravel(q)),
            rmatvec=lambda q: transposed.matvec(np.ravel(q)),
            matmat=self.matvec,
            rmatmat=transposed.matvec,
            dtype=float,
        )

    def storage(self) -> Storage:
        """Return what is kept; the blocks of unequal leaves are counted with their padding."""
        numbers = sum(b.size for b in self.rows) + sum(b.data.size for b in self.far) + self.close.data.size
        if self.columns is not self.rows:
            numbers += sum(b.size for b in self.columns)
        ranks = tuple((r.shape[2], c.shape[2]) for r, c in zip(self.rows, self.columns, strict=True))
        return Storage(int(numbers), self.skeleton.N**2, ranks, self.error)


def _compressed(
    cls: type[H2Operator],
    skeleton: H2Skeleton,
    entries: Entries,
    far: list[list[Index]],
    tol: float,
    rank: int | None,
    symmetric: bool,
) -> H2Operator:
    rows = nested(skeleton, entries, far, tol, rank)
    columns: Nested = rows if symmetric else nested(skeleton, lambda i, j: entries(j, i), far, tol, rank)
    levels = skeleton.levels[skeleton.first :]
    interactions = [
        blocks(entries, level.far, r, c, skeleton.N)
        for level, r, c in zip(levels, rows.chosen, columns.chosen, strict=True)
    ]
    leaves = skeleton.leaf_index()
    close = blocks(entries, skeleton.close, leaves, leaves, skeleton.N)
    return cls(skeleton, rows.bases, columns.bases, interactions, close)


def _probes(N: int) -> tuple[Index, Array]:
    """The columns that measure an error, and their unit vectors ``(N, columns)``."""
    probes = np.unique(np.linspace(0, N - 1, PROBES).astype(int))
    unit = np.zeros((N, len(probes)))
    unit[probes, np.arange(len(probes))] = 1.0
    return probes, unit


def _error(operator: H2Operator, A: Array, chunk: int = 256) -> float:
    total = 0.0
    for start in range(0, len(A), chunk):
        unit = np.eye(len(A), min(chunk, len(A) - start), -start)
        total += float(((operator.matvec(unit) - A[:, start : start + chunk]) ** 2).sum())
    size = float(np.linalg.norm(A))
    return math.sqrt(total) / (size or 1.0)
