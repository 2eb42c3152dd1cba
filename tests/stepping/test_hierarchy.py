"""Hierarchies of flow maps: identities with exact maps, interpolation, hybrid, selection, input."""

import numpy as np
import pytest
import torch
from scipy.integrate import solve_ivp

from skfem_ml.hits import (
    FlowMap,
    HiTS,
    HiTSMethod,
    discrepancy,
    hybrid,
    increment_size,
    mean_squared_error,
    solve_adaptive,
    solve_adaptive_each,
    solve_ensemble,
)
from skfem_ml.learning import MLP
from skfem_ml.metrics import observed_rates
from skfem_ml.problems import harmonic, hyperbolic, van_der_pol
from skfem_ml.stepping import RK4, evolve, interpolate

Y0 = np.random.default_rng(0).uniform(-1, 1, (4, 2))


class Exact:
    """The exact flow map of a system, with a relative error if one is wanted; notes how many states it was given."""

    def __init__(self, system, dt, error=0.0):
        self.system, self.dt, self.error, self.seen = system, dt, error, []

    def step(self, u):
        self.seen.append(u)
        return self.system.exact(self.dt, u) * (1 + self.error)


def exact_hits(system, levels, unit=0.1, error=0.0):
    return HiTS([Exact(system, unit * 2**k, error) for k in levels])


def truth(system, t, y0=Y0):
    return np.stack([system.exact(s, y0) for s in t], axis=-1)


