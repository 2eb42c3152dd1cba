"""``skfem-ml compare heat``: networks and random features beside FD and FEM."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from skfem_ml.cli import options as opt
from skfem_ml.cli.run import Comparison, Solvers, run_comparison
from skfem_ml.cli.screen import Screen

if TYPE_CHECKING:
    from skfem_ml.progress import Progress


def heat(
    screen: Screen,
    steps: Annotated[int, typer.Option("--steps", help="Training steps of the networks; 4000 take a minute.")] = 1000,
    cells: Annotated[int, typer.Option("--cells", help="Cells of the finite element and difference grids.")] = 100,
    seed: opt.Seed = 0,
    output: opt.Output = opt.OUTPUT,
) -> None:
    """Compare FD, FEM, networks and random features on the heat equation on a segment with a known solution.

    Errors are relative, in L2 over space and time and at the end. Writes table (CSV, Markdown, JSON) and the
    work-precision picture (PNG) into the output folder.
    """
    from skfem_ml.problems import heat_box

    if steps < 1 or cells < 2:
        raise ValueError(f"steps, cells: expected at least 1 and 2, got {steps} and {cells}")
    rows = Comparison("heat", heat_box, lambda progress: heat_solvers(steps, cells, seed, progress))
    run_comparison(rows, output, screen)


def heat_solvers(steps: int, cells: int, seed: int, progress: Progress | None = None) -> Solvers:
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
        "PINN Adam": solver_pinn("adam", (20, 20), steps, seed=seed, points=20, times=20, progress=progress),
        "PINN SSBroyden": solver_pinn("ssbroyden", (20, 20), steps, seed=seed, points=20, times=20, progress=progress),
        "PINN Levenberg-Marquardt": solver_pinn(steps=max(1, steps // 10), seed=seed, progress=progress),
        "VPINN SSBroyden": solver_vpinn(
            weak, 10, optimiser="ssbroyden", widths=(20, 20), steps=steps, seed=seed, progress=progress
        ),
    }
