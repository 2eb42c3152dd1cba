"""Symmetric eigenproblems: matrices, and any two forms on a scikit-fem basis."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TypeAlias

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.linalg import LinAlgError, cholesky, solve_triangular
from scipy.sparse import issparse, spmatrix
from skfem import BilinearForm, CellBasis
from skfem.element import DiscreteField
from skfem.helpers import dot, grad

from skfem_ml.meshes.forms import real_values, refuse_complex
from skfem_ml.problems.diffusion import mass
from skfem_ml.solutions import NOTHING, Eigenpairs, Record

Array = NDArray[np.float64]
Matrix: TypeAlias = "spmatrix | Array"
DENSE_UP_TO = 2000


@dataclass(frozen=True, eq=False)
class Eigenproblem:
    """The symmetric problem ``A x = lambda M x``; M is positive definite, None is the identity.

    A and M are dense or sparse ``(n, n)``. ``exact`` holds known pairs (vectors may be None). For a problem from finite
    elements (`of_forms`) ``basis`` is the basis, ``free`` the degrees of freedom of the rows of A, and ``forms`` and
    ``coefficients`` are what A and M were assembled from.

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
    forms: tuple[BilinearForm, BilinearForm] | None = None
    coefficients: Mapping[str, float | Array | DiscreteField] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for matrix, label in ((self.A, "A"), (self.M, "M")):
            if matrix is not None:
                _require_symmetric(matrix, label)
        if self.M is not None and self.M.shape != self.A.shape:
            raise ValueError(f"M: expected the shape of A, {self.A.shape}, got {self.M.shape}")

    @classmethod
    def of_forms(
        cls, stiffness: BilinearForm, mass: BilinearForm, basis: CellBasis, *, D: ArrayLike | None = None,
        exact: Eigenpairs | None = None, name: str = "eigen", **coefficients: float | Array | DiscreteField,
    ) -> Eigenproblem:  # fmt: skip
        """Return ``stiffness(u, v) = lambda mass(u, v)`` for all v, with u = v = 0 at the degrees of freedom ``D``.

        ``D`` is what `skfem.condense` takes (indices, ``basis.get_dofs("left")``); None leaves the conditions natural.
        ``coefficients``, under the names that the forms use, are numbers, one value a cell ``(nelems,)``, or what
        ``basis.interpolate`` gives. Raises ValueError for forms that are not symmetric and where nothing is free,
        TypeError for complex forms and callable coefficients.

        >>> from skfem import Basis, ElementLineP2, MeshLine
        >>> from skfem_ml.reference import eig_reference
        >>> string = BilinearForm(lambda u, v, w: w.a * dot(grad(u), grad(v)))
        >>> basis = Basis(MeshLine().refined(4), ElementLineP2())
        >>> problem = Eigenproblem.of_forms(string, mass, basis, D=basis.get_dofs(lambda x: x[0] == 0), a=4 / np.pi**2)
        >>> problem, eig_reference(2)(problem).values.round(4).tolist()
        (Eigenproblem(32 rows, with M, ElementLineP2 on 16 cells), [1.0, 9.0001])
        """
        for form, label in ((stiffness, "stiffness"), (mass, "mass")):
            refuse_complex(form, label)
        given = {key: _as_given(key, value, basis.mesh.nelements) for key, value in coefficients.items()}
        free = np.arange(basis.N) if D is None else basis.complement_dofs(D)
        if len(free) == 0:
            raise ValueError("D: expected some degrees of freedom outside of D, got none; refine the mesh")
        A, M = (form.assemble(basis, **given)[free][:, free] for form in (stiffness, mass))
        return cls(A, M, exact, basis, free, name, (stiffness, mass), given)

    def __repr__(self) -> str:
        where = "" if self.basis is None else f", {type(self.basis.elem).__name__} on {self.basis.mesh.nelements} cells"
        return f"Eigenproblem({self.size} rows, {'M = 1' if self.M is None else 'with M'}{where})"

    @property
    def size(self) -> int:
        """The number of rows."""
        return int(self.A.shape[0])

    def extend(self, vectors: Array) -> Array:
        """Return vectors ``(n,)`` or ``(n, k)`` on all degrees of freedom of the basis, zero where u is.

        Raises ValueError for a problem without a basis.
        """
        if self.basis is None or self.free is None:
            raise ValueError("extend: expected a problem with a basis, from Eigenproblem.of_forms, got none")
        whole = np.zeros((self.basis.N, *np.shape(vectors)[1:]))
        whole[self.free] = vectors
        return whole

    def require_pairs(self, k: int) -> int:
        """Return k; raise ValueError unless it is a whole number between 1 and the number of rows."""
        if not isinstance(k, (int, np.integer)) or not 1 <= k <= self.size:
            raise ValueError(f"k: expected between 1 and {self.size} pairs, the matrix has {self.size} rows, got {k}")
        return int(k)

    def require_matrix(self, method: str) -> Array:
        """Return A as a dense array; raise ValueError where there is an M or more than 2000 rows."""
        if self.M is not None:
            raise ValueError(f"{method}: expected a standard problem A x = lambda x, got one with M; use eig_reference")
        return _dense(self.A, method)

    def standard(self, method: str, inverse: bool | None = None) -> Standard:
        """Return the problem as ``C y = mu y`` with a dense symmetric matrix: see `Standard`.

        ``inverse`` is None for "where there is an M": finite elements have their largest eigenvalues where nobody
        wants them, and an inverse has the smallest ones on top. Raises ValueError for more than 2000 rows, M that is
        not positive definite, and, for the inverse, A that is not.
        """
        C, factor = _dense(self.A, method), None
        if self.M is not None:
            factor = _lower(_dense(self.M, method), "M")
            half = solve_triangular(factor, C, lower=True)
            C = solve_triangular(factor, half.T, lower=True)
        C = (C + C.T) / 2
        if not (self.M is not None if inverse is None else inverse):
            return Standard(C, factor)
        root = solve_triangular(_lower(C, "A"), np.eye(len(C)), lower=True)
        C = root.T @ root
        size = float(np.linalg.norm(C, 2))
        return Standard(C / size, factor, 1 / size)


