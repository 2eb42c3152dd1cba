"""What an LOD and an SLOD show of their space."""

from __future__ import annotations

from functools import cached_property

import numpy as np
from numpy import ndarray
from numpy.typing import ArrayLike
from scipy.sparse import csr_matrix
from skfem import Basis, LinearForm, Mesh

from skfem_ml.lod.mesh.discretisation import Discretisation
from skfem_ml.lod.mesh.loads import FineLoad
from skfem_ml.meshes.grid import ELEMENTS


class OnSpace:
    """The fine basis, meshes, degrees of freedom and loads of ``space``.

    >>> from skfem import MeshQuad
    >>> from skfem_ml.lod import LOD, SLOD
    >>> for method in (LOD(MeshQuad().refined(2), refine=4, ell=1), SLOD(MeshQuad().refined(2), refine=4)):
    ...     print(method.fine.N, method.prolongation.shape, len(method.dirichlet_dofs))
    289 (289, 25) 16
    289 (289, 25) 16
    """

    space: Discretisation

    @cached_property
    def fine(self) -> Basis:
        """The fine Q1 basis."""
        return Basis(self.space.fine_mesh, ELEMENTS[self.space.grid.dim]())

    @property
    def coarse(self) -> Basis:
        """The coarse Q1 basis."""
        return self.space.coarse

    @property
    def coefficient_mesh(self) -> Mesh:
        """The mesh with m^d cells a coarse cell on which coefficients live, one value a cell, in its own order."""
        return self.space.coefficient_mesh

    @property
    def dirichlet_dofs(self) -> ndarray:
        """The degrees of freedom of the coarse basis on Gamma_D: ``condense(S, b, D=lod.dirichlet_dofs)``."""
        return np.flatnonzero(self.space.fixed)

    @property
    def prolongation(self) -> csr_matrix:
        """P: nodal prolongation of V_h into the fine space, ``(fine.N, coarse.N)``."""
        return self.space.prolongation

    def fine_load(self, f: LinearForm | ndarray, **fields: ArrayLike) -> FineLoad:
        """A load integrated once, for every verb of every system on this space; also of a vector ``(fine.N,)``."""
        return FineLoad(self.space, f, fields)
