"""Training of flow maps, what it refuses, and trained hierarchies on disk."""

import math

import numpy as np
import pytest
import torch

from skfem_ml.hits import FlowMap, HiTS, fit_map, mean_squared_error
from skfem_ml.hits.fitting import draw_starts, recurrent_loss, windows
from skfem_ml.learning import MLP, CorruptModelError, ModelMismatchError, save_model
from skfem_ml.problems import hopf, hyperbolic
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


@pytest.mark.parametrize("optimiser", ["soap", "adam"])
def test_training_learns_the_flow(data, optimiser):
    hits = HiTS([flow_map(0.64, 1, (2, 32, 32, 2)), flow_map(0.32, 0, (2, 32, 32, 2))])
    train, val = data["train"], data["val"]
    histories = hits.fit(
        train.t, train.y, steps=400, batch=128, sampling="log", lr=1e-2, optimiser=optimiser,
        validation=(val.t, val.y),
    )  # fmt: skip
    assert all(h.best < 0.1 for h in histories) and [m.dt for m in hits.maps] == [0.64, 0.32]
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


def test_the_guard_restarts_from_the_best_at_a_smaller_rate(data):
    model, rates = flow_map(0.32), []
    history = fit_map(
        model, data["train"].t, data["train"].y, steps=60, batch=32, lr=30.0, every=5,
        progress=lambda step, steps, value: rates.append(value),
    )  # fmt: skip
    assert math.isfinite(history.best) and history.best == min(history.losses)


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
        (flow_map(), T, states(), {"optimiser": "sgd"}, "optimiser: expected one of"),
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
        untrained.maps = [object()]
        untrained.fit(T, states())


def test_saved_maps_load_the_same(tmp_path):
    system = hopf()
    hits = HiTS([flow_map(0.1 * 2**k, seed=k, widths=(3, 8, 8, 3)) for k in range(3)])
    for stepper in hits.maps:
        stepper.normalise(states(40, 1, 3)[..., 0], states(41, 1, 3)[1:, :, 0])
    hits.save(tmp_path / "maps.safetensors", system=system.name, seed=7)
    loaded = HiTS.load(tmp_path / "maps.safetensors", system="hopf")
    y0 = system.draw("val", np.random.default_rng(0), 5)
    assert (loaded.solve((0, 1.4), y0).y == hits.solve((0, 1.4), y0).y).all()
    assert loaded.card == {"system": "hopf", "seed": 7}
    with pytest.raises(ModelMismatchError, match="system: wanted 'lorenz', got 'hopf'"):
        HiTS.load(tmp_path / "maps.safetensors", system="lorenz")


def test_files_that_are_no_hierarchy_are_refused(tmp_path):
    with pytest.raises(FileNotFoundError, match="expected the name of a model of the package"):
        HiTS.load("no-such-model")
    with pytest.raises(TypeError, match=r"expected FlowMaps of an nn\.MLP to save"):
        HiTS([FlowMap(torch.nn.Identity(), 0.1)]).save(tmp_path / "a.safetensors")
    weights = {"0.net.layers.0.weight": torch.zeros(2, 2)}
    entry = {"dt": 0.1, "widths": [2, 10**9, 2], "activation": "tanh"}
    for card in ({"kind": "surrogate"}, {"kind": "hits", "maps": [entry]}, {"kind": "hits", "maps": 3}, {}):
        save_model(tmp_path / "b.safetensors", weights, card)
        with pytest.raises(CorruptModelError, match="expected the maps and card of a hierarchy"):
            HiTS.load(tmp_path / "b.safetensors")
    hits = HiTS([flow_map()])
    hits.save(tmp_path / "c.safetensors")
    data = bytearray((tmp_path / "c.safetensors").read_bytes())
    data[-5] ^= 1
    (tmp_path / "c.safetensors").write_bytes(data)
    with pytest.raises(CorruptModelError, match="sha256"):
        HiTS.load(tmp_path / "c.safetensors")


def test_a_single_window_is_learnt():
    """One pair of states: the map's step is their difference, whatever the network."""
    t, y = np.array([0.0, 0.1]), np.array([[[1.0, 0.9], [0.0, 0.1]]])
    learnt = flow_map()
    assert fit_map(learnt, t, y, steps=3).status >= 0
    with torch.no_grad():
        assert torch.allclose(
            learnt(torch.tensor([[1.0, 0.0]]).to(learnt.center)), torch.tensor([[0.9, 0.1]]).to(learnt.center)
        )
