"""Every demo with short settings: a number that it claims, and its picture."""

import numpy as np
import pytest

from demos import convergence, h2_operator, hex_3d, high_contrast, l_shape, many_uses, one_line, spe10
from skfem_ml.metrics import observed_rates
from tests.gallery import check_figure


def test_one_line():
    result = one_line.compute(level=3, truth=16)
    means = [f"plain FEM, {mean} mean" for mean in one_line.MEANS]
    assert one_line.FEM in means and result.l2[f"{one_line.EXACT}, coarse"] < min(result.l2[name] for name in means) / 3
    assert result.l2[one_line.EXACT] < result.l2[f"{one_line.EXACT}, coarse"] / 3
    assert result.l2[one_line.LEARNED] < result.l2[one_line.EXACT] and set(result.seconds) == set(result.solutions)
    check_figure(one_line.visualize(result))


def test_convergence_rates():
    levels = (2, 3, 4)
    errors = convergence.errors_in_h(levels, fine_level=6, ell=2)
    rates = observed_rates(0.5 ** np.array(levels), errors["LOD, prolonged"])
    assert rates.min() > 2
    assert (errors["best"] <= errors["LOD"]).all() and (errors["LOD"] < 1.2 * errors["best"]).all()
    assert errors["coarse FEM"][-1] > 3 * errors["LOD"][-1]
    check_figure(convergence.visualize(errors, convergence.Locality({1: 1e-1, 2: 1e-2}, 0.0, 0.0), levels))


def test_decay_and_exactness():
    local = convergence.locality()
    expected = {1: 2.7e-2, 2: 2.7e-3, 3: 2.2e-4, 4: 1.9e-5}
    for ell, value in expected.items():
        assert local.decay[ell] == pytest.approx(value, rel=0.15)
    assert local.inverse_defect < 1e-12 and local.solution_defect < 1e-12


def test_high_contrast():
    errors, definite = high_contrast.sweep(contrasts=(1.0, 1e4), seeds=(high_contrast.WORST,))
    assert definite.tolist() == [1, 0]
    assert errors["Petrov-Galerkin LOD"][0] == pytest.approx(errors["Galerkin LOD"][0], rel=0.05)
    assert errors["Petrov-Galerkin LOD"][1] > 1 and errors["Galerkin LOD"][1] < 0.5
    check_figure(high_contrast.visualize(errors=errors, contrasts=(1.0, 1e4)))


def test_galerkin_never_exceeds_one():
    for seed in range(4):
        errors = high_contrast.compute(1e6, seed, ell=1).errors
        assert errors["Galerkin LOD"] <= 1


def test_many_uses():
    setting = many_uses.Setting(level=4, refine=4)
    loads, flow = many_uses.many_loads(setting, number=3), many_uses.heat(setting, steps=5)
    lowest = many_uses.eigenvalues(setting, number=3)
    assert loads.errors.max() < 0.03 and loads.prolonged.max() < 0.7 * loads.errors.max()
    assert loads.break_even("LOD") >= 0
    assert flow.errors["LOD"][-1] < flow.errors["coarse FEM"][-1] / 3
    excess = {name: values / lowest["fine"] - 1 for name, values in lowest.items()}
    assert excess["Galerkin LOD"].min() > 0 and excess["Galerkin LOD"].max() < 1e-3  # Rayleigh-Ritz: from above
    assert abs(excess["Petrov-Galerkin LOD"]).max() < excess["coarse FEM"].min() / 5
    check_figure(many_uses.visualize((loads, flow, lowest)))


def test_l_shape():
    result = l_shape.compute(refinements=2, refine=8)
    for inflow in result.inflow.values():
        assert inflow["top"] == pytest.approx(-inflow["right"], rel=1e-9)
    flow = {name: inflow["top"] for name, inflow in result.inflow.items()}
    assert flow["LOD"] == pytest.approx(flow["fine"], rel=0.02) and flow["coarse FEM"] > 1.5 * flow["fine"]
    check_figure(l_shape.visualize(result))


def test_spe10_stand_in():
    results = spe10.sweep()
    first = results[5][0]
    assert first.a.max() / first.a.min() == pytest.approx(1e6)
    for row in results.values():
        errors = [r.errors["Galerkin LOD"] for r in row]
        assert errors[1] < errors[0] / 2 and errors[2] < errors[1] / 2
        assert errors[0] < row[0].errors["coarse FEM"]
    assert results[5][1].errors["Petrov-Galerkin LOD"] < results[5][1].errors["coarse FEM"] / 10
    figure = spe10.visualize(results)
    assert "stand-in" in figure.axes[0].get_title()
    check_figure(figure)


def test_spe10_reads_a_table_with_its_first_row_on_top(tmp_path):
    table = np.ones((20, 100))
    table[0] = 1000.0
    np.savetxt(tmp_path / "permx.csv", table, delimiter=",")
    result = spe10.compute(factor=5, ell=1, path=tmp_path / "permx.csv")
    high = result.a == 1000.0
    height = result.lod.fine.mesh.p[1, result.lod.fine.mesh.t].mean(axis=0)
    assert high.sum() == 100 and (height[high] > 47.5).all()
    # Layers along the flow conduct in parallel: the flow is the arithmetic mean times the height over the length.
    assert result.flow["fine"] == pytest.approx(table.mean() * 50 / 2500)


def test_hex_3d():
    result = hex_3d.compute(cells=3, refine=4, ells=(1,))
    flow, ell_1 = result.flow, "LOD, ell = 1"
    assert flow[ell_1] == pytest.approx(flow["fine"], rel=0.05) and flow["coarse FEM"] > 2 * flow["fine"]
    assert result.energy[ell_1] < result.energy["coarse FEM"] / 4
    check_figure(hex_3d.visualize(result))


def test_h2_operator():
    result = h2_operator.compute(refinements=4, tols=(1e-2, 1e-6))
    runs = {name: one.iterations for name, one in result.runs.items()}
    assert min(result.elimination) > 0
    assert runs["H2, tol = 1e-06"] <= 3 and runs["H2, tol = 1e-02"] < runs["pyamg"] < runs["diagonal"]
    assert all(one.residuals[-1] < 2 * h2_operator.RTOL for one in result.runs.values())
    for tol, storage in result.storage.items():
        assert storage.error <= tol and result.error[tol] < tol and storage.ratio > 1.5
        assert result.smallest[tol] == pytest.approx(1, abs=1e-2)
    check_figure(h2_operator.visualize(result))
