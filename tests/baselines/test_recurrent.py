"""Recurrent networks and echo states that generate sequences, and their bad input."""

import sys
from itertools import pairwise

import pytest
import torch

from skfem_ml.baselines import LSTM, ClockworkRNN, solver_esn, solver_recurrent
from skfem_ml.baselines.recurrent import run_free, units_for
from skfem_ml.compare import compare
from tests.hits.test_generation import noise
from tests.problems.test_sequences import orbit

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
    short, long = (compare(sequence, {kind: solver_recurrent(kind, 1500, steps=s, rate=1e-2)})[kind] for s in (2, 250))
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
