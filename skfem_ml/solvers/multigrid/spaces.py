"""What a `Multigrid` works on: a grid of cells with a hierarchy of its own, or any mesh with pyamg's."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from functools import cached_property
from typing import Protocol

import numpy as np
from numpy import ndarray
from numpy.typing import ArrayLike
from scipy.sparse import csr_matrix
from skfem import Basis, BilinearForm, Element, Mesh

from skfem_ml.meshes.boundary import Dirichlet
from skfem_ml.meshes.grid import ELEMENTS, SUPPORTED, BoxGrid
from skfem_ml.solvers.amg import preconditioner_pyamg
from skfem_ml.solvers.multigrid.geometry import Geometry, checked, dofs_of
from skfem_ml.solvers.multigrid.hierarchy import COARSEST, Hierarchy, Stage
from skfem_ml.solvers.multigrid.krylov import roughly

log = logging.getLogger("skfem_ml")


class Space(Protocol):
    """Values of degrees of freedom ``(N,)``, the arrays that a hierarchy has in their place, and its operators."""

    size: int
    free_dofs: ndarray

    def apply(self, u: ndarray) -> ndarray:
        """A u ``(N,)``, all rows kept."""

    def inner(self, u: ndarray) -> ndarray:
        """Values as an array of the hierarchy, zero where u is fixed."""

    def outer(self, x: ndarray) -> ndarray:
        """The values ``(N,)`` of an array of the hierarchy."""

    def product(self, x: ndarray) -> ndarray:
        """A x, zero where u is fixed."""

    def cycle(self, r: ndarray) -> ndarray:
        """B r for the symmetric preconditioner B."""

    def full_multigrid(self, b: ndarray, given: ndarray | None = None) -> ndarray:
        """An approximation x of A^-1 (b - A given); ``given`` are values at fixed nodes."""

    def rows(self) -> list[tuple[int, int]]:
        """Unknowns and nonzeros of every level, the finest first."""

    def bottom(self) -> str:
        """Who solves on the coarsest level."""

    def told(self) -> str:
        """The mesh in a few words."""

    def renewed(self, form: BilinearForm, coefficients: Mapping[str, ArrayLike]) -> Space:
        """The same for other coefficients."""


class GridSpace(Space):
    """A grid of cells, coarsened as long as the numbers of cells are even (`Hierarchy`)."""

    def __init__(
        self, geometry: Geometry, form: BilinearForm, coefficients: Mapping[str, ArrayLike], coarsest: int = COARSEST
    ):
        self.geometry, self.size, self.free_dofs = geometry, geometry.size, geometry.free_dofs
        self._at_most = coarsest
        self._free = geometry.inside & ~geometry.fixed
        elements = geometry.elements(form, checked(coefficients, geometry.grid.cells.shape[1], geometry.dim))
        self.hierarchy = Hierarchy(Stage(elements, geometry.fixed, geometry.inside, geometry.filled), coarsest)
        if not geometry.fixed.any() and not self.hierarchy.lower_order:
            raise ValueError("dirichlet: expected a part where u is fixed, got none: the matrix is singular")

    def cycle(self, r: ndarray) -> ndarray:
        return self.hierarchy.cycles.cycle(r)

    def full_multigrid(self, b: ndarray, given: ndarray | None = None) -> ndarray:
        lift = None if given is None else self.geometry.to_grid(given)
        x = self.hierarchy.cycles.full_multigrid(b, lift) * self._free
        if not self.hierarchy.by_pyamg:
            return x
        r = b if lift is None else b - self.product(lift)
        return roughly(self.product, self.cycle, x, r)

    def apply(self, u: ndarray) -> ndarray:
        return self.geometry.from_grid(self.hierarchy.product(self.geometry.to_grid(u)))

    def inner(self, u: ndarray) -> ndarray:
        return self.geometry.to_grid(u) * self._free

    def outer(self, x: ndarray) -> ndarray:
        return self.geometry.from_grid(x)

    def product(self, x: ndarray) -> ndarray:
        return self.hierarchy.product(x) * self._free

    def rows(self) -> list[tuple[int, int]]:
        free = [stage.inside & ~stage.fixed for stage in self.hierarchy.stages]
        return [(int(f.sum()), m.count_nonzero()) for f, m in zip(free, self.hierarchy.matrices, strict=True)]

    def renewed(self, form: BilinearForm, coefficients: Mapping[str, ArrayLike]) -> GridSpace:
        return GridSpace(self.geometry, form, coefficients, self._at_most)

    def told(self) -> str:
        mesh, shape = self.geometry.grid.mesh, self.geometry.grid.shape
        whole = self.geometry.filled.all()
        kind = {1: "lines", 2: "quads", 3: "hexes"}[len(shape)]
        return f"{' x '.join(map(str, shape)) if whole else mesh.t.shape[1]} {kind}"

    def bottom(self) -> str:
        return f"coarsened by pyamg: {self.hierarchy.obstacle}" if self.hierarchy.by_pyamg else "elimination"


class AlgebraicSpace(Space):
    """Any mesh and element: the hierarchy is pyamg's, and ``reason`` says why."""

    def __init__(
        self, basis: Basis, form: BilinearForm, dirichlet: Dirichlet, coefficients: Mapping[str, ArrayLike], reason: str
    ):
        self.reason, self.size, self._basis, self._dirichlet = reason, basis.N, basis, dirichlet
        log.info("multigrid: coarsened by pyamg: %s", reason)
        fixed = _dirichlet_dofs(basis, dirichlet)
        self.free_dofs = np.setdiff1d(np.arange(basis.N), fixed)
        values = checked(coefficients, basis.mesh.t.shape[1], basis.mesh.dim())
        arguments = {k: v[..., None] if isinstance(v, ndarray) else v for k, v in values.items()}
        self._all: csr_matrix = form.assemble(basis, **arguments)
        largest = abs(self._all).max()
        if not abs(self._all - self._all.T).max() <= 1e-10 * largest:
            raise ValueError("form: expected a symmetric bilinear form, got a matrix that is not")
        if not len(fixed) and abs(self._all.sum(axis=1)).max() < 1e-10 * largest:
            raise ValueError("dirichlet: expected a part where u is fixed, got none: the matrix is singular")
        self._matrix = csr_matrix(self._all[self.free_dofs][:, self.free_dofs])

    @cached_property
    def _preconditioner(self):
        # On rough coefficients Ruge-Stuben takes 12 steps where smoothed aggregation takes 54; it is made for such
        # matrices as first-order elements have.
        first_order = self._basis.elem.maxdeg <= self._basis.mesh.elem().maxdeg
        return preconditioner_pyamg(self._matrix, "ruge-stuben" if first_order else "smoothed aggregation")

    def apply(self, u: ndarray) -> ndarray:
        return self._all @ u

    def inner(self, u: ndarray) -> ndarray:
        return u[self.free_dofs]

    def outer(self, x: ndarray) -> ndarray:
        out = np.zeros(self.size)
        out[self.free_dofs] = x
        return out

    def product(self, x: ndarray) -> ndarray:
        return self._matrix @ x

    def cycle(self, r: ndarray) -> ndarray:
        return self._preconditioner @ r if len(r) else r

    def full_multigrid(self, b: ndarray, given: ndarray | None = None) -> ndarray:
        r = b if given is None else b - self.inner(self.apply(given))
        return roughly(self.product, self.cycle, np.zeros_like(b), r)

    def rows(self) -> list[tuple[int, int]]:
        return [(len(self.free_dofs), self._matrix.nnz)]

    def renewed(self, form: BilinearForm, coefficients: Mapping[str, ArrayLike]) -> AlgebraicSpace:
        return AlgebraicSpace(self._basis, form, self._dirichlet, coefficients, self.reason)

    def told(self) -> str:
        return f"{self._basis.mesh.t.shape[1]} cells of {type(self._basis.mesh).__name__}"

    def bottom(self) -> str:
        return f"coarsened by pyamg: {self.reason}"


