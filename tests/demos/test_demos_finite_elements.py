"""The demos of H2 operators and networks on finite element meshes, and the scaling script, with short settings."""

import numpy as np
import pytest

from demos import coefficient_to_solution, h2_finite_elements
from demos.benchmarks import fmm
from tests.gallery import check_figure


def test_h2_finite_elements():
    result = h2_finite_elements.compute(refinements=4, tols=(1e-2, 1e-6))
    rough, fine = (result.products[f"H2, tol = {tol:.0e}"] for tol in (1e-2, 1e-6))
    assert rough.error < 1e-2 and fine.error < 1e-6 and rough.numbers < fine.numbers < result.products["dense"].numbers
    counts = {name: one.iterations for name, one in result.runs.items()}
    assert counts["H2, tol = 1e-06"] <= 3 < counts["H2, tol = 1e-02"] < counts["pyamg"] < counts["none"] / 4
    assert result.others["H2, tol = 1e-06"].iterations > 10 * counts["H2, tol = 1e-06"]
    assert all(one.residuals[-1] < 1e-9 for one in (result.runs | result.others).values())
    assert "| pyamg |" in h2_finite_elements.report(result)
    check_figure(h2_finite_elements.visualize(result))


@pytest.mark.slow
def test_coefficient_to_solution():
    result = coefficient_to_solution.compute(refinements=3, samples=150, steps=40)
    for domain in ("disk", "L-shape"):
        errors = result.residuals(domain)
        assert errors[coefficient_to_solution.KERNEL] < errors[coefficient_to_solution.AFFINE] < errors["constant"] / 2
        assert errors[coefficient_to_solution.NET] < errors["constant"] / 1.5
        assert not any(row.failure for row in result.tables[domain].rows)
    check_figure(coefficient_to_solution.visualize(result))


def test_scaling_report(monkeypatch):
    monkeypatch.setattr(fmm, "SIZES", (288, 576))
    monkeypatch.setattr(fmm, "REPEATS", 1)
    rows = {"operator": [], "network": []}
    for N in fmm.SIZES:
        memory = {"MiB": 1.0}  # the process has had more before
        rows["operator"].append({"N": float(N), **fmm.operator(N), **memory})
        network = {**fmm.network(N), **memory}
        rows["network"].append({"N": float(N), **network, "pages anew ms": network["with gradient ms"]})
    assert all(row["error"] < 2 * fmm.TOL for row in rows["operator"])
    text = fmm.report(rows)
    assert "| 288 |" in text and "- parameters: " in text
    assert np.isclose(fmm.growth(rows["operator"], "N"), 2.0).all()
    check_figure(fmm.visualize(rows))
