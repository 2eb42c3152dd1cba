"""H2 operators as solvers of `compare` for operators known by samples: from the kernel, and from a ridge regression."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from skfem_ml.fmm.building import Kernel
from skfem_ml.fmm.files import arrays_of, operator_of, sizes_of
from skfem_ml.fmm.operator import H2Operator
from skfem_ml.fmm.skeleton import H2Skeleton
from skfem_ml.learning.regression import RIDGES, AffineMap, Regression, affine_ridge
from skfem_ml.metrics import mean_residual
from skfem_ml.problems import OperatorSamples

Array = NDArray[np.float64]
Solver = Callable[[OperatorSamples], Regression]


@dataclass(frozen=True, eq=False, repr=False)
class H2Map(Regression):
    """The affine map ``w = A (q - centre) + mean`` with an `H2Operator` A.

    >>> skeleton = H2Skeleton(np.linspace(0, 1, 80)[None], leaf=10)
    >>> op = H2Operator.from_kernel(skeleton, lambda x, y: np.exp(-abs(x - y)[0]))
    >>> H2Map(op, np.zeros(80), np.ones(80))(np.zeros((1, 80))).tolist() == [[1.0] * 80]
    True
    """

    operator: H2Operator
    centre: Array
    mean: Array

    @property
    def inputs(self) -> int:
        """The number of points."""
        return self.mean.size

    def apply(self, q: Array) -> Array:
        """Return ``(n, N)``."""
        return self.operator.matvec((q - self.centre).T).T + self.mean

    def arrays(self) -> dict[str, Array]:
        """Return the arrays of the operator, centre and mean."""
        return {**arrays_of(self.operator), "centre": self.centre, "mean": self.mean}

    def sizes(self) -> Mapping[str, object]:
        """Return those of the operator."""
        return sizes_of(self.operator)

    @classmethod
    def made(cls, arrays: dict[str, Array], sizes: Mapping[str, object]) -> H2Map:
        """Return the map of `arrays` and `sizes`."""
        op = operator_of(H2Operator, arrays, sizes)
        centre, mean = arrays["centre"], arrays["mean"]
        if not centre.shape == mean.shape == (op.skeleton.N,):
            raise ValueError(f"centre, mean: expected shape ({op.skeleton.N},), got {centre.shape} and {mean.shape}")
        return cls(op, centre, mean)

    @property
    def unknowns(self) -> int:
        """The numbers of the operator and of one shift."""
        return self.operator.storage().numbers + (self.mean.size if self.mean.any() or self.centre.any() else 0)


def solver_h2(kernel: Kernel, *, leaf: int = 10, rank: int = 6) -> Solver:
    """Return the H2 operator of a known kernel (`H2Operator.from_kernel`): no samples, no training."""

    def solver(problem: OperatorSamples) -> H2Map:
        op = H2Operator.from_kernel(H2Skeleton(problem.points, leaf), kernel, tol=None, rank=rank)
        none = np.zeros(op.skeleton.N)
        return H2Map(op, none, none)

    return solver


def solver_h2_ridge(ridges: tuple[float, ...] = RIDGES, *, leaf: int = 10, rank: int = 6) -> Solver:
    """Return the affine ridge regression with its matrix compressed (`H2Operator.from_matrix`), then chosen."""

    def solver(problem: OperatorSamples) -> Regression:
        skeleton = H2Skeleton(problem.points, leaf)

        def compressed(found: AffineMap) -> H2Map:
            op = H2Operator.from_matrix(skeleton, found.matrix, tol=None, rank=rank)
            return H2Map(op, found.centre, found.mean, settings=found.settings)

        return affine_ridge(problem, ridges, mean_residual, compressed)

    return solver
