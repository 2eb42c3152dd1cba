"""The demos of time steppers on finite elements with short settings: a number each claims, and its picture."""

import numpy as np
import pytest
from PIL import Image

from demos import allen_cahn, heat_on_lod
from demos.benchmarks import allen_cahn as benchmark
from demos.benchmarks import allen_cahn_measures as measures
from tests.gallery import check_figure


@pytest.fixture(scope="module")
def result():
    steps = {"POD network": 200, "remainder": 200, "splitting network": 200}
    return allen_cahn.compute(level=4, modes=40, counts=(40, 6, 6), steps=steps)


@pytest.mark.slow
def test_allen_cahn(result):
    error = {row.name: row.mean for row in result.rows}
    floor = error["POD, best possible"]
    assert floor < error["splitting network"] < 1.5 * floor < error["POD network"] < 0.3
    assert error["splitting network"] < error["splitting, untrained"]
    assert error["ars443, dt = 0.125"] < error["ars443, dt = 0.25"] / 4
    assert error["linear step alone, dt = 0.5"] > 0.4 and error["start, left as it is"] > 0.4
    check_figure(allen_cahn.visualize(result))


def test_the_page_measures_what_the_demo_does(result):
    nets, setting = result.nets, result.setting
    runs = {**benchmark.nulls(setting, nets), **benchmark.reduced(setting, nets)}
    mean = {row.name: row.mean for row in result.rows}
    for name in ("splitting network", "POD network", "remainder", "start, left as it is"):
        found = measures.measure(setting, name, runs[name][0])
        assert found.mean == pytest.approx(mean[name]) and found.batch_ms > 0 and found.single_ms > 0
    bound = setting.errors(runs[f"{allen_cahn.BOUND} (no method)"][0](setting.test)).mean()
    assert bound == pytest.approx(mean[allen_cahn.BOUND])
    assert (
        setting.errors(benchmark.rivals(setting)["cosines on 16 x 16, Strang, dt = 0.5"][0](setting.test)).max() < 0.1
    )
    assert "| splitting network |" in measures.table([found, measures.Row("splitting network", 1, 1, 1, 1)])


@pytest.mark.slow
def test_allen_cahn_as_a_film(result, tmp_path):
    allen_cahn.animate(result, tmp_path / "film.gif")
    with Image.open(tmp_path / "film.gif") as film:
        assert film.n_frames > 20 and (tmp_path / "film.gif").stat().st_size < 1_000_000


def test_parareal_returns_to_the_fine_stepper(result):
    p = measures.parallel(result.setting, result.nets)
    assert p.to_fine == pytest.approx(result.to_fine)
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
    row = lambda name, mean, ms: measures.Row(name, mean, mean, ms, ms)
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
