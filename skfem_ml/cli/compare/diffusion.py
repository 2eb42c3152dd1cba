"""``skfem-ml compare diffusion [FIELD]``: coarse FEM, null models and LOD against the fine solution."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from skfem_ml.cli import options as opt
from skfem_ml.cli.options import Read
from skfem_ml.cli.run import Comparison, Solvers, run_comparison
from skfem_ml.cli.screen import Screen

if TYPE_CHECKING:
    from skfem import Basis, Mesh

    from skfem_ml.cli.cases import Case
    from skfem_ml.compare import Table
    from skfem_ml.solutions import FEFunction

REFERENCE = "fine FEM"
MEANS = ("arithmetic", "harmonic", "geometric")
SINGLE_SOLVE = (
    "One solve with LOD costs more than one direct fine solve; it pays where its small matrix is used again:\n"
    "many loads, time steps, eigenpairs, coefficients that change locally, a fine matrix that is too large."
)


@dataclass(frozen=True)
class LODOptions:
    """The rows of LOD: one per localisation parameter in ``ells``."""

    ells: tuple[int, ...] = (1, 2, 3)
    engine: str = "auto"
    corrected: bool = False
    galerkin: bool = False


def diffusion(
    read: Read,
    screen: Screen,
    ell: Annotated[str, typer.Option("--ell", help="Localisation parameters of LOD, such as 1,2,3.")] = "1,2,3",
    engine: opt.Engine = "auto",
    corrected: opt.Corrected = False,
    galerkin: Annotated[bool, typer.Option("--galerkin", help="Add rows of the Galerkin variant of LOD.")] = False,
    surrogate: Annotated[
        list[str] | None,
        typer.Option(
            "--surrogate",
            help="Add rows of a surrogate: name of a shipped one (skfem-ml models) or its file; may be repeated. "
            "Default: the shipped ones that are made for such meshes and fields.",
        ),
    ] = None,
    tol: opt.Tol = 0.1,
    output: opt.Output = opt.OUTPUT,
) -> None:
    """Compare coarse FEM, null models, LOD and its surrogates with the fine solution of -div(a grad u) = f.

    Prints a table of errors relative to the fine finite element solution, seconds and unknowns, and writes it as CSV,
    Markdown and JSON, with a picture (PNG) and all fields (VTU), into the output folder.
    """
    from skfem_ml.checks import choice
    from skfem_ml.cli.learned import learned_rows
    from skfem_ml.lod import LOD

    choice(engine, opt.ENGINES, "engine")
    lod = LODOptions(_ells(ell), engine, corrected, galerkin)
    case = read()
    for each in lod.ells:  # refuses what does not fit before anything is solved
        LOD(case.coarse, fine=case.problem.mesh, dirichlet=case.problem.dirichlet, ell=each, engine=engine)
    learned, left_out = learned_rows(case, surrogate, tol, engine)
    run_comparison(_comparison(case, lod, learned, left_out), output, screen)


def _comparison(case: Case, lod: LODOptions, learned: Mapping[str, Callable], left_out: list[str]) -> Comparison:
    def solvers(_: object) -> Solvers:
        warm_up(case.problem.mesh.dim(), lod.engine)
        return diffusion_solvers(case.coarse, lod, learned)

    def facts(table: Table) -> dict[str, object]:
        from skfem_ml.cli.outputs import slug

        names = {row.name: f"u_{slug(row.name)}" for row in table.rows if row.name in table.solutions}
        return {**case.facts, "ell": list(lod.ells), "engine": lod.engine, "left out": left_out, "vtu": names}

    return Comparison(
        "diffusion",
        lambda: case.problem,
        solvers,
        REFERENCE,
        notes=[*case.notes, *left_out],
        heading="Diffusion: LOD and null models against the fine solution",
        facts=facts,
        remarks=remarks,
        files={"png": lambda table, path: _draw(case, table, path), "vtu": lambda table, path: _vtu(case, table, path)},
    )


def diffusion_solvers(coarse: Basis | Mesh, lod: LODOptions, more: Mapping[str, Callable] | None = None) -> Solvers:
    """Return the rows of the comparison: name -> ``solver(problem)``; ``more`` joins at the end (a surrogate)."""
    from skfem_ml.lod import solver_lod
    from skfem_ml.reference import solver_fem

    rows: Solvers = {REFERENCE: solver_fem(), "coarse FEM": solver_fem(coarse)}
    rows |= {f"coarse FEM, {mean} mean": solver_fem(coarse, mean=mean) for mean in MEANS}
    variants = [("", "petrov-galerkin", False)]
    variants += [(", corrected load", "petrov-galerkin", True)] if lod.corrected else []
    variants += [(", Galerkin", "galerkin", False)] if lod.galerkin else []
    for label, variant, corrected in variants:
        for ell in lod.ells:
            rows[f"LOD ell={ell}{label}"] = solver_lod(coarse, ell, variant, corrected, engine=lod.engine)
    return {**rows, **(more or {})}


def warm_up(dim: int, engine: str) -> None:
    """Run LOD on a tiny case: the import of torch (about a second) is no part of any row's time."""
    import numpy as np

    from skfem_ml.lod import LOD
    from skfem_ml.meshes.pixels import TENSOR
    from skfem_ml.problems import diffusion as form

    if dim == 2 and engine != "reference":
        lod = LOD(TENSOR[dim].init_tensor(*[np.linspace(0, 1, 4)] * dim), refine=2, ell=1, engine=engine)
        lod.prolong(np.ones(lod.coarse.N), form, a=np.ones(lod.fine.mesh.t.shape[1]))


