"""The demos of equations of one's own with short settings: a number each claims, and its picture."""

import numpy as np
import pytest

from demos import burgers, convection_diffusion, inverse_conductivity, kovasznay, own_weak_form
from tests.gallery import check_figure


def test_cole_and_hopf_solve_burgers():
    nu, h = 0.05, 1e-3
    u, x, t = burgers.cole_hopf(nu), np.linspace(-0.9, 0.9, 19)[None], 0.4
    u_t = (u(x, t + h) - u(x, t - h)) / (2 * h)
    u_x, u_xx = (u(x + h, t) - u(x - h, t)) / (2 * h), (u(x + h, t) - 2 * u(x, t) + u(x - h, t)) / h**2
    assert u_t + u(x, t) * u_x - nu * u_xx == pytest.approx(0, abs=1e-3)
    assert u(x, 0.0) == pytest.approx(-np.sin(np.pi * x[0]))
    assert u(x, t) == pytest.approx(burgers.cole_hopf(nu, 80)(x, t), abs=1e-12)


def test_burgers():
    short = burgers.Setting((0.2, 0.5, 1.0), 8, (16, 16), 25, (0,))
    result = burgers.compute({0.3: short}, cells=(4, 8))
    table = result.tables[0.3]
    assert not any(row.failure for row in table.rows)
    rough, fine, learned = (row.error for row in table.rows)
    assert fine < rough / 4 and learned < 1e-2
    check_figure(burgers.visualize(result))


def test_convection_diffusion():
    result = convection_diffusion.compute(eps=(0.2,), features=300, fine=12)
    table = result.tables[0.2]
    assert not any(row.failure for row in table.rows)
    assert table["ELM, uniform points"].error < table["Q2, uniform, 12 x 12"].error < 1e-2
    check_figure(convection_diffusion.visualize(result))


@pytest.mark.slow
def test_inverse_conductivity():
    result = inverse_conductivity.compute(steps=6, count=60, alphas=(3e-3,), seeds=(0,))
    assert result.found["elements"].error < 0.7 and result.found["network, seed 0"].error < 1
    check_figure(inverse_conductivity.visualize(result))


def test_own_weak_form():
    result = own_weak_form.compute(fine=8, cells=8, features=100, steps=3)
    table = result.table
    assert not any(row.failure for row in table.rows)
    assert table["Q4, 16 x 16"].error < table["Q2, 12 x 12"].error and table["ELM, seed 0"].error < 0.05
    check_figure(own_weak_form.visualize(result))


def test_kovasznay():
    """Elements converge to the flow, one order of pressure below that of the velocity; random features come closer."""
    rows = kovasznay.compute(((4, 2), (8, 2)), features=(50, 100), seeds=(0,), steps=5)
    coarse, fine, few, many, network = rows
    assert 5 < coarse.velocity / fine.velocity < 12 and 2.5 < coarse.pressure / fine.pressure < 6
    assert many.velocity < 1e-5 < few.velocity < fine.velocity and network.velocity < 0.5
    check_figure(kovasznay.visualize(rows))
