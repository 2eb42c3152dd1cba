"""A system of the user's own: stated, trained, saved, loaded and solved, as a new user would."""

import warnings

import numpy as np
import pytest

from skfem_ml import HiTS, OdeSystem
from skfem_ml.hits import train_hits
from skfem_ml.reference import dop853, trajectories


def swing(t, y):
    return np.stack([y[..., 1], -np.sin(y[..., 0])], axis=-1)


def test_a_pendulum_in_six_lines(tmp_path):
    pendulum = OdeSystem("pendulum", swing, ("angle", "speed"), 0.1, [(-2, 2), (-1, 1)], steps=64)
    train, val = (trajectories(pendulum, split, count=40) for split in ("train", "val"))
    hits, _ = train_hits([0.1, 0.2], train.t, train.y, validation=(val.t, val.y), steps=200)
    hits.save(tmp_path / "pendulum.safetensors", system=pendulum.name)
    hits = HiTS.load(tmp_path / "pendulum.safetensors", system="pendulum")
    sol = hits.solve((0, 6.4), [1.0, 0.5])
    assert sol.success and str(hits).endswith("pendulum)")
    assert abs(sol.y - dop853(pendulum, [[1.0, 0.5]], sol.t).y[0]).max() < 0.05
    energy = sol.y[1] ** 2 / 2 - np.cos(sol.y[0])
    assert np.ptp(energy) < 0.05
    test = trajectories(pendulum, "test", seed=1, count=20)
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # energy is kept, so starts of the same ranges stay among the states of training
        found = hits.predict(test.t, test.y[..., 0] * 0.9)
    assert found.y.shape == test.y.shape
    with pytest.warns(UserWarning, match="outside the box of training"):
        hits.solve((0, 0.4), [3.5, 0.0])


@pytest.mark.parametrize(
    ("rhs", "message"),
    [
        (lambda t, y: np.array([y[1], -y[0]]), r"one state \(n,\) and for many.*write y\[\.\.\., 0\]"),
        (lambda t, y: [y[1], -np.sin(y[0])], r"write y\[\.\.\., 0\] for y\[0\]"),
        (lambda t, y: np.stack([y[..., 1], np.cos(t) - y[..., 0]], axis=-1), "does not depend on t; make the time"),
        (lambda t, y: y[..., :1], r"for 3 states got the shape \(3, 1\)"),
        (lambda t, y: y[..., 2], "IndexError"),
    ],
)
def test_right_hand_sides_that_would_go_wrong_are_refused(rhs, message):
    with pytest.raises(ValueError, match=message):
        OdeSystem("own", rhs, ("x", "y"), 0.1, [(-1, 1), (-1, 1)])


@pytest.mark.parametrize("starts", [[(-1, 1)], [(0, 1), (1, 0)], [(0, np.inf), (0, 1)], (0, 1)])
def test_ranges_are_one_an_unknown(starts):
    with pytest.raises(ValueError, match=r"starts: expected 2 finite ranges \(low, high\)"):
        OdeSystem("own", swing, ("x", "y"), 0.1, starts)


def test_starts_by_functions_as_before():
    draw = lambda rng, count: rng.normal(size=(count, 2))
    system = OdeSystem("own", swing, ("x", "y"), 0.1, {"train": draw}, {"train": 7, "val": 3, "test": 2})
    assert [len(system.draw(split, np.random.default_rng(0))) for split in ("train", "val", "accept")] == [7, 3, 2]
