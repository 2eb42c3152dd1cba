"""Extreme learning machine: random tanh features, the output weights by least squares."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import lstsq
from skfem import CellBasis

from skfem_ml.pinn.distances import Smooth
from skfem_ml.pinn.residuals import LinearResidual
from skfem_ml.pinn.setting import residual_of
from skfem_ml.pinn.trial import LearnedSolution, trial_of
from skfem_ml.problems import Diffusion, Heat
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


def solver_elm(
    features: int = 400,
    radius: float = 3.0,
    form: str = "strong",
    seed: int = 0,
    rcond: float = 1e-15,
    *,
    points: int | CellBasis = 20,
    times: int = 20,
    norm: str = "dual",
    distance: Smooth | None = None,
) -> Callable[[Heat | Diffusion], LearnedSolution]:
    """Return ``solve(problem) -> LearnedSolution``: ``N = sum_k v_k s_k`` with random s_k, v by least squares.

    Features are `RandomFeatures` on the bounding box (and time interval) with weights up to ``radius`` over its sides,
    drawn from ``seed``. ``form``, ``points``, ``times`` and ``norm`` choose the residual: see `setting.residual_of`;
    ``distance`` replaces the distance function. Columns are scaled to length 1 and the system is solved by singular
    values, those below ``rcond`` of the largest dropped.

    Raises ValueError for features < 1, a radius that is not positive, and what `residual_of` refuses.
    """
    if features < 1 or not radius > 0:
        raise ValueError(f"features, radius: expected at least 1 and a positive number, got {features} and {radius}")

    def solve(problem: Heat | Diffusion) -> LearnedSolution:
        trial = trial_of(problem, distance)
        residual = residual_of(problem, trial, form, points, times, norm)
        low, high = residual_box(problem)
        drawn = RandomFeatures.draw(features, low, high, radius, np.random.default_rng(seed))
        weights, size = least_squares(residual, drawn, rcond)

        def jet(z: Array) -> tuple[Array, Array]:
            value, first, _ = drawn.jet(z)
            return value @ weights, first @ weights

        return LearnedSolution(trial, jet, Record(features, notes={"residual": size}))

    return solve


def residual_box(problem: Heat | Diffusion) -> tuple[Array, Array]:
    """Return the corners of the box of all coordinates, space and (for `Heat`) time last."""
    low, high = problem.mesh.p.min(axis=1), problem.mesh.p.max(axis=1)
    return (np.append(low, 0.0), np.append(high, problem.t_end)) if isinstance(problem, Heat) else (low, high)


def least_squares(residual: LinearResidual, features: RandomFeatures, rcond: float) -> tuple[Array, float]:
    """Return output weights ``(m,)`` and the norm of the residual that is left."""
    matrix = residual.matrix(features.jet(residual.z, residual.pairs))
    scale = np.linalg.norm(matrix, axis=0)
    scale[scale == 0] = 1.0
    weights = lstsq(matrix / scale, residual.rhs, cond=rcond, lapack_driver="gelsd")[0] / scale
    return weights, float(np.linalg.norm(matrix @ weights - residual.rhs))
