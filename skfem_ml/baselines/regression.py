"""Classical regressions of an operator from samples, and H2 operators in their place: the rows a network must beat."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import product

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.linalg import cho_factor, cho_solve
from scipy.spatial.distance import cdist

from skfem_ml.fmm.building import Kernel, regressions
from skfem_ml.fmm.operator import H2Operator
from skfem_ml.fmm.skeleton import H2Skeleton
from skfem_ml.metrics import mean_residual
from skfem_ml.problems import OperatorSamples

Array = NDArray[np.float64]
RIDGES = (1e-12, 1e-10, 1e-8, 1e-6, 1e-4)
LENGTHS = (0.5, 1.0, 2.0, 4.0)
COMPONENTS = (8, 16, 24)
TUNING = 1500  # samples that settings of the kernel ridge are chosen with


@dataclass(frozen=True, eq=False)
class Regression:
    """A map ``w(q)`` of samples ``(n, N)``, the number of its parameters, and the settings chosen for it in words."""

    apply: Callable[[Array], Array]
    unknowns: int
    settings: str = ""

    def __call__(self, q: ArrayLike) -> Array:
        """Return ``(n, N)`` for ``(n, N)``."""
        return self.apply(np.asarray(q, dtype=float))


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
        return _affine(problem, ridges, lambda A: ((lambda q: q @ A.T), A.size))

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
        best = _best(problem, [one for one, _ in tried])
        d, length, ridge = next(settings for one, settings in tried if one is best)
        return _kernel_ridge(q[:centres], w[:centres], frame[:, :d], length, ridge)

    return solver


def solver_h2(kernel: Kernel, *, leaf: int = 10, rank: int = 6) -> Solver:
    """Return the H2 operator of a known kernel (`H2Operator.from_kernel`): no samples, no training."""

    def solver(problem: OperatorSamples) -> Regression:
        op = H2Operator.from_kernel(H2Skeleton(problem.points, leaf), kernel, tol=None, rank=rank)
        return Regression(lambda q: op.matvec(q.T).T, op.storage().numbers)

    return solver


def solver_h2_ridge(ridges: tuple[float, ...] = RIDGES, *, leaf: int = 10, rank: int = 6) -> Solver:
    """Return the affine ridge regression with its matrix compressed (`H2Operator.from_matrix`), then chosen."""

    def solver(problem: OperatorSamples) -> Regression:
        skeleton = H2Skeleton(problem.points, leaf)

        def compressed(A: Array) -> tuple[Callable[[Array], Array], int]:
            op = H2Operator.from_matrix(skeleton, A, tol=None, rank=rank)
            return lambda q: op.matvec(q.T).T, op.storage().numbers

        return _affine(problem, ridges, compressed)

    return solver


def _affine(
    problem: OperatorSamples,
    ridges: tuple[float, ...],
    product: Callable[[Array], tuple[Callable[[Array], Array], int]],
) -> Regression:
    """The best ``A (q - centre) + mean`` where ``product(A)`` gives the map of A on samples, and its numbers."""
    q, w = problem.part("train")
    centre, mean = q.mean(axis=0), w.mean(axis=0)

    def fitted(A: Array, ridge: float) -> Regression:
        apply, numbers = product(A)
        return Regression(lambda q: apply(q - centre) + mean, numbers + mean.size, f"ridge {ridge:g}")

    matrices = regressions(q - centre, w - mean, ridges)
    return _best(problem, [fitted(A, ridge) for A, ridge in zip(matrices, ridges, strict=True)])


def _best(problem: OperatorSamples, tried: list[Regression]) -> Regression:
    q, w = problem.part("validation")
    return min(tried, key=lambda one: mean_residual(one(q), w))


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
