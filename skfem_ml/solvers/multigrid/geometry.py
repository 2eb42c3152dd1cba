"""A mesh of boxes as a grid of nodes and cells: which are there, which are fixed, and the element matrices on it."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property

import numpy as np
from numpy import ndarray
from numpy.typing import ArrayLike
from skfem import Basis, BilinearForm, Mesh
from skfem.assembly import Dofs

from skfem_ml import checks
from skfem_ml.coefficients.validation import validate
from skfem_ml.meshes.boundary import Dirichlet, DirichletPart
from skfem_ml.meshes.forms import cell_basis, check_symmetric, element_matrices, real_values, unit_matrix
from skfem_ml.meshes.grid import ELEMENTS, BoxGrid
from skfem_ml.solvers.multigrid.elements import Elements

CHUNK = 2**15  # cells whose element matrices are evaluated at a time


class Geometry:
    """Nodes and cells of a Q1 mesh on their tensor grid, the x axis last.

    Attributes
    ----------
    dofs
        The degree of freedom at every place of the grid of nodes (0 where ``inside`` is False).
    inside
        Which places are nodes of the mesh: all but those in holes.
    fixed
        Which nodes lie on Gamma_D.
    """

    def __init__(self, grid: BoxGrid, basis: Basis | None = None, dirichlet: Dirichlet = None):
        self.grid, self.basis = grid, basis
        self.dim, self.size = grid.dim, grid.mesh.p.shape[1]
        if basis is not None and type(basis.elem) is not ELEMENTS[self.dim]:
            wanted, got = ELEMENTS[self.dim].__name__, type(basis.elem).__name__
            raise TypeError(f"basis: expected one of {wanted} on this mesh, got {got}")
        if basis is not None and basis.tind is not None:
            raise TypeError("basis: expected one on all cells of its mesh, got one on a subset; restrict the mesh")
        vertices = self.grid.node_at
        self.inside = vertices >= 0
        dofs = np.arange(self.size) if self.basis is None else np.asarray(self.basis.nodal_dofs[0])
        self.dofs = np.where(self.inside, dofs[vertices], 0)
        self.fixed = self._fixed(dirichlet)

    @classmethod
    def of(cls, space: Basis | Mesh | BoxGrid, dirichlet: Dirichlet = None) -> Geometry:
        """That of a basis, of a mesh, or of a grid that was made of one. Raises TypeError for what is no grid."""
        if isinstance(space, BoxGrid):
            return cls(space, None, dirichlet)
        if isinstance(space, Mesh):
            return cls(BoxGrid(space), None, dirichlet)
        return cls(BoxGrid(space.mesh), space, dirichlet)

    def _fixed(self, dirichlet: Dirichlet) -> ndarray:
        if dirichlet is None:
            around = np.zeros(self.inside.shape, dtype=np.int8)
            for corner in np.ndindex((2,) * self.dim):
                around[tuple(slice(c, c + n) for c, n in zip(corner, self.filled.shape, strict=True))] += self.filled
            return self.inside & (around < 2**self.dim)
        on = np.zeros(self.size, dtype=bool)
        if (numbers := dofs_of(dirichlet)) is not None:
            if numbers.size and not 0 <= numbers.min() <= numbers.max() < self.size:
                raise ValueError(f"dirichlet: expected degrees of freedom 0 to {self.size - 1}, got {numbers}")
            on[numbers] = True
            return self.inside & on[self.dofs]
        part = DirichletPart(self.grid, self.basis, dirichlet)
        return self.inside & part.nodes[self.grid.node_at]

    @cached_property
    def filled(self) -> ndarray:
        """Which places of the grid of cells are cells of the mesh."""
        return self.grid.cell_at >= 0

    @cached_property
    def free_dofs(self) -> ndarray:
        """Degrees of freedom off Gamma_D, ascending."""
        on = np.zeros(self.size, dtype=bool)
        on[self.dofs[self.inside & ~self.fixed]] = True
        return np.flatnonzero(on)

    @cached_property
    def _skfem_dofs(self) -> Dofs:
        return Dofs(self.grid.mesh, ELEMENTS[self.dim]())

    def to_grid(self, values: ndarray) -> ndarray:
        """Values of degrees of freedom ``(N,)`` on the grid of nodes, zero in holes."""
        return np.where(self.inside, values[self.dofs], 0.0)

    def from_grid(self, values: ndarray) -> ndarray:
        """Values on the grid of nodes as values of degrees of freedom ``(N,)``."""
        out = np.zeros(self.size)
        out[self.dofs[self.inside]] = values[self.inside]
        return out

    def elements(self, form: BilinearForm, coefficients: Mapping[str, float | ndarray]) -> Elements:
        """Element matrices on the grid of cells, zero in holes: multiples of one matrix where the form allows it."""
        fields = [name for name, value in coefficients.items() if isinstance(value, ndarray)]
        name = fields[0] if fields else None
        unit = self.unit(form, coefficients, name) if len(fields) < 2 else None
        at = self.grid.cell_at
        if unit is not None:
            values = np.ones(len(self.grid.order)) if name is None else np.asarray(coefficients[name])
            return Elements([np.where(self.filled, values[at], 0.0)], self.dim, unit)
        pairs = np.triu_indices(2**self.dim)
        out = [np.zeros(at.shape) for _ in pairs[0]]
        lexicographic = tuple(self.grid.cells[::-1])
        for start in range(0, self.grid.cells.shape[1], CHUNK):
            part = np.arange(start, min(start + CHUNK, self.grid.cells.shape[1]))
            matrices = self._matrices(form, coefficients, part)
            for k, (i, j) in enumerate(zip(*pairs, strict=True)):
                out[k][tuple(index[part] for index in lexicographic)] = matrices[:, i, j]
        return Elements(out, self.dim)

    def unit(self, form: BilinearForm, coefficients: Mapping[str, float | ndarray], name: str | None) -> ndarray | None:
        """K with K_T = a_T K on every cell, a being the coefficient of that name, or None; see `meshes.forms`."""
        widths = [np.diff(line) for line in self.grid.lines]
        if max(np.ptp(width) for width in widths) > 1e-10 * min(width.min() for width in widths):
            return None
        if name is not None and not np.min(coefficients[name]) > 0:
            return None
        return unit_matrix(form, coefficients, np.array([width[0] for width in widths]), name)

    def _matrices(self, form: BilinearForm, coefficients: Mapping[str, float | ndarray], cells: ndarray) -> ndarray:
        quadrature = None if self.basis is None else (self.basis.X, self.basis.W)
        basis = cell_basis(self.grid.mesh, cells, self._skfem_dofs, quadrature)
        arguments = {k: v[..., cells, None] if isinstance(v, ndarray) else v for k, v in coefficients.items()}
        matrices = element_matrices(form, basis, arguments, self.grid.order[cells])
        check_symmetric(matrices)
        return matrices


def checked(coefficients: Mapping[str, ArrayLike], nelems: int, dim: int) -> dict[str, float | ndarray]:
    """Coefficients as floats or fresh arrays ``(nelems,)`` or ``(d, d, nelems)``: finite, ``a`` positive as well."""
    out: dict[str, float | ndarray] = {}
    for name, given in coefficients.items():
        value = real_values(name, given, nelems)
        if isinstance(value, ndarray):
            if value.shape not in ((nelems,), (dim, dim, nelems)):
                raise ValueError(
                    f"{name}: expected one value per cell, ({nelems},) or ({dim}, {dim}, {nelems}), got {value.shape}"
                )
            checks.finite(value, name)
            value = np.array(validate(value, nelems, name)) if name == "a" else value
        elif name == "a":
            checks.positive(value, name)
        out[name] = value
    return out


def dofs_of(dirichlet: object) -> ndarray | None:
    """Degrees of freedom, if these are some: an array, a list of numbers, or a view of the host's."""
    if isinstance(dirichlet, dict):
        views = [dofs_of(view) for view in dirichlet.values()]
        return np.unique(np.concatenate([np.zeros(0, dtype=int)] + [view for view in views if view is not None]))
    if hasattr(dirichlet, "flatten") and not isinstance(dirichlet, ndarray):
        dirichlet = dirichlet.flatten()
    if isinstance(dirichlet, list | tuple | ndarray) and not any(isinstance(x, str) for x in dirichlet):
        dofs = np.asarray(dirichlet)
        if dofs.size and dofs.dtype.kind not in "iu":
            raise ValueError(f"dirichlet: expected integer degrees of freedom, got an array of {dofs.dtype}")
        return dofs.astype(int).ravel()
    return None
