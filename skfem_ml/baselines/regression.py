"""Classical regressions of an operator from samples: the rows that a network must beat."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from itertools import product
from typing import ClassVar

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


@dataclass(frozen=True, eq=False, repr=False)
class MeanMap(Regression):
    """The constant map ``w = mean``, the null model.

    >>> from skfem_ml.baselines import MeanMap
    >>> null = MeanMap(np.array([1.0, 2.0]))
    >>> null([[0.0, 9.0]]).tolist(), null.unknowns
    ([[1.0, 2.0]], 2)
    """

    mean: Array

    @property
    def inputs(self) -> None:
        """Any number."""
        return None

    def apply(self, q: Array) -> Array:
        """Return ``(n, N)``, the mean in every row."""
        return np.tile(self.mean, (len(q), 1))

    def arrays(self) -> dict[str, Array]:
        """Return the mean."""
        return {"mean": self.mean}

    @classmethod
    def made(cls, arrays: dict[str, Array], sizes: Mapping[str, object]) -> MeanMap:
        """Return the map of `arrays`."""
        return cls(arrays["mean"])

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

    def arrays(self) -> dict[str, Array]:
        """Return the arrays of the formula."""
        return {name: getattr(self, name) for name in self.NAMES}

    @classmethod
    def made(cls, arrays: dict[str, Array], sizes: Mapping[str, object]) -> KernelMap:
        """Return the map of `arrays`."""
        return cls(*(arrays[name] for name in cls.NAMES))

    @property
    def unknowns(self) -> int:
        """The numbers of weights, centres, frame and mean."""
        return self.weights.size + self.centres.size + self.frame.size + self.mean.size


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
