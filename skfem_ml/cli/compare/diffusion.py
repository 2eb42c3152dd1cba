"""``skfem-ml compare diffusion [FIELD]``: coarse FEM, null models and LOD against the fine solution."""

from __future__ import annotations

import json as json_format
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import typer

from skfem_ml.cli import options as opt
from skfem_ml.cli.compare.group import compare_app

NAMES = ["diffusion.png", "diffusion.vtu", "diffusion.csv", "diffusion.md", "diffusion.json"]
REFERENCE = "fine FEM"
MEANS = ("arithmetic", "harmonic", "geometric")


@dataclass(frozen=True)
class LODOptions:
    """The rows of LOD: one per localisation parameter in ``ells``."""

    ells: tuple[int, ...] = (1, 2, 3)
    engine: str = "auto"
    corrected: bool = False
    galerkin: bool = False


@compare_app.command("diffusion")
@opt.reads_field
def diffusion(
    read: Any,
    ell: Annotated[str, typer.Option("--ell", help="Localisation parameters of LOD, such as 1,2,3.")] = "1,2,3",
    engine: opt.Engine = "auto",
    corrected: opt.Corrected = False,
    galerkin: Annotated[bool, typer.Option("--galerkin", help="Add rows of the Galerkin variant of LOD.")] = False,
    model: Annotated[
        list[str] | None,
        typer.Option(
            "--model", help="Surrogates: names of shipped models, or files. Default: the shipped ones that fit."
        ),
    ] = None,
    tol: opt.Tol = 0.1,
    output: opt.Output = Path("skfem_ml_output"),
    quiet: opt.Quiet = False,
    json: opt.Json = False,
    debug: opt.Debug = False,
) -> None:
    """Compare coarse FEM, null models, LOD and its surrogates with the fine solution of -div(a grad u) = f.

    Prints a table of errors relative to the fine finite element solution, seconds and unknowns, and writes it as CSV,
    Markdown and JSON, with a picture (PNG) and all fields (VTU), into the output folder.
    """
    from skfem_ml.cli.learned import learned_rows
    from skfem_ml.cli.outputs import Outputs

    lod = LODOptions(_ells(ell), engine, corrected, galerkin)
    outputs = Outputs(output, NAMES)
    case = read()
    learned = learned_rows(case, model, tol, engine)
    text, payload, failures = run(case, lod, outputs, quiet, json, learned)
    if json:
        typer.echo(payload)
    elif not quiet:
        typer.echo(text)
    for failure in failures:
        typer.echo(f"error: {failure}", err=True)
    if failures:
        raise typer.Exit(1)


def run(
    case: Any,
    lod: LODOptions,
    outputs: Any,
    quiet: bool = False,
    json: bool = False,
    more: Mapping[str, Callable] | None = None,
) -> tuple[str, str, list[str]]:
    """Compare, write all files, and return the table with its notes, the JSON text and what failed."""
    from skfem_ml.cli.outputs import talkative
    from skfem_ml.compare.run import compare
    from skfem_ml.lod.method import LOD
    from skfem_ml.progress import bar

    for ell in lod.ells:  # refuses what does not fit before anything is solved
        LOD(case.coarse, fine=case.problem.mesh, dirichlet=case.problem.dirichlet, ell=ell, engine=lod.engine)
    solvers = diffusion_solvers(case.coarse, lod, more)
    with bar(talkative(quiet, json)) as report:
        report(0, len(solvers) + 1, "loading torch")
        warm_up(case.problem.mesh.dim(), lod.engine)
        table = compare(case.problem, solvers, reference=REFERENCE, progress=report)
        if table[REFERENCE].failure:
            raise ValueError(f"the fine solution failed: {table[REFERENCE].failure}")
        report(len(solvers), len(solvers) + 1, "picture and files")
        payload = _write(case, table, lod, outputs)
    lines = [*case.notes, "", str(table), *_remarks(table), "", "files: " + ", ".join(outputs.files().values())]
    return "\n".join(lines), payload, [f"{row.name}: {row.failure}" for row in table.rows if row.failure]


def diffusion_solvers(coarse: Any, lod: LODOptions, more: Mapping[str, Callable] | None = None) -> dict[str, Callable]:
    """Return the rows of the comparison: name -> ``solver(problem)``; ``more`` joins at the end (a surrogate)."""
    from skfem_ml.lod.solver import solver_lod
    from skfem_ml.reference import solver_fem

    rows: dict[str, Callable] = {REFERENCE: solver_fem(), "coarse FEM": solver_fem(coarse)}
    rows |= {f"coarse FEM, {mean} mean": solver_fem(coarse, mean=mean) for mean in MEANS}
    variants: dict[str, dict[str, Any]] = {"": {}}
    variants |= {", corrected load": {"corrected": True}} if lod.corrected else {}
    variants |= {", Galerkin": {"variant": "galerkin"}} if lod.galerkin else {}
    for label, options in variants.items():
        rows |= {f"LOD ell={ell}{label}": solver_lod(coarse, ell, engine=lod.engine, **options) for ell in lod.ells}
    return {**rows, **(more or {})}


