r"""One rough material, three problems, every method that can take them: one table, one picture.

    python -m demos.benchmarks.every_method

On the unit square, with u = 0 on the boundary and a = exp(Z), Z a Gaussian field of correlation length 0.1, constant
on 32 x 32 cells,

    diffusion     -div(a grad u) = 1,
    heat          u_t = div(a grad u) up to t = 0.05,  u(0) = 16 x (1 - x) y (1 - y),
    eigenvalues   -div(a grad u) = l u,  the four least.

The table goes to ``every_method.md``, the picture to ``every_method.png``.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from skfem import Basis, ElementQuad1, ElementQuad2

from demos.benchmarks import every_method_learners as learners
from demos.benchmarks import every_method_matrices as matrices
from demos.benchmarks.every_method_matrices import FIELD, PAIRS, Matrices, square
from skfem_ml import LOD, PDE, Diffusion, Surrogate, solver_elm, solver_vpinn
from skfem_ml.compare import Table, by_method, compare, machine, median_and_worst, seeded
from skfem_ml.meshes import raster_to_cells
from skfem_ml.pinn import eig_subspace
from skfem_ml.problems import Eigenproblem, diffusion, mass
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
learners are medians of seeds 0, 1 and 2, the worst in brackets.
"""


@dataclass(frozen=True)
class Setting:
    """Cells along a side of the fine, coarse and reference meshes; steps in time; sizes of learners and their data."""

    fine: int = 128
    coarse: int = 16
    best: int = 192
    steps: int = 100
    features: int = 800
    network: tuple[int, ...] = (20, 20, 20)
    iterations: int = 40
    times: int = 2
    intorder: int = 2
    fields: int = 600
    fitting: int = 400
    starts: int = 40
    training: int = 2000
    seeds: tuple[int, ...] = SEEDS


@dataclass
class Result:
    """The field, tables by problem, and CPU seconds of training by method."""

    a: np.ndarray
    tables: dict[str, Table]
    training: dict[str, list[float]]


def matrix_methods(a: np.ndarray, setting: Setting) -> dict[str, Callable[[], Matrices]]:
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


def compute(setting: Setting = Setting(), progress: Callable[[int, int, str], object] | None = None) -> Result:
    a = learners.draw(np.random.default_rng(0))
    ways = matrix_methods(a, setting)
    training: dict[str, list[float]] = {}
    tables = {
        "diffusion": _diffusion(a, setting, ways, training, progress),
        "heat": _heat(a, setting, ways, training, progress),
        "eigenvalues": _eigenvalues(a, setting, ways, progress),
    }
    return Result(a, tables, training)


def _best(a: np.ndarray, setting: Setting) -> Matrices:
    return matrices.galerkin(a, square(setting.best, ElementQuad2()))


def _measured_on(setting: Setting) -> Basis:
    return Basis(square(max(64, setting.coarse)).mesh, ElementQuad1(), intorder=3)


def _diffusion(a, setting, ways, training, progress) -> Table:
    mesh = square(setting.fine).mesh
    statement = learners.steady(a)
    tests = _tests(statement, setting)
    rows = {name: lambda _, way=way: way().diffusion() for name, way in ways.items()}
    rows[f"multigrid, {setting.fine}"] = solver_multigrid(1e-4)
    network = {"widths": setting.network, "steps": setting.iterations}
    rows |= seeded("random features, weak", lambda seed: lambda _: solver_elm(
        setting.features, 8.0, seed=seed, points=tests)(statement), setting.seeds)  # fmt: skip
    rows |= seeded("VPINN", lambda seed: lambda _: solver_vpinn(tests, seed=seed, **network)(statement),
                   setting.seeds)  # fmt: skip
    name = f"DeepFMMNet, {setting.fields} fields"
    learned = {seed: learners.solver_of_fields(setting.fields, setting.fitting, seed) for seed in setting.seeds}
    training[name] = [spent for _, spent in learned.values()]
    rows |= seeded(name, lambda seed: lambda _: learned[seed][0](a), setting.seeds)
    problem = Diffusion(mesh, raster_to_cells(a, mesh))
    return compare(problem, rows, _best(a, setting).diffusion(), progress=progress)