def _dirichlet_dofs(basis: Basis, dirichlet: Dirichlet) -> ndarray:
    if dirichlet is None:
        return np.asarray(basis.get_dofs().flatten())
    if (numbers := dofs_of(dirichlet)) is not None:
        return numbers
    facets = basis.mesh.facets_satisfying(dirichlet, boundaries_only=True) if callable(dirichlet) else dirichlet
    names = list(facets) if isinstance(facets, set | frozenset | tuple) else facets
    return np.asarray(basis.get_dofs(names).flatten())


def as_basis(space: Basis | Mesh, element: Element | None = None) -> Basis:
    """The basis, or that of an element (default: first order) on a mesh."""
    return Basis(space, element or space.elem()) if isinstance(space, Mesh) else space


def space_of(
    basis: Basis | Mesh | BoxGrid,
    form: BilinearForm,
    dirichlet: Dirichlet,
    coefficients: Mapping[str, ArrayLike],
    coarsest: int,
) -> Space:
    """A grid of cells where the mesh is one, else what pyamg makes of the matrix."""
    if isinstance(basis, BoxGrid):
        return GridSpace(Geometry(basis, None, dirichlet), form, coefficients, coarsest)
    given, mesh = (None, basis) if isinstance(basis, Mesh) else (basis, basis.mesh)
    if type(mesh) not in SUPPORTED.values():
        reason = f"{type(mesh).__name__} is no mesh of boxes"
    elif given is not None and type(given.elem) is not ELEMENTS[mesh.dim()]:
        reason = f"{type(given.elem).__name__} is not of first order"
    else:
        try:
            grid = BoxGrid(mesh)
        except TypeError:
            reason = "the cells are no boxes of one grid"
        else:
            return GridSpace(Geometry(grid, given, dirichlet), form, coefficients, coarsest)
    return AlgebraicSpace(as_basis(basis), form, dirichlet, coefficients, reason)
