"""What a linear solver is here: ``solver(A, b)``, as ``skfem.solve(..., solver=...)`` takes it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import spmatrix

Vector = NDArray[np.float64]
Solver = Callable[[spmatrix, Vector], Vector]


@dataclass(frozen=True)
class Prepared:
    """A solver in two steps: ``prepare(A)`` does what depends on the matrix and returns ``x = solve(b)`` for any b.

    ``solver(A, b)`` is ``prepare(A)(b)``.

    >>> import numpy as np
    >>> from scipy.sparse import csr_matrix
    >>> from skfem_ml.solvers import solver_direct
    >>> solve = solver_direct().prepare(csr_matrix([[2.0, 0.0], [0.0, 4.0]]))
    >>> solve(np.array([2.0, 2.0])).tolist(), solve(np.array([0.0, 4.0])).tolist()
    ([1.0, 0.5], [0.0, 1.0])
    """

    prepare: Callable[[spmatrix], Callable[[Vector], Vector]]

    def __call__(self, A: spmatrix, b: Vector) -> Vector:
        """Solve one system."""
        return self.prepare(A)(np.asarray(b, dtype=float))


def prepared(solver: Solver, A: spmatrix) -> Callable[[Vector], Vector]:
    """``solve(b)`` for a matrix: what can be done once is, where the solver is `Prepared`."""
    return solver.prepare(A) if isinstance(solver, Prepared) else lambda b: solver(A, b)


def relative_residual(A: spmatrix, x: Vector, b: Vector) -> float:
    """Return ``|A x - b| / |b|`` (the largest over the columns), the plain ``|A x|`` where b vanishes; nan if x is."""
    size = np.linalg.norm(b, axis=0)
    residual = np.linalg.norm(A @ x - b, axis=0)
    return float(np.max(residual / np.where(size > 0, size, 1.0)))


def backward_error(A: spmatrix, x: Vector, b: Vector, norm: float | None = None) -> float:
    """Return ``max |b - A x| / (|A|_inf |x|_inf + |b|_inf)``, the largest over the columns of b.

    The solution is exact for a matrix and right-hand side that differ by so much (Rigal and Gaches 1967). ``norm`` is
    ``|A|_inf`` if it is known. Zero where x and b vanish, nan where x is not finite.
    """
    size = (infinity_norm(A) if norm is None else norm) * np.abs(x).max(axis=0) + np.abs(b).max(axis=0)
    residual = np.abs(b - A @ x).max(axis=0)
    return float(np.max(residual / np.where(size == 0, 1.0, size)))


def infinity_norm(A: spmatrix) -> float:
    """Return ``|A|_inf``, the largest sum of absolute values of a row."""
    return float(abs(A).sum(axis=1).max())
