"""SLOD as a solver of whole problems, in stages: ``solver_slod(coarse)(problem) -> FEFunction``."""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial
from typing import Any

from numpy import ndarray
from skfem import Basis, Mesh

from skfem_ml.lod.mesh.problem import check_boundaries
from skfem_ml.lod.slod.method import SLOD
from skfem_ml.problems import Diffusion, Field, Staged, diffusion, load
from skfem_ml.solutions import FEFunction, Record


def solver_slod(coarse: Basis | Mesh, ell: int = 2, variant: str = "galerkin", **options: Any) -> Staged:
    """Return ``solver(problem) -> FEFunction``: `SLOD` on ``coarse`` with the problem's mesh as fine mesh.

    The load is corrected, so that any is as good as a constant one. The ``record`` has the number of elements as
    ``unknowns``, ``seconds`` of "setup", "assembly" and "solve", and the notes "ell", "variant" and "condition". The
    solver works in stages, see `problems.Staged`; ``variant`` and ``options`` are those of `SLODSystem` and `SLOD`.

    Raises, when solving, as `SLOD` and `SLODSystem`, and ValueError where a boundary of one name is another part of the
    boundary on the two meshes.
    """
    return Staged(partial(_building, coarse, ell, variant, options))


def _building(
    coarse: Basis | Mesh, ell: int, variant: str, options: dict[str, Any], problem: Diffusion
) -> Callable[[ndarray], _Answer]:
    start = time.perf_counter()
    slod = SLOD(coarse, fine=problem.mesh, dirichlet=problem.dirichlet, ell=ell, **options)
    check_boundaries(slod.space, problem)
    seconds = time.perf_counter() - start
    return lambda a: _Answer(slod, problem, a, variant, seconds)


class _Answer:
    """Solutions for any load, of one coefficient."""

    def __init__(self, slod: SLOD, problem: Diffusion, a: ndarray, variant: str, setup: float):
        start = time.perf_counter()
        self.slod, self.variant = slod, variant
        self.system = slod.system(diffusion, a=slod.space.on_coefficient_cells("a", a))
        self.told = {"ell": slod.ell, "variant": variant, "condition": self.system.condition}
        values = problem.dirichlet_values(slod.fine)
        self.values = values if values.any() else None
        self.seconds = {"setup": setup, "assembly": time.perf_counter() - start}

    def __call__(self, f: Field | ndarray) -> FEFunction:
        start = time.perf_counter()
        given = self.slod.fine_load(f if isinstance(f, ndarray) else load(f))
        y = self.system.solution(given, variant=self.variant, x=self.values)
        seconds = {**self.seconds, "solve": time.perf_counter() - start}
        return FEFunction(self.slod.fine, y, Record(len(self.slod.patches), seconds, notes=self.told))
