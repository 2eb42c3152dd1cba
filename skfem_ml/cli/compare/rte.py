"""``skfem-ml compare rte``: networks on H2 skeletons beside regressions, on the radiative transfer in a slab."""

from __future__ import annotations

from functools import partial
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
from skfem_ml.cli.run import run_comparison
from skfem_ml.cli.screen import Screen

if TYPE_CHECKING:
    from skfem_ml.problems import OperatorSamples


def rte(
    screen: Screen,
    cells: Cells = 320,
    samples: Samples = 3000,
    steps: Steps = STEPS,
    seeds: Seeds = 3,
    seed: opt.Seed = 0,
    output: opt.Output = opt.OUTPUT,
) -> None:
    """Compare networks and regressions on the radiative transfer in a slab: from scattering to mean intensity.

    Residuals are relative, means over test and training samples; of networks the worst of --seeds trainings. Some three
    minutes on a quiet core. Writes table (CSV, Markdown, JSON) and the work-precision picture (PNG) into the output
    folder.
    """
    check_sizes(cells, samples, steps, seeds)

    def problem() -> OperatorSamples:
        import numpy as np

        from skfem_ml.problems.operators import usual_parts
        from skfem_ml.reference import transfer_samples

        return transfer_samples(samples, cells, np.random.default_rng(seed), **usual_parts(samples))

    rows = range(seed, seed + seeds)
    solvers = partial(operator_solvers, steps, rows, offset=0.2)
    run_comparison(comparison("rte", problem, solvers, steps, rows), output, screen)
