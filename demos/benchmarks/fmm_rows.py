"""Operators whose inputs have many parameters: networks on H2 graphs beside regressions, and beside the solver itself.

**Points.** 288 random points x_i of the unit square, inputs q Gaussian of deviation 1.5 with covariance
``exp(-|x - y| / 0.06)``, outputs ``w_i = 0.3 + 5 sum_j exp(-|x_i - x_j| / 0.3) tanh(2 q_j) / 288``. The inputs have as
many parameters as points; no grid, so no Fourier neural operator.

**Darcy flow.** ``-div(a grad u) = 1``, u = 0 on the boundary of the unit square, bilinear elements on 32 x 32 cells; a
is 3 or 12 by the sign of a Gaussian field of correlation length 0.2 (the data of Li et al., 2021, with another
covariance; Neural FMM, arXiv 2509.20591, reports on data of that kind). ``log a -> u`` at all 1089 nodes.

Every seed (0, 1, 2) draws points, samples and first weights. Regressions choose their settings by validation samples;
the channels of the neural operator were chosen on seed 10, other sizes and rates of networks are defaults (leaves of at
most 32 points for the Darcy flow). Run ``python -m demos.benchmarks.fmm_rows`` with one thread: rows go to
``fmm_rows.json`` beside this file at once, so a run that is stopped goes on; at the end ``fmm_rows.md`` and
``fmm_rows.png`` are written. FNO needs the library neuraloperator (``pip install 'skfem-ml[bench]'``) and has
one seed, for it takes three minutes; where it is missing its row is left out, and the page says so.
"""

from __future__ import annotations

import importlib.util
import json
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from skfem import Basis, ElementQuad1, MeshQuad

from skfem_ml.baselines import (
    solver_additive_ridge,
    solver_affine_ridge,
    solver_constant,
    solver_fno,
    solver_kernel_ridge,
)
from skfem_ml.compare import best_of
from skfem_ml.fmm import Recipe, solver_deep, solver_h2no
from skfem_ml.learning.optim import adam
from skfem_ml.learning.schedules import cosine
from skfem_ml.learning.storage import write_whole
from skfem_ml.metrics import mean_residual
from skfem_ml.pictures import figure, grid, legend_below
from skfem_ml.pictures.graphs import look
from skfem_ml.problems import OperatorSamples, diffusion, load
from skfem_ml.problems.operators import usual_parts
from skfem_ml.reference import coefficient_samples
from skfem_ml.reference.operators import factor, free_dofs
from skfem_ml.solvers import solver_pyamg

POINTS, DARCY = "points", "Darcy flow"
SAMPLES = {POINTS: 7000, DARCY: 1000}
STEPS = {POINTS: 1000, DARCY: 400}
SEEDS, CELLS, N = (0, 1, 2), 32, 288
RIDGES = (1e-8, 1e-6, 1e-4, 1e-3, 1e-2, 1e-1, 1.0, 10.0)
KERNEL = {"components": (64, 256), "lengths": (0.5, 1.0, 2.0, 4.0, 8.0), "ridges": (1e-6, 1e-4, 1e-2)}
CONSTANT, AFFINE, KERNEL_RIDGE, ADDITIVE = "constant", "affine ridge", "PCA + kernel ridge", "additive ridge"
DEEP, ONE, TWO, FNO = "DeepFMMNet", "H2NeuralOperator, 1 layer", "H2NeuralOperator, 2 layers", "FNO"
METHODS = (CONSTANT, AFFINE, KERNEL_RIDGE, ADDITIVE, FNO, DEEP, ONE, TWO)
OURS = (DEEP, ONE, TWO)
OUTPUT = Path(__file__)
Row = dict[str, str | int | float]
Solver = Callable[[OperatorSamples], Callable]


def points_samples(seed: int) -> OperatorSamples:
    """Return the samples on random points."""
    rng, n = np.random.default_rng(seed), SAMPLES[POINTS]
    x = rng.random((2, N))
    distance = np.linalg.norm(x[:, :, None] - x[:, None], axis=0)
    root = np.linalg.cholesky(np.exp(-distance / 0.06) + 1e-10 * np.eye(N))
    q = 1.5 * rng.standard_normal((n, N)) @ root.T
    w = 0.3 + 5 * np.tanh(2 * q) @ np.exp(-distance / 0.3) / N
    return OperatorSamples(x, q, w, **usual_parts(n), name=POINTS)


def darcy_basis() -> Basis:
    """Return the finite elements of the Darcy flow."""
    side = np.linspace(0, 1, CELLS + 1)
    return Basis(MeshQuad.init_tensor(side, side), ElementQuad1())


def samples(problem: str, seed: int) -> OperatorSamples:
    """Return the samples of a problem and a seed."""
    if problem == POINTS:
        return points_samples(seed)
    n, rng = SAMPLES[DARCY], np.random.default_rng(seed)
    options = {"length": 0.2, "phases": (3.0, 12.0), "boundary": True}
    drawn = coefficient_samples(darcy_basis(), n, rng, **usual_parts(n), **options)
    return replace(drawn, name=DARCY)


