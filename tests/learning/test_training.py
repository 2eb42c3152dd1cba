"""The loop and the optimisers: known minima, bit-identical resume, the guard against nan, stalls."""

import math

import pytest
import torch

from skfem_ml.learning import MLP, SOAP, LevenbergMarquardt, SSBroyden, fit
from skfem_ml.learning.nn import flat_parameters
from skfem_ml.learning.optim.least_squares import damped_steps
from skfem_ml.learning.optim.quasi_newton import broyden_update
from skfem_ml.learning.training import History


def network(seed=0):
    return MLP((1, 6, 1), generator=torch.Generator().manual_seed(seed))


X = torch.linspace(-1, 1, 32, dtype=torch.float64)[:, None]
Y = torch.sin(3 * X)


def loss(net, data):
    x, y = data
    return (net(x) - y).square().mean()


class Rosenbrock(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.x = torch.nn.Parameter(torch.tensor([-1.2, 1.0], dtype=torch.float64))

    def residual(self):
        return torch.stack([10 * (self.x[1] - self.x[0] ** 2), 1 - self.x[0]])

    def jacobian(self):
        x = self.x.detach()
        J = torch.tensor([[-20 * x[0], 10.0], [-1.0, 0.0]], dtype=torch.float64)
        return self.residual().detach(), J


def rosenbrock(net, _):
    return net.residual().square().sum()


def optimiser_of(name, net):
    return {
        "adam": lambda: torch.optim.Adam(net.parameters(), lr=1e-2),
        "soap": lambda: SOAP(net.parameters(), lr=1e-2),
        "ssbroyden": lambda: SSBroyden(net.parameters()),
    }[name]()


def test_ssbroyden_finds_the_minimum():
    net = Rosenbrock()
    history = fit(net, rosenbrock, optimiser=SSBroyden(net.parameters()), steps=100, every=1)
    assert net.x.detach().numpy() == pytest.approx([1, 1], abs=1e-7)
    assert history.best < 1e-14 and history.losses == sorted(history.losses, reverse=True)


def test_levenberg_marquardt_finds_the_minimum_and_stalls_there():
    net = Rosenbrock()
    optimiser = LevenbergMarquardt(net.parameters(), net.residual, net.jacobian)
    history = fit(net, rosenbrock, optimiser=optimiser, steps=200, every=1)
    assert net.x.detach().numpy() == pytest.approx([1, 1], abs=1e-12)
    assert history.status == 2 and "no decrease found" in history.message


def test_damped_step_solves_the_normal_equations():
    g = torch.Generator().manual_seed(0)
    J, r = torch.randn(7, 4, generator=g, dtype=torch.float64), torch.randn(7, generator=g, dtype=torch.float64)
    expected = torch.linalg.solve(J.T @ J + 0.3 * torch.eye(4, dtype=torch.float64), -J.T @ r)
    assert torch.allclose(damped_steps(J, r)(0.3), expected, atol=1e-12)
    wide = -J @ torch.linalg.solve(J.T @ J + 0.3 * torch.eye(4, dtype=torch.float64), r[:4])
    assert torch.allclose(damped_steps(J.T, r[:4])(0.3), wide, atol=1e-12)


def test_broyden_update_keeps_the_secant_equation():
    g = torch.Generator().manual_seed(0)
    A = torch.randn(5, 5, generator=g, dtype=torch.float64)
    A = A @ A.T + torch.eye(5, dtype=torch.float64)
    H, gradient = torch.eye(5, dtype=torch.float64), torch.randn(5, generator=g, dtype=torch.float64)
    s = -0.1 * gradient
    updated = broyden_update(H, s, A @ s, gradient, 0.1)
    assert torch.allclose(updated @ (A @ s), s, atol=1e-12)
    assert torch.allclose(updated, updated.T) and torch.linalg.eigvalsh(updated).min() > 0
    assert broyden_update(H, s, -A @ s, gradient, 0.1) is None


@pytest.mark.parametrize("name", ["adam", "soap", "ssbroyden"])
def test_a_network_learns_a_sine(name):
    net = network()
    history = fit(net, loss, (X, Y), optimiser=optimiser_of(name, net), steps=400)
    assert history.best < 0.02 and history.best == min(history.losses)
    assert float(loss(net, (X, Y)).detach()) == pytest.approx(history.best)


@pytest.mark.parametrize(
    ("name", "batch"), [("adam", None), ("adam", 10), ("soap", None), ("soap", 10), ("ssbroyden", None)]
)
def test_resume_is_bit_identical(name, batch, tmp_path):
    def run(steps, path=None):
        net = network()
        options = {"batch": batch, "every": 5, "checkpoint": path, "seed": 3}
        history = fit(net, loss, (X, Y), optimiser=optimiser_of(name, net), steps=steps, **options)
        return net, history

    whole, expected = run(40)
    run(15, tmp_path / "run.pt")
    resumed, history = run(40, tmp_path / "run.pt")
    assert torch.equal(flat_parameters(whole), flat_parameters(resumed))
    assert history.losses == expected.losses and history.steps == expected.steps


def test_resume_of_levenberg_marquardt(tmp_path):
    def run(steps, path=None):
        net = Rosenbrock()
        optimiser = LevenbergMarquardt(net.parameters(), net.residual, net.jacobian)
        fit(net, rosenbrock, optimiser=optimiser, steps=steps, every=1, checkpoint=path)
        return net.x.detach()

    run(4, tmp_path / "run.pt")
    assert torch.equal(run(9, tmp_path / "run.pt"), run(9))


def test_a_checkpoint_of_another_network_is_refused(tmp_path):
    net = network()
    fit(net, loss, (X, Y), optimiser=optimiser_of("adam", net), steps=2, checkpoint=tmp_path / "run.pt")
    other = MLP((1, 7, 1), generator=torch.Generator().manual_seed(0))
    with pytest.raises(ValueError, match="a checkpoint of another network or optimiser"):
        fit(other, loss, (X, Y), optimiser=optimiser_of("adam", other), steps=2, checkpoint=tmp_path / "run.pt")
    assert [path.name for path in tmp_path.iterdir()] == ["run.pt"]


def test_a_checkpoint_without_averages_is_refused_where_they_are_asked_for(tmp_path):
    net = network()
    fit(net, loss, (X, Y), optimiser=optimiser_of("adam", net), steps=2, checkpoint=tmp_path / "run.pt")
    options = {"steps": 2, "average": 0.9, "checkpoint": tmp_path / "run.pt"}
    with pytest.raises(ValueError, match=r"average: wanted 0\.9, got None"):
        fit(net, loss, (X, Y), optimiser=optimiser_of("adam", net), **options)


def test_divergence_stops_with_the_best_parameters():
    net, calls = network(), []

    def breaking(net, data):
        calls.append(1)
        value = loss(net, data)
        return value * math.nan if len(calls) > 30 else value

    history = fit(net, breaking, (X, Y), optimiser=optimiser_of("adam", net), steps=100, every=5)
    assert history.status == -1 and "loss is nan at step" in history.message and "best" in history.message
    assert float(loss(net, (X, Y)).detach()) == pytest.approx(history.best)


def test_tolerance_schedule_and_progress():
    net, told, rates = network(), [], []
    history = fit(
        net, loss, (X, Y), optimiser=optimiser_of("adam", net), steps=500, every=10, tol=0.05,
        schedule=lambda step: rates.append(step) or 1e-2, progress=lambda *args: told.append(args),
    )  # fmt: skip
    assert history.status == 1 and history.losses[-1] <= 0.05 and len(told) == len(history.steps)
    assert rates == list(range(history.steps[-1]))


def test_averaged_weights_are_validated_and_left():
    """The plain recursion over the weights after every step gives what is recorded and what is left."""
    seen, told = [], []

    def run(**options):
        net = network()
        history = fit(
            net, loss, (X, Y), optimiser=torch.optim.Adam(net.parameters(), lr=1e-2), steps=30, every=10, **options
        )
        return net, history

    def note(step):  # called before the step: the weights after the one before
        seen.append(flat_parameters(current))
        return 1e-2

    current = network()
    options = {"steps": 31, "every": 10, "schedule": note}
    fit(current, loss, (X, Y), optimiser=torch.optim.Adam(current.parameters(), lr=1e-2), **options)
    mean = seen[1]
    for k, weights in enumerate(seen[2:], start=1):
        mean = mean + (1 - min(0.9, (1 + k) / (10 + k))) * (weights - mean)
    net, history = run(average=0.9, validate=lambda net: told.append(flat_parameters(net)) or -len(told))
    assert history.best_step == 30 and torch.allclose(flat_parameters(net), mean, rtol=0, atol=1e-14)
    assert torch.equal(told[-1], flat_parameters(net))
    assert not torch.equal(flat_parameters(run()[0]), flat_parameters(net))


def test_patience_and_its_resume(tmp_path):
    records = [5.0, 4.0, 4.5, 4.4, 4.3, 4.2, 3.0, 3.0]

    def run(patience, path=None):
        net, left = network(), list(records)
        options = {"validate": lambda net: left.pop(0), "patience": patience, "checkpoint": path}
        return fit(net, loss, (X, Y), optimiser=optimiser_of("adam", net), steps=8, every=1, **options)

    history = run(3, tmp_path / "run.pt")
    assert history.status == 3 and history.steps[-1] == 5 and history.best_step == 2
    assert "no better record after step 2" in history.message
    assert vars(run(3, tmp_path / "run.pt")) == vars(history)  # it has ended, and stays so
    assert run(4, tmp_path / "run.pt").steps == list(range(1, 7))  # more patience, and it goes on
    assert run(5).status == 0


def test_own_draws_by_step():
    steps = []

    def draw(step):
        steps.append(step)
        return X[step : step + 4], Y[step : step + 4]

    net = network()
    history = fit(
        net, loss, draw, optimiser=optimiser_of("adam", net), steps=7, every=3,
        validate=lambda net: float(loss(net, (X, Y)).detach()),
    )  # fmt: skip
    assert steps == list(range(7)) and history.steps == [3, 6, 7]


def test_bad_input():
    net = network()
    adam = optimiser_of("adam", net)
    for options in ({"steps": 0}, {"steps": 1, "every": 0}, {"steps": 1, "batch": 0}):
        with pytest.raises(ValueError, match="expected at least 1"):
            fit(net, loss, (X, Y), optimiser=adam, **options)
    with pytest.raises(ValueError, match="tensors of one length"):
        fit(net, loss, (X, Y[:4]), optimiser=adam, steps=1, batch=2)
    with pytest.raises(ValueError, match="got no validate"):
        fit(net, loss, lambda step: (X, Y), optimiser=adam, steps=1)
    with pytest.raises(ValueError, match="got batch = 2"):
        fit(net, loss, lambda step: (X, Y), optimiser=adam, steps=1, batch=2, validate=lambda net: 0.0)
    with pytest.raises(ValueError, match="patience"):
        fit(net, loss, (X, Y), optimiser=adam, steps=1, patience=0)
    for average in (1.0, -0.1, math.nan):
        with pytest.raises(ValueError, match="average: expected"):
            fit(net, loss, (X, Y), optimiser=adam, steps=1, average=average)
    with pytest.raises(ValueError, match="c1, c2"):
        SSBroyden(net.parameters(), c1=0.95)
    with pytest.raises(ValueError, match="mu, down, up"):
        LevenbergMarquardt(net.parameters(), lambda: X, lambda: (X, X), mu=0.0)
    with pytest.raises(ValueError, match="lr > 0"):
        SOAP(net.parameters(), lr=-1.0)


def test_a_history_is_counted_walked_through_and_shown():
    history = History([1, 2], [0.5, math.inf], [0.1, 0.2], 0.5, 1, -1, "the loss is inf < nan at step 2")
    assert len(history) == 2 and list(history) == [(1, 0.5, 0.1), (2, math.inf, 0.2)] and bool(History())
    assert history.to_dict()["losses"] == [0.5, math.inf] and History.from_dict(history.to_dict()) == history
    assert repr(history) == (
        "History(2 records to step 2, best 5.000e-01 at step 1, 0.2 s; the loss is inf < nan at step 2)"
    )
    html = history._repr_html_()
    assert "0.5 to 0.5, over 1 to 1" in html and "inf &lt; nan" in html and "<polyline" in html
    assert repr(History()) != ""
