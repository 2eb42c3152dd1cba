"""LOD as a solver of whole problems: ``solver_lod(coarse)(problem) -> FEFunction`` on the problem's own mesh, and its
coarse part, ``solver_coarse``, with any local map. Both work in stages (`problems.Staged`).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from numpy import ndarray
from skfem import Basis, BilinearForm, Mesh

from skfem_ml.lod.coarse import CoarseSystem, warn_unseen
from skfem_ml.lod.local import LocalMap
from skfem_ml.lod.mesh.loads import FineLoad
from skfem_ml.lod.mesh.problem import check_boundaries
from skfem_ml.lod.method import LOD
from skfem_ml.lod.system import VARIANTS, System
from skfem_ml.problems import Diffusion, Field, Staged, diffusion, load
from skfem_ml.problems.staged import timed
from skfem_ml.solutions import FEFunction, Record
from skfem_ml.solvers import Solver

FROM_PROBLEM = ("refine", "fine", "dirichlet")


def solver_lod(
    coarse: Basis | Mesh,
    ell: int = 2,
    variant: str = "petrov-galerkin",
    corrected: bool = False,
    complete: float | None = None,
    solver: Solver | None = None,
    **options: Any,
) -> Staged:
    """Return ``solver(problem) -> FEFunction``, LOD on ``coarse`` with the problem's mesh as fine mesh.

    The solution is the reconstruction (1 - Q) u_h on the fine basis, where S u_h = b; with ``corrected`` the load is
    corrected too and the solution is (1 - Q) u_h + R f, which for a large ``ell`` is the fine finite element solution;
    with ``complete``, a tolerance, it is that solution, by multigrid from u_h (`System.complete`).
    Boundary values g enter as their coarse nodal interpolant, so the fine solution is met exactly where g is linear.
    The solution's ``record`` has the coarse degrees of freedom as ``unknowns``, ``seconds`` of "setup", "assembly",
    "solve" and "prolongation", and the notes "coarse" (u_h as an FEFunction), "ell" in force, "variant", "corrected"
    and "backward error" (of the coarse solve).

    ``variant`` is "petrov-galerkin", or "galerkin" (tested with (1 - Q) lambda_i: for high contrast); ``solver`` solves
    S u_h = b, by default elimination or, if large, `Krylov` (`System.coarse`); ``ell`` and ``options`` are those of
    `LOD` (``cells``, where the coefficient is constant on larger cells than the fine ones, engine, progress...).
    ``coarse`` has the boundaries that the problem names.

    Raises TypeError for options that the problem determines (the fine mesh, the Dirichlet part), ValueError for an
    unknown variant; when solving, as `LOD`, where a boundary of one name is another part of the boundary on the two
    meshes, and for a coefficient that is not constant on the ``cells``. Sources: Malqvist, Peterseim, Math. Comp. 83
    (2014); Elfverson, Ginting, Henning, Numer. Math. 131 (2015).
    """
    if variant not in VARIANTS:
        raise ValueError(f"variant: expected one of {', '.join(map(repr, VARIANTS))}, got {variant!r}")
    _refuse(options)

    return Staged(partial(_prolonging, coarse, ell, _Way(variant, corrected, complete, solver), options))


def _prolonging(
    coarse: Basis | Mesh, ell: int, way: _Way, options: dict[str, Any], problem: Diffusion
) -> Callable[[ndarray], _Prolonged]:
    built, setup = timed(lambda: _Built(coarse, problem, ell, None, options))
    return lambda a: _Prolonged(built, a, way, setup)


@dataclass(frozen=True)
class _Way:
    """How a coarse solution is found and becomes a fine one."""

    variant: str
    corrected: bool
    tol: float | None
    solver: Solver | None


def solver_coarse(
    coarse: Basis | Mesh, local_map: BilinearForm | LocalMap, ell: int = 2, refine: int | None = None,
    solver: Solver | None = None, **options: Any,
) -> Staged:  # fmt: skip
    """Return ``solver(problem) -> FEFunction`` on the coarse basis: u_h with S u_h = b, where S comes of ``local_map``.

    ``local_map`` is a form such as `problems.diffusion`, a `Surrogate` or a `Hybrid`. Nothing is prolonged, so that no
    corrector is solved but those that the map asks for: gradients of the fine scales are not in u_h. Boundary values g
    enter as their coarse nodal interpolant, the load is integrated on the problem's own mesh. One that oscillates below
    the coarse mesh is warned of, where it is not given as a vector (`Staged`).

    The solution's ``record`` has ``unknowns``, ``seconds`` of "setup", "assembly" and "solve", and the notes "ell",
    "backward error" and "homogenised" (True: its energy is not that of u).

    ``ell`` and ``options`` are those of `LOD` (``cells``, ``engine``, ``interpolation``, ``device``, ``workers``,
    ``progress``), ``solver`` is as for `solver_lod`. ``refine`` is the number of fine cells along a coarse edge, a
    multiple of those of ``problem.mesh``, which is then the mesh of the coefficient; by default the problem's own mesh
    is the fine one.

    Raises ValueError when solving, as `LOD`; where a boundary of one name is another part of the boundary on the two
    meshes; for a coefficient that is not constant on the ``cells``; and what the local map raises.
    """
    _refuse(options)
    return Staged(partial(_staying, coarse, local_map, ell, refine, solver, options))


def _staying(
    coarse: Basis | Mesh,
    local_map: BilinearForm | LocalMap,
    ell: int,
    refine: int | None,
    solver: Solver | None,
    options: dict[str, Any],
    problem: Diffusion,
) -> Callable[[ndarray], _Coarse]:
    built, setup = timed(lambda: _Built(coarse, problem, ell, refine, options))

    def prepare(a: ndarray) -> _Coarse:
        (_, solved), seconds = timed(lambda: built.assembled(local_map, a, solver=solver))
        return _Coarse(built, solved, {"setup": setup, "assembly": seconds})

    return prepare


class _Built:
    """What depends on the meshes: ``given`` has the problem's mesh as fine mesh, ``lod`` maybe a finer one."""

    def __init__(self, coarse: Basis | Mesh, problem: Diffusion, ell: int, refine: int | None, options: dict[str, Any]):
        elsewhere = refine is not None and options.get("interiors") is not None  # interiors of the other fine mesh
        own = {**options, "interiors": None} if elsewhere else options
        self.given = LOD(coarse, fine=problem.mesh, dirichlet=problem.dirichlet, ell=ell, **own)
        check_boundaries(self.given.space, problem)
        space, n = self.given.space, refine or self.given.space.n
        if elsewhere:
            self.lod = LOD(coarse, n, ell=ell, **{**options, "cells": space.m, "dirichlet": space.dirichlet})
        else:
            self.lod = self.given if n == space.n else self.given.with_fine(n)
        self.values = problem.dirichlet_values(self.given.coarse)

    def coefficient(self, a: ndarray) -> ndarray:
        """The coefficient of the problem's mesh in the order of the LOD's coefficient mesh."""
        a = self.given.space.on_coefficient_cells("a", a)
        if self.lod is self.given:
            return a
        out = np.empty(a.shape)
        out[..., self.lod.space.coefficient_refinement.cells] = a[..., self.given.space.coefficient_refinement.cells]
        return out

    def assembled(
        self, form: BilinearForm | LocalMap, a: ndarray, variant: str = VARIANTS[0], solver: Solver | None = None
    ) -> tuple[System, CoarseSystem]:
        """The system of the form with a coefficient, and its matrix ready for loads."""
        system = self.lod.system(form, a=self.coefficient(a))
        return system, system.coarse(variant, solver)

    def load(self, f: Field | ndarray) -> FineLoad:
        """The load on the problem's mesh."""
        return self.given.fine_load(f if isinstance(f, ndarray) else load(f))


