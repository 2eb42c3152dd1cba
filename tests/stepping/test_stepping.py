"""Steppers: orders, the identity with the exact exponential, loads in time, what evolve tells."""

import numpy as np
import pytest
from scipy.linalg import expm
from scipy.sparse import csc_matrix, diags, identity

from skfem_ml.metrics import observed_rates
from skfem_ml.stepping import Gauss4, ThetaMethod, evolve

K = csc_matrix(diags([-1.0, 2.5, -1.0], [-1, 0, 1], shape=(6, 6)))
M = csc_matrix(diags([0.2, 1.0, 0.2], [-1, 0, 1], shape=(6, 6)))
START = np.arange(1.0, 7.0)
STEPS = np.array([10, 20, 40])


def backward_euler(M, K, dt, load=None):
    return ThetaMethod(M, K, dt, theta=1.0, load=load)


@pytest.mark.parametrize(("method", "order"), [(backward_euler, 1), (ThetaMethod, 2), (Gauss4, 4)])
def test_order_without_and_with_a_load_in_time(method, order):
    exact = expm(-np.linalg.solve(M.toarray(), K.toarray())) @ START
    errors = [abs(evolve(method(M, K, 1 / n), START, 1.0).y[:, -1] - exact).max() for n in STEPS]
    assert observed_rates(1 / STEPS, errors) == pytest.approx(order, abs=0.1)
    # u(t) = (1 + sin t) START solves M u' + K u = b with this b.
    b = lambda t: np.cos(t) * (M @ START) + (1 + np.sin(t)) * (K @ START)
    errors = [
        abs(evolve(method(M, K, 1 / n, load=b), START, 1.0).y[:, -1] - (1 + np.sin(1)) * START).max() for n in STEPS
    ]
    assert observed_rates(1 / STEPS, errors) == pytest.approx(order, abs=0.1)


def test_one_gauss_step_is_the_pade_approximant():
    z = -0.3 * np.linalg.solve(M.toarray(), K.toarray())
    one = np.eye(6)
    expected = np.linalg.solve(one - z / 2 + z @ z / 12, (one + z / 2 + z @ z / 12) @ START)
    assert Gauss4(M, K, 0.3).step(START) == pytest.approx(expected, abs=1e-13)


def test_result_has_scipys_shapes_and_slices():
    result = evolve(ThetaMethod(M, K, 0.1), START, 1.0, every=4)
    assert result.t == pytest.approx([0, 0.4, 0.8, 1.0]) and result.y.shape == (6, 4)
    assert result.success and result.steps == 10 and result.status == 0


def test_a_blow_up_is_told():
    class Growing:
        dt = 0.5

        def step(self, u):
            return np.full_like(u, np.inf) if u[0] > 1e150 else u * 1e200

    result = evolve(Growing(), START, 2.0)
    assert not result.success and "not finite at step 2" in result.message


def test_bad_input():
    with pytest.raises(ValueError, match=r"whole number of steps, got 1\.0 / 0\.3"):
        evolve(ThetaMethod(M, K, 0.3), START, 1.0)
    with pytest.raises(ValueError, match=r"theta: expected between 0\.5 and 1, got 0\.2"):
        ThetaMethod(identity(3), identity(3), 0.1, theta=0.2)


@pytest.mark.parametrize("method", [backward_euler, ThetaMethod, Gauss4])
def test_rows_of_states_step_as_single_states_do(method):
    rows = np.random.default_rng(0).normal(size=(3, 6))
    for load in (None, lambda t: np.full(6, 1 + t)):
        stepper = method(M, K, 0.1, load=load)
        expected = [stepper.step(row, 0.3) for row in rows]
        assert stepper.step(rows, 0.3) == pytest.approx(np.stack(expected), abs=1e-14)
    batch = evolve(method(M, K, 0.1), rows, 0.5)
    assert batch.y.shape == (3, 6, 6) and batch.y[1] == pytest.approx(evolve(method(M, K, 0.1), rows[1], 0.5).y)
