"""``skfem-ml solve [FIELD]``: one solution by one method, as VTU, PNG and a summary."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Annotated

import typer

from skfem_ml.cli import options as opt
from skfem_ml.cli.options import Read
from skfem_ml.cli.screen import Screen

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from skfem_ml.cli.cases import Case
    from skfem_ml.cli.outputs import Outputs
    from skfem_ml.problems import Diffusion
    from skfem_ml.progress import Progress
    from skfem_ml.solutions import FEFunction

METHODS = ("fem", "lod", "surrogate", "hybrid")
LEARNED = ("surrogate", "hybrid")
VARIANT = "petrov-galerkin"
TOLD = (
    "ell", "variant", "corrected", "model", "tol", "element tol", "promised", "recomputed", "largest score",
    "processes",
)  # fmt: skip


@dataclass(frozen=True)
class Choices:
    """How to solve: the method, and what belongs to LOD or to a surrogate."""

    method: str
    ell: int | None
    variant: str
    corrected: bool
    engine: str
    surrogate: str | None
    tol: float
    scores: bool
    workers: int = 1

    def __post_init__(self) -> None:
        from skfem_ml.checks import choice

        choice(self.method, METHODS, "method")
        choice(self.engine, opt.ENGINES, "engine")
        learned = self.method in LEARNED
        if not learned and (self.surrogate is not None or self.scores):
            raise ValueError(
                f"surrogate, scores: expected with --method surrogate or hybrid, got {self.method}; leave them out"
            )
        if learned and (self.variant != VARIANT or self.corrected):
            raise ValueError(
                f"variant, corrected: expected their defaults with --method {self.method}, which has no correctors; "
                "leave them out"
            )
        if self.workers > 1 and (self.method != "lod" or self.variant != VARIANT):
            raise ValueError(
                f"workers: expected 1 with --method {self.method} --variant {self.variant}, got {self.workers}; "
                "workers make the matrix of petrov-galerkin LOD"
            )


def solve(
    read: Read,
    screen: Screen,
    method: Annotated[str, typer.Option("--method", help=f"One of {', '.join(METHODS)}.")] = "lod",
    ell: opt.Ell = None,
    variant: Annotated[str, typer.Option("--variant", help="LOD: petrov-galerkin or galerkin.")] = VARIANT,
    surrogate: Annotated[
        str | None,
        typer.Option(
            "--surrogate", help="Surrogate, hybrid: name of a shipped model (skfem-ml models), or a file of one."
        ),
    ] = None,
    tol: opt.Tol = 0.1,
    scores: Annotated[bool, typer.Option("--scores", help="Surrogate, hybrid: write the map of scores too.")] = False,
    engine: opt.Engine = "auto",
    corrected: opt.Corrected = False,
    workers: opt.Workers = 1,
    output: opt.Output = opt.OUTPUT,
) -> None:
    """Solve -div(a grad u) = f on the field's fine mesh by finite elements or by LOD, exact or with a trained network.

    Writes solve_METHOD.vtu (coefficient, solution) and solve_METHOD.png, and prints a summary. Surrogate and hybrid
    give the coarse part u_h of LOD, without its fine scales.
    """
    from skfem_ml.cli.outputs import Outputs

    choices = Choices(method, ell, variant, corrected, engine, surrogate, tol, scores, workers)
    case, solver = _chosen(read, choices)
    outputs = Outputs(output, [f"solve_{method}.png", f"solve_{method}.vtu"])
    with screen.progress() as report:
        report(0, 1, f"{method}: solving")
        solve_it = solver(lambda done, total, text: report(done, total + 1, text))  # files come after that
        start = time.perf_counter()
        u = _on_fine(solve_it(case.problem), case)
        seconds = time.perf_counter() - start
        report(0, 1, "picture and files")
        _write(case, u, f"{case.title}, {method.upper()}", outputs)
    solved = _summary(case, method, u, seconds)
    text = "\n".join([*case.notes, *_lines(u, solved), f"files: {', '.join(outputs.files().values())}"])
    screen.tell(text, {**solved, "warnings": screen.warned.lines(), "files": outputs.files()})


def _chosen(read: Read, choices: Choices) -> tuple[Case, Callable[[Progress], Callable[[Diffusion], FEFunction]]]:
    """The case, and what makes its solver, told where progress goes."""
    if choices.method in LEARNED:
        from skfem_ml.cli.learned import learned_solver, load_surrogate

        surrogate = load_surrogate(choices.surrogate)
        case, rest = read(refine=surrogate.setting.cells), (choices.ell, choices.tol, choices.scores)
        return case, lambda report: learned_solver(
            case, surrogate, choices.method, *rest, engine=choices.engine, progress=report
        )
    case = read()
    if choices.method == "fem":
        from skfem_ml.reference import solver_fem

        return case, lambda report: solver_fem()

    def solver(report: Progress) -> Callable[[Diffusion], FEFunction]:
        from skfem_ml.cli.compare.diffusion import warm_up
        from skfem_ml.lod import solver_lod

        warm_up(case.problem.mesh.dim(), choices.engine)
        ell, corrected = 2 if choices.ell is None else choices.ell, choices.corrected
        engine, workers = choices.engine, choices.workers
        if workers > 1 and _has_dask():
            from skfem_ml.lod.blocks import solver_blocks

            return solver_blocks(case.coarse, ell, corrected, workers=workers, engine=engine, progress=report)
        lod = partial(solver_lod, case.coarse, ell, choices.variant, corrected)
        return lod(engine=engine, workers=workers, progress=report)

    return case, solver


def _has_dask() -> bool:
    """Whether dask is installed; that threads take its place is said."""
    from importlib.util import find_spec

    from skfem_ml.checks import warn

    if found := find_spec("distributed") is not None:
        return found
    warn('workers: dask is not installed (pip install "skfem-ml[distributed]"), so they are threads, not processes')
    return False


def _on_fine(u: FEFunction, case: Case) -> FEFunction:
    """A coarse solution as a function on the fine mesh, whose values and gradients it shares."""
    from skfem import Basis

    from skfem_ml.solutions import FEFunction

    mesh = case.problem.mesh
    if u.basis.mesh is mesh:
        return u
    basis = Basis(mesh, type(u.basis.elem)())
    return FEFunction(basis, u(basis.doflocs), u.record)


def _write(case: Case, u: FEFunction, title: str, outputs: Outputs) -> None:
    """Picture and VTU."""
    from skfem_ml.cli.learned import score_maps
    from skfem_ml.cli.outputs import write_vtu

    picture, vtu = outputs.names
    figure = _figure(case, u, title)
    outputs.write(picture, lambda path: figure.savefig(path, dpi=130))
    fields, cells = {"u": u.y[u.basis.nodal_dofs[0]]}, score_maps(case, u)
    outputs.write(vtu, lambda path: write_vtu(path, u.basis.mesh, case.problem.a, fields, cells))


def _figure(case: Case, u: FEFunction, title: str) -> Figure:
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


def _summary(case: Case, method: str, u: FEFunction, seconds: float) -> dict[str, object]:
    from skfem_ml import __version__
    from skfem_ml.metrics import energy_norm, gradients, l2_norm, values

    return {
        "version": __version__,
        "method": method,
        **case.facts,
        **{key: u.record[key] for key in TOLD if key in u.record},
        "unknowns": u.unknowns,
        "fine unknowns": int(u.basis.N),
        "seconds": seconds,
        "seconds of steps": dict(u.record.seconds),
        "min": float(u.y.min()),
        "max": float(u.y.max()),
        "norm_l2": l2_norm(values(u, u.basis), u.basis),
        "norm_energy": energy_norm(gradients(u, u.basis), u.basis, case.problem.a),
    }


def _lines(u: FEFunction, solved: dict[str, object]) -> list[str]:
    record = u.record
    steps = ", ".join(f"{name} {value:.3g} s" for name, value in record.seconds.items())
    lod = f", ell = {record['ell']}" if "ell" in record else ""
    if "model" in record:
        lod += f", surrogate {record['model']}, coarse part u_h"
        lod += f", {record['recomputed']:.1%} of the elements recomputed exactly" if "recomputed" in record else ""
    elif "variant" in record:
        lod += f", {record['variant']}"
    return [
        f"method: {solved['method']}{lod}; {u.unknowns} unknowns (fine mesh: {u.basis.N})",
        f"time: {solved['seconds']:.3g} s" + (f" ({steps})" if steps else ""),
        f"solution: {solved['min']:.6g} <= u <= {solved['max']:.6g}, "
        f"L2 norm {solved['norm_l2']:.6g}, energy norm {solved['norm_energy']:.6g}",
    ]
