"""Parareal: ends at the fine solution whatever the coarse map is, its counts, and its input."""

import numpy as np
import pytest
import torch

from skfem_ml.hits import FlowMap, HiTS
from skfem_ml.learning import MLP
from skfem_ml.problems import van_der_pol
from skfem_ml.stepping import RK4, evolve, parareal

SYSTEM = van_der_pol()
Y0 = np.random.default_rng(0).uniform(-2, 2, (3, 2))
FINE = RK4(SYSTEM.rhs, 0.05, timed=False)


class Anything:
    """A propagator that has nothing to do with the equation."""

    def __init__(self, dt):
        self.dt = dt

    def step(self, u):
        return np.sin(3 * u) + 0.1


@pytest.mark.parametrize(
    "coarse", [Anything(0.2), Anything(0.4), RK4(SYSTEM.rhs, 0.4, timed=False)]
)  # the last blows up
def test_any_coarse_map_gives_the_fine_solution_after_as_many_iterations_as_slices(coarse):
    slices = 6
    result = parareal(coarse, FINE, (0, 2.4), Y0, slices)
    serial = evolve(FINE, Y0, 2.4, every=8)
    assert result.t == pytest.approx(serial.t)
    for k, iterate in enumerate(result.iterates):
        assert (iterate[..., : k + 1] == serial.y[..., : k + 1]).all()  # to the last bit
    assert result.iterations <= slices and result.success
    assert result.y == pytest.approx(serial.y, abs=1e-14)


def test_a_network_as_the_coarse_map_and_one_start():
    net = MLP((2, 8, 2), generator=torch.Generator().manual_seed(0))
    result = parareal(HiTS([FlowMap(net, 0.4, increment=0.4)]), FINE, (0, 1.6), Y0[0], 4)
    assert result.y.shape == (2, 5) and result.y == pytest.approx(evolve(FINE, Y0[0], 1.6, every=8).y, abs=1e-14)


def test_the_exact_coarse_map_needs_one_iteration():
    result = parareal(RK4(SYSTEM.rhs, 0.05, timed=False), FINE, (0, 2), Y0, 10, tol=1e-13)
    assert result.iterations == 1 and result.corrections[0] < 1e-13 and result.success


def test_counts_of_work():
    result = parareal(RK4(SYSTEM.rhs, 0.2, timed=False), FINE, (0, 4), Y0, 10, iterations=3)
    assert (result.fine_per_slice, result.coarse_per_slice, result.iterations, result.steps) == (8, 2, 3, 24)
    assert result.nfev == 8 * 3 * (10 + 9 + 8) and len(result.iterates) == 4
    assert result.ideal_speedup() == pytest.approx(10 / 3)
    assert result.ideal_speedup(0.5) == pytest.approx(80 / (24 + 4 * 20 * 0.5))
    assert (np.diff(result.corrections) < 0).all()


def test_a_tolerance_that_is_not_reached_is_told():
    result = parareal(RK4(SYSTEM.rhs, 0.4, timed=False), FINE, (0, 2), Y0 / 4, 5, iterations=1, tol=1e-12)
    assert result.status == -1 and "tol = 1e-12 was not reached" in result.message


def test_divergence_is_told():
    class Exploding:
        dt = 0.4

        def step(self, u):
            return 1e200 * u**3

    result = parareal(Exploding(), FINE, (0, 2.4), Y0, 6, iterations=1)
    assert result.status == -1 and "not finite from slice" in result.message


def test_bad_input():
    with pytest.raises(ValueError, match=r"coarse: expected a dt that divides the slice of 0\.4, got 0\.3"):
        parareal(Anything(0.3), FINE, (0, 2), Y0, 5)
    with pytest.raises(ValueError, match="fine: expected a dt that divides the slice"):
        parareal(Anything(0.01), FINE, (0, 0.2), Y0, 10)
    with pytest.raises(ValueError, match="slices, iterations, tol"):
        parareal(Anything(0.1), FINE, (0, 2), Y0, 0)
    with pytest.raises(TypeError, match="autonomous"):
        parareal(Anything(0.1), RK4(SYSTEM.rhs, 0.1, timed=True), (0, 1), Y0, 2)
    with pytest.raises(ValueError, match="y0: expected"):
        parareal(Anything(0.1), FINE, (0, 2), np.zeros((2, 2, 2)), 5)
