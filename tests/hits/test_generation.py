"""Generators of sequences: what least squares and memory promise, recurrent networks, echo states, bad input."""

import sys
from itertools import pairwise

import numpy as np
import pytest
import torch

from skfem_ml.baselines import LSTM, ClockworkRNN, solver_esn, solver_recurrent
from skfem_ml.baselines.recurrent import run_free, units_for
from skfem_ml.compare import compare
from skfem_ml.hits import solver_chosen, solver_hits, solver_trained
from skfem_ml.hits.generation import SkipNet, fit_stride, parameter_count, solve_outputs, strides_for
from skfem_ml.problems import Sequence, clip, cylinder
from tests.gallery import orbit


def noise(n=20, frames=200, more=20):
    """White noise: there is nothing to learn but the frames themselves."""
    return Sequence("noise", np.random.default_rng(0).standard_normal((frames + more, n)), frames, 1.0)


def henon(frames=200):
    states = [np.zeros(2)]
    for _ in range(frames - 1):
        x, y = states[-1]
        states.append(np.array([1 - 1.4 * x**2 + y, 0.3 * x]))
    return np.array(states)


# hierarchies


def test_outputs_solve_the_least_squares_problem():
    net = SkipNet(3, 20, generator=torch.Generator().manual_seed(0))
    rng = np.random.default_rng(0)
    z, values = (torch.from_numpy(rng.standard_normal((rows, 3))) for rows in (60, 60))
    residual = solve_outputs(net, z, values, 1e-14)
    F = torch.cat([net.features(z), torch.ones(60, 1, dtype=z.dtype)], dim=1)
    expected = torch.linalg.lstsq(F, values).solution
    assert residual == pytest.approx(float((F @ expected - values).detach().square().mean().sqrt()), rel=1e-6)
    with torch.no_grad():
        assert (F.T @ (net(z) - values)).abs().max() < 1e-8  # the normal equations
    assert solve_outputs(net, z[:10], values[:10], 1e-14) < 1e-10  # fewer rows than features: interpolation


def test_a_linear_sequence_is_learnt_and_continued_to_rounding():
    table = compare(orbit(), {"hits": solver_hits(16), "chosen": solver_chosen(16)})
    assert table["hits"].error < 1e-6 and table["chosen"].error < 1e-6
    assert table["chosen"]["error continued"] < 1e-6 < table["hits"]["error continued"] < 0.1


def test_what_has_as_many_features_as_pairs_remembers_everything():
    sequence = noise()
    exact, few = (compare(sequence, {"hits": solver_hits(width)})["hits"] for width in (200, 4))
    assert exact.error < 1e-6 < 0.5 < min(few.error, exact["error continued"])
    assert exact.unknowns == parameter_count(sequence, 200)
    assert strides_for(200) == (1, 4, 16, 64) and strides_for(151) == (1, 4, 16, 64) and strides_for(4001)[-1] == 1024


def test_training_of_features_lowers_the_residual():
    states = henon(400)
    drawn, trained = (fit_stride(states, 2, 1.0, width=8, steps=steps)[1] for steps in (0, 300))
    assert trained["residual"] < 0.8 * drawn["residual"] and trained["history"].status == 0
    assert drawn["pairs"] == 199


def test_the_numbers_of_table_1_are_beaten():
    bounds = {"fluid": 1.23e-7, "video": 7.09e-5}
    for sequence, width in ((cylinder(), 64), (clip(), 200)):
        table = compare(sequence, {"hits": solver_hits(width)})
        assert (table["hits"].error * table.norms["error reproduced"]) ** 2 < bounds[sequence.name]


def test_the_chosen_hierarchy_continues_the_flow():
    table = compare(cylinder(), {"hits": solver_hits(64), "chosen": solver_chosen(64)})
    assert table["chosen"]["error continued"] < 0.02 < 0.5 < table["hits"]["error continued"]


def test_networks_as_published_learn_something():
    result = solver_trained(16, steps=300)(orbit())
    assert result.reproduced.shape == (60, 4) and result.continued.shape == (10, 4)
    losses = result.record.history[0].losses
    assert losses[-1] < 0.8 * losses[0]


def test_seeds():
    first, same, other = (solver_hits(8, seed=seed)(noise()).reproduced for seed in (0, 0, 1))
    assert (first == same).all() and (first != other).any()


# recurrent networks


