"""``skfem-ml compare heat``: networks and random features beside FD and FEM."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from skfem_ml.cli import options as opt
from skfem_ml.cli.run import Comparison, Solvers, run_comparison
from skfem_ml.cli.screen import Screen

if TYPE_CHECKING:
    from skfem_ml.progress import Progress

LEARNED = "learned, three seeds"


def heat(
    screen: Screen,
    steps: Annotated[int, typer.Option("--steps", help="Training steps of the networks; 4000 take a minute.")] = 1000,
    cells: Annotated[int, typer.Option("--cells", help="Cells of the finite element and difference grids.")] = 100,
    seed: opt.Seed = 0,
    output: opt.Output = opt.OUTPUT,
) -> None:
    """Compare FD, FEM, networks and random features on the heat equation on a segment with a known solution.

    Errors are relative, in L2 over space and time and at the end; learners have three seeds. Writes table (CSV,
    Markdown, JSON) and the work-precision picture (PNG) into the output folder. At its defaults it takes two to three
    minutes.
    """
    from skfem_ml.compare import seeds_lines, sentence
    from skfem_ml.problems import heat_box

    if steps < 1 or cells < 2:
        raise ValueError(f"steps, cells: expected at least 1 and 2, got {steps} and {cells}")
    rows = Comparison(
        "heat",
        heat_box,
        lambda progress: heat_solvers(steps, cells, seed, progress),
        remarks=lambda table: {"": "\n".join([*seeds_lines(table), sentence(table, LEARNED)])},
    )
    run_comparison(rows, output, screen)


def heat_solvers(steps: int, cells: int, seed: int, progress: Progress | None = None) -> Solvers:
    """Return the rows of ``compare heat``; the name of a learned one says its budget."""
    import numpy as np
    from skfem import Basis, ElementLineP2, MeshLine

    from skfem_ml.compare import seeded
    from skfem_ml.pinn import solver_elm, solver_pinn, solver_vpinn
    from skfem_ml.reference import solver_fd, solver_fem

    mesh, fine = (MeshLine(np.linspace(0, 1, count + 1)) for count in (cells, 16 * cells))
    few = max(1, steps // 10)
    weak = Basis(MeshLine(np.linspace(0, 1, 11)), ElementLineP2(), intorder=7)
    seeds = (seed, seed + 1, seed + 2)
    small = {"widths": (20, 20), "steps": steps, "warmup": min(500, steps), "progress": progress}
    learned = {
        **seeded("ELM, 1200 features", solver_elm, seeds, features=1200, radius=4.0, points=35, times=35),
        **seeded(f"PINN Adam, {steps} steps", solver_pinn, seeds, optimiser="adam", points=20, times=20, **small),
        **seeded(f"PINN SSBroyden, {steps} steps", solver_pinn, seeds, optimiser="ssbroyden", points=20, times=20,
                 **small),
        **seeded(f"PINN Levenberg-Marquardt, {few} steps", solver_pinn, seeds, steps=few, progress=progress),
        **seeded(f"VPINN SSBroyden, {steps} steps", solver_vpinn, seeds, points=weak, times=10, optimiser="ssbroyden",
                 **small),
    }  # fmt: skip
    classical = {
        "FD explicit": solver_fd(cells),
        "FD as published": solver_fd(cells, spacing="as published"),
        "FEM P1 + CN": solver_fem(mesh, scheme="cn", steps=10 * cells),
        "FEM P2 + Gauss-4": solver_fem(mesh, ElementLineP2(), scheme="gauss4", steps=cells),
        # Of about the cost of the cheapest learned row.
        "FEM P2 + Gauss-4, 16 times finer": solver_fem(fine, ElementLineP2(), scheme="gauss4", steps=16 * cells),
    }
    return {"differences and elements": classical, LEARNED: learned}
