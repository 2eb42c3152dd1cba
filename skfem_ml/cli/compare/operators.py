"""``skfem-ml compare rte`` and ``compare custom-operator``: networks on H2 skeletons beside regressions."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import typer

from skfem_ml.cli import options as opt
from skfem_ml.cli.compare.group import compare_app
from skfem_ml.cli.compare.learners import run_comparison

Cells = Annotated[int, typer.Option("--cells", help="Cells N of the interval, a multiple of 64.")]
Samples = Annotated[int, typer.Option("--samples", help="Samples: two thirds to train on, a third for the test.")]
Steps = Annotated[int, typer.Option("--steps", help="Training steps of each network; the paper has 2000.")]
Seed = Annotated[int, typer.Option("--seed", help="Seed of samples and networks.")]


@compare_app.command("rte")
def rte(
    cells: Cells = 320,
    samples: Samples = 3000,
    steps: Steps = 300,
    seed: Seed = 0,
    output: opt.Output = Path("skfem_ml_output"),
    quiet: opt.Quiet = False,
    json: opt.Json = False,
    debug: opt.Debug = False,
) -> None:
    """Compare networks and regressions on the radiative transfer in a slab: from scattering to mean intensity.

    Residuals are relative, means over test and training samples. Writes table (CSV, Markdown, JSON) and the
    work-precision picture (PNG) into the output folder.
    """
    _check(cells, samples, steps)

    def problem() -> Any:
        import numpy as np

        from skfem_ml.reference import transfer_samples

        return transfer_samples(samples, cells, np.random.default_rng(seed), **parts(samples))

    run_comparison("rte", problem, lambda: operator_solvers(steps, seed, offset=0.2), None, output, quiet, json)


@compare_app.command("custom-operator")
def custom_operator(
    cells: Cells = 320,
    samples: Samples = 3000,
    steps: Steps = 300,
    seed: Seed = 0,
    output: opt.Output = Path("skfem_ml_output"),
    quiet: opt.Quiet = False,
    json: opt.Json = False,
    debug: opt.Debug = False,
) -> None:
    """Compare networks, regressions and the H2 product of the kernel on the custom operator of FMM-Net.

    a_ij = (x_i + x_j)^2 / (N^5 |x_i - x_j|), with the cell width for the distance at i = j. Files as of compare rte.
    """
    _check(cells, samples, steps)

    def problem() -> Any:
        import numpy as np

        from skfem_ml.reference import custom_samples

        return custom_samples(samples, cells, np.random.default_rng(seed), **parts(samples))

    def solvers() -> dict[str, Callable]:
        from skfem_ml.fmm.solvers import solver_h2
        from skfem_ml.reference import custom_kernel

        return {**operator_solvers(steps, seed), "H2 from the kernel": solver_h2(custom_kernel(cells))}

    run_comparison("custom-operator", problem, solvers, None, output, quiet, json)


def operator_solvers(steps: int, seed: int, offset: float = 0.0) -> dict[str, Callable]:
    """Return the rows that both comparisons have; ``offset`` is added to the inputs of the paper's network."""
    from skfem_ml.baselines.multiscale import solver_mnn
    from skfem_ml.baselines.regression import solver_affine_ridge, solver_constant, solver_kernel_ridge
    from skfem_ml.fmm.networks.training import Recipe, solver_deep, solver_fmmnet
    from skfem_ml.fmm.solvers import solver_h2_ridge

    published = Recipe(steps, optimiser="adam")
    return {
        "constant": solver_constant(),
        "affine ridge": solver_affine_ridge(),
        "H2 from the affine ridge": solver_h2_ridge(),
        "PCA + kernel ridge": solver_kernel_ridge(2000),
        "FMMNet as published": solver_fmmnet(published, offset=offset, seed=seed),
        "MNN-H2-Mix": solver_mnn("Mix", published, seed=seed),
        "MNN-H2-LC": solver_mnn("LC", published, seed=seed),
        "DeepFMMNet": solver_deep(Recipe(steps), seed=seed),
    }


def parts(samples: int) -> dict[str, int]:
    """Return the sizes of the validation and test parts: a fifteenth and a third."""
    return {"validation": max(1, samples // 15), "test": samples // 3}


def _check(cells: int, samples: int, steps: int) -> None:
    # Everything that does not fit is refused before samples are drawn.
    if cells < 64 or cells % 64:
        raise ValueError(f"cells: expected a multiple of 64, which the boxes of MNN-H2 need, got {cells}")
    if samples < 30 or steps < 1:
        raise ValueError(f"samples, steps: expected at least 30 and 1, got {samples} and {steps}")
