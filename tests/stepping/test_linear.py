"""Steppers of linear systems and Runge-Kutta: orders, the exact exponential, loads in time, what evolve tells."""

import numpy as np
import pytest
from scipy.integrate import solve_ivp
from scipy.linalg import expm
from scipy.sparse import csc_matrix, diags, identity

from skfem_ml.hits import HiTS, hybrid
from skfem_ml.metrics import observed_rates
from skfem_ml.stepping import RK4, Gauss4, Hierarchy, ThetaMethod, evolve, interpolate, parareal

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


def forced(t, y):
    """A right-hand side that depends on time, also in its slope."""
    return np.cos(3 * t) * y + np.sin(t)


@pytest.mark.parametrize("substeps", [1, 3])
def test_rk4_has_order_four_in_time_too(substeps):
    """Finding E: wrong times within substeps were not noticed, for all equations of the tests were autonomous."""
    start = np.array([[1.0, -0.5], [0.2, 2.0]])
    exact = solve_ivp(forced, (0, 1.5), start.ravel(), "DOP853", rtol=1e-13, atol=1e-13).y[:, -1].reshape(2, 2)
    steps = np.array([20, 40, 80])
    errors = [abs(evolve(RK4(forced, 1.5 / n, substeps), start, 1.5).y[..., -1] - exact).max() for n in steps]
    assert observed_rates(1 / steps, errors) == pytest.approx(4, abs=0.35)
    assert errors[0] < 1e-4


def test_a_forced_equation_is_stepped_in_its_time():
    """Finding A12: without timed=True, RK4 took y' = f(t, y) at t = 0 all the way, .400 for .702, and said nothing."""
    by_signature = evolve(RK4(lambda t, y: np.cos(t) + 0 * y, 0.1), np.zeros(1), 1.0)
    assert by_signature.y[0, -1] == pytest.approx(np.sin(1), abs=1e-7)
    assert RK4(lambda y: -y, 0.1).timed is False and RK4(lambda t, y: -y, 0.1, timed=False).timed is False
    with pytest.raises(TypeError, match="t: expected the time at the start of the step"):
        RK4(forced, 0.1).step(np.ones(1))
    for refused in (
        lambda stepper: HiTS([stepper]),
        lambda stepper: Hierarchy([stepper]),
        lambda stepper: hybrid([RK4(lambda y: -y, 0.4)], stepper),
        lambda stepper: parareal(stepper, stepper, (0, 1), [1.0], 2),
    ):
        with pytest.raises(TypeError, match=r"autonomous equation, got RK4\(dt 0\.1, depends on time\).*timed=False"):
            refused(RK4(forced, 0.1))


def test_a_signature_that_does_not_tell_is_asked_for():
    """Finding A12: what cannot be recognised is asked for."""
    with pytest.raises(TypeError, match=r"f: expected f\(t, y\) or f\(y\), got a signature that does not tell; say"):
        RK4(lambda *args: args[1], 0.1)
    with pytest.raises(TypeError, match=r"f: expected f\(t, y\) or f\(y\), got 3 arguments"):
        RK4(lambda t, y, mu: mu * y, 0.1)
    with pytest.raises(ValueError, match=r"timed: expected f\(t, y\) with it"):
        RK4(lambda y: -y, 0.1, timed=True)
    assert RK4(lambda *args: -args[1], 0.1, timed=True).step(np.ones(1), 0.0) == pytest.approx(np.exp(-0.1), abs=1e-6)
    assert RK4(lambda t, y, mu=2.0: -mu * y, 0.1).timed


@pytest.mark.parametrize("method", [backward_euler, ThetaMethod, Gauss4])
def test_a_load_in_time_needs_the_time(method):
    """Finding A12: the time of a step has no default where the equation depends on it."""
    stepper = method(M, K, 0.1, load=lambda t: np.full(6, t))
    with pytest.raises(TypeError, match="t: expected the time at the start of the step"):
        stepper.step(START)
    assert method(M, K, 0.1).step(START) == pytest.approx(method(M, K, 0.1).step(START, 5.0))


def test_hermite_slopes_are_those_of_their_own_time():
    """Finding A12: slopes of f(t, y) were taken at the first knot's time."""
    knots, t = np.sin(np.arange(5) * 0.5)[:, None], np.linspace(0, 2, 9)
    found = interpolate(0.0, 0.5, knots, t, "hermite", lambda t, y: np.cos(t) + 0 * y)
    assert found[:, 0] == pytest.approx(np.sin(t), abs=2e-4)
