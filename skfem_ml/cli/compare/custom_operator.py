"""``skfem-ml compare custom-operator``: networks on H2 skeletons beside regressions, on the kernel of FMM-Net."""

from __future__ import annotations

from typing import TYPE_CHECKING

from skfem_ml.cli import options as opt
from skfem_ml.cli.compare.operators import (
    STEPS,
    Cells,
    Samples,
    Seeds,
    Steps,
    check_sizes,
    comparison,
    operator_solvers,
)
from skfem_ml.cli.run import Solvers, run_comparison
from skfem_ml.cli.screen import Screen

if TYPE_CHECKING:
    from skfem_ml.problems import OperatorSamples
    from skfem_ml.progress import Progress


def custom_operator(
    screen: Screen,
    cells: Cells = 320,
    samples: Samples = 3000,
    steps: Steps = STEPS,
    seeds: Seeds = 3,
    seed: opt.Seed = 0,
    output: opt.Output = opt.OUTPUT,
) -> None:
    """Compare networks, regressions and the H2 product of the kernel on the custom operator of FMM-Net.

    a_ij = (x_i + x_j)^2 / (N^5 |x_i - x_j|), with the cell width for the distance at i = j. Of networks the worst of
    --seeds trainings is shown. Some three minutes on a quiet core. Writes table (CSV, Markdown, JSON) and the
    work-precision picture (PNG) into the output folder.
    """
    check_sizes(cells, samples, steps, seeds)

    def problem() -> OperatorSamples:
        import numpy as np

        from skfem_ml.problems.operators import usual_parts
        from skfem_ml.reference import custom_samples

        return custom_samples(samples, cells, np.random.default_rng(seed), **usual_parts(samples))

    def solvers(progress: Progress) -> Solvers:
        from skfem_ml.fmm import solver_h2
        from skfem_ml.reference import custom_kernel

        return {**operator_solvers(steps, rows, progress), "H2 from the kernel": solver_h2(custom_kernel(cells))}

    rows = range(seed, seed + seeds)
    run_comparison(comparison("custom-operator", problem, solvers, steps, rows), output, screen)