@dataclass(frozen=True, eq=False, repr=False)
class Standard:
    """``C y = mu y`` in place of ``A x = lambda M x``: ``y = L'x`` with ``M = L L'``.

    ``matrix`` is ``L^-1 A L^-T`` with mu = lambda, or, where ``scale`` is given, its inverse over the norm of that,
    with ``mu = scale / lambda`` between 0 and 1. ``factor`` is L, None for M = 1.

    >>> Eigenproblem(np.diag([4.0, 2.0, 8.0])).standard("doctest", inverse=True).matrix.diagonal().round(12).tolist()
    [0.5, 1.0, 0.25]
    """

    matrix: Array
    factor: Array | None = None
    scale: float | None = None

    def __repr__(self) -> str:
        return f"Standard({len(self.matrix)} rows, mu = {'lambda' if self.scale is None else 'scale / lambda'})"

    def pairs(self, Y: Array, record: Record = NOTHING) -> Eigenpairs:
        """Return the pairs of orthonormal eigenvectors y, ``(n, k)``, with Rayleigh's quotients as values."""
        mu = np.einsum("ij,ij->j", Y, self.matrix @ Y)
        X = Y if self.factor is None else solve_triangular(self.factor, Y, lower=True, trans=1)
        return Eigenpairs(mu if self.scale is None else self.scale / mu, X, record)


def _dense(matrix: Matrix, method: str) -> Array:
    if matrix.shape[0] > DENSE_UP_TO:
        raise ValueError(
            f"{method}: expected at most {DENSE_UP_TO} rows, works densely, got {matrix.shape[0]}; use eig_reference"
        )
    return np.asarray(matrix if isinstance(matrix, np.ndarray) else matrix.toarray(), dtype=float)


def _lower(matrix: Array, label: str) -> Array:
    try:
        return cholesky(matrix, lower=True)
    except LinAlgError as error:
        raise ValueError(f"{label}: expected a positive definite matrix, got one that is not ({error})") from error


def _as_given(name: str, value: float | Array | DiscreteField, nelems: int) -> float | Array | DiscreteField:
    """A coefficient as scikit-fem hands it to forms: a number, a field at quadrature points, values a cell."""
    if isinstance(value, DiscreteField):
        return value
    values = real_values(name, value, nelems)
    if isinstance(values, float):
        return values
    if values.shape[-1] != nelems:
        raise ValueError(f"{name}: expected a number or one value a cell, shape (..., {nelems}), got {values.shape}")
    if not np.isfinite(values).all():
        raise ValueError(f"{name}: expected finite values, got nan or inf")
    return values[..., None]


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
    D = basis.get_dofs()
    return Eigenproblem.of_forms(_laplace, mass, basis, D=D, exact=exact, name="dirichlet laplacian")


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
