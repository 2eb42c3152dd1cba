"""The systems of ordinary differential equations and their reference trajectories."""

import numpy as np
import pytest
from scipy.integrate import solve_ivp

from skfem_ml.compare import compare
from skfem_ml.learning import CorruptModelError
from skfem_ml.problems import (
    InitialValueProblem,
    OdeSystem,
    harmonic,
    hopf,
    hyperbolic,
    lorenz,
    ode_systems,
    van_der_pol,
)
from skfem_ml.reference import dop853, trajectories
from skfem_ml.stepping import OdeResult

SYSTEMS = ode_systems()


@pytest.mark.parametrize("name", SYSTEMS)
def test_right_hand_sides_take_one_state_or_many(name):
    system = SYSTEMS[name]
    y = system.draw("train", np.random.default_rng(0), 6)
    assert y.shape == (6, system.n)
    rows = np.stack([system.rhs(0.0, row) for row in y])
    assert system.rhs(0.0, y) == pytest.approx(rows) and system.rhs(1.0, y[None])[0] == pytest.approx(rows)


def test_right_hand_sides_are_those_of_the_paper():
    at = np.array([0.5, -0.4, 0.3])
    expected = {
        "harmonic": [-0.4, -0.5],
        "hyperbolic": [-0.025, 0.65],
        "cubic": [-0.1 * 0.125 - 2 * 0.064, -2 * 0.125 + 0.1 * 0.064],
        "van-der-pol": [-0.4, 2 * 0.75 * -0.4 - 0.5],
        "hopf": [0.0, -0.2 + 0.3 + 0.4 * 0.25, 0.15 + 0.4 - 0.3 * 0.25],
        "lorenz": [-9.0, 0.5 * 27.7 + 0.4, -0.2 - 0.8],
    }
    for name, system in SYSTEMS.items():
        assert system.rhs(0.0, at[: system.n]) == pytest.approx(expected[name]), name
    assert {s.name: s.t_end for s in SYSTEMS.values()} == pytest.approx(
        {"harmonic": 5.12, "hyperbolic": 51.2, "cubic": 51.2, "van-der-pol": 51.2, "hopf": 51.2, "lorenz": 2.56}
    )


@pytest.mark.parametrize("system", [harmonic(), hyperbolic(), hyperbolic(-0.1, -2.0)], ids=lambda s: s.name)
def test_exact_solutions(system):
    y0 = system.draw("val", np.random.default_rng(0), 5)
    found = dop853(system, y0, [0.0, 1.0, 4.0])
    assert found.y[..., 2] == pytest.approx(system.exact(4.0, y0), abs=1e-9)


def test_starts_lie_where_they_should():
    rng = np.random.default_rng(0)
    assert np.linalg.norm(harmonic().draw("train", rng), axis=1).max() <= 1
    train, val = (van_der_pol().draw(split, rng) for split in ("train", "val"))
    assert train.shape == (3200, 2) and val.shape == (320, 2)
    assert abs(train).max(axis=0) == pytest.approx([2, 4], abs=0.02) and abs(val).max(axis=0) == pytest.approx(
        [2, 2], abs=0.05
    )
    assert hopf().draw("accept", rng).shape == (320, 3)
    points = lorenz().draw("test", rng, 200)
    # On the attractor, as far as means tell: z = 23.5 on average, x and y symmetric.
    assert points.mean(axis=0) == pytest.approx([0, 0, 23.5], abs=2.5) and abs(points).max() < 60


@pytest.mark.parametrize("name", ["van-der-pol", "hopf", "lorenz"])
def test_the_batched_reference_agrees_with_one_start_at_a_time(name):
    system = SYSTEMS[name]
    found = trajectories(system, "test", count=50, every=512)
    for k in (0, 17, 49):
        alone = solve_ivp(
            system.rhs, (0, system.t_end), found.y[k, :, 0], "DOP853", t_eval=found.t, rtol=1e-13, atol=1e-13
        )
        assert found.y[k] == pytest.approx(alone.y, abs=1e-8)


def test_splits_and_seeds_differ_and_repeat():
    system = van_der_pol()
    draw = lambda split, seed=0: trajectories(system, split, seed, 4, every=5120).y
    assert (draw("test") == draw("test")).all()
    assert not np.isin(
        draw("test")[:, 0, 0], [draw("accept")[:, 0, 0], draw("val")[:, 0, 0], draw("test", 1)[:, 0, 0]]
    ).any()


def test_trajectories_are_kept_on_disk(tmp_path):
    system, folder = van_der_pol(), tmp_path / "cache"
    first = trajectories(system, "test", count=3, every=1024, folder=folder)
    again = trajectories(system, "test", count=3, every=1024, folder=folder)
    assert (again.y == first.y).all() and "read from" in again.message and (again.t == first.t).all()
    trajectories(system, "test", count=4, every=1024, folder=folder)
    files = sorted(folder.iterdir())
    assert len(files) == 2
    for file in files:
        file.write_bytes(file.read_bytes()[:-3])
    with pytest.raises(CorruptModelError):
        trajectories(system, "test", count=3, every=1024, folder=folder)


def test_bad_input():
    system = van_der_pol()
    with pytest.raises(ValueError, match="split: expected one of"):
        system.draw("exam", np.random.default_rng(0))
    with pytest.raises(ValueError, match="every: expected a divisor of 5120, got 3"):
        trajectories(system, "test", every=3)
    with pytest.raises(ValueError, match=r"y0: expected finite \(batch, 2\), got \(2,\)"):
        dop853(system, [1.0, 2.0], [0.0, 1.0])
    with pytest.raises(ValueError, match="t: expected at least two increasing times"):
        dop853(system, [[1.0, 2.0]], [1.0, 0.0])
    with pytest.raises(ValueError, match="dt, steps: expected positive"):
        OdeSystem("x", system.rhs, ("x", "y"), 0.0, {}, {})
    blow_up = OdeSystem(
        "x", lambda t, y: y**2, ("x",), 0.01, {"train": lambda rng, n: np.ones((n, 1))}, {"train": 2}, 200
    )
    with np.errstate(all="ignore"), pytest.raises(FloatingPointError, match="reference integration failed"):
        trajectories(blow_up, "train", every=200)


def test_solutions_are_compared_at_the_problems_times():
    system = hyperbolic()
    t = np.linspace(0, 8, 5)
    problem = InitialValueProblem(system, system.draw("test", np.random.default_rng(0), 6), t)
    solvers = {
        "reference": lambda p: dop853(p.system, p.y0, p.t, 1e-12),
        "half": lambda p: OdeResult(p.t, dop853(p.system, p.y0, p.t).y / 2, 0, "", 0),
        "short": lambda p: dop853(p.system, p.y0, p.t[:-1]),
        "array": lambda p: p.y0,
    }
    table = compare(problem, solvers)
    assert (table["half"].error, table["half"]["error at t_end"]) == pytest.approx((0.5, 0.5))
    assert "got (6, 2, 4)" in table["short"].failure and "expected an OdeResult" in table["array"].failure
    assert table.headings == ("error L2", "error at t_end")
    with pytest.raises(ValueError, match=r"y0: expected finite \(batch, 2\)"):
        InitialValueProblem(system, np.zeros(2), t)
    with pytest.raises(ValueError, match="t: expected at least two increasing times"):
        InitialValueProblem(system, np.zeros((1, 2)), t[::-1])
