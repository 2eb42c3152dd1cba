"""LOD as a solver of whole problems: ``solver_lod(coarse)(problem) -> FEFunction`` on the problem's own mesh, and its
coarse part, ``solver_coarse``, with any local map.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from numpy import ndarray
from skfem import Basis, BilinearForm, Mesh

from skfem_ml.lod.coarse import solve_coarse
from skfem_ml.lod.local import LocalMap
from skfem_ml.lod.method import LOD
from skfem_ml.lod.system import VARIANTS
from skfem_ml.problems import Diffusion, diffusion, load
from skfem_ml.solutions import FEFunction, Record

FROM_PROBLEM = ("refine", "cells", "fine", "dirichlet")


def solver_lod(
    coarse: Basis | Mesh, ell: int = 2, variant: str = "petrov-galerkin", corrected: bool = False, **options: Any
) -> Callable[[Diffusion], FEFunction]:
    """Return ``solver(problem) -> FEFunction``, LOD on ``coarse`` with the problem's mesh as fine mesh.

    The solution is the reconstruction (1 - Q) u_h on the fine basis, where S u_h = b; with ``corrected`` the load is
    corrected too and the solution is (1 - Q) u_h + R f, which for a large ``ell`` is the fine finite element solution.
    Boundary values g enter as their coarse nodal interpolant, so the fine solution is met exactly where g is linear.
    The solution's ``record`` has the coarse degrees of freedom as ``unknowns``, ``seconds`` of "assembly", "solve" and
    "prolongation", and the notes "coarse" (u_h as an FEFunction), "ell" in force, "variant", "corrected" and
    "backward error" (of the coarse solve).

    ``variant`` is "petrov-galerkin", or "galerkin" (tested with (1 - Q) lambda_i: for high contrast); ``ell`` and
    ``options`` are those of `LOD` (engine, progress...). ``coarse`` has the boundaries that the problem names.

    Raises TypeError for options that the problem determines (the fine mesh, the Dirichlet part), ValueError for an
    unknown variant; when solving, as `LOD`, and where a boundary of one name is another part of the boundary on the two
    meshes. Sources: Malqvist, Peterseim, Math. Comp. 83 (2014); Elfverson, Ginting, Henning, Numer. Math. 131 (2015).
    """
    if variant not in VARIANTS:
        raise ValueError(f"variant: expected one of {', '.join(map(repr, VARIANTS))}, got {variant!r}")
    _refuse(options)

    def solver(problem: Diffusion) -> FEFunction:
        marks = [time.perf_counter()]
        lod = LOD(coarse, ell=ell, fine=problem.mesh, dirichlet=problem.dirichlet, **options)
        check_boundaries(lod, problem)
        system, f = lod.system(diffusion, a=problem.a), load(problem.f)
        S, b = system.matrix(variant), system.load(f, corrected=corrected, variant=variant)
        marks.append(time.perf_counter())
        u, error = solve_coarse(S, b, problem.dirichlet_values(lod.coarse), lod.space.fixed)
        marks.append(time.perf_counter())
        y = system.prolong(u, load=f if corrected else None)
        marks.append(time.perf_counter())
        told = {"coarse": FEFunction(lod.coarse, u), "ell": lod.ell, "variant": variant, "corrected": corrected}
        stages = ("assembly", "solve", "prolongation")
        return FEFunction(lod.fine, y, _record(lod, stages, marks, {**told, "backward error": error}))

    return solver


def solver_coarse(
    coarse: Basis | Mesh, local_map: BilinearForm | LocalMap, ell: int = 2, refine: int | None = None, **options: Any
) -> Callable[[Diffusion], FEFunction]:
    """Return ``solver(problem) -> FEFunction`` on the coarse basis: u_h with S u_h = b, where S comes of ``local_map``.

    ``local_map`` is a form such as `problems.diffusion`, a `Surrogate` or a `Hybrid`. Nothing is prolonged, so that no
    corrector is solved but those that the map asks for: gradients of the fine scales are not in u_h. Boundary values g
    enter as their coarse nodal interpolant, the load is integrated on the problem's own mesh.

    The solution's ``record`` has ``unknowns``, ``seconds`` of "setup", "assembly" and "solve", and the notes "ell" and
    "backward error".

    ``ell`` and ``options`` are those of `LOD` (``engine``, ``interpolation``, ``device``, ``workers``, ``progress``).
    ``refine`` is the number of fine cells along a coarse edge, a multiple of those of ``problem.mesh``, which is then
    the mesh of the coefficient; by default the problem's own mesh is the fine one.

    Raises ValueError when solving, as `LOD`; where a boundary of one name is another part of the boundary on the two
    meshes; and what the local map raises.
    """

    def solver(problem: Diffusion) -> FEFunction:
        marks = [time.perf_counter()]
        given = LOD(coarse, fine=problem.mesh, dirichlet=problem.dirichlet, ell=ell, **options)
        check_boundaries(given, problem)
        lod, a = refined(given, problem, refine)
        marks.append(time.perf_counter())
        S, b = lod.assemble(local_map, a=a), given.load(load(problem.f))
        marks.append(time.perf_counter())
        u, error = solve_coarse(S, b, problem.dirichlet_values(lod.coarse), lod.space.fixed)
        marks.append(time.perf_counter())
        told = {"ell": lod.ell, "backward error": error}
        return FEFunction(lod.coarse, u, _record(lod, ("setup", "assembly", "solve"), marks, told))

    return solver


def refined(given: LOD, problem: Diffusion, refine: int | None) -> tuple[LOD, ndarray]:
    """The LOD whose coefficient mesh has the cells of the problem's mesh and ``refine`` fine cells, and the coefficient
    in its order.
    """
    if refine is None or refine == given.space.n:
        return given, problem.a
    lod = given.with_fine(refine)
    a = np.empty(problem.a.shape)
    a[..., lod.space.coefficient_refinement.cells] = problem.a[..., given.space.refinement.cells]
    return lod, a


def check_boundaries(lod: LOD, problem: Diffusion) -> None:
    """Raise ValueError where a name is another part of the boundary on the coarse mesh: nothing else would tell."""
    mesh = problem.mesh
    problem.require_boundaries(mesh)
    if problem.dirichlet is None:
        facets = mesh.boundary_facets()
    else:
        facets = np.concatenate([mesh.boundaries[name] for name in problem.dirichlet])
    wanted = np.zeros(mesh.p.shape[1], dtype=bool)
    wanted[mesh.facets[:, facets]] = True
    differ = int((wanted != lod.space.fine_dirichlet).sum())
    if differ:
        raise ValueError(
            f"dirichlet: expected the boundaries {list(problem.dirichlet or ())} to be the same part of "
            f"the boundary on the problem's mesh and the coarse one, got {differ} fine nodes on one only; name them "
            "alike, for example by mesh.with_defaults() on both"
        )


def _refuse(options: dict[str, Any]) -> None:
    fixed = [name for name in FROM_PROBLEM if name in options]
    if fixed:
        raise TypeError(
            f"solver_lod: expected options of LOD other than {', '.join(FROM_PROBLEM)}, got {fixed}; the "
            "fine mesh and the Dirichlet part are those of the problem"
        )


def _record(lod: LOD, stages: tuple[str, ...], marks: list[float], notes: Mapping[str, object]) -> Record:
    seconds = dict(zip(stages, np.diff(marks).tolist(), strict=True))
    return Record(lod.coarse.N, seconds, notes=notes)
