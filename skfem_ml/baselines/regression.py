"""Classical regressions of an operator from samples: the rows that a network must beat."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import product
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import cho_factor, cho_solve
from scipy.spatial.distance import cdist

from skfem_ml.learning.regression import RIDGES, Regression, affine_ridge, best_of, ridge_matrices
from skfem_ml.metrics import mean_residual
from skfem_ml.problems import OperatorSamples

Array = NDArray[np.float64]
LENGTHS = (0.5, 1.0, 2.0, 4.0)
COMPONENTS = (8, 16, 24)
TUNING = 1500  # samples that settings of the kernel ridge are chosen with
Solver = Callable[[OperatorSamples], Regression]


@dataclass(frozen=True, eq=False, repr=False)
class MeanMap(Regression):
    """The constant map ``w = mean``, the null model.

    >>> from skfem_ml.baselines import MeanMap
    >>> null = MeanMap(np.array([1.0, 2.0]))
    >>> null([[0.0, 9.0]]).tolist(), null.unknowns
    ([[1.0, 2.0]], 2)
    """

    NAMES: ClassVar = ("mean",)

    mean: Array

    @property
    def inputs(self) -> None:
        """Any number."""
        return None

    def apply(self, q: Array) -> Array:
        """Return ``(n, N)``, the mean in every row."""
        return np.tile(self.mean, (len(q), 1))

    @property
    def unknowns(self) -> int:
        """The numbers of the mean."""
        return self.mean.size


@dataclass(frozen=True, eq=False, repr=False)
class KernelMap(Regression):
    """The map ``w = mean + sum_j exp(-|z(q) - z_j|^2 / 2 s^2) c_j`` with ``z(q) = q frame``.

    ``frame`` is ``(N, d)``, ``centres`` z ``(m, d)``, ``weights`` c ``(m, N)``, ``mean`` ``(N,)``, ``scale`` s one
    number. Raises ValueError for arrays of other shapes.

    >>> from skfem_ml.baselines import KernelMap
    >>> bump = KernelMap(np.eye(2), np.zeros((1, 2)), np.ones((1, 2)), np.zeros(2), np.array(1.0))
    >>> bump([[0.0, 0.0], [0.0, 9.0]]).round(6).tolist()
    [[1.0, 1.0], [0.0, 0.0]]
    """

    NAMES: ClassVar = ("frame", "centres", "weights", "mean", "scale")

    frame: Array
    centres: Array
    weights: Array
    mean: Array
    scale: Array

    def __post_init__(self) -> None:
        shapes = [np.shape(values) for values in self.arrays().values()]
        m, d = len(self.centres), self.frame.shape[-1]
        if shapes != [(len(self.frame), d), (m, d), (m, len(self.mean)), (len(self.mean),), ()]:
            raise ValueError(f"frame, centres, weights, mean, scale: expected shapes that fit, got {shapes}")

    @property
    def inputs(self) -> int:
        """The number of rows of the frame."""
        return len(self.frame)

    def apply(self, q: Array) -> Array:
        """Return ``(n, N)``."""
        squares = cdist(q @ self.frame, self.centres, "sqeuclidean")
        return np.exp(squares / (-2 * self.scale**2)) @ self.weights + self.mean

    @property
    def unknowns(self) -> int:
        """The numbers of weights, centres, frame and mean."""
        return self.weights.size + self.centres.size + self.frame.size + self.mean.size


@dataclass(frozen=True, eq=False, repr=False)
class AdditiveMap(Regression):
    """The additive map ``w = A (phi(q) - centre) + mean``, phi linear splines of every entry of q by itself.

    ``phi(q)`` holds q and ``max(q - t, 0)`` for each of the ``knots`` t ``(K,)``: ``(K + 1) N`` features; ``matrix`` is
    ``(M, (K + 1) N)``. An additive model (Hastie and Tibshirani, 1990). Raises ValueError for arrays of other shapes.

    >>> from skfem_ml.baselines import AdditiveMap
    >>> size = AdditiveMap(np.zeros(1), np.array([[-1.0, 2.0]]), np.zeros(2), np.zeros(1))
    >>> size([[-3.0], [2.0]]).tolist()  # |q| = 2 max(q, 0) - q
    [[3.0], [2.0]]
    """

    NAMES: ClassVar = ("knots", "matrix", "centre", "mean")

    knots: Array
    matrix: Array
    centre: Array
    mean: Array

    def __post_init__(self) -> None:
        if self.matrix.shape != (len(self.mean), len(self.centre)) or len(self.centre) % (len(self.knots) + 1):
            shapes = [np.shape(values) for values in self.arrays().values()]
            raise ValueError(f"knots, matrix, centre, mean: expected shapes that fit, got {shapes}")

    @property
    def inputs(self) -> int:
        """The features over the features of one entry."""
        return len(self.centre) // (len(self.knots) + 1)

    def apply(self, q: Array) -> Array:
        """Return ``(n, M)``."""
        return (_splines(q, self.knots) - self.centre) @ self.matrix.T + self.mean

    @property
    def unknowns(self) -> int:
        """The numbers of the matrix and of one shift."""
        return self.matrix.size + self.mean.size


def _splines(q: Array, knots: Array) -> Array:
    return np.concatenate([q, *(np.maximum(q - knot, 0) for knot in knots)], axis=1)


def solver_constant() -> Solver:
    """Return the null model: the mean output of the training samples, whatever the input."""

    def solver(problem: OperatorSamples) -> Regression:
        return MeanMap(problem.part("train")[1].mean(axis=0))

    return solver


def solver_affine_ridge(ridges: tuple[float, ...] = RIDGES) -> Solver:
    """Return ridge regression with a dense matrix and a shift, N (N + 1) numbers.

    ``min sum |A (q - mean q) + mean w - w|^2 + s |A|^2``, s being the mean eigenvalue of the Gram matrix times the one
    of ``ridges`` with the least residual on the validation samples.
    """

    def solver(problem: OperatorSamples) -> Regression:
        return affine_ridge(problem, ridges, mean_residual)

    return solver


def solver_additive_ridge(
    ridges: tuple[float, ...] = (1e-6, 1e-4, 1e-2), *, knots: tuple[int, ...] = (1, 3, 7)
) -> Solver:
    """Return ridge regression on linear splines of every entry of the inputs by itself: an `AdditiveMap`.

    Knots are quantiles of all entries. Features have their deviation for a unit; their number (``knots``) and the ridge
    are those with the least residual on the validation samples. The regression to beat where the operator is linear
    after a map at every point. Raises ValueError for a number of knots below one.
    """
    if min(knots) < 1:
        raise ValueError(f"knots: expected at least one each, got {knots}")

    def solver(problem: OperatorSamples) -> AdditiveMap:
        q, w = problem.part("train")
        tried = []
        for count in knots:
            at = np.quantile(q, np.arange(1, count + 1) / (count + 1))
            features, mean = _splines(q, at), w.mean(axis=0)
            centre, size = features.mean(axis=0), features.std(axis=0)
            size[size == 0] = 1.0
            matrices = ridge_matrices((features - centre) / size, w - mean, ridges)
            tried += [
                AdditiveMap(at, A / size, centre, mean, settings=f"{count} knots, ridge {ridge:g}")
                for A, ridge in zip(matrices, ridges, strict=True)
            ]
        return best_of(tried, problem, mean_residual)

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


def _kernel_ridge(q: Array, w: Array, frame: Array, length: float, ridge: float) -> KernelMap:
    z, mean = q @ frame, w.mean(axis=0)
    scale = length * float(np.median(cdist(z[:300], z[:300])))
    gram = np.exp(cdist(z, z, "sqeuclidean") / (-2 * scale**2))
    gram[np.diag_indices_from(gram)] += ridge
    c = cho_solve(cho_factor(gram, overwrite_a=True), w - mean)
    words = f"{frame.shape[1]} components, length {length:g}, ridge {ridge:g}, {len(z)} centres"
    return KernelMap(frame, z, c, mean, np.array(scale), settings=words)
