"""Every method of the heat comparison, measured again: errors, seconds, three seeds for learners (`eigen`: eigenpairs).

Run ``python -m demos.benchmarks.pinn`` in the root of the source tree; it writes ``pinn.md`` beside this file. Give the
number of threads by ``OMP_NUM_THREADS``; the times of the table in the tree are for one.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from skfem import Basis, ElementLineP1, ElementLineP2, ElementQuad2, MeshLine, MeshQuad

from demos import high_dimension
from skfem_ml.baselines import solver_published
from skfem_ml.compare import Table, by_method, compare, median_and_worst, median_rows, seeded
from skfem_ml.pictures import figure, grid
from skfem_ml.pictures.graphs import look
from skfem_ml.pinn import solver_elm, solver_pinn, solver_vpinn
from skfem_ml.problems import Heat, heat_box
from skfem_ml.reference import solver_fd, solver_fem

SEEDS = (0, 1, 2)
SMALL = {"widths": (20, 20), "points": 20, "times": 20}
SEGMENT = "Heat equation on the segment"
# Method: largest error and seconds that were aimed at.
TARGETS = {
    "PINN Levenberg-Marquardt, 150 steps": (1e-11, 60.0),
    "ELM, 1200 features": (1e-10, 5.0),
    "VPINN SSBroyden, 4000 steps": (1e-7, 60.0),
}
REMARKS = [
    "Levenberg-Marquardt has three layers of 20 and 24 x 24 points, the others two layers of 20 and 20 x 20 points:",
    "with more parameters than rows it comes to rounding, the others do not reach the target. The weak",
    "form is bound by its test space: with 10 x 10 cells in place of 14 x 14 it stops at 1e-7. At the end time the",
    "solution has fallen by a factor of 2e4, so relative errors there are larger; learners minimise an absolute",
    "residual, and a time stepper keeps the relative one. High-order elements win on this problem. Of the three seeds",
    "of Levenberg-Marquardt one rests at 7.6e-11: 220 steps leave it there, 28 x 28 points give 1.4e-10.",
]
OUTPUT = Path(__file__).with_suffix(".md")


def line(n: int) -> MeshLine:
    """Return n equal cells on the unit segment."""
    return MeshLine(np.linspace(0, 1, n + 1))


def heat_solvers() -> dict[str, Callable]:
    """Return everything that solves the heat equation on the segment."""
    weak = Basis(line(14), ElementLineP2(), intorder=7)
    return {
        "FD as published, n=10": solver_fd(10, 2e-5, spacing="as published"),
        "FD as published, n=100": solver_fd(100, 2e-5, spacing="as published"),
        "FD explicit, dx=1/10": solver_fd(10, 2e-4),
        "FD explicit, dx=1/100": solver_fd(100, 2e-5),
        "FD Crank-Nicolson, dx=1/1000": solver_fd(1000, 1e-3, "cn"),
        "FEM P1 + CN, 100 cells": solver_fem(line(100), ElementLineP1(), scheme="cn", steps=1000),
        "FEM P2 + CN, 200 cells": solver_fem(line(200), ElementLineP2(), scheme="cn", steps=2000),
        "FEM P2 + Gauss-4, 200 cells": solver_fem(line(200), ElementLineP2(), scheme="gauss4", steps=500),
        "FEM P2 + Gauss-4, 1000 cells": solver_fem(line(1000), ElementLineP2(), scheme="gauss4", steps=1000),
        "net as published (SSBroyden, 1500 steps)": solver_published(1500),
        **seeded("PINN Adam, 10000 steps", solver_pinn, optimiser="adam", steps=10000, **SMALL),
        **seeded("PINN SOAP, 10000 steps", solver_pinn, optimiser="soap", steps=10000, **SMALL),
        **seeded("PINN L-BFGS, 5000 steps", solver_pinn, optimiser="lbfgs", steps=5000, **SMALL),
        **seeded("PINN SSBroyden, 5000 steps", solver_pinn, optimiser="ssbroyden", steps=5000, **SMALL),
        **seeded("PINN Levenberg-Marquardt, 150 steps", solver_pinn, steps=150),
        **seeded(
            "VPINN SSBroyden, 4000 steps",
            solver_vpinn,
            points=weak,
            times=14,
            optimiser="ssbroyden",
            widths=(20, 20),
            steps=4000,
        ),
        **seeded("ELM, 400 features", solver_elm, features=400, points=30, times=30),
        **seeded("ELM, 1200 features", solver_elm, features=1200, radius=4.0, points=35, times=35),
        **seeded("ELM, 2000 features", solver_elm, features=2000, radius=4.0, points=45, times=45),
        **seeded("ELM weak form, 400 features", solver_elm, features=400, form="weak", points=weak, times=14),
    }


def plane_heat() -> tuple[Heat, dict[str, Callable]]:
    """Return the heat equation on the unit square, and its solvers."""
    mesh = MeshQuad().refined(4)
    problem = heat_box(mesh, t_end=0.2)
    return problem, {
        "FEM Q2 + Gauss-4, 16 x 16": solver_fem(mesh, ElementQuad2(), scheme="gauss4", steps=50),
        "FEM Q2 + Gauss-4, 64 x 64": solver_fem(mesh.refined(2), ElementQuad2(), scheme="gauss4", steps=100),
        **seeded("ELM, 1000 features", solver_elm, features=1000, radius=2.0, points=14, times=14),
    }


def visualize(table: Table):
    """Return the work-precision picture, one colour a method, one mark a seed."""
    with figure(11, 5.2) as picture:
        axes = picture.subplots()
        for k, (name, rows) in enumerate(by_method(table).items()):
            pairs = [row.cpu_seconds for row in rows], [row.error for row in rows]
            axes.loglog(*pairs, **look(k), linestyle="none", label=name)
        axes.set(title="heat equation on the segment: work and precision", xlabel="CPU seconds")
        axes.set_ylabel("relative error in $L^2$ over space and time")
        grid(axes)
        picture.legend(loc="outside right upper")
    return picture


def targets(table: Table) -> list[str]:
    """Return Markdown lines: what was aimed at, the worst of the seeds, and whether it was reached."""
    lines = ["| target | error, worst seed | seconds, worst seed | reached |", "|---|---:|---:|---|"]
    for name, (error, seconds) in TARGETS.items():
        rows = by_method(table)[name]
        worst, slowest = max(row.error or np.inf for row in rows), max(row.seconds or np.inf for row in rows)
        reached = "yes" if worst <= error and slowest <= seconds else "no"
        aim = f"{name}: at most {error:.0e} in {seconds:g} s"
        lines.append(f"| {aim} | {worst:.1e} | {slowest:.2g} | {reached} |")
    return lines


def sections(progress: Callable | None = None):
    """Yield title and table of each comparison."""
    yield SEGMENT, compare(heat_box(), heat_solvers(), progress=progress)
    problem, solvers = plane_heat()
    yield "Heat equation on the square, t_end = 0.2", compare(problem, solvers, progress=progress)


def high_dimension_lines(points: tuple[int, ...] = (250, 500, 1000, 2000)) -> list[str]:
    """Return Markdown lines of `demos.high_dimension`: median and worst relative error over the seeds."""
    start = time.perf_counter()
    errors = np.array([high_dimension.compute(points, seed=seed).errors for seed in SEEDS])
    seconds = (time.perf_counter() - start) / len(SEEDS)
    lines = ["| random training points | relative error at new points |", "|---:|---:|"]
    lines += [f"| {n} | {median_and_worst(list(e), '.1e')} |" for n, e in zip(points, errors.T, strict=True)]
    return [*lines, "", f"network 10-24-24-1, Levenberg-Marquardt; {seconds:.0f} s for all four of one seed"]


def main() -> None:
    """Measure everything and write the Markdown file and the work-precision picture."""
    threads = os.environ.get("OMP_NUM_THREADS", "not limited")
    torch.set_num_threads(int(threads) if threads.isdigit() else torch.get_num_threads())
    text = ["# Learners beside FD and FEM, measured", ""]
    text.append("Written by `python -m demos.benchmarks.pinn`. Learners: median of three seeds, worst in brackets.")
    for title, table in sections(lambda done, total, name: print(f"{done + 1}/{total} {name}", file=sys.stderr)):
        print(title, table, sep="\n", flush=True)
        text += ["", f"## {title}", "", *median_rows(table), "", *table.notes]
        if title == SEGMENT:
            visualize(table).savefig(OUTPUT.with_suffix(".png"), dpi=120)
            text += ["", *targets(table), "", *REMARKS]
    text += ["", "## Poisson in the ball of ten dimensions", "", *high_dimension_lines()]
    OUTPUT.write_text("\n".join(text) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
