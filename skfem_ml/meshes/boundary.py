"""The Dirichlet part of the boundary, as sides of coarse cells."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TypeAlias

import numpy as np
from numpy import ndarray
from skfem import Mesh
from skfem.assembly import Basis, Dofs
from skfem.assembly.dofs import DofsView

from skfem_ml.meshes.grid import BoxGrid, lexicographic

Dirichlet: TypeAlias = (
    "str | Iterable[str] | Callable[[ndarray], ndarray] | ndarray | Sequence[int] | DofsView"
    " | Mapping[str, DofsView] | DirichletPart | None"
)
"""How Gamma_D may be given; see `DirichletPart`."""


class DirichletPart:
    """Gamma_D: ``sides`` says which sides of a coarse cell lie on it, ``(nelems, 2 dim)``; ``nodes`` which coarse
    nodes.

    Parameters
    ----------
    grid
        The coarse grid.
    basis
        The coarse basis whose degrees of freedom ``choice`` speaks of.
    choice
        ``None`` for the whole boundary; a name, or a list or set of names, of boundaries of the coarse mesh; a function
        of the midpoints of boundary facets ``x`` ``(dim, k)`` that says which lie on it, as ``mesh.with_boundaries``
        takes; or degrees of freedom of the coarse basis (an array, or what ``basis.get_dofs`` returns): Gamma_D is then
        made of the boundary facets all of whose nodes are among them. The part of another LOD on the same coarse grid
        is taken as it is.

    Raises
    ------
    ValueError
        For unknown names, functions that hold nowhere, degrees of freedom off the boundary, and single nodes that fill
        no facet.
    """

    def __init__(self, grid: BoxGrid, basis: Basis | Dofs, choice: Dirichlet = None):
        if isinstance(choice, DirichletPart):
            facets = choice.facets
        elif choice is None:
            facets = grid.mesh.boundary_facets()
        elif names := _names(choice):
            facets = _named_facets(grid.mesh, names, grid.mesh.boundary_facets())
        elif callable(choice) and not hasattr(choice, "flatten"):
            facets = _facets_where(grid.mesh, choice)
        else:
            facets = _filled_facets(grid.mesh, basis, choice, grid.mesh.boundary_facets())
        self.facets: ndarray = facets
        self.sides = np.zeros((grid.cells.shape[1], 2 * grid.dim), dtype=bool)
        self.sides[grid.facet_sides(facets)] = True
        self.nodes = np.zeros(grid.mesh.p.shape[1], dtype=bool)
        self.nodes[grid.mesh.facets[:, facets]] = True

    def part(self, grid: BoxGrid, cells: ndarray, nodes: ndarray) -> DirichletPart:
        """Gamma_D on the grid of some cells and their nodes, by their numbers; where it is cut is no boundary."""
        other = copy.copy(self)
        other.sides, other.nodes = self.sides[cells], self.nodes[nodes]
        outer = grid.mesh.boundary_facets()
        other.facets = outer[other.sides[grid.facet_sides(outer)]]
        return other

    def fine_nodes(self, n: int) -> ndarray:
        """Which of the ``(n + 1)**dim`` fine nodes of every coarse cell lie on its Gamma_D sides, ``(nelems, ...)``."""
        dim = self.sides.shape[1] // 2
        index = lexicographic(n + 1, dim)
        on_side = np.stack([index[side // 2] == (n if side % 2 else 0) for side in range(2 * dim)])
        return self.sides.astype(np.uint8) @ on_side.astype(np.uint8) > 0


def _names(choice: object) -> list[str]:
    """Names of boundaries, if these are some."""
    if isinstance(choice, str):
        return [choice]
    if isinstance(choice, list | tuple | set | frozenset) and choice and all(isinstance(x, str) for x in choice):
        return sorted(choice) if isinstance(choice, set | frozenset) else list(choice)
    return []


def _facets_where(mesh: Mesh, holds: Callable[[ndarray], ndarray]) -> ndarray:
    facets = mesh.facets_satisfying(holds, boundaries_only=True)
    if not len(facets):
        raise ValueError(
            "dirichlet: expected a function that holds on some boundary facets, got one that holds on none; it is "
            "given the midpoints of the facets, (dim, k)"
        )
    return facets


def _named_facets(mesh: Mesh, names: list[str], outer: ndarray) -> ndarray:
    known = mesh.boundaries or {}
    unknown = [name for name in names if name not in known]
    if unknown:
        raise ValueError(
            f"dirichlet: expected names among {sorted(known)}, got {unknown}; name boundaries with "
            "mesh.with_boundaries({...}) or mesh.with_defaults()"
        )
    facets = np.unique(np.concatenate([known[name] for name in names]))
    if np.setdiff1d(facets, outer).size:
        raise ValueError(f"dirichlet: expected facets on the boundary of the domain, got interior ones in {names}")
    return facets


def _filled_facets(mesh: Mesh, basis: Basis | Dofs, choice: object, outer: ndarray) -> ndarray:
    dofs = _flat_dofs(choice)
    if dofs.size and (dofs.min() < 0 or dofs.max() >= basis.N):
        raise ValueError(
            f"dirichlet: expected degrees of freedom 0 to {basis.N - 1} of the coarse basis, got "
            f"{dofs.min()} to {dofs.max()}"
        )
    on = np.zeros(basis.N, dtype=bool)
    on[dofs] = True
    vertex_on = on[basis.nodal_dofs[0]]
    facets = outer[vertex_on[mesh.facets[:, outer]].all(axis=0)]
    covered = np.zeros(mesh.p.shape[1], dtype=bool)
    covered[mesh.facets[:, facets]] = True
    lone = np.flatnonzero(vertex_on & ~covered)
    if lone.size:
        raise ValueError(
            f"dirichlet: expected nodes that fill boundary facets, got {lone.size} that do not (first: node "
            f"{lone[0]} at {mesh.p[:, lone[0]]}); a single point or an interior node is no Dirichlet boundary"
        )
    return facets


def _flat_dofs(choice: object) -> ndarray:
    if isinstance(choice, dict):
        return np.unique(np.concatenate([_flat_dofs(view) for view in choice.values()] + [np.zeros(0, int)]))
    if hasattr(choice, "flatten") and not isinstance(choice, ndarray):
        choice = choice.flatten()  # a DofsView
    dofs = np.asarray(choice)
    if (dofs.size and dofs.dtype == bool) or (dofs.dtype.kind not in "iu" and dofs.size):
        raise ValueError(f"dirichlet: expected names, or integer degrees of freedom, got an array of {dofs.dtype}")
    return dofs.astype(int).ravel()