def rows_of(problem: str, seed: int) -> Iterator[tuple[str, Solver]]:
    """Yield name and solver of every row."""
    steps, knots = STEPS[problem], (1, 3, 7) if problem == POINTS else (1,)  # of two values one knot tells all
    yield CONSTANT, solver_constant()
    yield AFFINE, solver_affine_ridge(RIDGES)
    yield KERNEL_RIDGE, solver_kernel_ridge(**KERNEL)
    yield ADDITIVE, solver_additive_ridge(RIDGES[1:], knots=knots)
    if problem == POINTS:
        yield DEEP, solver_deep(Recipe(steps), leaf=18, seed=seed)
        yield ONE, solver_h2no(Recipe(steps), channels=2, seed=seed)
        return
    yield DEEP, solver_deep(Recipe(steps, batch=64), leaf=32, rank=6, seed=seed)
    yield TWO, solver_h2no(Recipe(steps, 64), leaf=32, channels=2, layers=2, seed=seed)
    if seed == SEEDS[0] and importlib.util.find_spec("neuralop") is not None:  # a training takes three minutes
        schedule = cosine(5e-3, steps, 0.05 * steps)
        yield FNO, solver_fno(Recipe(steps, 32, adam(), schedule=schedule), modes=12, seed=seed)


def measured(data: OperatorSamples, name: str, seed: int, solver: Solver) -> Row:
    """Return the row of one solver: residuals, CPU seconds of the training and CPU milliseconds of one output."""
    solution, spent = best_of(lambda: solver(data), 1)
    train, test = (mean_residual(solution(q), w) for q, w in (data.part("train"), data.part("test")))
    many = data.part("test")[0]
    use = best_of(lambda: solution(many), 3)[1].cpu / len(many)
    row: Row = {"problem": data.name, "name": name, "seed": seed, "train": train, "test": test}
    row |= {"parameters": solution.unknowns, "cpu": round(spent.cpu, 2), "ms": 1e3 * use}
    return {**row, "settings": getattr(solution, "settings", "")}


def solver_row(seed: int) -> Row:
    """Return CPU milliseconds of one finite element solution: assembly, and elimination or AMG-CG to 1e-6."""
    basis = darcy_basis()
    free, q = free_dofs(basis), samples(DARCY, seed).inputs[:20]
    b = load(1.0).assemble(basis)[free]
    amg, spent = solver_pyamg(1e-6, "ruge-stuben"), {"assembly": 0.0, "direct": 0.0, "AMG": 0.0}
    for values in q:
        start = time.process_time()
        A = diffusion.assemble(basis, a=np.asarray(basis.interpolate(np.exp(values))))
        marks = [start, time.process_time()]
        factor(A, free).solve(b)
        marks.append(time.process_time())
        amg(A[free][:, free], b)
        marks.append(time.process_time())
        for name, seconds in zip(spent, np.diff(marks), strict=True):
            spent[name] += 1e3 * float(seconds) / len(q)
    return {"problem": DARCY, "name": "finite elements", "seed": seed, **spent}


def measure_all(seeds: tuple[int, ...] = SEEDS) -> list[Row]:
    """Measure what the JSON file does not hold yet, and return all rows."""
    path = OUTPUT.with_suffix(".json")
    rows: list[Row] = json.loads(path.read_text()) if path.exists() else []
    done = {(row["problem"], row["name"], row["seed"]) for row in rows}
    for problem in (POINTS, DARCY):
        for seed in seeds:
            missing = [(name, solver) for name, solver in rows_of(problem, seed) if (problem, name, seed) not in done]
            data = samples(problem, seed) if missing else None
            for name, solver in missing:
                rows.append(measured(data, name, seed, solver))
                keep(rows)
            if problem == DARCY and (problem, "finite elements", seed) not in done:
                rows.append(solver_row(seed))
                keep(rows)
    return rows


def keep(rows: list[Row]) -> None:
    """Write the rows at once, and tell the last one."""
    data = "[\n" + ",\n".join(json.dumps(row) for row in rows) + "\n]\n"
    write_whole(OUTPUT.with_suffix(".json"), data.encode())
    print(rows[-1], flush=True)


def of_method(rows: list[Row], problem: str) -> dict[str, list[Row]]:
    """Return the rows with residuals of a problem by method, in the order of `rows_of`."""
    held = [row for row in rows if row["problem"] == problem and "test" in row]
    found = {name: [row for row in held if row["name"] == name] for name in METHODS}
    return {name: each for name, each in found.items() if each}


