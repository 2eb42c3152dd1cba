"""Classical regressions of an operator from samples: the rows that a network must beat."""

from __future__ import annotations

from collections.abc import Callable
from itertools import product

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import cho_factor, cho_solve
from scipy.spatial.distance import cdist

from skfem_ml.learning.regression import RIDGES, Regression, affine_ridge, best_of
from skfem_ml.metrics import mean_residual
from skfem_ml.problems import OperatorSamples

Array = NDArray[np.float64]
LENGTHS = (0.5, 1.0, 2.0, 4.0)
COMPONENTS = (8, 16, 24)
TUNING = 1500  # samples that settings of the kernel ridge are chosen with


Solver = Callable[[OperatorSamples], Regression]


def solver_constant() -> Solver:
    """Return the null model: the mean output of the training samples, whatever the input."""

    def solver(problem: OperatorSamples) -> Regression:
        mean = problem.part("train")[1].mean(axis=0)
        return Regression(lambda q: np.tile(mean, (len(q), 1)), mean.size)

    return solver


def solver_affine_ridge(ridges: tuple[float, ...] = RIDGES) -> Solver:
    """Return ridge regression with a dense matrix and a shift, N (N + 1) numbers.

    ``min sum |A (q - mean q) + mean w - w|^2 + s |A|^2``, s being the mean eigenvalue of the Gram matrix times the one
    of ``ridges`` with the least residual on the validation samples.
    """

    def solver(problem: OperatorSamples) -> Regression:
        return affine_ridge(problem, ridges, lambda A: ((lambda q: q @ A.T), A.size), mean_residual)

    return solver


def solver_kernel_ridge(
    centres: int = 6000,
    *,
    components: tuple[int, ...] = COMPONENTS,
    lengths: tuple[float, ...] = LENGTHS,
    ridges: tuple[float, ...] = RIDGES,
) -> Solver:
    """Return kernel ridge regression on the principal components of the inputs.

    ``w(q) = mean w + sum_j exp(-|z(q) - z_j|^2 / 2 s^2) c_j`` over the first ``centres`` training samples, where z are
    the first principal components and s is a length times the median distance. Components, length and ridge are those
    with the least residual on the validation samples for 1500 centres. Raises ValueError for ``centres`` below one.
    """
    if centres < 1:
        raise ValueError(f"centres: expected at least one training sample, got {centres}")

    def solver(problem: OperatorSamples) -> Regression:
        q, w = problem.part("train")
        frame = _principal(q, max(components))
        few = min(TUNING, centres)
        tried = [
            (_kernel_ridge(q[:few], w[:few], frame[:, :d], length, ridge), (d, length, ridge))
            for d, length, ridge in product(components, lengths, ridges)
        ]
        best = best_of([one for one, _ in tried], problem, mean_residual)
        d, length, ridge = next(settings for one, settings in tried if one is best)
        return _kernel_ridge(q[:centres], w[:centres], frame[:, :d], length, ridge)

    return solver


def _principal(q: Array, count: int) -> Array:
    """The directions of most variance, ``(N, count)``."""
    centred = q - q.mean(axis=0)
    return np.linalg.eigh(centred.T @ centred)[1][:, ::-1][:, :count]


def _kernel_ridge(q: Array, w: Array, frame: Array, length: float, ridge: float) -> Regression:
    z, mean = q @ frame, w.mean(axis=0)
    scale = length * float(np.median(cdist(z[:300], z[:300])))

    def kernel(a: Array) -> Array:
        return np.exp(cdist(a, z, "sqeuclidean") / (-2 * scale**2))

    gram = kernel(z)
    gram[np.diag_indices_from(gram)] += ridge
    c = cho_solve(cho_factor(gram, overwrite_a=True), w - mean)
    words = f"{frame.shape[1]} components, length {length:g}, ridge {ridge:g}, {len(z)} centres"
    return Regression(lambda q: kernel(q @ frame) @ c + mean, c.size + z.size + frame.size + mean.size, words)
