"""Linear H2 operators: built from a kernel, a matrix, a solver or data; applied in O(N)."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.sparse import bsr_matrix
from scipy.sparse.linalg import LinearOperator

from skfem_ml.fmm.builders import checked_data, of_kernel, of_matrix, of_solver, of_symmetric_solver
from skfem_ml.fmm.building import Kernel
from skfem_ml.fmm.files import arrays_of, operator_of, sizes_of
from skfem_ml.fmm.skeleton import H2Skeleton
from skfem_ml.learning.regression import ridge_matrix

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Storage:
    """What an operator keeps: ``numbers`` stored, ``dense`` = N^2, ``ranks`` from the first level, ``error``.

    ``error`` is the relative Frobenius error that was measured: of all entries; of 32 columns for a kernel and a
    symmetric solver.

    >>> kept = Storage(25_000, 10**6, ((6, 6), (6, 5)), 1e-7)
    >>> print(kept)
    25,000 numbers (0.2 MiB), 1/40.0 of dense; ranks 6, 6/5; relative error 1.0e-07
    >>> kept.ratio
    40.0
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

    >>> skeleton = H2Skeleton(np.random.default_rng(0).random((2, 500)), leaf=20)
    >>> op = H2Operator.from_kernel(skeleton, lambda x, y: np.exp(-((x - y) ** 2).sum(axis=0)), tol=1e-4)
    >>> (op @ np.ones(500)).shape, op.error <= 1e-4
    ((500,), True)
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

    def __repr__(self) -> str:
        last, N = self.skeleton.levels[-1], self.skeleton.N
        ranks = f"rank {_ranks(self)}" if self.far else "dense"
        error = "" if math.isnan(self.error) else f", relative error {self.error:.1e}"
        return f"H2Operator({N} x {N}, {ranks}, {last.n} leaves of {self.skeleton.width}{error})"

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
        return of_kernel(cls, skeleton, kernel, tol, rank, symmetric)

    @classmethod
    def from_matrix(
        cls, skeleton: H2Skeleton, matrix: ArrayLike, *, tol: float | None = 1e-6, rank: int | None = None
    ) -> H2Operator:
        """Return the operator of a dense matrix ``(N, N)``, to a relative Frobenius error of at most ``tol``.

        The error is measured on all entries. With ``rank`` no rank exceeds it, and the error is only measured. Takes
        O(N^2) time. Raises ValueError for another shape and entries that are not finite.
        """
        return of_matrix(cls, skeleton, matrix, tol, rank)

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
        make = of_symmetric_solver if symmetric else of_solver
        return make(cls, skeleton, solve, tol, rank, chunk)

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
        q, w = checked_data(skeleton, inputs, outputs, ridge)
        return cls.from_matrix(skeleton, ridge_matrix(q, w, ridge), tol=tol, rank=rank)

    def save(self, path: str | Path, card: Mapping[str, object] | None = None) -> None:
        """Write the operator and a card of JSON values to a file; raises what `learning.storage.save_model` raises."""
        import torch

        from skfem_ml.learning.storage import save_model

        tensors = {name: torch.as_tensor(np.array(held, order="C")) for name, held in arrays_of(self).items()}
        save_model(path, tensors, {**(card or {}), "kind": "H2Operator", "sizes": sizes_of(self)})

    @classmethod
    def load(cls, path: str | Path) -> H2Operator:
        """Return the operator of a file of `save`.

        Raises FileNotFoundError, CorruptModelError for a damaged file, ModelMismatchError for another kind of model.
        """
        from skfem_ml.learning.storage import ModelMismatchError, fitting, load_model

        tensors, card = load_model(path)
        if card.get("kind") != "H2Operator":
            remedy = "load it by skfem_ml.load_operator"
            raise ModelMismatchError(str(path), {"kind": "H2Operator"}, {"kind": card.get("kind")}, remedy)
        with fitting(path, "the arrays of an H2 operator"):
            return operator_of(cls, {name: tensor.numpy() for name, tensor in tensors.items()}, card["sizes"])

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


def _ranks(op: H2Operator) -> str:
    """The least and the largest rank of the levels."""
    found = sorted(basis.shape[2] for basis in (*op.rows, *op.columns))
    return f"{found[0]}" if found[0] == found[-1] else f"{found[0]} to {found[-1]}"