class _Prolonged:
    """Answers on the fine mesh, of one coefficient."""

    def __init__(self, built: _Built, a: ndarray, way: _Way, setup: float):
        (self.system, self.solved), seconds = timed(lambda: built.assembled(diffusion, a, way.variant, way.solver))
        self.built, self.way, self.seconds = built, way, {"setup": setup, "assembly": seconds}

    def __call__(self, f: Field | ndarray) -> FEFunction:
        lod = self.built.lod
        (F, u, error), solve = timed(lambda: self._coarse(f))
        y, prolong = timed(lambda: self._fine(u, F))
        told = {"coarse": FEFunction(lod.coarse, u), "ell": lod.ell, "variant": self.way.variant}
        told |= {"corrected": self.way.corrected, "backward error": error}
        seconds = {**self.seconds, "solve": solve, "prolongation": prolong}
        return FEFunction(lod.fine, y, Record(lod.coarse.N, seconds, notes=told))

    def _coarse(self, f: Field | ndarray) -> tuple[FineLoad, ndarray, float]:
        F = self.built.load(f)
        b = self.system.load(F, corrected=self.way.corrected, variant=self.way.variant)
        return F, *self.solved.solve(b, self.built.values)

    def _fine(self, u: ndarray, F: FineLoad) -> ndarray:
        if self.way.tol is not None:
            return self.system.complete(u, F, self.way.tol).u
        return self.system.prolong(u, load=F if self.way.corrected else None)


@dataclass(frozen=True)
class _Coarse:
    """Answers on the coarse mesh, of one coefficient."""

    built: _Built
    solved: CoarseSystem
    seconds: dict[str, float]

    def __call__(self, f: Field | ndarray) -> FEFunction:
        def solve() -> tuple[ndarray, float]:
            F = self.built.load(f)
            if not isinstance(f, ndarray):  # looking at it takes longer than all the rest
                warn_unseen(F)
            return self.solved.solve(F.on_coarse, self.built.values)

        (u, error), seconds = timed(solve)
        coarse = self.built.lod.coarse
        told = {"ell": self.built.lod.ell, "backward error": error, "homogenised": True}
        return FEFunction(coarse, u, Record(coarse.N, {**self.seconds, "solve": seconds}, notes=told))


def _refuse(options: dict[str, Any]) -> None:
    fixed = [name for name in FROM_PROBLEM if name in options]
    if fixed:
        raise TypeError(
            f"solver_lod: expected options of LOD other than {', '.join(FROM_PROBLEM)}, got {fixed}; the "
            "fine mesh and the Dirichlet part are those of the problem"
        )
