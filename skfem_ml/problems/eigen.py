"""Symmetric eigenproblems: matrices, and the Dirichlet Laplacian on a scikit-fem basis."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import issparse, spmatrix
from skfem import BilinearForm, CellBasis
from skfem.helpers import dot, grad

from skfem_ml.problems.diffusion import mass
from skfem_ml.solutions import Eigenpairs

Array = NDArray[np.float64]
Matrix: TypeAlias = "spmatrix | Array"


@dataclass(frozen=True, eq=False)
class Eigenproblem:
    """The symmetric problem ``A x = lambda M x``; M is positive definite, None is the identity.

    A and M are dense or sparse ``(n, n)``. ``exact`` holds known pairs (vectors may be None). For a problem from finite
    elements ``basis`` is the basis and ``free`` the degrees of freedom of the rows of A.

    Raises ValueError for matrices that are not square, finite and symmetric, or of different sizes.

    >>> from skfem_ml.reference import eig_reference
    >>> problem = Eigenproblem(np.diag([3.0, 1.0, 2.0]))
    >>> problem, eig_reference(2)(problem).values.round(12).tolist()
    (Eigenproblem(3 rows, M = 1), [1.0, 2.0])
    """

    A: Matrix
    M: Matrix | None = None
    exact: Eigenpairs | None = None
    basis: CellBasis | None = None
    free: NDArray[np.int64] | None = None
    name: str = "eigen"

    def __post_init__(self) -> None:
        for matrix, label in ((self.A, "A"), (self.M, "M")):
            if matrix is not None:
                _require_symmetric(matrix, label)
        if self.M is not None and self.M.shape != self.A.shape:
            raise ValueError(f"M: expected the shape of A, {self.A.shape}, got {self.M.shape}")

    def __repr__(self) -> str:
        where = "" if self.basis is None else f", {type(self.basis.elem).__name__} on {self.basis.nelems} cells"
        return f"Eigenproblem({self.size} rows, {'M = 1' if self.M is None else 'with M'}{where})"

    @property
    def size(self) -> int:
        """The number of rows."""
        return int(self.A.shape[0])

    def require_pairs(self, k: int) -> int:
        """Return k; raise ValueError unless it is a whole number between 1 and the number of rows."""
        if not isinstance(k, (int, np.integer)) or not 1 <= k <= self.size:
            raise ValueError(f"k: expected between 1 and {self.size} pairs, the matrix has {self.size} rows, got {k}")
        return int(k)

    def require_matrix(self, method: str) -> Array:
        """Return A as a dense array; raise ValueError where there is an M or more than 2000 rows."""
        if self.M is not None:
            raise ValueError(f"{method}: expected a standard problem A x = lambda x, got one with M; use eig_reference")
        if self.size > 2000:
            raise ValueError(f"{method}: expected at most 2000 rows, works densely, got {self.size}; use eig_reference")
        return np.asarray(self.A if isinstance(self.A, np.ndarray) else self.A.toarray(), dtype=float)


def _require_symmetric(matrix: Matrix, label: str) -> None:
    shape = np.shape(matrix) if not issparse(matrix) else matrix.shape
    if len(shape) != 2 or shape[0] != shape[1] or shape[0] == 0:
        raise ValueError(f"{label}: expected a square matrix, got shape {shape}")
    entries = matrix.data if issparse(matrix) else np.asarray(matrix)
    if not np.isfinite(entries).all():
        raise ValueError(f"{label}: expected finite entries, got nan or inf")
    gap = float(abs(matrix - matrix.T).max())
    size = float(abs(matrix).max())
    if gap > 1e-10 * size:
        raise ValueError(
            f"{label}: expected a symmetric matrix, got entries that differ from their mirror by up to {gap:.2e} "
            f"(largest entry {size:.2e}); use (A + A.T) / 2 if that is what you mean"
        )


@BilinearForm
def _laplace(u, v, _):
    return dot(grad(u), grad(v))


def dirichlet_laplacian(basis: CellBasis, exact: Eigenpairs | None = None) -> Eigenproblem:
    """Return ``-laplace(u) = lambda u``, u = 0 on the boundary, on a basis: ``K x = lambda M x`` of the free dofs."""
    free = basis.complement_dofs(basis.get_dofs())
    if len(free) == 0:
        raise ValueError("basis: expected degrees of freedom off the boundary, got none; refine the mesh")
    K, M = _laplace.assemble(basis), mass.assemble(basis)
    return Eigenproblem(K[free][:, free], M[free][:, free], exact, basis, free, "dirichlet laplacian")


def report_matrix() -> Array:
    """Return the 6 x 6 matrix (26) of the report; eigenvalues -2.307, -1.542, -0.540, 0.190, 1.686, 2.202."""
    return np.array(
        [
            [-0.112, -0.399, -0.259, 0.107, -0.473, -0.479],
            [-0.399, 1.297, 0.359, 0.428, 0.678, 0.719],
            [-0.259, 0.359, -0.855, 0.526, -0.632, 0.945],
            [0.107, 0.428, 0.526, 0.144, -1.579, 0.175],
            [-0.473, 0.678, -0.632, -1.579, -0.769, -0.515],
            [-0.479, 0.719, 0.945, 0.175, -0.515, -0.015],
        ]
    )


def report_start() -> Array:
    """Return the initial value (27) of the report."""
    return np.array([-0.996, -0.442, -0.726, 0.422, -0.488, 0.322])
