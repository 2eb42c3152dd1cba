"""Sequences and where they come from: orders and identities of the integrators, shapes, measures, null models."""

import dataclasses

import numpy as np
import pytest
from scipy.integrate import solve_ivp

from skfem_ml.compare import compare
from skfem_ml.problems import Sequence, clip, cylinder, music
from skfem_ml.problems.sequences import FUGUE, RATE, cylinder_file, svd_states, synthesise
from skfem_ml.reference import (
    KuramotoSivashinsky,
    kuramoto_sivashinsky,
    solver_analogue,
    solver_linear,
    solver_mean,
    solver_persistence,
)
from skfem_ml.reference.cylinder import CylinderFlow, cylinder_mesh
from skfem_ml.reference.kuramoto import ETDRK4, ks_start
from skfem_ml.solutions import Generated
from tests.gallery import orbit

# integrators


def test_etdrk4_is_exact_for_linear_equations_and_of_order_4():
    linear = np.array([-1e3, -1.0, 0.0, 2.0 + 1.0j])
    v = np.ones(4, dtype=complex)
    assert ETDRK4(linear, lambda v: 0 * v, 0.3).step(v) == pytest.approx(np.exp(0.3 * linear), rel=1e-13)
    scheme = [ETDRK4(np.array([-1.0]), lambda v: v**2, dt) for dt in (0.1, 0.05, 0.025)]
    errors = []
    for s in scheme:
        v = np.array([0.5])
        for _ in range(round(1 / s.dt)):
            v = s.step(v)
        errors.append(abs(v[0] - 1 / (1 + np.exp(1.0))))  # v' = -v + v^2
    assert np.log2(np.divide(errors[:-1], errors[1:])) == pytest.approx([4, 4], abs=0.2)


def test_kuramoto_sivashinsky_is_of_order_4():
    u0 = ks_start(22 * np.arange(32) / 32, 22.0)
    ends = []
    for substeps in (128, 256, 512, 4096):
        equation, u = KuramotoSivashinsky(32, 22.0, 2.0, substeps), u0
        for _ in range(2):
            u = equation.step(u)
        ends.append(u)
    errors = [abs(u - ends[-1]).max() for u in ends[:-1]]
    assert np.log2(np.divide(errors[:-1], errors[1:])) == pytest.approx([4, 4], abs=0.25)


def test_kuramoto_sivashinsky_agrees_with_an_implicit_integrator():
    equation = KuramotoSivashinsky(32, 22.0, 1.0, 256)
    u = u0 = ks_start(equation.x, 22.0)
    for _ in range(5):
        u = equation.step(u)
    expected = solve_ivp(equation.rhs, (0, 5), u0, method="Radau", rtol=1e-9, atol=1e-11).y[:, -1]
    assert u == pytest.approx(expected, abs=2e-8)
    assert u.mean() == pytest.approx(u0.mean(), abs=1e-12)  # the mean is conserved


def test_kuramoto_sivashinsky_commutes_with_translation_and_takes_batches():
    equation = KuramotoSivashinsky(64, 22.0, 0.5)
    u = ks_start(equation.x, 22.0)
    batch = equation.step(np.stack([u, np.roll(u, 7)]))
    assert batch[0] == pytest.approx(equation.step(u), abs=1e-12)
    assert batch[1] == pytest.approx(np.roll(batch[0], 7), abs=1e-12)


def test_the_cylinder_flow():
    flow = CylinderFlow(cylinder_mesh(16, (-3.0, 4.0, 3.0), 1.0), reynolds=10.0, dt=0.02)
    q = flow.mesh.p[:, flow.mesh.t]
    area = 0.5 * abs((q[0, 1] - q[0, 0]) * (q[1, 2] - q[1, 0]) - (q[0, 2] - q[0, 0]) * (q[1, 1] - q[1, 0]))
    assert area.sum() == pytest.approx(42 - 8 * 0.25 * np.sin(np.pi / 8), rel=1e-12)  # a polygon of 16 sides is cut out
    state = flow.start(tilt=0.0)
    assert abs(flow.lift(state)) < 1e-10
    for _ in range(600):
        state, old = flow.step(state), state
    u = flow.velocity(state)
    assert flow.divergence(state) < 1e-12
    assert abs(state - old).max() < 1e-3  # steady at Re 10
    x, y = flow.basis.doflocs
    wall = flow.basis.get_dofs("cylinder").flatten()
    assert abs(u[:, wall]).max() == 0 and (u[0, np.isclose(x, -3)] == 1).all()
    behind = u[0, (abs(y) < 0.1) & (x > 0.6) & (x < 1.5)]
    assert behind.max() < 0.5  # a wake


def test_the_shipped_flow_is_a_periodic_street():
    sequence = cylinder()
    assert sequence.states.shape == (196, 22) and sequence.train == 151 and sequence.held_out == 45
    assert sequence.learnt.T @ sequence.learnt == pytest.approx(np.eye(22), abs=1e-6)
    first = sequence.states[:, 1] - sequence.states[:, 1].mean()
    up = np.flatnonzero((first[:-1] < 0) & (first[1:] >= 0))
    crossings = up - first[up] / (first[up + 1] - first[up])
    strouhal = 1 / (np.diff(crossings).mean() * sequence.dt)
    assert strouhal == pytest.approx(0.178, abs=0.003)
    assert cylinder_file()["vorticity"].shape == (22, 41, 117)


