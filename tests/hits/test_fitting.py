"""Training of flow maps, its restarts, and what it refuses."""

import math
from typing import ClassVar

import numpy as np
import pytest
import torch

from skfem_ml.hits import FlowMap, HiTS, fit_map, mean_squared_error
from skfem_ml.hits.fitting import draw_starts, recurrent_loss, windows
from skfem_ml.learning import MLP, SOAP
from skfem_ml.problems import hyperbolic
from skfem_ml.reference import trajectories

T = np.linspace(0, 2, 21)


def flow_map(dt=0.1, seed=0, widths=(2, 16, 2), **more):
    net = MLP(widths, generator=torch.Generator().manual_seed(seed))
    return FlowMap(net, dt, **more)


def states(count=5, length=21, n=2):
    return np.random.default_rng(1).normal(size=(count, n, length))


@pytest.fixture(scope="module")
def data():
    return {split: trajectories(hyperbolic(), split, count=64, every=32) for split in ("train", "val", "test")}


def test_the_recurrent_loss_is_formula_2_5_over_windows_from_any_time():
    model, y = flow_map(0.2, increment=[0.5, 0.0]), states()
    stride, rows = windows(T, y, model, 3)
    assert stride == 2 and rows.shape == (5, 21, 2)
    loss = recurrent_loss(rows, stride, 3, model.center)
    starts = draw_starts(rows, 6, "uniform", torch.Generator())
    assert len(starts) == 5 * 15
    total = 0.0
    for i in range(5):
        for s in range(15):
            x = y[i, :, s]
            for k in (1, 2, 3):
                x = model.step(x)
                total += (((x - y[i, :, s + 2 * k]) / [0.5, 1.0]) ** 2).sum()
    assert float(loss(model, (starts,)).detach()) == pytest.approx(total / (5 * 15 * 3))


def test_logarithmic_sampling_sees_transients_as_often_as_the_rest():
    y = np.zeros((400, 161, 2))
    starts = draw_starts(y, 1, "log", torch.Generator().manual_seed(0)) % 161
    assert len(starts) == 400 * 160 and starts.min() == 0 and starts.max() == 159
    # P(start < s) = log(s + 1) / log(161)
    for s in (1, 12, 40):
        assert float((starts < s).double().mean()) == pytest.approx(math.log(s + 1) / math.log(161), abs=0.01)


def test_normalisation_and_a_coordinate_that_never_changes():
    y0 = np.random.default_rng(0).normal(size=(50, 3)) + 5
    y1 = y0 + np.array([0.1, 0.2, 0.0]) * np.random.default_rng(1).normal(size=(50, 3)) + np.array([1.0, 0.0, 0.0])
    model = flow_map(widths=(3, 8, 3)).normalise(y0, y1)
    assert model.center.numpy() == pytest.approx(y0.mean(axis=0)) and model.scale.numpy() == pytest.approx(
        y0.std(axis=0)
    )
    assert model.drift.numpy() == pytest.approx((y1 - y0).mean(axis=0))
    assert model.increment[2] == 0 and (model.step(y0)[:, 2] == y0[:, 2]).all()


@pytest.mark.parametrize("optimiser", [SOAP, torch.optim.Adam])
def test_training_learns_the_flow(data, optimiser):
    hits = HiTS([flow_map(0.64, 1, (2, 32, 32, 2)), flow_map(0.32, 0, (2, 32, 32, 2))])
    train, val = data["train"], data["val"]
    trained = hits.fit(train.t, train.y, steps=400, batch=128, optimiser=optimiser, validation=(val.t, val.y))
    assert trained is hits and all(h.best < 0.1 for h in hits.histories.values())
    assert [m.dt for m in hits.maps] == [0.64, 0.32]
    error = mean_squared_error(hits.select(val.t, val.y), data["test"].t, data["test"].y)
    still = np.mean((data["test"].y - data["test"].y[..., :1]) ** 2)
    assert error < 1e-2 * still


def test_training_is_reproducible_and_resumes(data, tmp_path):
    def run(steps, folder=None):
        hits = HiTS([flow_map(0.32)])
        hits.fit(data["train"].t, data["train"].y, steps=20, batch=32, every=steps, folder=folder)
        return hits.maps[0].step([0.3, 0.2])

    first = run(10, tmp_path / "run")
    assert (tmp_path / "run" / "dt-0.32.pt").exists()
    assert (run(10) == first).all() and (run(10, tmp_path / "run") == first).all()


def test_double_precision_and_single_agree(data):
    model = flow_map(0.32)
    fit_map(model, data["train"].t, data["train"].y, steps=5, batch=32)
    double = model.step(data["test"].y[..., 0])
    assert model.float().step(data["test"].y[..., 0]) == pytest.approx(double, abs=1e-6)


class Bursting(torch.nn.Module):
    """A network whose gradient is not finite."""

    def __init__(self):
        super().__init__()
        self.weight = torch.nn.Parameter(torch.zeros(2, dtype=torch.float64))

    def forward(self, x):
        return torch.sqrt(self.weight - 1e-30) * x


