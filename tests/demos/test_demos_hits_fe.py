"""The demos of time steppers on finite elements with short settings: a number each claims, and its picture."""

import numpy as np
import pytest

from demos import allen_cahn, heat_on_lod
from demos.benchmarks import allen_cahn as benchmark
from tests.gallery import check_figure


@pytest.fixture(scope="module")
def result():
    steps = {"POD network": 200, "remainder": 200, "splitting network": 200}
    return allen_cahn.compute(level=4, modes=40, counts=(40, 6, 6), steps=steps)


def test_allen_cahn(result):
    error = {row.name: row.mean for row in result.rows}
    floor = error["POD, best possible"]
    assert floor < error["splitting network"] < 1.5 * floor < error["POD network"] < 0.3
    assert error["splitting network"] < error["splitting, untrained"]
    assert error["ars443, dt = 0.125"] < error["ars443, dt = 0.25"] / 4
    assert error["linear step alone, dt = 0.5"] > 0.4 and error["start, left as it is"] > 0.4
    check_figure(allen_cahn.visualize(result))


def test_parareal_returns_to_the_fine_stepper(result):
    p = result.parallel
    assert (p.to_fine[1:5] < p.to_fine[:4] / 3).all() and p.to_fine[-1] < 1e-12
    assert p.to_exact[-1] == pytest.approx(p.fine_error) and p.fine_error < 1e-5
    assert "| 8 |" in "\n".join(benchmark.parareal_lines(p))


def test_the_symmetries_are_those_of_the_equation_and_the_modes(result):
    setting, nets = result.setting, result.nets
    u = setting.test[0]
    after = setting.trajectories(u[None])[0, 1]
    assert len({tuple(image) for image in setting.images}) == 8
    for image in setting.images:
        assert setting.trajectories(-u[image][None])[0, 1] == pytest.approx(-after[image], abs=1e-12)
        turned = nets.pod.encode(nets.pod.modes.T[:, image])
        assert turned @ turned.T == pytest.approx(np.eye(nets.pod.r), abs=1e-3)


def test_the_verdict_says_when_a_target_is_missed():
    row = lambda name, mean, ms: allen_cahn.Row(name, mean, mean, ms, ms)
    rows = [
        row(f"{benchmark.IMPLICIT}, dt = 0.5", 5e-4, 20.0),
        row("IMEX ars443, dt = 0.5", 9e-4, 10.0),
        row("splitting, untrained, 8 substeps", 9e-4, 0.8),
    ]
    assert "target is missed" in benchmark.verdict(rows)[-1]
    lines = benchmark.verdict([*rows, row("splitting network", 8e-4, 0.5)])
    assert any("| 40 |" in line for line in lines) and any("| 20 |" in line for line in lines)


def test_heat_on_lod():
    result = heat_on_lod.compute(level=4, refine=4, steps=20)
    errors = {name: result.errors(name)[4:].max() for name in result.states if name != "fine FEM"}
    assert errors["LOD"] < errors["coarse FEM"] / 2 and errors["LOD, prolonged"] < errors["LOD"] / 3
    assert errors["Galerkin LOD"] < 1.1 * errors["LOD, prolonged"]
    edge = result.lod.fine.get_dofs().flatten()
    for states in result.states.values():
        assert states[-1][edge] == pytest.approx(1 - result.lod.fine.doflocs[0, edge], abs=1e-12)
    check_figure(heat_on_lod.visualize(result))
