r"""One rough material, three problems, every method that can take them: one table, one picture.

    python -m demos.benchmarks.every_method

On the unit square, with u = 0 on the boundary and a = exp(Z), Z a Gaussian field of correlation length 0.1, constant
on 32 x 32 cells,

    diffusion     -div(a grad u) = 1,
    heat          u_t = div(a grad u) up to t = 0.05,  u(0) = 16 x (1 - x) y (1 - y),
    eigenvalues   -div(a grad u) = l u,  the four least.

The table goes to ``every_method.md``, the picture to ``every_method.png``; the rows of a problem go to
``every_method.json`` when they are measured, and rows that stand there are not measured again.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from skfem import Basis, ElementQuad1, ElementQuad2

from demos.benchmarks import every_method_learners as learners
from demos.benchmarks import every_method_matrices as matrices
from demos.benchmarks.every_method_matrices import FIELD, PAIRS, Matrices, square
from skfem_ml import LOD, PDE, Diffusion, Surrogate, solver_elm, solver_vpinn
from skfem_ml.compare import Row, Table, by_method, compare, machine, median_and_worst, seeded
from skfem_ml.learning.storage import write_whole
from skfem_ml.meshes import raster_to_cells
from skfem_ml.pictures import colour_bar, figure, grid, plot_cells, shared_norm
from skfem_ml.pictures.graphs import look
from skfem_ml.pinn import eig_subspace
from skfem_ml.problems import Eigenproblem, diffusion, mass
from skfem_ml.progress import Progress
from skfem_ml.solutions import Eigenpairs
from skfem_ml.solvers import solver_multigrid
from skfem_ml.stepping import evolve

OUTPUT = Path(__file__).with_suffix(".md")
SEEDS = (0, 1, 2)
REFERENCE = "reference"
PROBLEMS = ("diffusion", "heat", "eigenvalues")
INTRODUCTION = """Written by `python -m demos.benchmarks.every_method`. {}.

On the unit square, u = 0 on the boundary, a = exp(Z), Z a Gaussian field of correlation length 0.1 (exponential),
constant on 32 x 32 cells, contrast {:.0f}: -div(a grad u) = 1; u_t = div(a grad u) to t = 0.05 from
16 x (1 - x) y (1 - y); the four least eigenvalues of -div(a grad u). Errors are relative, in L2, for heat over space
and time, for eigenvalues the largest of four, against Q2 elements on {} x {} cells. Seconds are CPU seconds of one
thread from the field on; training is what can be done before the field (or, for flow maps, the start) is known. Rows of
learners are medians of seeds 0, 1 and 2, the worst in brackets; their sizes were tried on another field.

- **Solve it.** Elements or differences on the fine mesh, by multigrid or elimination, are on the front everywhere.
- **LOD** has no rival to beat at this size: its matrix costs what a fine solution costs. It pays with many loads, steps
  or pairs, or where the fine matrix does not fit (`work_precision.md`, `heat_on_lod.py`, `many_uses.py`).
- **Smooth functions in a rough material** (random features, networks on the weak form) are the wrong tool: they have
  no kinks where a jumps.
- **Maps that were learnt** answer in milliseconds with errors of some per cent, after training that costs hundreds of
  fine solutions; for heat the equation projected on the same modes is better than the network and needs no training.
