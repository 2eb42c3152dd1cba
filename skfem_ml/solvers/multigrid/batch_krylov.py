"""Conjugate gradients for a batch of systems, each with its own steps."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np
from numpy import ndarray

from skfem_ml.solvers.multigrid.krylov import smallest_ritz_value

if TYPE_CHECKING:
    from torch import Tensor


class BatchGradients:
    """The iterates of `ConjugateGradients` for every field of a batch, from a full-multigrid pass.

    Fields that take no part in a step keep their iterate.
    """

    def __init__(
        self,
        cycle: Callable[[Tensor], Tensor],
        product: Callable[[Tensor], Tensor],
        free: Tensor,
        b: Tensor,
        start: Tensor,
    ):
        self._cycle, self._product, self._free, self._b = cycle, product, free, b
        self.x = start * free
        self.r = (b - product(self.x)) * free
        self._p = cycle(self.r)
        self._size = _dot(self.r, self._p)
        self.steps = np.zeros(len(b), dtype=int)
        self._lengths: list[list[float]] = [[] for _ in self.steps]
        self._sizes = [[size] for size in _numbers(self._size)]

    def step(self, going: ndarray) -> None:
        """One step for the fields that are ``going`` ``(k,)``."""
        mask = self.x.new_tensor(1.0 * going).reshape(self._size.shape)
        q = self._product(self._p)
        curvature = _dot(self._p, q)
        length = self._size / (curvature + (curvature == 0) * 1.0) * mask
        self.x = self.x + length * self._p
        self.r = self.r - length * q * self._free
        z = self._cycle(self.r)
        size = _dot(self.r, z)
        self._p = z + size / (self._size + (self._size == 0) * 1.0) * self._p
        self._size = size
        for field in np.flatnonzero(going):
            self._lengths[field].append(float(_numbers(length)[field]))
            self._sizes[field].append(float(_numbers(size)[field]))
        self.steps = self.steps + going

    def exact(self) -> ndarray:
        """Which residuals are zero, ``(k,)``."""
        return np.array([sizes[-1] <= 0 for sizes in self._sizes])

    def residual(self) -> ndarray:
        """|b - A x| / |b| by the recursion, ``(k,)``; |b - A x| where b = 0."""
        size = _numbers(_dot(self._b, self._b))
        return np.sqrt(_numbers(_dot(self.r, self.r)) / np.where(size > 0, size, 1))

    def energy_error(self) -> ndarray:
        """Estimates of the relative errors in energy, ``(k,)``; see `ConjugateGradients.energy_error`."""
        ritz = np.array([smallest_ritz_value(*pair) for pair in zip(self._lengths, self._sizes, strict=True)])
        error = np.array([max(sizes[-1], 0.0) for sizes in self._sizes]) / np.sqrt(ritz)
        whole = np.maximum(_numbers(_dot(self.x, self._b - self.r)), 0) + error
        return np.sqrt(error / np.where(whole > 0, whole, 1))


def _dot(x: Tensor, y: Tensor) -> Tensor:
    """Scalar products of every field; the axes of the grid are kept, of length one."""
    return (x * y).sum(dim=tuple(range(1, x.dim())), keepdim=True)


def _numbers(values: Tensor) -> ndarray:
    return values.reshape(-1).cpu().numpy()
