"""What a linear solver is here: ``solver(A, b)``, as ``skfem.solve(..., solver=...)`` takes it."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import spmatrix

Solver = Callable[[spmatrix, NDArray[np.float64]], NDArray[np.float64]]


def relative_residual(A: spmatrix, x: NDArray[np.float64], b: NDArray[np.float64]) -> float:
    """Return ``|A x - b| / |b|`` (the largest over the columns), the plain ``|A x|`` where b vanishes; nan if x is."""
    size = np.linalg.norm(b, axis=0)
    residual = np.linalg.norm(A @ x - b, axis=0)
    return float(np.max(residual / np.where(size > 0, size, 1.0)))
