"""Multigrid as a solver of whole problems, for ``compare``."""

from __future__ import annotations

import time
from collections.abc import Callable

from skfem import CellBasis, Element

from skfem_ml.problems.diffusion import Diffusion, diffusion
from skfem_ml.solutions import FEFunction, Record
from skfem_ml.solvers.multigrid.method import Multigrid
from skfem_ml.solvers.multigrid.spaces import as_basis


def solver_multigrid(
    tol: float = 1e-8, element: Element | None = None, maxiter: int = 200
) -> Callable[[Diffusion], FEFunction]:
    """Return ``solver(problem) -> FEFunction``: the Galerkin solution on the problem's mesh by `Multigrid`.

    ``tol`` bounds the estimate of the relative error in energy, |u - u*|_A / |u*|_A, u* being the Galerkin solution
    (`Multigrid.complete`). ``element`` is a Lagrange element, default first order; what is not of first order on boxes
    is left to pyamg.

    The solution's ``record`` has ``unknowns``, ``seconds`` of "setup" and "solve", and the notes "steps", "residual",
    "energy error" (the estimate), "levels" and "coarsest" (who solves there: elimination, or pyamg and why).

    The solver raises RuntimeError where ``maxiter`` steps do not reach ``tol``.

    >>> from skfem import MeshQuad
    >>> import numpy as np
    >>> u = solver_multigrid()(Diffusion(MeshQuad().refined(5), np.linspace(1, 5, 1024)))
    >>> u.unknowns, u.record["levels"], u.record["coarsest"], bool(u.record["energy error"] < 1e-8)
    (961, 1, 'elimination', True)
    """

    def solver(problem: Diffusion) -> FEFunction:
        basis: CellBasis = as_basis(problem.mesh, element)
        marks = [time.perf_counter()]
        mg = Multigrid(basis, diffusion, dirichlet=problem.dirichlet_dofs(basis), a=problem.a)
        marks.append(time.perf_counter())
        solved = mg.complete(problem.load(basis), x=problem.dirichlet_values(basis), tol=tol, maxiter=maxiter)
        marks.append(time.perf_counter())
        seconds = {"setup": marks[1] - marks[0], "solve": marks[2] - marks[1]}
        told = {
            "steps": solved.steps,
            "residual": solved.residual,
            "energy error": solved.energy_error,
            "levels": mg.levels,
            "coarsest": mg.coarsest_solver,
        }
        return FEFunction(basis, solved.u, Record(len(mg.free_dofs), seconds, notes=told))

    return solver
