"""``skfem-ml compare eigen [MATRIX]``: routes to the eigenpairs of a symmetric matrix."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from skfem_ml.cli import options as opt
from skfem_ml.cli.run import Comparison, Solvers, run_comparison
from skfem_ml.cli.screen import Screen

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from skfem_ml.problems import Eigenproblem


def eigen(
    screen: Screen,
    matrix: Annotated[
        Path | None, typer.Argument(help="Symmetric matrix, .npy or .csv. Default: the 6 x 6 matrix of the report.")
    ] = None,
    pairs: Annotated[int | None, typer.Option("--pairs", help="How many of the smallest pairs. Default: all.")] = None,
    seed: opt.Seed = 0,
    output: opt.Output = opt.OUTPUT,
) -> None:
    """Compare routes to the eigenpairs of a symmetric matrix: eigh, the flow of Yi et al., an orthonormal network.

    Errors are the largest over all pairs. Writes table (CSV, Markdown, JSON) and the work-precision picture (PNG).
    """
    from skfem_ml.problems import Eigenproblem, report_matrix

    problem = Eigenproblem(report_matrix() if matrix is None else read_matrix(matrix))
    count = problem.require_pairs(problem.size if pairs is None else pairs)
    rows = Comparison("eigen", lambda: problem, lambda _: eigen_solvers(problem, count, seed), "eigh")
    run_comparison(rows, output, screen)


def eigen_solvers(problem: Eigenproblem, count: int, seed: int) -> Solvers:
    """Return the rows of ``compare eigen``; the flow finds largest pairs first, so it has a row for all pairs only."""
    from skfem_ml.pinn import eig_neural
    from skfem_ml.reference import eig_flow, eig_reference

    rows: Solvers = {"eigh": eig_reference(count)}
    if count == problem.size:
        rows["Euler with projection"] = eig_flow(seed=seed)
        rows["solve_ivp with projection"] = eig_flow(method="ivp", seed=seed)
    rows["orthonormal network"] = eig_neural(count, "orthonormal", seed=seed)
    return rows


def read_matrix(path: Path) -> NDArray[np.float64]:
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
