"""Matrices of `nelems` unknowns: factorised once for many right-hand sides, and how well conditioned they are."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy import ndarray
from scipy.sparse import csr_matrix, diags
from scipy.sparse.linalg import splu

from skfem_ml.lod.coarse import backward_error

STEPS = 30  # of power iteration: enough for the size of a condition number
TOLERATED = 1e-10


class Factors:
    """A factorised matrix. Raises ValueError where it is singular."""

    def __init__(self, matrix: csr_matrix):
        self.matrix = matrix.tocsc()
        try:
            self._factors = splu(self.matrix)
        except RuntimeError as error:
            raise ValueError(
                "G: expected a regular matrix, got a singular one: basis functions coincide; take a larger epsilon"
            ) from error

    def solve(self, b: ndarray) -> ndarray:
        """The solution for right-hand sides ``(n,)`` or ``(n, k)``.

        Raises ValueError for a backward error above 1e-10.
        """
        x = self._factors.solve(b)
        for column, right in zip(np.atleast_2d(x.T), np.atleast_2d(b.T), strict=True):
            error = backward_error(self.matrix, column, right)
            if not error <= TOLERATED:
                raise ValueError(
                    f"G: expected a regular matrix, got a solution of backward error {error:.1e} (at most "
                    f"{TOLERATED:.0e}); take a larger epsilon, or a larger ell at a high contrast"
                )
        return x


def condition(matrix: csr_matrix) -> float:
    """An estimate from below of the spectral condition number of D^-1/2 M D^-1/2, D the diagonal; inf where singular.

    By power iteration with M^T M and its inverse from a fixed vector: the same on every call.
    """
    scaling = diags(1 / np.sqrt(np.abs(matrix.diagonal())))
    scaled = (scaling @ matrix @ scaling).tocsc()
    try:
        factors = splu(scaled)
    except RuntimeError:
        return np.inf
    largest = _norm(lambda x: scaled.T @ (scaled @ x), scaled.shape[0])
    inverse = _norm(lambda x: factors.solve(factors.solve(x, trans="T")), scaled.shape[0])
    return float(np.sqrt(largest * inverse))


def _norm(product: Callable[[ndarray], ndarray], size: int) -> float:
    x = np.random.default_rng(0).standard_normal(size)
    norm = 0.0
    for _ in range(STEPS):
        x = product(x / np.linalg.norm(x))
        norm = float(np.linalg.norm(x))
    return norm