def table(rows: list[Row], problem: str) -> list[str]:
    """Return the Markdown lines of a problem: the worst of the seeds, the spread, and what it costs."""
    lines = [
        "| method | test: worst (best) seed | training | of affine ridge | parameters | CPU s | ms an output |",
        "|---|---:|---:|---:|---:|---:|---:|",
    ]
    methods = of_method(rows, problem)
    line = worst(methods[AFFINE])
    for name, found in methods.items():
        one, best = worst(found), min(float(row["test"]) for row in found)
        count, cost = f"{one['parameters']:,}", max(float(row["cpu"]) for row in found)
        cells = [f"{one['test']:.2e} ({best:.2e})", f"{one['train']:.2e}", f"{one['test'] / line['test']:.2f}", count]
        lines.append(f"| {name} | " + " | ".join([*cells, f"{cost:.3g}", f"{one['ms']:.2g}"]) + " |")
    return lines


def worst(rows: list[Row]) -> Row:
    """Return the row with the largest residual on test samples."""
    return max(rows, key=lambda row: float(row["test"]))


def verdict(rows: list[Row], problem: str) -> str:
    """Return the sentence: how far the best network of ours is below affine ridge regression, and the best rival."""
    tests = {name: float(worst(found)["test"]) for name, found in of_method(rows, problem).items()}
    best = min((name for name in tests if name in OURS), key=lambda name: tests[name])
    rival = min((name for name in tests if name not in OURS), key=lambda name: tests[name])
    return (
        f"The best network of ours, {best}, has {tests[best] / tests[AFFINE]:.2f} of the residual of affine ridge "
        f"regression, {tests[best]:.2e}; the best rival, {rival}, has {tests[rival]:.2e} (worst seeds)."
    )


def solver_sentence(rows: list[Row]) -> str:
    """Return what the finite element solution costs beside the maps."""
    found = [row for row in rows if row["name"] == "finite elements"]
    means = {name: float(np.mean([row[name] for row in found])) for name in ("assembly", "direct", "AMG")}
    return (
        f"One finite element solution on the same mesh takes {means['assembly']:.1f} ms to assemble and "
        f"{means['direct']:.1f} ms by elimination ({means['AMG']:.1f} ms by AMG-CG to 1e-6), and is the truth here: a "
        "network that has cost minutes of training and is off by per cents saves nothing on such a problem. It stands "
        "where the solver is dear, or where there are samples and no equation."
    )


def report(rows: list[Row]) -> str:
    """Return the whole Markdown file."""
    about = [text.partition("** ")[2] for text in (__doc__ or "").split("\n\n")[1:3]]
    fno = "FNO has one seed" if FNO in of_method(rows, DARCY) else "FNO was not measured: its library was missing"
    lines = ["# Operators whose inputs have many parameters", "", "Written by `python -m demos.benchmarks.fmm_rows`."]
    for problem, text in zip((POINTS, DARCY), about, strict=True):
        sizes = usual_parts(SAMPLES[problem])
        train = SAMPLES[problem] - sum(sizes.values())
        lines += ["", f"## {problem[0].upper()}{problem[1:]}", "", text, ""]
        lines += [
            f"{train:,} samples for training, {sizes['validation']} for choosing, {sizes['test']:,} for the test, the",
            f"same for every row; networks {STEPS[problem]:,} steps; residuals are means of |w - u| / |u|; seeds "
            f"{', '.join(map(str, SEEDS))}. CPU",
            "seconds: the largest of the seeds, on one thread beside other work, the choosing of settings included.",
            "",
            *table(rows, problem),
            "",
            verdict(rows, problem),
        ]
    lines += ["", f"{solver_sentence(rows)} {fno}.", "", "Additive ridge: linear splines of every input by itself."]
    return "\n".join([*lines, "", "![residual against CPU seconds](fmm_rows.png)", ""])


def visualize(rows: list[Row]):
    """Residual on test samples against CPU seconds of training, a panel a problem; bars are the range of the seeds."""
    with figure(12, 6.2) as picture:
        for axes, problem in zip(picture.subplots(1, 2), (POINTS, DARCY), strict=True):
            for name, found in of_method(rows, problem).items():
                k = METHODS.index(name)
                values = [float(row["test"]) for row in found]
                cost, middle = max(max(float(row["cpu"]) for row in found), 1e-2), float(np.median(values))
                ends = [[middle - min(values)], [max(values) - middle]]
                axes.errorbar([cost], [middle], yerr=ends, **look(k), linestyle="none", capsize=4, label=name)
            axes.set(title=problem, xlabel="CPU seconds of training", ylabel="mean relative residual, test")
            axes.set(xscale="log", yscale="log")
            grid(axes)
            legend_below(axes)
    return picture


def write(rows: list[Row] | None = None) -> None:
    """Write the Markdown file and the picture from rows, by default those in the JSON file."""
    rows = json.loads(OUTPUT.with_suffix(".json").read_text()) if rows is None else rows
    OUTPUT.with_suffix(".md").write_text(report(rows), encoding="utf-8")
    visualize(rows).savefig(OUTPUT.with_suffix(".png"), dpi=90)


if __name__ == "__main__":
    torch.set_num_threads(1)
    write(measure_all())
