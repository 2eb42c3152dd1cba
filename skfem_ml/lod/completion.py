"""From a coarse solution to the fine one: multigrid on the fine mesh of an LOD."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy import ndarray

from skfem_ml.lod.mesh.forms import FineForm
from skfem_ml.lod.mesh.loads import FineLoad
from skfem_ml.solvers import Multigrid, Solved

if TYPE_CHECKING:
    from skfem_ml.lod.system import System


def fine_multigrid(fine_form: FineForm) -> Multigrid:
    """`Multigrid` of a form on the fine mesh of its space, with its Gamma_D."""
    space = fine_form.space
    coefficients = {
        name: value[..., space.coefficient_cell] if isinstance(value, ndarray) else value
        for name, value in fine_form.coefficients.items()
    }
    fixed = np.flatnonzero(space.fine_dirichlet)
    return Multigrid(space.fine_grid, fine_form.form, dirichlet=fixed, **coefficients)  # type: ignore[arg-type]


def complete(system: System, u: ndarray, load: FineLoad, tol: float) -> Solved:
    """The fine solution that agrees with u on Gamma_D, from P u, or from u where it is fine: `System.complete`."""
    space = system.lod.space
    start = space.prolongation @ u if u.shape == (space.coarse.N,) else u
    if start.shape != load.on_fine.shape:
        raise ValueError(
            f"u: expected values of the {space.coarse.N} coarse or the {len(load.on_fine)} fine degrees of freedom, "
            f"got {u.shape}"
        )
    return system.multigrid.complete(load.on_fine, start, start, tol=tol)
