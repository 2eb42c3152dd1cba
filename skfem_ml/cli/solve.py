"""``skfem-ml solve FIELD``: one solution by one method, as VTU, PNG and a summary."""

from __future__ import annotations

import json as json_format
import time
from pathlib import Path
from typing import Annotated, Any

import typer

from skfem_ml.cli import options as opt

METHODS = ("fem", "lod", "surrogate", "hybrid")
LEARNED = ("surrogate", "hybrid")
TOLD = ("ell", "variant", "corrected", "model", "tol", "recomputed", "largest score")


def solve(
    read: Any,
    method: Annotated[str, typer.Option("--method", help=f"One of {', '.join(METHODS)}.")] = "lod",
    ell: opt.Ell = None,
    variant: Annotated[str, typer.Option("--variant", help="LOD: petrov-galerkin or galerkin.")] = "petrov-galerkin",
    model: Annotated[
        str | None, typer.Option("--model", help="Surrogate, hybrid: name of a shipped model, or its file.")
    ] = None,
    tol: opt.Tol = 0.1,
    scores: Annotated[bool, typer.Option("--scores", help="Surrogate, hybrid: write the map of scores too.")] = False,
    engine: opt.Engine = "auto",
    corrected: opt.Corrected = False,
    output: opt.Output = Path("skfem_ml_output"),
    quiet: opt.Quiet = False,
    json: opt.Json = False,
    debug: opt.Debug = False,
) -> None:
    """Solve -div(a grad u) = f on the field's fine mesh by finite elements or by LOD, exact or with a trained network.

    Writes solve_METHOD.vtu (coefficient, solution) and solve_METHOD.png, and prints a summary. Surrogate and hybrid
    give the coarse part u_h of LOD, without its fine scales.
    """
    from skfem_ml.cli.outputs import Outputs, talkative

    if method not in METHODS:
        raise ValueError(f"method: expected one of {', '.join(METHODS)}, got {method!r}")
    if method not in LEARNED and (model is not None or scores):
        raise ValueError(f"model, scores: for --method surrogate or hybrid, got {method}; leave them out")
    if method in LEARNED and (variant != "petrov-galerkin" or corrected):
        raise ValueError(f"variant, corrected: expected their defaults with --method {method}; they need correctors")
    outputs = Outputs(output, [f"solve_{method}.png", f"solve_{method}.vtu"])
    show = talkative(quiet, json)
    if method in LEARNED:
        from skfem_ml.cli.learned import learned_solver, load_surrogate

        surrogate = load_surrogate(model)
        case = read(refine=surrogate.card["cells"])
        solver = learned_solver(case, surrogate, method, ell, tol, scores, engine=engine, progress=show)
    else:
        case = read()
        lod = {"ell": 2 if ell is None else ell, "variant": variant, "engine": engine, "corrected": corrected}
        solver = _solver(method, case, lod, show)
    summary = run(case, method, solver, outputs, show)
    if json:
        typer.echo(json_format.dumps(summary, indent=2, allow_nan=False))
    elif not quiet:
        typer.echo(_text(case, summary))


def run(case: Any, method: str, solver: Any, outputs: Any, show: bool) -> dict[str, Any]:
    """Solve, write the files and return the summary."""
    from skfem_ml import __version__
    from skfem_ml.metrics import energy_norm, gradients, l2_norm, values
    from skfem_ml.progress import bar

    start = time.perf_counter()
    u = _on_fine(solver(case.problem), case)
    seconds = time.perf_counter() - start
    with bar(show) as report:
        report(0, 1, "picture and files")
        figure = _figure(case, u, f"{case.title}, {method.upper()}")
        outputs.write(outputs.names[0], lambda path: figure.savefig(path, dpi=130))
        fields = {"u": u.y[u.basis.nodal_dofs[0]]}
        outputs.write(outputs.names[1], lambda path: _vtu(path, u, case, fields))
    told = {key: u.record[key] for key in TOLD if key in u.record}
    return {
        "version": __version__,
        "method": method,
        **case.facts,
        **told,
        "unknowns": u.unknowns,
        "fine unknowns": int(u.basis.N),
        "seconds": seconds,
        "seconds of steps": dict(u.record.seconds),
        "min": float(u.y.min()),
        "max": float(u.y.max()),
        "norm_l2": l2_norm(values(u, u.basis), u.basis),
        "norm_energy": energy_norm(gradients(u, u.basis), u.basis, case.problem.a),
        "files": outputs.files(),
    }


def _solver(method: str, case: Any, lod: dict[str, Any], show: bool) -> Any:
    from skfem_ml.cli.compare.diffusion import warm_up
    from skfem_ml.lod.solver import solver_lod
    from skfem_ml.reference import solver_fem

    if method == "fem":
        return solver_fem()
    warm_up(case.problem.mesh.dim(), lod["engine"])
    return solver_lod(case.coarse, progress=show, **lod)


def _on_fine(u: Any, case: Any) -> Any:
    """A coarse solution as a function on the fine mesh, whose values and gradients it shares."""
    from skfem import Basis

    from skfem_ml.solutions import FEFunction

    mesh = case.problem.mesh
    if u.basis.mesh is mesh:
        return u
    basis = Basis(mesh, type(u.basis.elem)())
    return FEFunction(basis, u(basis.doflocs), u.record)


def _vtu(path: Path, u: Any, case: Any, fields: dict[str, Any]) -> None:
    from skfem_ml.cli.outputs import write_vtu

    write_vtu(path, u.basis.mesh, case.problem.a, fields, u.record.notes.get("cells"))


def _figure(case: Any, u: Any, title: str) -> Any:
    from matplotlib.figure import Figure  # not pyplot: no window system, no global state

    from skfem_ml.pictures import colour_bar, plot_cells, plot_nodal, shared_norm

    figure = Figure(figsize=(10, 4.6), layout="constrained")
    figure.suptitle(title)
    left, right = figure.subplots(1, 2)
    a = case.problem.a
    drawn = plot_cells(left, case.problem.mesh, a, norm=shared_norm(a), label="coefficient $a$")
    if case.problem.mesh.dim() > 1:
        colour_bar(left, drawn, "coefficient $a$", values=a)
    drawn = plot_nodal(right, u.basis, u.y, label="$u$")
    if case.problem.mesh.dim() > 1:
        colour_bar(right, drawn, "$u$")
    return figure


def _text(case: Any, summary: dict[str, Any]) -> str:
    steps = ", ".join(f"{name} {value:.3g} s" for name, value in summary["seconds of steps"].items())
    lod = f", ell = {summary['ell']}, " if "ell" in summary else ""
    if "model" in summary:
        lod += f"model {summary['model']}, coarse part u_h"
        lod += f", {summary['recomputed']:.1%} of the elements exact" if "recomputed" in summary else ""
    else:
        lod += summary.get("variant", "")
    return "\n".join(
        [
            *case.notes,
            f"method: {summary['method']}{lod}; {summary['unknowns']} unknowns (fine mesh: {summary['fine unknowns']})",
            f"time: {summary['seconds']:.3g} s" + (f" ({steps})" if steps else ""),
            f"solution: {summary['min']:.6g} <= u <= {summary['max']:.6g}, "
            f"L2 norm {summary['norm_l2']:.6g}, energy norm {summary['norm_energy']:.6g}",
            "files: " + ", ".join(summary["files"].values()),
        ]
    )