def test_clocks():
    torch.manual_seed(0)
    net, x = ClockworkRNN(2, 15, modules=3), torch.randn(1, 6, 2)
    with torch.no_grad():
        states = [net(x[:, :k])[1] for k in range(1, 7)]
    moved = [[bool((a[0, s] != b[0, s]).any()) for s in (slice(0, 5), slice(5, 10), slice(10, 15))]
             for a, b in pairwise(states)]  # fmt: skip
    # From time k to k + 1 the module of period 1 always moves, that of period 4 at time 4, that of 16 not yet.
    assert moved == [[True, k == 4, False] for k in range(1, 6)]
    _, hidden = net(x[:, :2])
    assert torch.allclose(net(x[:, 2:], hidden, 2)[0], net(x)[0][:, 2:], atol=1e-6)  # a sequence in two parts


def test_a_module_does_not_hear_faster_ones():
    net = ClockworkRNN(1, 10, modules=2)
    weights = net.recurrent * net.mask
    assert (weights[5:, :5] == 0).all() and (weights[:5] != 0).all()


@pytest.mark.parametrize("kind", ["lstm", "cwrnn"])
def test_parameters_are_counted(kind):
    units = units_for(kind, 4, 3000)
    net = LSTM(4, units) if kind == "lstm" else ClockworkRNN(4, units)
    count = sum(p.numel() for p in net.parameters())
    if kind == "cwrnn":
        count -= int((net.mask == 0).sum())
    assert net.parameter_count(4, units) == count <= 3000
    assert net.parameter_count(4, units + (1 if kind == "lstm" else 5)) > 3000
    assert units_for(kind, 4, 1) == (1 if kind == "lstm" else 5)


@pytest.mark.parametrize("kind", ["lstm", "cwrnn"])
def test_recurrent_networks_learn(kind):
    sequence = orbit()
    state = torch.random.get_rng_state()
    short, long = (compare(sequence, {kind: solver_recurrent(kind, 1500, steps=s, lr=1e-2)})[kind] for s in (2, 250))
    assert long.error < 0.8 < short.error and long.unknowns <= 1500
    assert (torch.random.get_rng_state() == state).all()  # the global generator is left alone


def test_free_running_reads_first():
    net = LSTM(2, 3)
    read = torch.randn(5, 2)
    with torch.no_grad():
        free = run_free(net, read, 3)
        again = net(torch.cat([read, free[:2]])[None])[0][0, 4:]
    assert torch.allclose(free, again, atol=1e-6) and run_free(net, read, 0).shape == (0, 2)


def test_windows_and_seconds():
    result = solver_recurrent("lstm", 2000, steps=10**6, seconds=0.2, window=20, batch=3)(noise())
    assert result.reproduced.shape == (200, 20) and result.continued.shape == (20, 20)
    assert 1 <= result.record.history[0].steps[-1] < 10**6


# echo states


def test_without_reservoirpy_the_error_names_the_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "reservoirpy", None)
    monkeypatch.setitem(sys.modules, "reservoirpy.nodes", None)
    with pytest.raises(ImportError, match=r"skfem-ml\[esn\]"):
        solver_esn(100)


def test_echo_states():
    pytest.importorskip("reservoirpy")
    result = compare(orbit(), {"esn": solver_esn(400)})["esn"]
    assert result.error < 1e-2 and result.unknowns <= 400


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: SkipNet(0, 5, generator=torch.Generator()), "n, width, gain"),
        (lambda: solver_hits(8, ridge=1e-20)(orbit()), "ridge: expected at least 1e-15"),
        (lambda: solver_hits(8, (1, 3, 7))(orbit()), "multiple"),
        (lambda: solver_hits(8, (1, 100))(orbit()), "stride: expected below 60"),
        (lambda: strides_for(2), "frames, factor"),
        (lambda: solver_chosen(8)(orbit(more=0)), "expected frames held out"),
        (lambda: ClockworkRNN(2, 7), "expected a multiple of the 5 modules"),
        (lambda: units_for("gru", 2, 10), "expected one of"),
        (lambda: solver_recurrent("gru"), "expected one of"),
        (lambda: solver_recurrent("lstm", window=1), "window"),
        (lambda: solver_esn(100, leak=0.0), "leak"),
    ],
)
def test_bad_input(call, message):
    with pytest.raises(ValueError, match=message):
        call()
