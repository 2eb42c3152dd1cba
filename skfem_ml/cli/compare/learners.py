"""``skfem-ml compare heat`` and ``compare eigen``: learners beside FD, FEM and eigensolvers."""

from __future__ import annotations

import json as json_format
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import typer

from skfem_ml.cli import options as opt
from skfem_ml.cli.compare.group import compare_app

SUFFIXES = ("png", "csv", "md", "json")
Seed = Annotated[int, typer.Option("--seed", help="Seed of all random weights and starts.")]


@compare_app.command("heat")
def heat(
    steps: Annotated[int, typer.Option("--steps", help="Training steps of the networks; 4000 take a minute.")] = 1000,
    cells: Annotated[int, typer.Option("--cells", help="Cells of the finite element and difference grids.")] = 100,
    seed: Seed = 0,
    output: opt.Output = Path("skfem_ml_output"),
    quiet: opt.Quiet = False,
    json: opt.Json = False,
    debug: opt.Debug = False,
) -> None:
    """Compare FD, FEM, networks and random features on the heat equation on a segment with a known solution.

    Errors are relative, in L2 over space and time and at the end. Writes table (CSV, Markdown, JSON) and the
    work-precision picture (PNG) into the output folder.
    """
    from skfem_ml.problems import heat_box

    if steps < 1 or cells < 2:
        raise ValueError(f"steps, cells: expected at least 1 and 2, got {steps} and {cells}")
    run_comparison("heat", heat_box, lambda: heat_solvers(steps, cells, seed), None, output, quiet, json)


@compare_app.command("eigen")
def eigen(
    matrix: Annotated[
        Path | None, typer.Argument(help="Symmetric matrix, .npy or .csv. Default: the 6 x 6 matrix of the report.")
    ] = None,
    pairs: Annotated[int | None, typer.Option("--pairs", help="How many of the smallest pairs. Default: all.")] = None,
    seed: Seed = 0,
    output: opt.Output = Path("skfem_ml_output"),
    quiet: opt.Quiet = False,
    json: opt.Json = False,
    debug: opt.Debug = False,
) -> None:
    """Compare routes to the eigenpairs of a symmetric matrix: eigh, the flow of Yi et al., an orthonormal network.

    Errors are the largest over all pairs. Writes table (CSV, Markdown, JSON) and the work-precision picture (PNG).
    """
    from skfem_ml.problems import Eigenproblem, report_matrix

    problem = Eigenproblem(report_matrix() if matrix is None else read_matrix(matrix))
    count = problem.require_pairs(problem.size if pairs is None else pairs)
    run_comparison("eigen", lambda: problem, lambda: eigen_solvers(problem, count, seed), "eigh", output, quiet, json)


def heat_solvers(steps: int, cells: int, seed: int) -> dict[str, Callable]:
    """Return the rows of ``compare heat``."""
    import numpy as np
    from skfem import Basis, ElementLineP2, MeshLine

    from skfem_ml.pinn import solver_elm, solver_pinn, solver_vpinn
    from skfem_ml.reference import solver_fd, solver_fem

    mesh = MeshLine(np.linspace(0, 1, cells + 1))
    weak = Basis(MeshLine(np.linspace(0, 1, 11)), ElementLineP2(), intorder=7)
    return {
        "FD explicit": solver_fd(cells),
        "FD as published": solver_fd(cells, spacing="as published"),
        "FEM P1 + CN": solver_fem(mesh, scheme="cn", steps=10 * cells),
        "FEM P2 + Gauss-4": solver_fem(mesh, ElementLineP2(), scheme="gauss4", steps=cells),
        "ELM": solver_elm(1200, 4.0, points=35, times=35, seed=seed),
        "PINN Adam": solver_pinn("adam", steps=steps, seed=seed),
        "PINN SSBroyden": solver_pinn(steps=steps, seed=seed),
        "VPINN SSBroyden": solver_vpinn(weak, 10, steps=steps, seed=seed),
    }


def eigen_solvers(problem: Any, count: int, seed: int) -> dict[str, Callable]:
    """Return the rows of ``compare eigen``; the flow finds largest pairs first, so it has a row for all pairs only."""
    from skfem_ml.pinn import eig_neural
    from skfem_ml.reference import eig_flow, eig_reference

    rows: dict[str, Callable] = {"eigh": eig_reference(count)}
    if count == problem.size:
        rows["Euler with projection"] = eig_flow(seed=seed)
        rows["solve_ivp with projection"] = eig_flow(method="ivp", seed=seed)
    rows["orthonormal network"] = eig_neural(count, "orthonormal", seed=seed)
    return rows


def read_matrix(path: Path) -> Any:
    """Return a matrix from .npy or .csv; ValueError for another kind of file or content that is no matrix."""
    import numpy as np

    from skfem_ml.coefficients.raster import require_file

    require_file(path)
    if path.suffix.lower() not in (".npy", ".csv"):
        raise ValueError(f"{path}: expected a matrix as .npy or .csv, got {path.suffix or 'no suffix'}")
    try:
        if path.suffix.lower() == ".npy":
            return np.asarray(np.load(path, allow_pickle=False), dtype=float)
        return np.loadtxt(path, delimiter=",", ndmin=2)
    except (ValueError, EOFError) as error:
        raise ValueError(f"{path}: expected numbers, cannot be read as a matrix ({error})") from error


def run_comparison(
    name: str,
    problem: Callable[[], Any],
    solvers: Callable[[], dict[str, Callable]],
    reference: str | None,
    folder: Path,
    quiet: bool,
    json: bool,
) -> None:
    """Compare on a problem, write picture and tables named after it, and print; leave with 1 where a row failed."""
    from skfem_ml import __version__
    from skfem_ml.cli.outputs import Outputs, talkative
    from skfem_ml.compare.run import compare
    from skfem_ml.progress import bar

    outputs = Outputs(folder, [f"{name}.{suffix}" for suffix in SUFFIXES])
    rows = solvers()
    with bar(talkative(quiet, json)) as report:
        table = compare(problem(), rows, reference=reference, progress=report)
    content = {"version": __version__, "problem": name, **json_format.loads(table.to_json()), "files": outputs.files()}
    payload = json_format.dumps(content, indent=2, allow_nan=False)
    outputs.write(f"{name}.png", table.plot)
    outputs.write(f"{name}.csv", table.to_csv)
    outputs.write_text(f"{name}.md", f"# skfem-ml compare {name}\n\n{table.to_markdown()}")
    outputs.write_text(f"{name}.json", payload + "\n")
    if json:
        typer.echo(payload)
    elif not quiet:
        typer.echo(f"{table}\n\nfiles: {', '.join(outputs.files().values())}")
    failures = [f"{row.name}: {row.failure}" for row in table.rows if row.failure]
    for failure in failures:
        typer.echo(f"error: {failure}", err=True)
    if failures:
        raise typer.Exit(1)
