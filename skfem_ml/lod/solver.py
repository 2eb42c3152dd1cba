"""LOD as a solver of whole problems: ``solver_lod(coarse)(problem) -> FEFunction`` on the problem's own mesh."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy import ndarray
from scipy.sparse.linalg import spsolve
from skfem import Basis, Mesh, condense, solve

from skfem_ml.lod.method import LOD
from skfem_ml.problems import Diffusion, diffusion, load
from skfem_ml.solutions import FEFunction, Record

VARIANTS = ("petrov-galerkin", "galerkin")
FROM_PROBLEM = ("refine", "cells", "fine", "dirichlet")


def solver_lod(
    coarse: Basis | Mesh, ell: int = 2, variant: str = "petrov-galerkin", corrected: bool = False, **options: Any
) -> Callable[[Diffusion], FEFunction]:
    """Return ``solver(problem) -> FEFunction``, LOD on ``coarse`` with the problem's mesh as fine mesh.

    The solution is the reconstruction (1 - Q) u_h on the fine basis, where S u_h = b; with ``corrected`` the load is
    corrected too and the solution is (1 - Q) u_h + R f, which for a large ``ell`` is the fine finite element solution.
    Boundary values g enter as their coarse nodal interpolant, so the fine solution is met exactly where g is linear.

    The solution's ``record`` has the coarse degrees of freedom as ``unknowns``, ``seconds`` of "assembly", "solve" and
    "prolongation", and the notes "coarse" (u_h as an FEFunction), "ell" in force, "variant" and "corrected".

    Sources: Malqvist, Peterseim, Math. Comp. 83 (2014); Elfverson, Ginting, Henning, Numer. Math. 131 (2015).

    Parameters
    ----------
    coarse
        Coarse Q1 basis or mesh of which ``problem.mesh`` is a refinement; it has the boundaries that the problem names.
    ell, **options
        As in ``LOD`` (``engine``, ``interpolation``, ``device``, ``workers``, ``progress``).
    variant
        "petrov-galerkin", or "galerkin" (tested with (1 - Q) lambda_i: for high contrast).
    corrected
        Whether the load's fine scales are resolved as well.

    Raises
    ------
    TypeError
        For options that the problem determines (the fine mesh, the Dirichlet part).
    ValueError
        For an unknown variant; when solving, as ``LOD``, and where a boundary of one name is another part of the
        boundary on the two meshes.
    """
    if variant not in VARIANTS:
        raise ValueError(f"variant: expected one of {', '.join(map(repr, VARIANTS))}, got {variant!r}")
    fixed = [name for name in FROM_PROBLEM if name in options]
    if fixed:
        raise TypeError(
            f"solver_lod: expected options of LOD other than {', '.join(FROM_PROBLEM)}, got {fixed}; the "
            "fine mesh and the Dirichlet part are those of the problem"
        )

    def solver(problem: Diffusion) -> FEFunction:
        start = time.perf_counter()
        lod = LOD(coarse, ell=ell, fine=problem.mesh, dirichlet=problem.dirichlet, **options)
        check_boundaries(lod, problem)
        run = _petrov_galerkin if variant == "petrov-galerkin" else _galerkin
        u, y, marks = run(lod, problem, corrected)
        seconds = np.diff([start, *marks])
        stages = dict(zip(("assembly", "solve", "prolongation"), seconds.tolist(), strict=True))
        notes = {"coarse": FEFunction(lod.coarse, u), "ell": lod.ell, "variant": variant, "corrected": corrected}
        return FEFunction(lod.fine, y, Record(lod.coarse.N, stages, notes=notes))

    return solver


def _petrov_galerkin(lod: LOD, problem: Diffusion, corrected: bool) -> tuple[ndarray, ndarray, list[float]]:
    form = load(problem.f)
    S = lod.assemble(diffusion, a=problem.a)
    b = lod.load(form, corrected=corrected, bilinear=diffusion, a=problem.a)
    assembled = time.perf_counter()
    u = solve_coarse(lod, problem, S, b)
    solved = time.perf_counter()
    y = lod.prolong(u, diffusion, load=form if corrected else None, a=problem.a)
    return u, y, [assembled, solved, time.perf_counter()]


def _galerkin(lod: LOD, problem: Diffusion, corrected: bool) -> tuple[ndarray, ndarray, list[float]]:
    # The correctors are formed anyway: once for matrix, load and reconstruction.
    basis = lod.basis(diffusion, a=problem.a)
    S = (basis.T @ problem.stiffness(lod.fine) @ basis).tocsr()
    b = basis.T @ problem.load(lod.fine)
    assembled = time.perf_counter()
    u = solve_coarse(lod, problem, S, b)
    solved = time.perf_counter()
    y = basis @ u
    if corrected:
        y = y + lod.prolong(np.zeros_like(u), diffusion, load=load(problem.f), a=problem.a)
    return u, y, [assembled, solved, time.perf_counter()]


def solve_coarse(lod: LOD, problem: Diffusion, S: Any, b: ndarray) -> ndarray:
    """u_h with S u_h = b and the problem's boundary values, ``(coarse.N,)``."""
    x, D = problem.dirichlet_values(lod.coarse), problem.dirichlet_dofs(lod.coarse)
    if len(D) == lod.coarse.N:  # no interior node: nothing is left to solve
        return x
    # Not the solver for symmetric matrices: S is not symmetric in the Petrov-Galerkin variant.
    return solve(*condense(S, b, x=x, D=D), solver=spsolve)


def check_boundaries(lod: LOD, problem: Diffusion) -> None:
    """Raise ValueError where a name is another part of the boundary on the coarse mesh: nothing else would tell."""
    wanted = np.zeros(lod.fine.N, dtype=bool)
    wanted[problem.dirichlet_dofs(lod.fine)] = True
    got = np.zeros(lod.fine.N, dtype=bool)
    got[lod.fine.nodal_dofs[0]] = lod.space.fine_dirichlet
    if (wanted != got).any():
        raise ValueError(
            f"dirichlet: expected the boundaries {list(problem.dirichlet or ())} to be the same part of "
            f"the boundary on the problem's mesh and the coarse one, got {int((wanted != got).sum())} "
            "fine nodes on one only; name them alike, for example by mesh.with_defaults() on both"
        )