# sequences


def test_music():
    sequence = music(1.0, 0.25, delays=64)
    assert sequence.train == round(RATE) - 63 and sequence.held_out == round(0.25 * RATE)
    assert sequence.states[1:, :-1] == pytest.approx(sequence.states[:-1, 1:], abs=0)  # windows move by one sample
    spectrum = abs(np.fft.rfft(synthesise(((0, 8, 69),), 2205)))
    assert np.argmax(spectrum) * RATE / 2205 == pytest.approx(440, abs=1)
    assert [pitch for _, _, pitch in FUGUE[:4]] == [60, 62, 64, 65]


def test_clip_and_svd():
    sequence = clip(80, 10, size=16, rank=20)
    assert sequence.states.shape == (90, 20)
    assert sequence.learnt.T @ sequence.learnt == pytest.approx(np.eye(20), abs=1e-10)
    frames = np.random.default_rng(0).standard_normal((7, 12))
    states, modes = svd_states(frames, 5, 5)
    assert states[:5] @ modes == pytest.approx(frames[:5], abs=1e-12)
    assert (frames[5:] - states[5:] @ modes) @ modes.T == pytest.approx(0, abs=1e-12)  # a projection


def test_the_orbit_of_kuramoto_sivashinsky():
    sequence = kuramoto_sivashinsky(81, 9, rank=20, points=128)
    assert sequence.states.shape == (90, 20) and sequence.truth.shape == (90, 128)
    assert sequence.modes @ sequence.modes.T == pytest.approx(np.eye(20), abs=1e-12)
    gap = sequence.truth - sequence.measured(sequence.states)
    assert gap @ sequence.modes.T == pytest.approx(0, abs=1e-9)
    table = compare(sequence, {"table": solver_analogue()})
    assert table["table"].error == pytest.approx(
        np.sqrt((gap[:81] ** 2).mean() / ((sequence.truth[:81] - sequence.truth[:81].mean(axis=0)) ** 2).mean())
    )  # what POD cuts off counts


# measures and null models


def test_measures():
    sequence = orbit()
    assert compare(sequence, {"exact": lambda s: s.exact})["exact"].error == 0
    table = compare(
        sequence,
        {
            "mean": solver_mean(),
            "persistence": solver_persistence(),
            "table": solver_analogue(),
            "linear": solver_linear(),
            "short": lambda s: Generated(s.learnt[1:], s.states[s.train :]),
            "nan": lambda s: Generated(s.learnt * np.nan, s.states[s.train :]),
        },
    )
    assert table["mean"].error == pytest.approx(1) and table["mean"]["error continued"] == pytest.approx(1)
    assert table["persistence"].error > 1
    assert table["table"].error == 0 < table["table"]["error continued"] and table["table"].unknowns == 240
    assert table["linear"].error < 1e-8 and table["linear"]["error continued"] < 1e-8
    assert "expected generated frames (60, 4), got (59, 4)" in table["short"].failure
    assert "expected finite numbers" in table["nan"].failure
    assert "error reproduced" in str(table)
    nothing = dataclasses.replace(sequence, train=70)
    assert compare(nothing, {"linear": solver_linear()})["linear"]["error continued"] is None


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: Sequence("x", np.zeros(3), 3, 1.0), "expected finite numbers"),
        (lambda: Sequence("x", np.full((5, 2), np.nan), 3, 1.0), "expected finite numbers"),
        (lambda: Sequence("x", np.zeros((5, 2)), 6, 1.0), "expected 3 to 5 frames"),
        (lambda: Sequence("x", np.zeros((5, 2)), 4, 0.0), "positive step"),
        (lambda: Sequence("x", np.zeros((5, 2)), 4, 1.0, np.zeros((3, 9))), "modes: expected"),
        (lambda: music(9.0), "expected seconds"),
        (lambda: music(1.0, delays=1), "expected seconds"),
        (lambda: clip(20, rank=64), "expected 1 to 20"),
        (lambda: cylinder(23), "expected 1 to 22"),
        (lambda: kuramoto_sivashinsky(20, rank=30), "expected 1 to 20"),
        (lambda: KuramotoSivashinsky(9), "expected even >= 8"),
        (lambda: KuramotoSivashinsky(16, dt=-1.0), "dt: expected a positive"),
        (lambda: cylinder_mesh(6), "expected around >= 12"),
        (lambda: cylinder_mesh(16, (-1.0, 4.0, 3.0)), "expected around >= 12"),
        (lambda: CylinderFlow(cylinder_mesh(12, (-3.0, 4.0, 3.0)), reynolds=0), "expected positive numbers"),
        (lambda: solver_linear(-1.0), "ridge: expected >= 0"),
    ],
)
def test_bad_input(call, message):
    with pytest.raises(ValueError, match=message):
        call()
