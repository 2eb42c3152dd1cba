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
    from skfem_ml.progress import Progress

LEARNED = "networks, trained until they rest"


def eigen(
    screen: Screen,
    matrix: Annotated[
        Path | None, typer.Argument(help="Symmetric matrix, .npy or .csv. Default: the 6 x 6 matrix of the report.")
    ] = None,
    pairs: Annotated[int | None, typer.Option("--pairs", help="How many of the smallest pairs. Default: all.")] = None,
    seed: opt.Seed = 0,
    output: opt.Output = opt.OUTPUT,
) -> None:
    """Compare routes to the eigenpairs of a symmetric matrix: eigh, the flow of Yi et al., two kinds of networks.

    Errors are the largest over all pairs, networks have three seeds. Writes table (CSV, Markdown, JSON) and the
    work-precision picture (PNG). At its defaults it takes two to three minutes.
    """
    from skfem_ml.compare import seeds_lines, sentence
    from skfem_ml.problems import Eigenproblem, report_matrix

    problem = Eigenproblem(report_matrix() if matrix is None else read_matrix(matrix))
    count = problem.require_pairs(problem.size if pairs is None else pairs)
    rows = Comparison(
        "eigen",
        lambda: problem,
        lambda progress: eigen_solvers(problem, count, seed, progress),
        "eigh",
        remarks=lambda table: {"": "\n".join([*seeds_lines(table), sentence(table, LEARNED)])},
    )
    run_comparison(rows, output, screen)


def eigen_solvers(problem: Eigenproblem, count: int, seed: int, progress: Progress | None = None) -> Solvers:
    """Return the rows of ``compare eigen``; flows find largest pairs first, so they have rows for all pairs only."""
    from skfem_ml.compare import seeded
    from skfem_ml.pinn import eig_neural
    from skfem_ml.reference import eig_flow, eig_reference

    seeds = (seed, seed + 1, seed + 2)
    classical: Solvers = {"eigh": eig_reference(count)}
    learned = seeded("orthonormal network", eig_neural, seeds, k=count, method="orthonormal")
    if count == problem.size:
        classical["Euler with projection"] = eig_flow(seed=seed)
        classical["solve_ivp with projection"] = eig_flow(method="ivp", seed=seed)
        learned |= seeded("windowed networks", eig_neural, seeds, method="windowed", progress=progress)
    return {"linear algebra and flows": classical, LEARNED: learned}


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
