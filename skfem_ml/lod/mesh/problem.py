"""A problem on the meshes of a space: that both mean the same boundary."""

from __future__ import annotations

import numpy as np

from skfem_ml.lod.mesh.discretisation import Discretisation
from skfem_ml.problems import Diffusion


def check_boundaries(space: Discretisation, problem: Diffusion) -> None:
    """Raise ValueError where a name is another part of the boundary on the coarse mesh: nothing else would tell."""
    mesh = problem.mesh
    problem.require_boundaries(mesh)
    if problem.dirichlet is None:
        facets = mesh.boundary_facets()
    else:
        facets = np.concatenate([mesh.boundaries[name] for name in problem.dirichlet])
    wanted = np.zeros(mesh.p.shape[1], dtype=bool)
    wanted[mesh.facets[:, facets]] = True
    differ = int((wanted != space.fine_dirichlet).sum())
    if differ:
        raise ValueError(
            f"dirichlet: expected the boundaries {list(problem.dirichlet or ())} to be the same part of "
            f"the boundary on the problem's mesh and the coarse one, got {differ} fine nodes on one only; name them "
            "alike, for example by mesh.with_defaults() on both"
        )