def remarks(table: Table) -> dict[str, str]:
    """What the table does not say: what a hybrid recomputed, and what a single solve is not for."""
    told: dict[str, str] = {}
    for name, u in table.solutions.items():
        record = u.record
        if "recomputed" in record:
            share = record["recomputed"]
            nowhere = "; the surrogate is used nowhere" if share == 1 else ""
            told[name] = f"{share:.1%} of the elements recomputed exactly{nowhere}"
    fastest = min((row.seconds for row in table.rows if row.name.startswith("LOD") and row.seconds), default=0.0)
    return {**told, "": SINGLE_SOLVE} if fastest > (table[REFERENCE].seconds or 0.0) else told


def _ells(text: str) -> tuple[int, ...]:
    try:
        ells = tuple(int(part) for part in text.split(","))
    except ValueError:
        ells = ()
    if not ells or min(ells) < 1 or len(set(ells)) < len(ells):
        raise ValueError(f"ell: expected different whole numbers >= 1 joined by commas, such as 1,2,3, got {text!r}")
    return ells


def _on_fine(table: Table) -> dict[str, FEFunction]:
    """All solutions on the fine basis."""
    from skfem_ml.solutions import FEFunction

    solutions: dict[str, FEFunction] = dict(table.solutions)
    basis = solutions[REFERENCE].basis
    return {
        name: u if u.basis.mesh is basis.mesh else FEFunction(basis, u(basis.doflocs), u.record)
        for name, u in solutions.items()
    }


def _draw(case: Case, table: Table, path: Path) -> None:
    """Coarse FEM, the best of the null models and the best row of LOD beside the reference."""
    from skfem_ml.pictures import comparison_figure

    on_fine = _on_fine(table)
    measured = [row for row in table.rows if row.error is not None]
    null = [row for row in measured if row.name.endswith(" mean")]
    groups = null, [row for row in measured if row.name.startswith("LOD")]
    best = [min(group, key=lambda row: row.error or 0.0).name for group in groups if group]
    shown = {name: on_fine[name] for name in ("coarse FEM", *best) if name in on_fine}
    figure = comparison_figure(case.problem, (REFERENCE, on_fine[REFERENCE]), shown, title=case.title)
    figure.savefig(path, dpi=130)


def _vtu(case: Case, table: Table, path: Path) -> None:
    from skfem_ml.cli.outputs import nodal_fields, write_vtu

    on_fine = _on_fine(table)
    write_vtu(path, on_fine[REFERENCE].basis.mesh, case.problem.a, nodal_fields(on_fine, REFERENCE))
