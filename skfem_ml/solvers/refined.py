"""Solutions refined until their backward error is that of an elimination, by whatever solves for what is left of b."""

from __future__ import annotations

from abc import ABC, abstractmethod
from functools import cached_property
from typing import ClassVar

import numpy as np
from scipy.sparse import csr_matrix, spmatrix

from skfem_ml.solvers.linear import Vector, backward_error, infinity_norm

STEP = 1e-8  # of a round: recursive residuals drift where more is asked at once
ROUNDS = 4


class Refined(ABC):
    """``x = solve(b)`` for one matrix A: up to four rounds, each with what is left of b (iterative refinement).

    A kind of it says in `round` how a round is made, of A or of a matrix ``near`` to it, and in `stopped` what it did.
    ``CACHED`` are attributes that do not pickle and are made again. Raises ValueError for a ``near`` of another size;
    RuntimeError where the backward error stays above 100 ``tol``.
    """

    CACHED: ClassVar[tuple[str, ...]] = ()

    def __init__(self, A: spmatrix, near: spmatrix | None, tol: float):
        self.A, self.near, self.tol = csr_matrix(A), near, tol
        if near is not None and near.shape != self.A.shape:
            raise ValueError(f"near: expected a matrix of the {self.A.shape[0]} unknowns of A, got one of {near.shape}")

    def __getstate__(self) -> dict[str, object]:
        return {name: value for name, value in self.__dict__.items() if name not in self.CACHED}

    @abstractmethod
    def round(self, b: Vector, share: float) -> Vector:
        """An x whose residual ``b - A x`` is about ``share`` of b, ``(n,)``."""

    @abstractmethod
    def stopped(self, error: float) -> str:
        """What to say, and to do, where the backward error is too large."""

    @cached_property
    def _norm(self) -> float:
        return infinity_norm(self.A)

    def __call__(self, b: Vector) -> Vector:
        """The solution ``(n,)``, or ``(n, k)`` for k right-hand sides."""
        b = np.asarray(b, dtype=float)
        if b.ndim == 2:
            return np.stack([self(column) for column in b.T], axis=1) if b.shape[1] else np.zeros_like(b)
        if not self.A.shape[0] or not b.any():
            return np.zeros_like(b)
        x, error = self._refined(b)
        if not error <= 100 * self.tol:
            raise RuntimeError(self.stopped(error))
        return x

    def _refined(self, b: Vector) -> tuple[Vector, float]:
        """x and its backward error."""
        x, error = np.zeros_like(b), np.inf
        for _ in range(ROUNDS):
            share = max(STEP, self.tol / (2 * error)) if np.isfinite(error) else STEP
            change = self.round(b - self.A @ x, min(share, 0.1))
            less = backward_error(self.A, x + change, b, self._norm)
            if not less < error:
                break
            x, error, before = x + change, less, error
            if error <= self.tol or error > 0.1 * before:
                break
        return x, error
