"""The comparison across methods, cut short: matrices that agree with known solutions, one table, one picture."""

import numpy as np
import pytest

from demos.benchmarks import every_method
from demos.benchmarks.every_method_learners import draw
from demos.benchmarks.every_method_matrices import FIELD, T_END, five_points, galerkin, square
from tests.gallery import check_figure

SHORT = every_method.Setting(fine=32, best=32, steps=10, features=60, network=(6,), iterations=2, times=1, intorder=2,
                             fields=20, fitting=3, starts=4, training=20, seeds=(0,))  # fmt: skip


def test_five_points_converge_in_a_homogeneous_material():
    lowest = 2 * np.pi**2
    coarse, fine = (abs(five_points(np.ones((FIELD, FIELD)), n).eigenvalues().values[0] / lowest - 1) for n in (32, 64))
    assert fine == pytest.approx(coarse / 4, rel=0.02) and fine < 1e-3


def test_five_points_see_the_field_where_it_is():
    a, x = draw(np.random.default_rng(3)), np.array([[0.3, 0.7, 0.52], [0.2, 0.61, 0.9]])
    elements, differences = galerkin(a, square(128)), five_points(a, 128)
    assert differences.diffusion()(x) == pytest.approx(elements.diffusion()(x), rel=0.03)
    assert differences.heat(20)(x, T_END) == pytest.approx(elements.heat(20)(x, T_END), rel=0.03)
    turned = five_points(a.T, 128).diffusion()
    assert turned(x[::-1]) == pytest.approx(differences.diffusion()(x), rel=1e-9)


@pytest.mark.slow
def test_one_table_and_one_picture():
    result = every_method.compute(SHORT)
    assert not [row.failure for table in result.tables.values() for row in table if row.failure]
    lines = every_method.lines(result)
    assert len(lines) == 2 + len({line.split("|")[1] for line in lines[2:]}) and all(
        len(line.split("|")) == 10 for line in lines
    )
    heat = result.tables["heat"]
    assert heat["POD of 4 starts, projected"].error < heat["FEM, 16"].error
    assert all(result.tables[name]["LOD, 16"].error < result.tables[name]["FEM, 16"].error for name in result.tables)
    check_figure(every_method.visualize(result))
