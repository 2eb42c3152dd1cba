"""What a preconditioner is worth: residuals of conjugate gradients by iteration, and their CPU seconds."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy import ndarray
from scipy.sparse import spmatrix
from scipy.sparse.linalg import LinearOperator
from skfem import solve
from skfem.utils import solver_iter_pcg

from skfem_ml.compare.clock import best_of, in_figures


@dataclass(frozen=True)
class Iterated:
    """One preconditioner: residuals ``|A u - b| / |b|`` by iteration, CPU seconds to make it and to solve once.

    >>> from scipy.sparse import diags
    >>> A = diags([1.0, 2.0, 3.0]).tocsr()
    >>> found = iterated(A, np.ones(3), diags([1.0, 1 / 2, 1 / 3]).tocsr())
    >>> found.iterations, found.residuals[0], found.residuals[-1] < 1e-14
    (1, 1.0, True)
    """

    setup: float
    seconds: float
    residuals: tuple[float, ...]

    def __repr__(self) -> str:
        return f"Iterated({self.iterations} iterations to {self.residuals[-1]:.0e}, {in_figures(self.seconds)} s)"

    @property
    def iterations(self) -> int:
        """The number of iterations."""
        return len(self.residuals) - 1


def iterated(
    A: spmatrix,
    b: ndarray,
    M: LinearOperator | spmatrix,
    setup: float = 0.0,
    *,
    rtol: float = 1e-10,
    maxiter: int = 2000,
) -> Iterated:
    """Solve A u = b, both condensed, by ``solver_iter_pcg(M=M)`` of scikit-fem to a relative residual of ``rtol``.

    ``setup`` are the seconds that M took. A and M are symmetric and positive definite.
    """
    spent = best_of(lambda: solve(A, b, solver=solver_iter_pcg(M=M, rtol=rtol, maxiter=maxiter)), 2)[1]
    residuals = [1.0]

    def record(x: ndarray) -> None:
        residuals.append(float(np.linalg.norm(A @ x - b) / np.linalg.norm(b)))

    solve(A, b, solver=solver_iter_pcg(M=M, rtol=rtol, maxiter=maxiter, callback=record))
    return Iterated(setup, spent.cpu, tuple(residuals))
