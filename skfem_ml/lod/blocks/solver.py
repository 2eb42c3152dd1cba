"""`solver_blocks`: a diffusion problem by LOD, its matrix made by processes of dask on this machine."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from tempfile import TemporaryDirectory

from numpy import ndarray
from skfem import Basis, Mesh

from skfem_ml.lod.blocks.system import ROWS, BlockSystem
from skfem_ml.lod.blocks.workers import local_client
from skfem_ml.lod.coarse import CoarseSystem, near_matrix
from skfem_ml.lod.mesh.problem import check_boundaries
from skfem_ml.lod.method import LOD
from skfem_ml.problems import Diffusion, Field, Staged, diffusion, load
from skfem_ml.problems.staged import timed
from skfem_ml.progress import Progress
from skfem_ml.solutions import FEFunction, Record

EACH = 4  # blocks a worker, so that they end at about the same time


def solver_blocks(
    coarse: Basis | Mesh,
    ell: int = 2,
    corrected: bool = False,
    *,
    workers: int = 2,
    engine: str = "auto",
    progress: bool | Progress = False,
) -> Staged:
    """Return ``solver(problem) -> FEFunction``: `solver_lod`, the matrix made by ``workers`` processes.

    They are `local_client`'s, for which dask is needed; the load and the fine reconstruction, which need correctors
    again, are made by as many threads here. The solution and its ``record`` are those of `solver_lod`, to rounding.
    Raises ImportError without dask, and what `solver_lod` raises.
    """
    return Staged(partial(_prepared, coarse, ell, corrected, workers, engine, progress))


def _prepared(
    coarse: Basis | Mesh,
    ell: int,
    corrected: bool,
    workers: int,
    engine: str,
    progress: bool | Progress,
    problem: Diffusion,
) -> Callable[[ndarray], Callable[[Field | ndarray], FEFunction]]:
    made = partial(LOD, coarse, fine=problem.mesh, dirichlet=problem.dirichlet, ell=ell, engine=engine)
    lod, setup = timed(lambda: made(workers=workers, progress=progress))
    check_boundaries(lod.space, problem)
    return lambda a: _solver(lod, a, corrected, workers, setup, problem)


def _solver(
    lod: LOD, a: ndarray, corrected: bool, workers: int, setup: float, problem: Diffusion
) -> Callable[[Field | ndarray], FEFunction]:
    system, values = lod.system(diffusion, a=a), problem.dirichlet_values(lod.coarse)
    rows = min(ROWS, -(-lod.space.grid.shape[-1] // (EACH * workers)))
    with local_client(workers) as client, TemporaryDirectory() as folder:
        blocks = BlockSystem(lod, diffusion, rows=rows, folder=folder, client=client, a=a)
        S, assembly = timed(blocks.matrix)
    solved = CoarseSystem(S, lod.space.fixed, near_matrix(lod.space, diffusion, system.coefficients))

    def solve(f: Field | ndarray) -> FEFunction:
        F = lod.fine_load(f if isinstance(f, ndarray) else load(f))
        (u, error), seconds = timed(lambda: solved.solve(system.load(F, corrected=corrected), values))
        y, prolongation = timed(lambda: system.prolong(u, load=F if corrected else None))
        told = {"coarse": FEFunction(lod.coarse, u), "ell": lod.ell, "variant": "petrov-galerkin"}
        told |= {"corrected": corrected, "backward error": error, "processes": workers}
        spent = {"setup": setup, "assembly": assembly, "solve": seconds, "prolongation": prolongation}
        return FEFunction(lod.fine, y, Record(lod.coarse.N, spent, notes=told))

    return solve
