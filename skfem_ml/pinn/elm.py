"""Extreme learning machine: random tanh features, the output weights by least squares."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.linalg import lstsq

from skfem_ml import checks
from skfem_ml.learning.nn import MLP
from skfem_ml.pinn.distances import Smooth
from skfem_ml.pinn.residuals import Residual
from skfem_ml.pinn.setting import Points, Problem, residual_of
from skfem_ml.pinn.solution import LearnedSolution
from skfem_ml.pinn.trial import trial_of
from skfem_ml.solutions import Record

Array = NDArray[np.float64]


@dataclass(frozen=True, eq=False, repr=False)
class RandomFeatures:
    """Features ``s_k(z) = tanh(w_k . (z - c_k))``, w ``(m, D)`` and c ``(m, D)``: kinks spread over a box.

    >>> features = RandomFeatures.draw(50, np.zeros(2), np.ones(2), 3.0, np.random.default_rng(0))
    >>> value, first, second = features.jet(np.full((2, 7), 0.5), ((0, 0),))
    >>> features, value.shape, first.shape, second.shape
    (RandomFeatures(50 features in 2 variables), (7, 50), (2, 7, 50), (1, 7, 50))
    """

    w: Array
    c: Array

    @classmethod
    def draw(cls, m: int, low: Array, high: Array, radius: float, rng: np.random.Generator) -> RandomFeatures:
        """Return ``w ~ U(-radius, radius) / (high - low)`` and kinks ``c ~ U(low, high)``."""
        size = (m, len(low))
        return cls(rng.uniform(-radius, radius, size) / (high - low), rng.uniform(low, high, size))

    def __repr__(self) -> str:
        return f"RandomFeatures({len(self.w)} features in {self.w.shape[1]} variables)"

    def jet(self, z: Array, pairs: tuple[tuple[int, int], ...] = (), first: bool = True) -> tuple[Array, Array, Array]:
        """Return values ``(n, m)``, first derivatives ``(D, n, m)`` and second ones ``(len(pairs), n, m)``."""
        s = np.tanh(z.T @ self.w.T - (self.w * self.c).sum(axis=1))
        slope = 1 - s * s
        gradient = np.stack([slope * w for w in self.w.T]) if first else np.empty((0, *s.shape))
        bend = -2 * s * slope
        second = [bend * (self.w[:, i] * self.w[:, j]) for i, j in pairs]
        return s, gradient, np.stack(second) if second else np.empty((0, *s.shape))

    def network(self, weights: Array) -> MLP:
        """Return ``sum_k v_k s_k`` for output weights v ``(C, m)`` as a network of one hidden layer."""
        net = MLP((self.w.shape[1], *weights.shape[::-1]), generator=torch.Generator().manual_seed(0))
        values = [self.w, -(self.w * self.c).sum(axis=1), weights, np.zeros(len(weights))]
        with torch.no_grad():
            for parameter, value in zip(net.parameters(), values, strict=True):
                parameter.copy_(torch.as_tensor(value))
        return net


def solver_elm(
    features: int = 400,
    radius: float = 3.0,
    form: str = "strong",
    seed: int = 0,
    rcond: float = 1e-15,
    *,
    points: Points = 20,
    times: int = 20,
    norm: str = "dual",
    penalty: float = 100.0,
    distance: Smooth | None = None,
    iterations: int = 30,
) -> Callable[[Problem], LearnedSolution]:
    """Return ``solve(problem) -> LearnedSolution``: ``N = sum_k v_k s_k`` with random s_k, v by least squares.

    Features are `RandomFeatures` on the bounding box (and time interval) with weights up to ``radius`` over its sides,
    drawn from ``seed``; every component has its own output weights. ``form``, ``points``, ``times``, ``norm`` and
    ``penalty`` choose the residual: see `setting.residual_of`; ``distance`` replaces the distance function. Columns
    are scaled to length 1 and the system is solved by singular values, those below ``rcond`` of the largest dropped:
    once for linear equations, else in each of at most ``iterations`` Gauss-Newton steps, halved until they descend.

    Raises ValueError for features < 1, a radius that is not positive, and what `residual_of` refuses.
    """
    if features < 1 or not radius > 0:
        raise ValueError(f"features, radius: expected at least 1 and a positive number, got {features} and {radius}")
    checks.whole(iterations, "iterations", 1)

    def solve(problem: Problem) -> LearnedSolution:
        trial = trial_of(problem, distance)
        residual = residual_of(problem, trial, form, points, times, norm, penalty)
        D = len(trial.low)
        drawn = RandomFeatures.draw(features, -np.ones(D), np.ones(D), radius, np.random.default_rng(seed))
        weights, scalars, sizes = gauss_newton(residual, drawn, rcond, iterations)
        names = residual.blocks[0].layout.scalars
        record = Record(weights.size + len(scalars), notes={"residual": sizes[-1], "residuals": sizes})
        found = dict(zip(names, map(float, scalars), strict=True))
        return LearnedSolution(trial, drawn.network(weights), record, found)

    return solve


def gauss_newton(
    residual: Residual, drawn: RandomFeatures, rcond: float, iterations: int
) -> tuple[Array, Array, list[float]]:
    """Return output weights ``(C, m)``, unknown scalars, and the norms of the residual, one a step."""
    features = [np.concatenate([value[None], first, second]) for value, first, second in
                (drawn.jet(block.s, block.layout.pairs) for block in residual.blocks)]  # fmt: skip
    shape, scalars = (residual.components, len(drawn.w)), residual.start.copy()
    weights = np.zeros(shape)
    r, J = residual.linearised(features, weights, scalars)
    sizes = [float(np.linalg.norm(r))]
    for _ in range(1 if residual.affine else iterations):
        step = _least_squares(J, -r, rcond)
        for factor in 0.5 ** np.arange(12):
            v = weights + factor * step[: weights.size].reshape(shape)
            k = scalars + factor * step[weights.size :]
            new, matrix = residual.linearised(features, v, k)
            if residual.affine or np.linalg.norm(new) < sizes[-1]:
                break
        else:
            break
        weights, scalars, r, J = v, k, new, matrix
        sizes.append(float(np.linalg.norm(r)))
        if sizes[-1] > (1 - 1e-3) * sizes[-2]:
            break
    return weights, scalars, sizes


def _least_squares(matrix: Array, rhs: Array, rcond: float) -> Array:
    scale = np.linalg.norm(matrix, axis=0)
    scale[scale == 0] = 1.0
    return lstsq(matrix / scale, rhs, cond=rcond, lapack_driver="gelsd")[0] / scale