def net(seed=0, widths=(2, 8, 2)):
    return MLP(widths, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("system", [harmonic(), hyperbolic()], ids=lambda s: s.name)
@pytest.mark.parametrize("levels", [(0,), (0, 1, 2, 3), (0, 3), (0, 2, 5), (0, 9)])
@pytest.mark.parametrize("t_end", [0.1, 0.8, 2.3, 6.4])
def test_exact_maps_give_the_exact_solution_at_all_knots(system, levels, t_end):
    result = exact_hits(system, levels).solve((0, t_end), Y0)
    assert result.y.shape == (4, 2, round(t_end / 0.1) + 1) and result.success
    assert result.y == pytest.approx(truth(system, result.t), abs=1e-13)
    # Every knot is made once; with several scales in fewer steps one after the other.
    assert result.nfev == 4 * round(t_end / 0.1) and result.steps <= result.nfev / 4


def test_steps_one_after_the_other_are_logarithmic():
    assert exact_hits(harmonic(), range(7)).solve((0, 6.4), Y0).steps == 7


@pytest.mark.parametrize("count", [1, 7, 8, 21])
def test_the_vectorised_roll_out_is_the_sequential_composition(count):
    maps = [FlowMap(net(k), 0.1 * 2**k, increment=0.1) for k in range(4)]
    states, _, _ = HiTS(maps).rollout(Y0, count)
    for index in range(count + 1):
        u, left = Y0, index
        for k in (3, 2, 1, 0):
            while left >= 2**k:
                u, left = maps[k].step(u), left - 2**k
        assert states[index] == pytest.approx(u, abs=1e-14)


def test_one_start_and_a_batch_agree():
    hits = HiTS([FlowMap(net(), 0.5), FlowMap(net(1), 0.1)])
    t = [0.05, 0.3, 1.9]
    batch, one = hits.solve((0, 2), Y0, t), hits.solve((0, 2), Y0[1], t)
    assert one.y.shape == (2, 3) and one.y == pytest.approx(batch.y[1], abs=1e-14)
    assert one.sol(0.3).shape == (2,) and batch.sol([[0.3, 0.4]]).shape == (4, 2, 1, 2)
    assert one.sol(0.3) == pytest.approx(one.y[:, 1])


@pytest.mark.parametrize(("kind", "order"), [("linear", 2), ("cubic", 4), ("hermite", 4)])
def test_interpolation_orders(kind, order):
    system, t = harmonic(), np.linspace(0, 3.2, 333)
    steps = np.array([0.4, 0.2, 0.1])
    errors = []
    for dt in steps:
        result = HiTS([Exact(system, dt)]).solve((0, 3.2), Y0, t, interpolation=kind, f=system.rhs)
        errors.append(abs(result.y - truth(system, t)).max())
    assert observed_rates(steps, errors)[-1] == pytest.approx(order, abs=0.25)


def test_predict_goes_past_an_end_that_the_steps_do_not_hit():
    system, t = harmonic(), np.linspace(0, 1, 11)
    hits = exact_hits(system, (0, 2), unit=0.3)
    found = hits.predict(t, Y0, interpolation="hermite", f=system.rhs)
    assert found.y == pytest.approx(truth(system, t), abs=1e-4) and (found.t == t).all()
    assert hits.predict(np.linspace(0, 1.2, 3), Y0).nfev == 4 * 4
    with pytest.raises(ValueError, match="t: expected at least two increasing times"):
        hits.predict([1.0, 0.0], Y0)


def test_interpolation_reproduces_polynomials():
    knots = np.arange(6.0) ** 3
    t = np.linspace(0, 5, 41)
    assert interpolate(0, 1, knots, t) == pytest.approx(t**3, abs=1e-12)
    assert interpolate(0, 1, knots, t, "hermite", lambda s, y: 3 * y ** (2 / 3)) == pytest.approx(t**3, abs=1e-12)
    assert interpolate(0, 1, knots[:3], t[:17]).shape == (17,)
    assert interpolate(0, 1, knots[:1], [0.0, 0.0]) == pytest.approx([0, 0])


def test_the_hybrid_is_the_stepper_between_the_networks_knots():
    system = harmonic()
    coarse = [Exact(system, 0.8), Exact(system, 0.1), Exact(system, 0.025)]
    stepper = RK4(system.rhs, 0.05, timed=False)
    joined = hybrid(HiTS(coarse), stepper)
    assert [m.dt for m in joined.maps] == [0.8, 0.1, 0.05]
    y = joined.solve((0, 1.6), Y0).y
    assert y[..., 1] == pytest.approx(stepper.step(Y0), abs=1e-15)
    assert y[..., 16] == pytest.approx(system.exact(0.8, Y0), abs=1e-14)
    assert abs(y - truth(system, 0.05 * np.arange(33))).max() < 1e-7


def test_selection_takes_the_best_contiguous_range():
    system = harmonic()
    errors = {0: 1e-3, 1: 1e-8, 2: 1e-8, 3: 1e-8, 4: 1e-2}
    maps = {k: Exact(system, 0.1 * 2**k, e) for k, e in errors.items()}
    t = 0.1 * np.arange(65)
    chosen = HiTS(list(maps.values())).select(t, truth(system, t))
    # F_0 does not pay: what interpolation costs is below its error.
    assert [round(m.dt, 9) for m in chosen.maps] == [0.8, 0.4, 0.2]
    assert min(chosen.scores.values()) == mean_squared_error(chosen, t, truth(system, t)) == chosen.scores[(0.2, 0.8)]


def test_selection_sees_the_validation_starts_alone():
    system = harmonic()
    hits = exact_hits(system, range(3))
    t = 0.1 * np.arange(9)
    hits.select(t, truth(system, t))
    allowed = np.linalg.norm(Y0, axis=1)  # the oscillator keeps the radius
    for stepper in hits.maps:
        radii = np.linalg.norm(np.concatenate(stepper.seen), axis=1)
        assert abs(radii[:, None] - allowed).min(axis=1).max() < 1e-13


def test_discrepancy_is_zero_for_exact_maps_and_the_error_of_one_wrong_map():
    system = harmonic()
    _, none = discrepancy(Exact(system, 0.4), Exact(system, 0.1), Y0)
    _, error = discrepancy(Exact(system, 0.4, 1e-3), Exact(system, 0.2), Y0)
    assert none.max() < 1e-14 and error == pytest.approx(1e-3 * np.linalg.norm(Y0, axis=1))


def test_step_size_control():
    system = harmonic()
    hits = HiTS([Exact(system, 0.8, 1e-2), Exact(system, 0.4), Exact(system, 0.2), Exact(system, 0.1)])
    result = solve_adaptive(hits, (0, 3.3), Y0, 1e-6)
    assert np.diff(result.t) == pytest.approx([0.4] * 8 + [0.1]) and "1 of them" in result.message
    assert result.y == pytest.approx(truth(system, result.t), abs=1e-13)
    assert np.diff(solve_adaptive(hits, (0, 3.2), Y0[0], 1.0).t) == pytest.approx([0.8] * 4)


def test_each_start_by_steps_of_its_own():
    """As if it were alone; a batch that shares its steps takes those of the worst."""
    system = harmonic()
    hits = HiTS([Exact(system, 0.8, 1e-2), Exact(system, 0.4), Exact(system, 0.2), Exact(system, 0.1)])
    starts = np.array([[1.0, 0.0], [1e-6, 0.0], [0.0, 0.5]])
    found = solve_adaptive_each(hits, (0, 3.3), starts, 1e-6)
    for one, start in zip(found, starts, strict=True):
        alone = solve_adaptive(hits, (0, 3.3), start, 1e-6)
        assert (one.t == alone.t).all() and one.y == pytest.approx(alone.y, abs=1e-15) and one.success
        assert one.sol(one.t) == pytest.approx(one.y, abs=1e-12)
    within = np.arange(34) * 0.1  # where the smallest steps end: no interpolation, the finer maps are exact
    for one, start in (found[0], starts[0]), (found[2], starts[2]):
        assert one.sol(within) == pytest.approx(truth(system, within, start), abs=1e-12)
    assert found[1].steps == 5 < found[0].steps == solve_adaptive(hits, (0, 3.3), starts, 1e-6).steps


def test_steps_by_the_increment():
    """The published indicator: a state that hardly moves takes the largest step, whatever the error of its map."""
    system = harmonic()
    hits = HiTS([Exact(system, 0.8, 1e-2), Exact(system, 0.1)])
    far, moved = increment_size(hits.maps[0], hits.maps[1], Y0)
    assert moved == pytest.approx(np.sqrt(np.mean((far - Y0) ** 2, axis=1)))
    small, large = solve_adaptive_each(hits, (0, 1.6), np.array([[1e-3, 0], [1, 0]]), 1e-2, increment_size)
    assert np.diff(small.t) == pytest.approx([0.8, 0.8]) and np.diff(large.t) == pytest.approx([0.1] * 16)


def test_what_diverges_stops_where_it_does():
    class Doubling:
        dt = 0.5

        def step(self, u):
            return np.where(abs(u) > 3, np.nan, 2 * u)

    near, far = solve_adaptive_each(HiTS([Doubling()]), (0, 2), np.array([[0.01], [1.0]]), 1.0)
    assert near.success and near.steps == 4 and not far.success
    assert far.y.tolist() == [[1, 2, 4]] and "not finite after t = 1" in far.message


def test_ensemble():
    system = harmonic()
    members = [exact_hits(system, (0, 2), error=e) for e in (-1e-3, 1e-3)]
    mean, spread = solve_ensemble(members, (0, 0.4), Y0)
    exact = truth(system, mean.t)
    assert spread[..., 4] == pytest.approx(1e-3 * abs(exact[..., 4])) and mean.y[..., 4] == pytest.approx(exact[..., 4])


def test_solve_ivp_takes_the_hierarchy_as_its_method():
    system, method = harmonic(), HiTSMethod(exact_hits(harmonic(), range(6)))
    event = lambda t, y: y[0]
    t = np.linspace(0, 9.7, 200)
    found = solve_ivp(system.rhs, (0, 9.7), [1.0, 0.0], method=method, t_eval=t, events=event)
    assert found.status == 0 and found.y == pytest.approx(np.stack([np.cos(t), -np.sin(t)]), abs=1e-5)
    assert found.t_events[0] == pytest.approx([np.pi / 2, 3 * np.pi / 2, 5 * np.pi / 2], abs=1e-5)
    short = solve_ivp(system.rhs, (0, 0.95), [1.0, 0.0], method=method)
    assert short.status == -1 and "shorter than the smallest step 0.1" in short.message and short.t[-1] < 0.95
    with pytest.raises(TypeError, match="rtol"):
        solve_ivp(system.rhs, (0, 1), [1.0, 0.0], method=method, rtol=1e-3)
    with pytest.raises(ValueError, match="forward only"):
        solve_ivp(system.rhs, (1, 0), [1.0, 0.0], method=method)


def test_rk4_has_order_four_and_takes_rows_and_substeps():
    system = van_der_pol()
    fine = evolve(RK4(system.rhs, 1 / 640, timed=False), Y0, 1.0).y[..., -1]
    steps = np.array([20, 40, 80])
    errors = [abs(evolve(RK4(system.rhs, 1 / n, timed=False), Y0, 1.0).y[..., -1] - fine).max() for n in steps]
    assert observed_rates(1 / steps, errors)[-1] == pytest.approx(4, abs=0.3)
    once = RK4(system.rhs, 0.1, substeps=4, timed=False).step(Y0[0])
    assert once == pytest.approx(evolve(RK4(system.rhs, 0.025, timed=False), Y0[0], 0.1).y[:, -1], abs=1e-15)


class Exploding:
    dt = 0.1

    def step(self, u):
        return np.where(u[:, :1] > 0.5, np.inf, u)


def test_divergence_keeps_what_came_before():
    starts = np.array([[0.0, 0.1], [0.4, 0.2]])
    hits = HiTS([Drift(0.4), Exploding()])
    result = hits.solve((0, 1.6), starts)
    assert result.status == -1 and not result.success
    assert "1 of 2 trajectories not finite, the first from t = 0.5 on" in result.message
    assert np.isfinite(result.y[0]).all() and np.isfinite(result.y[1, :, :5]).all()
    assert np.isnan(result.y[1, :, 5:]).all()
    late = hits.solve((0, 1.6), starts, [0.15, 0.45, 1.55])
    assert np.isfinite(late.y[0]).all() and np.isnan(late.y[1, :, 2]).all()


class Drift:
    def __init__(self, dt):
        self.dt = dt

    def step(self, u):
        return u + np.where(u[:, :1] > 0.3, 0.2, 0.0)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            ((0, 1.05), Y0),
            r"t_span: expected a length that is a positive multiple of the smallest step 0\.1, got \(0\.0",
        ),
        (((1, 0), Y0), "t_span: expected a length that is a positive multiple"),
        (((0, 1), Y0[:, :1]), r"y0: expected \(2,\) or \(batch, 2\), got \(4, 1\)"),
        (((0, 1), np.full((4, 2), np.nan)), "y0: expected finite values, got 8 that are not"),
        (((0, 1), Y0, [0.5, 0.2]), "t_eval: expected increasing finite times"),
        (((0, 1), Y0, [0.5, 1.2]), r"t_eval: expected times within t_span \(0\.0, 1\.0\), got 0\.5 to 1\.2"),
    ],
)
def test_bad_input_of_solve(arguments, message):
    with pytest.raises(ValueError, match=message):
        HiTS([FlowMap(net(), 0.1)]).solve(*arguments)