"""


@dataclass(frozen=True)
class Setting:
    """Cells along a side of the fine, coarse and reference meshes; steps in time; sizes of learners and their data."""

    fine: int = 128
    coarse: int = 16
    best: int = 192
    steps: int = 100
    features: int = 400
    radius: float = 8.0
    features_in_time: int = 200
    radius_in_time: float = 3.0
    network: tuple[int, ...] = (20, 20, 20)
    iterations: int = 40
    times: int = 2
    intorder: int = 2
    fields: int = 600
    fitting: int = 400
    starts: int = 40
    training: int = 2000
    seeds: tuple[int, ...] = SEEDS


DEFAULT = Setting()
Ways = Mapping[str, Callable[[], Matrices]]


class Result:
    """The field, tables by problem, CPU seconds of training by method; what is measured is kept in ``file`` at once."""

    def __init__(self, a: np.ndarray, file: Path | None = None):
        kept = json.loads(file.read_text()) if file is not None and file.exists() else {"rows": {}, "training": {}}
        self.a, self.file = a, file
        self.rows: dict[str, dict[str, dict]] = {name: kept["rows"].get(name, {}) for name in PROBLEMS}
        self.training: dict[str, list[float]] = kept["training"]

    @property
    def tables(self) -> dict[str, Table]:
        """Rows with one error, by problem."""
        return {
            name: Table(tuple(Row(row, {"error": one["error"]}, cpu_seconds=one["cpu"], failure=one["failure"])
                              for row, one in rows.items()), headings=("error",))
            for name, rows in self.rows.items()
        }  # fmt: skip

    def lacks(self, problem: str, method: str) -> bool:
        """Whether some seed of a method was not measured, so that it has to be trained."""
        return not any(name.startswith(method) for name in self.rows[problem])

    def measure(self, name: str, problem: object, solvers: Mapping[str, Callable], reference: Callable[[], object],
                progress: Progress | None = None, basis: Basis | None = None) -> None:  # fmt: skip
        """Run those solvers whose rows there are not."""
        missing = {row: solver for row, solver in solvers.items() if row not in self.rows[name]}
        if not missing:
            return
        for row in compare(problem, missing, reference(), basis=basis, progress=progress):
            self.rows[name][row.name] = {"error": row.error, "cpu": row.cpu_seconds, "failure": row.failure}
        self.rows[name] = {row: self.rows[name][row] for row in solvers}
        if self.file is not None:
            write_whole(
                self.file, (json.dumps({"rows": self.rows, "training": self.training}, indent=1) + "\n").encode()
            )


def matrix_methods(a: np.ndarray, setting: Setting) -> Ways:
    """What gives matrices that serve all three problems."""
    fine, coarse = setting.fine, setting.coarse
    plain = LOD(square(coarse), refine=fine // coarse, cells=FIELD // coarse)
    shared = LOD(square(coarse), refine=8, cells=FIELD // coarse)
    model = Surrogate.load("diffusion")
    return {
        f"FEM, geometric mean, {coarse}": lambda: matrices.averaged(a, coarse),
        f"FEM, {coarse}": lambda: matrices.coarse_elements(a, coarse, fine),
        f"FEM, the field's cells, {FIELD}": lambda: matrices.galerkin(a, square(FIELD)),
        f"FEM, {fine}": lambda: matrices.galerkin(a, square(fine)),
        f"finite differences, {fine}": lambda: matrices.five_points(a, fine),
        f"LOD, {coarse}": lambda: matrices.compressed(a, plain),
        f"LOD, multiscale basis, {coarse}": lambda: matrices.multiscale(a, plain),
        f"super-elements, {coarse}": lambda: matrices.compressed(a, shared, model),
    }


def compute(setting: Setting = DEFAULT, progress: Progress | None = None, file: Path | None = None) -> Result:
    result = Result(learners.draw(np.random.default_rng(0)), file)
    ways = matrix_methods(result.a, setting)
    for solve in (_diffusion, _heat, _eigenvalues):
        solve(result, setting, ways, progress)
    return result


def _best(a: np.ndarray, setting: Setting) -> Matrices:
    return matrices.galerkin(a, square(setting.best, ElementQuad2()))


def _measured_on(setting: Setting) -> Basis:
    return Basis(square(max(64, setting.coarse)).mesh, ElementQuad1(), intorder=3)


def _diffusion(result: Result, setting: Setting, ways: Ways, progress: Progress | None) -> None:
    a, mesh = result.a, square(setting.fine).mesh
    statement = learners.steady(a)
    tests = _tests(statement, setting)
    rows = {name: lambda _, way=way: way().diffusion() for name, way in ways.items()}
    rows[f"multigrid, {setting.fine}"] = solver_multigrid(1e-4)
    network = {"widths": setting.network, "steps": setting.iterations}
    rows |= seeded("random features, weak", lambda seed: lambda _: solver_elm(
        setting.features, setting.radius, seed=seed, points=tests)(statement), setting.seeds)  # fmt: skip
    rows |= seeded("VPINN", lambda seed: lambda _: solver_vpinn(tests, seed=seed, **network)(statement),
                   setting.seeds)  # fmt: skip
    name = f"DeepFMMNet, {setting.fields} fields"
    learned = {}
    if result.lacks("diffusion", name):
        learned = {seed: learners.solver_of_fields(setting.fields, setting.fitting, seed) for seed in setting.seeds}
        result.training[name] = [spent for _, spent in learned.values()]
    rows |= seeded(name, lambda seed: lambda _: learned[seed][0](a), setting.seeds)
    problem = Diffusion(mesh, raster_to_cells(a, mesh))
    result.measure("diffusion", problem, rows, lambda: _best(a, setting).diffusion(), progress)


def _heat(result: Result, setting: Setting, ways: Ways, progress: Progress | None) -> None:
    a = result.a
    problem = learners.transient(a)
    tests = _tests(problem, setting)
    rows = {name: lambda _, way=way: way().heat(setting.steps) for name, way in ways.items()}
    rows |= seeded("random features, weak", lambda seed: solver_elm(
        setting.features_in_time, setting.radius_in_time, seed=seed, points=tests, times=setting.times + 1),
        setting.seeds)  # fmt: skip
    rows |= seeded("VPINN", lambda seed: solver_vpinn(
        tests, setting.times, seed=seed, widths=setting.network, steps=setting.iterations),
        setting.seeds)  # fmt: skip
    pod, name = f"POD of {setting.starts} starts, projected", f"flow map (HiTS), {setting.starts} starts"
    flows = {}
    if result.lacks("heat", name) or result.lacks("heat", pod):
        reduced = learners.reduced_from(a, setting.fine, setting.starts)
        flows = {seed: reduced.flow(setting.training, seed) for seed in setting.seeds}
        result.training |= {pod: [reduced.seconds], name: [spent for _, spent in flows.values()]}
    rows[pod] = lambda _: reduced.projected(setting.steps)
    rows |= seeded(name, lambda seed: lambda _: reduced.evolution(
        evolve(flows[seed][0], reduced.first, matrices.T_END)), setting.seeds)  # fmt: skip
    best = lambda: _best(a, setting).heat(4 * setting.steps)
    result.measure("heat", problem, rows, best, progress, _measured_on(setting))


def _tests(problem: PDE, setting: Setting) -> Basis:
    return Basis(problem.mesh, ElementQuad1(), intorder=setting.intorder)


def _eigenvalues(result: Result, setting: Setting, ways: Ways, progress: Progress | None) -> None:
    a = result.a
    rows = {name: lambda _, way=way: way().eigenvalues() for name, way in ways.items()}
    fine = ways[f"FEM, {setting.fine}"]
    rows[f"multigrid, {setting.fine}"] = lambda _: fine().eigenvalues("lobpcg")
    basis = Basis(square(FIELD).mesh, ElementQuad1(), intorder=2 * setting.intorder)
    problem = Eigenproblem.of_forms(diffusion, mass, basis, D=basis.get_dofs(), a=raster_to_cells(a, basis.mesh))
    rows |= seeded("random features, weak", lambda seed: lambda given: Eigenpairs(
        eig_subspace(PAIRS, setting.features, setting.radius, seed=seed)(given).values), setting.seeds)  # fmt: skip
    result.measure("eigenvalues", problem, rows, lambda: _best(a, setting).eigenvalues(), progress)


def lines(result: Result) -> list[str]:
    """One table: a row a method, error and CPU seconds for each problem, training."""
    out = [f"| method | {' | '.join(f'{name} | s' for name in PROBLEMS)} | training s |", "|---|" + "---:|" * 7]
    found = {name: by_method(table) for name, table in result.tables.items()}
    for method in dict.fromkeys(method for rows in found.values() for method in rows):
        cells = []
        for rows in found.values():
            here = rows.get(method, [])
            failed = [row.failure for row in here if row.failure]
            cells.append("failed" if failed else median_and_worst([row.error for row in here], ".1e"))
            cells.append(median_and_worst([row.cpu_seconds for row in here], ".2g"))
        spent = result.training.get(method, [])
        out.append(f"| {method} | {' | '.join(cells)} | {median_and_worst(spent, '.0f') if spent else ''} |")
    return out


def visualize(result: Result | None = None):
    """The field, and for each problem the error of every method against its CPU seconds."""
    result = compute() if result is None else result
    mesh = square(FIELD).mesh
    methods = list(dict.fromkeys(m for table in result.tables.values() for m in by_method(table)))
    looks = {m: {**look(k), "linestyle": "none"} for k, m in enumerate(methods)}
    with figure(19, 6) as picture:
        field, *panels = picture.subplots(1, 4)
        drawn = plot_cells(field, mesh, raster_to_cells(result.a, mesh), norm=shared_norm(result.a))
        colour_bar(field, drawn, "$a$", values=result.a)
        field.set_title("the field")
        for panel, (name, table) in zip(panels, result.tables.items(), strict=True):
            for method, rows in by_method(table).items():
                good = [row for row in rows if not row.failure]
                panel.loglog([r.cpu_seconds for r in good], [r.error for r in good], **looks[method], label=method)
            panel.set(title=name, xlabel="CPU seconds from the field on", ylabel="relative error")
            grid(panel)
        handles = {label: h for panel in panels for h, label in zip(*panel.get_legend_handles_labels(), strict=True)}
        picture.legend(handles.values(), handles.keys(), loc="outside lower center", ncols=5, frameon=False)
    return picture


def main() -> None:
    """Measure everything; write table and picture."""
    setting = DEFAULT
    result = compute(
        setting,
        lambda done, total, name: print(f"{done + 1}/{total} {name}", file=sys.stderr),
        OUTPUT.with_suffix(".json"),
    )
    for name, table in result.tables.items():
        print(name, table, sep="\n", flush=True)
    head = INTRODUCTION.format(machine(), result.a.max() / result.a.min(), setting.best, setting.best)
    text = [
        "# Every method on one rough material",
        "",
        head,
        *lines(result),
        "",
        "![work and precision](every_method.png)",
    ]
    OUTPUT.write_text("\n".join(text) + "\n", encoding="utf-8")
    visualize(result).savefig(OUTPUT.with_suffix(".png"), dpi=110)


if __name__ == "__main__":
    main()
