"""The fields of the benchmark of multigrid, and what its tables say of them."""

import numpy as np
import pytest

from demos.benchmarks.multigrid import EXACT, Judge, cell_load, square
from demos.benchmarks.multigrid_fields import FAMILIES, field
from skfem_ml.problems import diffusion
from skfem_ml.solvers import Multigrid

MESH = square(256)


def test_fields_have_their_contrast_and_a_stream_of_their_own():
    assert len(FAMILIES) == 21
    for family in FAMILIES:
        a = field(MESH, family, 100.0, 3)
        assert a.min() > 0 and 60 < a.max() / a.min() < 100 * (1 + 1e-9)
        np.testing.assert_array_equal(field(MESH, family, 100.0, 3), a)
    assert (field(MESH, "discs", 100.0, 4) != field(MESH, "discs", 100.0, 3)).any()


@pytest.mark.parametrize(
    ("family", "contrast"), [("log-normal", 100), ("cracks", 1000), ("checkerboard 32", 1000), ("Bernoulli .5", 1000)]
)
def test_one_pass_and_the_steps_after_it(family, contrast):
    """At most 3e-3 and 1e-2, then 1e-6 in 6 steps, by an estimate that is within a factor of two."""
    b = cell_load(MESH)
    mg = Multigrid(MESH, diffusion, a=field(MESH, family, contrast, 2))
    judge, passed, solved = Judge(mg, b), mg.fmg(b), mg.complete(b, tol=1e-6)
    assert judge.l2(passed) < 3e-3 and judge.energy(passed) < 1e-2
    assert solved.steps <= 6 and EXACT < judge.energy(solved.u) < 2 * solved.energy_error <= 2e-6
