"""What ``compare rte`` and ``compare custom-operator`` share: options, sizes of the parts, networks and regressions."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from skfem_ml.cli.run import Solvers

if TYPE_CHECKING:
    from skfem_ml.progress import Progress

Cells = Annotated[int, typer.Option("--cells", help="Cells N of the interval, a multiple of 64.")]
Samples = Annotated[int, typer.Option("--samples", help="Samples: two thirds to train on, a third for the test.")]
Steps = Annotated[int, typer.Option("--steps", help="Training steps of each network; the paper has 2000.")]


def operator_solvers(steps: int, seed: int, progress: Progress | None = None, offset: float = 0.0) -> Solvers:
    """Return the rows that both comparisons have; ``offset`` is added to the inputs of the paper's network."""
    from skfem_ml.baselines import solver_affine_ridge, solver_constant, solver_kernel_ridge, solver_mnn
    from skfem_ml.fmm import solver_deep, solver_fmmnet, solver_h2_ridge
    from skfem_ml.learning import Recipe

    published = Recipe(steps, optimiser="adam", progress=progress)
    return {
        "constant": solver_constant(),
        "affine ridge": solver_affine_ridge(),
        "H2 from the affine ridge": solver_h2_ridge(),
        "PCA + kernel ridge": solver_kernel_ridge(2000),
        "FMMNet as published": solver_fmmnet(published, offset=offset, seed=seed),
        "MNN-H2-Mix": solver_mnn(published, kind="Mix", seed=seed),
        "MNN-H2-LC": solver_mnn(published, seed=seed),
        "DeepFMMNet": solver_deep(Recipe(steps, progress=progress), seed=seed),
    }


def parts(samples: int) -> dict[str, int]:
    """Return the sizes of the validation and test parts: a fifteenth and a third."""
    return {"validation": max(1, samples // 15), "test": samples // 3}


def check_sizes(cells: int, samples: int, steps: int) -> None:
    """Raise ValueError for what does not fit, before samples are drawn."""
    if cells < 64 or cells % 64:
        raise ValueError(f"cells: expected a multiple of 64, which the boxes of MNN-H2 need, got {cells}")
    if samples < 30 or steps < 1:
        raise ValueError(f"samples, steps: expected at least 30 and 1, got {samples} and {steps}")