def test_bad_hierarchies():
    system = harmonic()
    with pytest.raises(ValueError, match="at least one flow map"):
        HiTS([])
    with pytest.raises(ValueError, match=r"a multiple \(2 or more\) of the next, got \[0\.5, 0\.3\]"):
        HiTS([Exact(system, 0.3), Exact(system, 0.5)])
    with pytest.raises(TypeError, match="autonomous"):
        HiTS([RK4(system.rhs, 0.1, timed=True)])
    with pytest.raises(ValueError, match="at least one dt above the stepper's"):
        hybrid([Exact(system, 0.1)], RK4(system.rhs, 0.1, timed=False))
    with pytest.raises(ValueError, match="interpolation: expected one of"):
        exact_hits(system, (0,)).solve((0, 1), Y0, interpolation="hermite")
    with pytest.raises(ValueError, match="tol: expected a positive number"):
        solve_adaptive(exact_hits(system, (0,)), (0, 1), Y0, 0.0)
    with pytest.raises(ValueError, match="at least two hierarchies"):
        solve_ensemble([exact_hits(system, (0,))], (0, 1), Y0)
    with pytest.raises(ValueError, match="same smallest step"):
        solve_ensemble([exact_hits(system, (0,)), exact_hits(system, (1,))], (0, 1), Y0)
    with pytest.raises(ValueError, match=r"t: expected times in \[0"):
        interpolate(0, 1, np.arange(4.0), [3.5])
    with pytest.raises(ValueError, match="dt: expected a positive finite number"):
        FlowMap(net(), 0.0)
