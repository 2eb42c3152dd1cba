"""The demo of Van der Pol's oscillator in a short setting, and the model that ships with the package."""

import numpy as np

from demos import van_der_pol
from skfem_ml.hits import HiTS
from tests.gallery import check_figure


def test_the_shipped_hierarchy_solves_van_der_pol():
    hits = HiTS.load("van-der-pol", system="van-der-pol")
    assert hits.size == 2 and [round(m.dt, 9) for m in hits.all_maps] == [1.28, 0.64, 0.32, 0.16, 0.08]
    assert max(hits.card["mean squared error"].values()) < 2e-6


def test_van_der_pol():
    result = van_der_pol.compute(starts=20, every=8)
    errors = {name: run.error(result.truth.y) for name, run in result.runs.items()}
    lead = next(name for name in errors if name.startswith("hierarchy"))
    assert errors[lead] < 1e-5 and errors[lead] <= min(e for name, e in errors.items() if name.startswith("network"))
    assert errors["RK4, 0.02"] < errors["RK4, 0.04"] < errors["RK4, 0.08"] and errors["DOP853, 1e-09"] < 1e-14
    gaps, classical = result.gaps(), result.gaps("RK4")
    assert gaps[3] < 1e-12 and (np.diff(np.log10(gaps[:4])) < -2).all()
    assert (classical[1:4] < gaps[1:4]).all() and set(result.costs) == {"network", "RK4"}
    check_figure(van_der_pol.visualize(result))
