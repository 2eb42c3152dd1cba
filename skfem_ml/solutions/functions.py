"""Solutions in space: known by formula, or finite element functions; and the matrix that evaluates the latter."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.sparse import csr_matrix
from skfem import CellBasis

from skfem_ml import displays
from skfem_ml.meshes.cells import cell_finder, reference_coordinates
from skfem_ml.solutions.record import NOTHING, Record

Array = NDArray[np.float64]
CHUNK = 2**17


@dataclass(frozen=True)
class Analytic:
    """A solution known by formula: ``value(x)`` of shape ``(...)`` and its gradient ``gradient(x)`` ``(dim, ...)``.

    ``laplacian(x)`` of shape ``(...)`` is optional; methods that work with the strong form need it.

    >>> import numpy as np
    >>> from skfem_ml.solutions import Analytic
    >>> u = Analytic(lambda x: x[0] ** 2, lambda x: np.stack([2 * x[0], 0 * x[1]]))
    >>> u([[3.0], [1.0]]).tolist(), u.grad([[3.0], [1.0]]).tolist()
    ([9.0], [[6.0], [0.0]])
    """

    value: Callable[[Array], Array]
    gradient: Callable[[Array], Array]
    laplacian: Callable[[Array], Array] | None = None

    def __call__(self, x: ArrayLike) -> Array:
        """Return the values at ``x`` of shape ``(dim, ...)``."""
        return self.value(np.asarray(x, dtype=float))

    def grad(self, x: ArrayLike) -> Array:
        """Return the gradient at ``x``, shape ``(dim, ...)``."""
        return self.gradient(np.asarray(x, dtype=float))


@dataclass(frozen=True, eq=False)
class FEFunction:
    """The finite element function ``u(x) = sum_j y_j phi_j(x)`` on a basis of scalar elements.

    ``y`` is ``(basis.N,)``. ``record`` carries what a solver tells; ``record.unknowns`` overrides ``.unknowns``.
    Evaluation locates all points at once: two binary searches an axis on box meshes. Raises ValueError for a wrong
    length and for points outside the mesh, TypeError for vector elements and curved meshes.

    >>> from skfem import Basis, ElementQuad1, MeshQuad
    >>> basis = Basis(MeshQuad().refined(2), ElementQuad1())
    >>> u = FEFunction(basis, 2 * basis.doflocs[0])
    >>> u, u(np.array([[0.25], [0.75]])).round(12).tolist()
    (FEFunction(25 unknowns, ElementQuad1 on 16 cells), [0.5])
    """

    basis: CellBasis
    y: Array
    record: Record = NOTHING

    def __post_init__(self) -> None:
        y = np.asarray(self.y)
        if y.shape != (self.basis.N,):
            raise ValueError(f"y: expected shape ({self.basis.N},), one value per degree of freedom, got {y.shape}")
        object.__setattr__(self, "y", y)

    def __repr__(self) -> str:
        cells = f"{type(self.basis.elem).__name__} on {self.basis.mesh.t.shape[1]} cells"
        return f"FEFunction({self.unknowns} unknowns, {cells})"

    def _repr_html_(self) -> str | None:
        """A picture, for notebooks: on lines the graph, on bodies the section through the middle of the third axis."""
        try:
            x = self._places()
            values, inside = np.full(x.shape[1:], np.nan), self._finder(x.reshape(len(x), -1)) >= 0
            values.ravel()[inside] = self(x.reshape(len(x), -1)[:, inside])
        except TypeError:  # vectors, curved meshes: what cannot be evaluated is told by repr
            return None
        return displays.curve(repr(self), x[0], values) if len(x) == 1 else displays.picture(repr(self), values)

    def _places(self) -> Array:
        """Where the picture asks for values, ``(dim, ...)``."""
        low, high = self.basis.mesh.p.min(axis=1), self.basis.mesh.p.max(axis=1)
        if len(low) == 1:
            return np.linspace(low, high, displays.WIDTH).T
        x = displays.places(low[:2], high[:2])
        return np.concatenate([x, np.full((len(low) - 2, *x.shape[1:]), (low[-1] + high[-1]) / 2)])

    @property
    def unknowns(self) -> int:
        """The size of the system that gave this function: ``record.unknowns``, or the length of ``y``."""
        return int(self.basis.N) if self.record.unknowns is None else self.record.unknowns

    @cached_property
    def _finder(self) -> Callable[[Array], NDArray[np.int64]]:
        return cell_finder(self.basis.mesh)

    def __call__(self, x: ArrayLike) -> Array:
        """Return the values at ``x`` of shape ``(dim, ...)``, shape ``(...)``."""
        points = _flat(self.basis, x)
        parts = [
            np.einsum("kn,kn->n", self.y[dofs], phi)
            for dofs, phi in _chunks(self.basis, points, self._finder, derivative=False)
        ]
        return _joined(parts, axis=0).reshape(np.shape(x)[1:])

    def grad(self, x: ArrayLike) -> Array:
        """Return the gradient at ``x``, shape ``(dim, ...)``; on a face, that of one of the cells that meet there."""
        points = _flat(self.basis, x)
        parts = [
            np.einsum("kn,kdn->dn", self.y[dofs], phi)
            for dofs, phi in _chunks(self.basis, points, self._finder, derivative=True)
        ]
        return _joined(parts, axis=1).reshape(np.shape(x))


def probes(basis: CellBasis, x: ArrayLike) -> csr_matrix:
    """Return the matrix ``P[i, j] = phi_j(x_i)``, shape ``(n, basis.N)``, for points ``x`` of shape ``(dim, n)``.

    ``P @ y`` evaluates a finite element function. For a nested coarse basis and ``x = fine.doflocs`` it is the nodal
    prolongation to Lagrange elements. Raises as `FEFunction`.
    """
    points = _flat(basis, x)
    columns, values = [], []
    for dofs, phi in _chunks(basis, points, cell_finder(basis.mesh), derivative=False):
        columns.append(dofs)
        values.append(phi)
    rows = np.broadcast_to(np.arange(points.shape[1]), (basis.Nbfun, points.shape[1]))
    matrix = csr_matrix(
        (_joined(values, 1).ravel(), (rows.ravel(), _joined(columns, 1).ravel())), shape=(points.shape[1], basis.N)
    )
    matrix.eliminate_zeros()
    return matrix


def _flat(basis: CellBasis, x: ArrayLike) -> Array:
    points = np.asarray(x, dtype=float)
    dim = basis.mesh.dim()
    if points.ndim < 1 or points.shape[0] != dim:
        raise ValueError(f"x: expected shape ({dim}, ...), one row per coordinate, got {points.shape}")
    return points.reshape(dim, -1)


def _joined(parts: list[NDArray], axis: int) -> NDArray:
    return np.concatenate(parts, axis=axis)


def _chunks(basis: CellBasis, points: Array, finder: Callable, derivative: bool):
    """Yield global dofs ``(Nbfun, n)`` and basis function values ``(Nbfun, [dim,] n)``, a bounded number at a time."""
    for start in range(0, max(points.shape[1], 1), CHUNK):
        x = points[:, start : start + CHUNK]
        cells = finder(x)
        if (cells < 0).any():
            first = int((cells < 0).argmax())
            raise ValueError(
                f"x: {int((cells < 0).sum())} points lie outside the mesh, the first is point {start + first} at "
                f"{x[:, first].tolist()}; evaluate inside the domain only"
            )
        local = reference_coordinates(basis.mesh, cells, x)[:, :, None]
        fields = [basis.elem.gbasis(basis.mapping, local, k, tind=cells) for k in range(basis.Nbfun)]
        if len(fields[0]) != 1 or np.ndim(fields[0][0]) != 2:
            raise TypeError(f"{type(basis.elem).__name__}: expected a scalar element (for example ElementQuad1)")
        parts = [f[0].grad if derivative else np.asarray(f[0]) for f in fields]
        yield basis.element_dofs[:, cells], np.stack([p[..., 0] for p in parts])