def warm_up(dim: int, engine: str) -> None:
    """Run LOD on a tiny case: the import of torch (about a second) is no part of any row's time."""
    import numpy as np

    from skfem_ml.lod.method import LOD
    from skfem_ml.meshes.pixels import TENSOR
    from skfem_ml.problems import diffusion as form

    if dim == 2 and engine != "reference":
        lod = LOD(TENSOR[dim].init_tensor(*[np.linspace(0, 1, 4)] * dim), refine=2, ell=1, engine=engine)
        lod.prolong(np.ones(lod.coarse.N), form, a=np.ones(lod.fine.mesh.t.shape[1]))


def _remarks(table: Any) -> list[str]:
    """What the table does not say: how much a hybrid recomputed, and that a single solve is not what LOD is for."""
    records = {name: u.record for name, u in table.solutions.items() if hasattr(u, "record")}
    hybrids = [f"{name}: {told['recomputed']:.1%} exact" for name, told in records.items() if "recomputed" in told]
    return [*hybrids, *_single_solve(table)]


def _single_solve(table: Any) -> list[str]:
    fastest = min((row.seconds for row in table.rows if row.name.startswith("LOD") and row.seconds), default=0.0)
    if fastest <= (table[REFERENCE].seconds or 0.0):
        return []
    return [
        "One solve with LOD costs more than one direct fine solve; it pays where its small matrix is used again:",
        "many loads, time steps, eigenpairs, coefficients that change locally, a fine matrix that is too large.",
    ]


def _ells(text: str) -> tuple[int, ...]:
    try:
        ells = tuple(int(part) for part in text.split(","))
    except ValueError:
        ells = ()
    if not ells or min(ells) < 1 or len(set(ells)) < len(ells):
        raise ValueError(f"ell: expected different whole numbers >= 1 joined by commas, such as 1,2,3, got {text!r}")
    return ells


def _write(case: Any, table: Any, lod: LODOptions, outputs: Any) -> str:
    from skfem_ml import __version__
    from skfem_ml.cli.outputs import nodal_fields, slug, write_vtu
    from skfem_ml.pictures import comparison_figure
    from skfem_ml.solutions import FEFunction

    basis = table.solutions[REFERENCE].basis
    on_fine = {
        name: u if u.basis.mesh is basis.mesh else FEFunction(basis, u(basis.doflocs))
        for name, u in table.solutions.items()
    }
    names = {row.name: f"u_{slug(row.name)}" for row in table.rows if row.name in on_fine}
    content = {
        "version": __version__,
        "problem": "diffusion",
        **case.facts,
        "ell": list(lod.ells),
        "engine": lod.engine,
        **json_format.loads(table.to_json()),
        "vtu": names,
        "files": outputs.files(),
    }
    payload = json_format.dumps(content, indent=2, allow_nan=False)
    shown = {name: on_fine[name] for name in _shown(table) if name in on_fine}
    figure = comparison_figure(case.problem, (REFERENCE, on_fine[REFERENCE]), shown, title=case.title)
    fields = nodal_fields(on_fine, REFERENCE)
    outputs.write("diffusion.png", lambda path: figure.savefig(path, dpi=130))
    outputs.write("diffusion.vtu", lambda path: write_vtu(path, basis.mesh, case.problem.a, fields))
    outputs.write("diffusion.csv", table.to_csv)
    outputs.write_text("diffusion.md", _markdown(case, table))
    outputs.write_text("diffusion.json", payload + "\n")
    return payload


def _markdown(case: Any, table: Any) -> str:
    heading = "# Diffusion: LOD and null models against the fine solution"
    notes = "".join(f"- {note}\n" for note in case.notes)
    return "\n".join([heading, "", notes, table.to_markdown(), *_remarks(table), ""])


def _shown(table: Any) -> list[str]:
    """Return the columns of the picture: coarse FEM, the best of the null models, the best row of LOD."""
    measured = [row for row in table.rows if row.error is not None]
    null = [row for row in measured if row.name.endswith(" mean")]
    lod = [row for row in measured if row.name.startswith("LOD")]
    return ["coarse FEM", *(min(group, key=lambda row: row.error).name for group in (null, lod) if group)]
