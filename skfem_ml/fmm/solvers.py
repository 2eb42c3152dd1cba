"""H2 operators as solvers of `compare` for operators known by samples: from the kernel, and from a ridge regression."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from skfem_ml.fmm.building import Kernel
from skfem_ml.fmm.operator import H2Operator
from skfem_ml.fmm.skeleton import H2Skeleton
from skfem_ml.learning.regression import RIDGES, Product, Regression, affine_ridge
from skfem_ml.metrics import mean_residual
from skfem_ml.problems import OperatorSamples

Array = NDArray[np.float64]
Solver = Callable[[OperatorSamples], Regression]


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

        def compressed(A: Array) -> Product:
            op = H2Operator.from_matrix(skeleton, A, tol=None, rank=rank)
            return lambda q: op.matvec(q.T).T, op.storage().numbers

        return affine_ridge(problem, ridges, compressed, mean_residual)

    return solver
