"""What ``compare rte`` and ``compare custom-operator`` share: options, networks with their seeds, regressions."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Annotated

import typer

from skfem_ml.cli.run import Comparison, Solvers

if TYPE_CHECKING:
    from skfem_ml.compare import Table
    from skfem_ml.problems import OperatorSamples
    from skfem_ml.progress import Progress

Cells = Annotated[int, typer.Option("--cells", help="Cells N of the interval, a multiple of 64.")]
Samples = Annotated[int, typer.Option("--samples", help="Samples: two thirds to train on, a third for the test.")]
Steps = Annotated[int, typer.Option("--steps", help="Training steps of each network; the paper has 2000.")]
Seeds = Annotated[int, typer.Option("--seeds", help="Trainings of each network; the worst is shown, the best beside.")]
TRAINED = ("FMMNet as published", "MNN-H2-Mix", "MNN-H2-LC", "DeepFMMNet")
STEPS = 500
BATCH = 128


def comparison(
    name: str,
    problem: Callable[[], OperatorSamples],
    solvers: Callable[[Progress], Solvers],
    steps: int,
    seeds: range,
) -> Comparison:
    """Return a comparison whose trained rows have several seeds, and say their budget."""
    budget = f"{steps} steps of {BATCH} samples, seed{'s' * (len(seeds) > 1)} {', '.join(map(str, seeds))}"
    remarks = dict.fromkeys(TRAINED, budget)
    return Comparison(name, problem, solvers, remarks=lambda table: remarks, tabulate=_tabulated)


def _tabulated(problem: OperatorSamples, solvers: Solvers, progress: Progress) -> Table:
    from skfem_ml.compare import compare, worst_of_seeds

    return worst_of_seeds(compare(problem, solvers, progress=progress))


def operator_solvers(steps: int, seeds: range, progress: Progress | None = None, offset: float = 0.0) -> Solvers:
    """Return the rows that both comparisons have; ``offset`` is added to the inputs of the paper's network."""
    from skfem_ml.baselines import solver_affine_ridge, solver_constant, solver_kernel_ridge, solver_mnn
    from skfem_ml.compare import seeded
    from skfem_ml.fmm import solver_deep, solver_fmmnet, solver_h2_ridge
    from skfem_ml.learning import Recipe

    published = Recipe(steps, BATCH, optimiser="adam", progress=progress)
    own = Recipe(steps, BATCH, progress=progress)
    paper, mix, lc, deep = TRAINED
    return {
        "constant": solver_constant(),
        "affine ridge": solver_affine_ridge(),
        "H2 from the affine ridge": solver_h2_ridge(),
        "PCA + kernel ridge": solver_kernel_ridge(2000),
        **seeded(paper, solver_fmmnet, seeds, recipe=published, offset=offset),
        **seeded(mix, solver_mnn, seeds, recipe=published, kind="Mix"),
        **seeded(lc, solver_mnn, seeds, recipe=published, kind="LC"),
        **seeded(deep, solver_deep, seeds, recipe=own),
    }


def check_sizes(cells: int, samples: int, steps: int, seeds: int) -> None:
    """Raise ValueError for what does not fit, before samples are drawn."""
    if cells < 64 or cells % 64:
        raise ValueError(f"cells: expected a multiple of 64, which the boxes of MNN-H2 need, got {cells}")
    if samples < 30 or steps < 1 or seeds < 1:
        raise ValueError(f"samples, steps, seeds: expected at least 30, 1 and 1, got {samples}, {steps} and {seeds}")
