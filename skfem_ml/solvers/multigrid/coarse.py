"""The coarse matrix of multigrid as a discretisation of its own: P^T A P on the nodes of a coarse mesh."""

from __future__ import annotations

from functools import cached_property

import numpy as np
from numpy import ndarray
from scipy.sparse import csr_matrix, identity
from skfem import Basis, Mesh

from skfem_ml.meshes.lattice import SAME_LINE
from skfem_ml.solvers.multigrid.geometry import Geometry
from skfem_ml.solvers.multigrid.hierarchy import Hierarchy, diagonals


class CoarseGrid:
    """The level of a hierarchy that lives on a coarse mesh; made below the coarsest level where it is not among them.

    Parameters
    ----------
    coarse
        A mesh of whose cells the fine one has 2^k x ... x 2^k in each, or its Q1 basis. None: the coarsest level of the
        hierarchy, its nodes in lexicographic order, x fastest.

    Raises
    ------
    ValueError
        If the fine mesh is no such refinement.
    """

    def __init__(self, geometry: Geometry, hierarchy: Hierarchy, coarse: Basis | Mesh | None):
        self._fine, self._hierarchy = geometry, hierarchy
        self._grid = None if coarse is None else Geometry.of(coarse)
        self._depth = len(hierarchy.levels) if self._grid is None else _halvings(geometry, self._grid)

    @cached_property
    def _chain(self) -> tuple[csr_matrix, csr_matrix]:
        """The matrix on the coarse grid and P from it, nodes in lexicographic order."""
        hierarchy, dim = self._hierarchy, self._fine.dim
        stage = hierarchy.stages[min(self._depth, len(hierarchy.levels))]
        weights = [level.interpolation for level in hierarchy.levels[: self._depth]]
        nodes = [above.inside.shape for above in hierarchy.stages[: len(weights)]]
        while len(weights) < self._depth:
            nodes.append(stage.inside.shape)
            interpolation, stage = stage.interpolation(stage.elements.stencil(), hierarchy.lower_order)
            weights.append(interpolation)
        P = weights[0].matrix(nodes[0]) if weights else None
        for interpolation, shape in zip(weights[1:], nodes[1:], strict=True):
            P = P @ interpolation.matrix(shape)
        A = diagonals(stage.elements.stencil(), dim).tocsr()
        A.eliminate_zeros()
        return A, identity(A.shape[0], format="csr") if P is None else P

    def matrix(self) -> csr_matrix:
        """P^T A P, all rows kept, ``(Nc, Nc)``."""
        A, keep = self._chain[0], self._columns
        return A[keep][:, keep].tocsr()

    def prolongation(self) -> csr_matrix:
        """P, ``(N, Nc)``: nodal values on the fine mesh."""
        place = self._fine.dofs.ravel()[(inside := self._fine.inside.ravel())]
        rows = np.empty(self._fine.size, dtype=int)
        rows[place] = np.flatnonzero(inside)
        return self._chain[1][rows][:, self._columns].tocsr()

    @cached_property
    def _columns(self) -> ndarray:
        """The lexicographic place of every coarse degree of freedom."""
        if self._grid is None:
            return np.arange(self._chain[0].shape[0])
        inside = self._grid.inside.ravel()
        out = np.empty(self._grid.size, dtype=int)
        out[self._grid.dofs.ravel()[inside]] = np.flatnonzero(inside)
        return out


def _halvings(fine: Geometry, coarse: Geometry) -> int:
    """How often the cells of the fine grid are doubled to give those of the coarse one."""
    counts, wanted = fine.grid.shape, coarse.grid.shape
    depth = max(counts[0] // wanted[0], 1).bit_length() - 1
    step = 2**depth
    fits = fine.dim == coarse.dim and all(f == step * c for f, c in zip(counts, wanted, strict=True))
    if not fits or any(
        np.abs(f[::step] - c).max() > 10 * SAME_LINE * np.diff(f).min()
        for f, c in zip(fine.grid.lines, coarse.grid.lines, strict=True)
    ):
        raise ValueError(
            f"coarse: expected a mesh with 2^k x ... x 2^k of the fine cells in each of its cells, got "
            f"{' x '.join(map(str, wanted))} cells over {' x '.join(map(str, counts))}"
        )
    filled = coarse.filled
    for axis in range(coarse.dim):
        filled = filled.repeat(step, axis=axis)
    if not np.array_equal(filled, fine.filled):
        raise ValueError("coarse: expected a mesh of the same domain, got one with holes in other places")
    return depth
