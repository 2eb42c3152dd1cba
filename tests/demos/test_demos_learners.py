"""The demos of learners with short settings: a number each claims, and its picture."""

import numpy as np
import pytest

from demos import eigen_networks, heat_pinn, high_dimension, sequences
from tests.gallery import check_figure


@pytest.mark.slow
def test_heat_pinn():
    result = heat_pinn.compute(steps=400, methods=("lm",))
    for name, expected in heat_pinn.PUBLISHED.items():
        assert [result.error(name, t).max() for t in heat_pinn.TIMES] == pytest.approx(expected, rel=0.01)
    table = result.table
    assert table["ELM"].error < 2e-10 and table["FEM P2 + Gauss-4"].error < 1e-9
    assert table["PINN lm"].error < 1e-2 < 0.1 < table["net as published"].error
    assert not any(row.failure for row in table.rows)
    check_figure(heat_pinn.visualize(result))


@pytest.mark.slow
def test_eigen_networks(monkeypatch):
    monkeypatch.setattr(eigen_networks, "FEATURES", (50, 200))
    monkeypatch.setattr(eigen_networks, "DEGREES", (2, 5))
    result = eigen_networks.compute(epochs=50, runs=1, refinements=2, windowed=False)
    assert result.errors("Euler, projected").max() < 1e-9 and result.errors("orthonormal network").max() < 1e-9
    assert result.square[1] < 1e-9 < 1e-4 < result.l_shape[1]
    assert result.corner[1, 1] < 1e-4 < result.corner[1, 0]
    assert "not found" in eigen_networks.report_tables(result)
    check_figure(eigen_networks.visualize(result))


def test_high_dimension():
    result = high_dimension.compute(points=(100, 400), steps=15, width=10)
    assert result.errors[1] < result.errors[0] and result.errors[1] < 0.15
    check_figure(high_dimension.visualize(result))


def test_the_source_of_the_ball_is_minus_the_laplacian():
    x, h = high_dimension.in_ball(5, np.random.default_rng(0)) * 0.9, 1e-4
    unit = np.eye(high_dimension.DIM)[:, :, None] * h
    second = sum(high_dimension.exact(x + e) + high_dimension.exact(x - e) - 2 * high_dimension.exact(x) for e in unit)
    assert high_dimension.source(x) == pytest.approx(-second / h**2, rel=1e-5)


def test_sequences():
    result = sequences.compute(frames=401, widths={"fluid": 64, "video": 200, "music": 400, "ks": 200})
    assert result.tables["ks"]["HiTS"].error < 1e-2 and result.tables["fluid"]["HiTS"].error < 2e-3
    assert result.tables["fluid"]["HiTS, chosen"]["error continued"] < 0.02
    check_figure(sequences.visualize(result))
