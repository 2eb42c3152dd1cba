"""The rows of ``skfem-ml compare diffusion``: what a user would take, in two groups."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from skfem_ml.cli.cases import Case

REFERENCE = "fine FEM"  # by elimination
FINE, COARSE = "fine answers", "coarse answers"
MEANS = ("arithmetic", "harmonic", "geometric")
TOLERANCE = 1e-6  # of iterative solvers: far below any error in the table
MANY = 10  # loads from which a basis that is dear to make is shown
Solvers = dict[str, Callable[..., Any]]


@dataclass(frozen=True)
class LODOptions:
    """The rows of LOD: one per localisation parameter in ``ells``."""

    ells: tuple[int, ...] = (1, 2, 3)
    engine: str = "auto"
    galerkin: bool = False


def diffusion_rows(
    case: Case, lod: LODOptions, loads: int = 1, learned: Mapping[str, Callable[..., Any]] | None = None
) -> dict[str, Solvers]:
    """The solvers by group and name; ``learned`` joins the coarse answers."""
    return {FINE: _fine(case, lod, loads), COARSE: {**_coarse(case, lod), **(learned or {})}}


def _fine(case: Case, lod: LODOptions, loads: int) -> Solvers:
    """Solvers whose answer lives on the fine mesh."""
    from skfem_ml.lod import solver_lod
    from skfem_ml.reference import solver_fem
    from skfem_ml.solvers import solver_multigrid, solver_pyamg

    options: dict[str, Any] = {"cells": case.refine, "engine": lod.engine}
    rows: Solvers = {
        REFERENCE: solver_fem(),
        "fine FEM, AMG-CG": solver_fem(solver=solver_pyamg(TOLERANCE, "ruge-stuben")),
        "multigrid, one pass": solver_multigrid(tol=None),
        "multigrid": solver_multigrid(TOLERANCE),
    }
    if case.below > 1:
        rows["FEM, a cell of the field"] = solver_fem(case.given.mesh)
    for ell in lod.ells:
        rows[f"LOD ell={ell}"] = solver_lod(case.coarse, ell, corrected=True, **options)
    if lod.galerkin:
        rows |= {
            f"LOD ell={ell}, Galerkin": solver_lod(case.coarse, ell, "galerkin", True, **options) for ell in lod.ells
        }
    ell = _middle(lod)
    rows[f"LOD ell={ell}, completed"] = solver_lod(case.coarse, ell, complete=TOLERANCE, **options)
    if loads >= MANY and case.problem.mesh.dim() == 2:
        from skfem_ml.lod import solver_slod

        rows[f"SLOD ell={ell}"] = solver_slod(case.coarse, ell, cells=case.refine)
    return rows


def _coarse(case: Case, lod: LODOptions) -> Solvers:
    """Solvers whose answer is a coarse function."""
    from skfem_ml.lod import Extrapolated, solver_coarse
    from skfem_ml.problems import diffusion
    from skfem_ml.reference import solver_fem
    from skfem_ml.solvers import solver_multigrid

    coarse, options = case.coarse, dict[str, Any](cells=case.refine, engine=lod.engine)
    rows: Solvers = {"coarse FEM": solver_fem(coarse)}
    rows |= {f"coarse FEM, {mean} mean": solver_fem(coarse, mean=mean) for mean in MEANS}
    n = case.refine * case.below
    if n & (n - 1) == 0:  # halved down to the coarse cells
        rows["multigrid's coarse matrix"] = solver_multigrid(coarse=coarse)
    rows |= {f"u_h of LOD ell={ell}": solver_coarse(coarse, diffusion, ell, **options) for ell in lod.ells}
    ell = _middle(lod)
    if case.below % 4 == 0:
        rows[f"u_h extrapolated from {n // 4} and {n // 2}"] = solver_coarse(
            coarse, Extrapolated(diffusion, (n // 4, n // 2)), ell, **options
        )
    if case.below % 4 == 0 and case.refine > 2 and case.problem.mesh.dim() == 2 and lod.engine != "reference":
        rows[f"u_h with interiors of {n}"] = solver_coarse(coarse, diffusion, ell, case.refine, interiors=n, **options)
    return rows


def _middle(lod: LODOptions) -> int:
    """The localisation parameter of rows that stand for one: 2, or the nearest there is."""
    return min(lod.ells, key=lambda ell: abs(ell - 2))
