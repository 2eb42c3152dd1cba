"""``skfem-ml compare rte``: networks on H2 skeletons beside regressions, on the radiative transfer in a slab."""

from __future__ import annotations

from typing import TYPE_CHECKING

from skfem_ml.cli import options as opt
from skfem_ml.cli.compare.operators import Cells, Samples, Steps, check_sizes, operator_solvers, parts
from skfem_ml.cli.run import Comparison, run_comparison
from skfem_ml.cli.screen import Screen

if TYPE_CHECKING:
    from skfem_ml.problems import OperatorSamples


def rte(
    screen: Screen,
    cells: Cells = 320,
    samples: Samples = 3000,
    steps: Steps = 300,
    seed: opt.Seed = 0,
    output: opt.Output = opt.OUTPUT,
) -> None:
    """Compare networks and regressions on the radiative transfer in a slab: from scattering to mean intensity.

    Residuals are relative, means over test and training samples. Writes table (CSV, Markdown, JSON) and the
    work-precision picture (PNG) into the output folder.
    """
    check_sizes(cells, samples, steps)

    def problem() -> OperatorSamples:
        import numpy as np

        from skfem_ml.reference import transfer_samples

        return transfer_samples(samples, cells, np.random.default_rng(seed), **parts(samples))

    rows = Comparison("rte", problem, lambda progress: operator_solvers(steps, seed, progress, offset=0.2))
    run_comparison(rows, output, screen)