def _heat(a, setting, ways, training, progress) -> Table:
    problem = learners.transient(a)
    tests = _tests(problem, setting)
    rows = {name: lambda _, way=way: way().heat(setting.steps) for name, way in ways.items()}
    rows |= seeded("random features, weak", lambda seed: solver_elm(
        setting.features, 8.0, seed=seed, points=tests, times=setting.times), setting.seeds)  # fmt: skip
    rows |= seeded("VPINN", lambda seed: solver_vpinn(
        tests, setting.times, seed=seed, widths=setting.network, steps=setting.iterations),
        setting.seeds)  # fmt: skip
    reduced = learners.reduced_from(a, setting.fine, setting.starts)
    pod = f"POD of {setting.starts} starts, projected"
    rows[pod] = lambda _: reduced.projected(setting.steps)
    training[pod] = [reduced.seconds]
    name = f"flow map (HiTS), {setting.starts} starts"
    flows = {seed: reduced.flow(setting.training, seed) for seed in setting.seeds}
    training[name] = [spent for _, spent in flows.values()]
    rows |= seeded(name, lambda seed: lambda _: reduced.evolution(
        evolve(flows[seed][0], reduced.first, matrices.T_END)), setting.seeds)  # fmt: skip
    best = _best(a, setting).heat(4 * setting.steps)
    return compare(problem, rows, best, basis=_measured_on(setting), progress=progress)


def _tests(problem: PDE, setting: Setting) -> Basis:
    return Basis(problem.mesh, ElementQuad1(), intorder=setting.intorder)


def _eigenvalues(a, setting, ways, progress) -> Table:
    rows = {name: lambda _, way=way: way().eigenvalues() for name, way in ways.items()}
    fine = ways[f"FEM, {setting.fine}"]
    rows[f"multigrid, {setting.fine}"] = lambda _: fine().eigenvalues("lobpcg")
    basis = Basis(square(FIELD).mesh, ElementQuad1(), intorder=2 * setting.intorder)
    problem = Eigenproblem.of_forms(diffusion, mass, basis, D=basis.get_dofs(), a=raster_to_cells(a, basis.mesh))
    rows |= seeded("random features, weak", lambda seed: lambda given: Eigenpairs(
        eig_subspace(PAIRS, setting.features, 8.0, seed=seed)(given).values), setting.seeds)  # fmt: skip
    exact = _best(a, setting).eigenvalues()
    return compare(problem, rows, Eigenpairs(exact.values), progress=progress)


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
    from matplotlib.figure import Figure

    result = compute() if result is None else result
    figure = Figure(figsize=(19, 5.2), layout="constrained")
    field, *panels = figure.subplots(1, 4, width_ratios=(1, 1.25, 1.25, 1.25))
    drawn = field.imshow(result.a, origin="lower", extent=(0, 1, 0, 1), norm="log", cmap="cividis")
    figure.colorbar(drawn, ax=field, label="a", location="bottom")
    field.set(title="the field", xlabel="x", ylabel="y")
    methods = list(dict.fromkeys(m for table in result.tables.values() for m in by_method(table)))
    looks = {m: {"color": f"C{k % 10}", "marker": "osD^vP*X"[k % 8]} for k, m in enumerate(methods)}
    for panel, (name, table) in zip(panels, result.tables.items(), strict=True):
        for method, rows in by_method(table).items():
            good = [row for row in rows if not row.failure]
            for k, row in enumerate(good):
                panel.loglog(row.cpu_seconds, row.error, ls="", ms=9, label="" if k else method, **looks[method])
        panel.set(title=name, xlabel="CPU seconds from the field on", ylabel="relative error")
        panel.grid(True, which="both", alpha=0.2)
    handles = {label: h for panel in panels for h, label in zip(*panel.get_legend_handles_labels(), strict=True)}
    figure.legend(handles.values(), handles.keys(), loc="outside lower center", ncols=5)
    return figure


def main() -> None:
    """Measure everything; write table and picture."""
    setting = Setting()
    result = compute(setting, lambda done, total, name: print(f"{done + 1}/{total} {name}", file=sys.stderr))
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
