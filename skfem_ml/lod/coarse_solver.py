"""The coarse part u_h of LOD as a solver of whole problems, with any local map: exact, surrogate or hybrid."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy import ndarray
from skfem import Basis, Mesh

from skfem_ml.lod.method import LOD
from skfem_ml.lod.solver import check_boundaries, solve_coarse
from skfem_ml.problems import Diffusion, load
from skfem_ml.solutions import FEFunction, Record


def solver_coarse(
    coarse: Basis | Mesh, local_map: Any, ell: int = 2, refine: int | None = None, **options: Any
) -> Callable[[Diffusion], FEFunction]:
    """Return ``solver(problem) -> FEFunction`` on the coarse basis: u_h with S u_h = b, where S comes of ``local_map``.

    ``local_map`` is a form such as `problems.diffusion`, a `Surrogate` or a `Hybrid`. Nothing is prolonged, so that no
    corrector is solved but those that the map asks for: gradients of the fine scales are not in u_h. Boundary values g
    enter as their coarse nodal interpolant, the load is integrated on the problem's own mesh.

    The solution's ``record`` has ``unknowns``, ``seconds`` of "setup", "assembly" and "solve", and the note "ell".

    Parameters
    ----------
    coarse
        Coarse Q1 basis or mesh of which ``problem.mesh`` is a refinement.
    ell, **options
        As in ``LOD`` (``engine``, ``interpolation``, ``device``, ``workers``, ``progress``).
    refine
        Fine cells along a coarse edge, a multiple of those of ``problem.mesh``, which is then the mesh of the
        coefficient. Default: the problem's own mesh is the fine one.

    Raises
    ------
    ValueError
        When solving, as ``LOD``; where a boundary of one name is another part of the boundary on the two meshes; and
        what the local map raises.
    """

    def solver(problem: Diffusion) -> FEFunction:
        marks = [time.perf_counter()]
        given = LOD(coarse, fine=problem.mesh, dirichlet=problem.dirichlet, ell=ell, **options)
        check_boundaries(given, problem)
        lod, a = refined(given, problem, refine, **options)
        marks.append(time.perf_counter())
        S, b = lod.assemble(local_map, a=a), given.load(load(problem.f))
        marks.append(time.perf_counter())
        u = solve_coarse(lod, problem, S, b)
        seconds = np.diff([*marks, time.perf_counter()]).tolist()
        stages = dict(zip(("setup", "assembly", "solve"), seconds, strict=True))
        return FEFunction(lod.coarse, u, Record(lod.coarse.N, stages, notes={"ell": lod.ell}))

    return solver


def refined(given: LOD, problem: Diffusion, refine: int | None, **options: Any) -> tuple[LOD, ndarray]:
    """The LOD whose coefficient mesh has the cells of the problem's mesh and ``refine`` fine cells, and the coefficient
    in its order.
    """
    if refine is None or refine == given.space.n:
        return given, problem.a
    lod = LOD(given.coarse, refine=refine, cells=given.space.n, ell=given.ell, dirichlet=problem.dirichlet, **options)
    a = np.empty(problem.a.shape)
    a[..., lod.space.coefficient_refinement.cells] = problem.a[..., given.space.refinement.cells]
    return lod, a