def test_divergence_is_told():
    with pytest.raises(FloatingPointError, match=r"dt = 0\.1 diverged"):
        fit_map(FlowMap(Bursting(), 0.1), T, states(), steps=10, batch=8, normalise=False)


class Wrecking(torch.optim.SGD):
    """Gradient descent that, from the rate ``at`` on, blows the weights up at its fourth step: finite, but huge."""

    made: ClassVar[list["Wrecking"]] = []
    at = 0.01

    def __init__(self, parameters, rate):
        super().__init__(parameters, rate)
        self.rate, self.count = rate, 0
        self.first = [p.detach().clone() for p in self.param_groups[0]["params"]]
        Wrecking.made.append(self)

    def step(self, closure):
        value = super().step(closure)
        self.count += 1
        if self.count == 4 and self.rate >= self.at:
            with torch.no_grad():
                for p in self.param_groups[0]["params"]:
                    p.mul_(1e4)
        return value


def test_the_guard_restarts_from_the_best_weights_at_a_third_of_the_rate(data, monkeypatch):
    """Finding E: a guard that is removed is noticed: a finite loss far above the best must end a run."""
    monkeypatch.setattr(Wrecking, "made", [])
    model, seen = flow_map(0.32), []
    history = fit_map(
        model, data["train"].t, data["train"].y, steps=12, batch=32, rate=0.02, every=2, optimiser=Wrecking,
        progress=lambda step, steps, text: seen.append((step, [p.detach().clone() for p in model.parameters()])),
    )  # fmt: skip
    assert [round(one.rate / 0.02, 6) for one in Wrecking.made] == [1, pytest.approx(1 / 3, abs=1e-6)]
    # The first run ends at step 4, after one record at step 2; the second starts from there and goes to its end.
    assert [step for step, _ in seen] == [2, 2, 4, 6, 8, 10, 12] and history.steps == [2, 4, 6, 8, 10, 12]
    assert all((a == b).all() for a, b in zip(Wrecking.made[1].first, seen[0][1], strict=True))
    assert history.status == 0 and history.best == min(history.losses)


def test_training_that_diverges_at_every_rate_is_given_up(data, monkeypatch):
    monkeypatch.setattr(Wrecking, "made", [])
    monkeypatch.setattr(Wrecking, "at", 0.0)
    with pytest.raises(FloatingPointError, match=r"dt = 0\.32 diverged.*lower the rate"):
        fit_map(
            flow_map(0.32), data["train"].t, data["train"].y, steps=12, batch=32, every=2, rate=0.02, optimiser=Wrecking
        )
    assert len(Wrecking.made) == 3


def test_windows_from_the_start_alone():
    y = np.zeros((3, 161, 2))
    assert draw_starts(y, 5, "start", torch.Generator()).tolist() == [0, 161, 322]


@pytest.mark.parametrize(
    ("model", "t", "y", "options", "message"),
    [
        (flow_map(0.25), T, states(), {}, r"t: expected a spacing that divides the map's dt = 0\.25, got 0\.1"),
        (flow_map(0.05), T, states(), {}, r"t: expected a spacing that divides the map's dt = 0\.05"),
        (flow_map(), T[::-1], states(), {}, "t: expected increasing times of equal spacing"),
        (flow_map(), T**2, states(), {}, "t: expected increasing times of equal spacing"),
        (flow_map(), T, states(length=20), {}, r"t, y: expected \(k,\) and finite \(trajectories, n, k\)"),
        (flow_map(), T, states(n=3), {}, "y: expected 2 unknowns, as the map has, got 3"),
        (flow_map(), T, np.full((5, 2, 21), np.nan), {}, "t, y: expected"),
        (flow_map(), T, states(), {"window": 21}, "window: expected 1 to 20 steps"),
        (flow_map(), T, states(), {"sampling": "early"}, "sampling: expected one of"),
    ],
)
def test_bad_input_of_training(model, t, y, options, message):
    with pytest.raises(ValueError, match=message):
        fit_map(model, t, y, steps=1, **options)


def test_bad_input_of_normalisation_and_fit():
    with pytest.raises(ValueError, match="expected the same shape"):
        flow_map().normalise(np.zeros((3, 2)), np.zeros((4, 2)))
    with pytest.raises(ValueError, match="expected finite states"):
        flow_map().normalise(np.zeros((3, 2)), np.full((3, 2), np.inf))
    with pytest.raises(TypeError, match="expected FlowMaps to train, got object"):
        untrained = HiTS([flow_map()])
        untrained.all_maps = [object()]
        untrained.fit(T, states())


def test_a_single_window_is_learnt():
    """One pair of states: the map's step is their difference, whatever the network."""
    t, y = np.array([0.0, 0.1]), np.array([[[1.0, 0.9], [0.0, 0.1]]])
    learnt = flow_map()
    assert fit_map(learnt, t, y, steps=3).status >= 0
    with torch.no_grad():
        assert torch.allclose(
            learnt(torch.tensor([[1.0, 0.0]]).to(learnt.center)), torch.tensor([[0.9, 0.1]]).to(learnt.center)
        )
