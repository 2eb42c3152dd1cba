"""What has learnt a sequence: saved, loaded, and continued from any frame, by every solver alike."""

import math

import numpy as np
import pytest
import torch

from skfem_ml.baselines import EchoStates, Recurrent, choose, solver_esn, solver_recurrent
from skfem_ml.hits import HiTS, solver_chosen, solver_hits, solver_trained
from skfem_ml.learning import CorruptModelError, ModelMismatchError, load_model, save_model
from skfem_ml.learning.schedules import affordable
from skfem_ml.problems import Sequence, white_noise
from skfem_ml.reference import solver_linear, solver_mean
from tests.gallery import orbit

pytestmark = pytest.mark.filterwarnings("ignore:states outside the box")  # of models that have learnt little
SOLVERS = {
    "hits": (HiTS, lambda: solver_hits(16, steps=5, seed=3)),
    "chosen": (HiTS, lambda: solver_chosen(16, seed=3)),
    "trained": (HiTS, lambda: solver_trained(8, steps=20, seed=3)),
    "lstm": (Recurrent, lambda: solver_recurrent("lstm", 500, steps=20, seed=3)),
    "cwrnn": (Recurrent, lambda: solver_recurrent("cwrnn", 500, steps=20, seed=3)),
    "esn": (EchoStates, lambda: solver_esn(200, seed=3)),
}


@pytest.fixture(params=SOLVERS)
def learnt(request):
    """The kind of a model, and what its solver returns on two decaying waves."""
    if request.param == "esn":
        pytest.importorskip("reservoirpy")
    kind, make = SOLVERS[request.param]
    return request.param, kind, make()(orbit())


def test_a_loaded_model_continues_from_any_frame_as_before(learnt, tmp_path):
    name, kind, found = learnt
    found.model.save(tmp_path / "model.safetensors", note="mine")
    loaded = kind.load(tmp_path / "model.safetensors", sequence="linear", seed=3)
    for frames in (orbit().learnt, orbit().states[:1], orbit().states[20:31]):
        assert (loaded.forecast(frames, 7) == found.model.forecast(frames, 7)).all()
    assert loaded.forecast(orbit().states[:1], 0).shape == (0, 4)
    assert repr(loaded) == repr(found.model)
    assert loaded.card["note"] == "mine" and loaded.card["frames"] == 60 and loaded.card["solver"] == name
    assert loaded.card["seconds"] > 0 and ("steps" in loaded.card or name == "esn")
    with pytest.raises(ModelMismatchError, match="seed: wanted 4, got 3"):
        kind.load(tmp_path / "model.safetensors", seed=4)


def test_what_a_solver_returns_is_what_its_model_makes(learnt):
    _, _, found = learnt
    sequence = orbit()
    assert (found.continued == found.model.forecast(sequence.learnt, 10)).all()
    assert (found.reproduced[1:] == found.model.forecast(sequence.learnt[:1], 59)).all()


@pytest.mark.parametrize("frames", [np.zeros(4), np.zeros((0, 4)), np.zeros((3, 5)), np.full((2, 4), np.nan)])
def test_frames_that_do_not_fit_are_refused(learnt, frames):
    model = learnt[2].model
    with pytest.raises(ValueError, match=r"frames: expected finite \(k, 4\)"):
        model.forecast(frames, 3)
    with pytest.raises(ValueError, match="count: expected 0 or more"):
        model.forecast(orbit().learnt, -1)


def test_files_of_another_kind_are_refused(tmp_path):
    solver_recurrent("lstm", 300, steps=1)(orbit()).model.save(tmp_path / "lstm.safetensors")
    with pytest.raises(ModelMismatchError, match="kind: wanted 'echo states', got 'Recurrent'"):
        EchoStates.load(tmp_path / "lstm.safetensors")
    with pytest.raises(CorruptModelError, match="expected the maps and card of a hierarchy"):
        HiTS.load(tmp_path / "lstm.safetensors")
    solver_hits(4)(orbit()).model.save(tmp_path / "hits.safetensors")
    with pytest.raises(ModelMismatchError, match="kind: wanted 'Recurrent', got 'hits'"):
        Recurrent.load(tmp_path / "hits.safetensors")
    tensors, card = load_model(tmp_path / "lstm.safetensors")
    for sizes in ({"cell": "gru", "units": 3}, {"cell": "lstm", "units": 10**9}, {"cell": "lstm", "units": 2}):
        save_model(tmp_path / "wrong.safetensors", tensors, {**card, "sizes": sizes})
        with pytest.raises(CorruptModelError):
            Recurrent.load(tmp_path / "wrong.safetensors")


def test_echo_states_of_a_hostile_file_are_refused(tmp_path):
    from scipy.sparse import csr_matrix

    model = EchoStates(csr_matrix(np.eye(3)), csr_matrix(np.eye(3, 2)), 0.5, np.zeros(3), np.eye(3, 2), np.zeros(2))
    model.save(tmp_path / "a.safetensors")
    tensors, card = load_model(tmp_path / "a.safetensors")
    for name, value in (("W.indices", torch.tensor([0, 1, 9])), ("bias", torch.zeros(2)), ("W.indptr", torch.ones(2))):
        save_model(tmp_path / "b.safetensors", {**tensors, name: value}, card)
        with pytest.raises(CorruptModelError, match="expected the numbers of echo states"):
            EchoStates.load(tmp_path / "b.safetensors")
    loaded = EchoStates.load(tmp_path / "a.safetensors")
    assert (loaded.forecast(np.ones((2, 2)), 4) == model.forecast(np.ones((2, 2)), 4)).all()


def test_echo_states_are_those_of_reservoirpy():
    nodes = pytest.importorskip("reservoirpy.nodes")
    sequence = orbit()
    model = solver_esn(200, leak=0.7, seed=1)(sequence).model
    scaled = (sequence.learnt - model.center) / model.scale
    reservoir = nodes.Reservoir(49, sr=0.9, lr=0.7, input_scaling=0.5, rc_connectivity=10 / 49, seed=1)
    states = reservoir.run(scaled)
    one = states[-1] @ model.output + model.offset
    assert model.forecast(sequence.learnt, 1)[0] == pytest.approx(one * model.scale + model.center, abs=1e-12)


def test_strides_need_the_frames_own():
    """Without stride 1 the frames of a hierarchy would be four times as far apart as those of the sequence."""
    with pytest.raises(ValueError, match=r"strides: expected 1 among them, got \[4, 16\]"):
        solver_hits(8, (4, 16))(orbit())


# budgets and choices


def test_seconds_end_every_training():
    """CPU seconds: what else runs on the machine does not count, so that only an upper bound of many times is safe."""
    for solver in (
        solver_hits(8, steps=10**7, seconds=0.3),
        solver_trained(8, steps=10**7, seconds=0.3),
        solver_recurrent("lstm", 300, steps=10**7, seconds=0.3),
    ):
        steps = solver(orbit()).model.card["steps"]
        assert all(1 <= count < 10**6 for count in (steps if isinstance(steps, list) else [steps]))


def test_affordable_steps_grow_with_the_seconds(monkeypatch):
    now = [0.0]
    monkeypatch.setattr("time.process_time", lambda: now[0])

    def train(steps):
        now[0] += 0.5 + 0.01 * steps  # what begins costs as much as fifty steps

    found = {}
    for seconds in (1, 100, 1000):
        now[0] = 0.0
        found[seconds] = affordable(train, seconds)
        assert now[0] + 0.5 + 0.01 * found[seconds] < 1.1 * max(seconds, 1.5)
    assert found[1] >= 1 and found[1000] > 8 * found[100] > 8
    with pytest.raises(ValueError, match="seconds: expected a positive number"):
        affordable(train, 0.0)


def test_a_choice_sees_no_frame_that_is_held_out():
    sequence, seen = orbit(), []

    def watched(trial: Sequence):
        seen.append(trial)
        return solver_linear()(trial)

    best, errors = choose(sequence, {"mean": solver_mean(), "linear": watched})
    assert best == "linear" and errors["linear"] < 1e-12 < errors["mean"]
    assert len(seen[0].states) == sequence.train and seen[0].train == sequence.train - sequence.held_out
    assert (seen[0].states == sequence.learnt).all()

    def diverging(trial: Sequence):
        found = solver_mean()(trial)
        return type(found)(found.reproduced, found.continued * math.inf)

    assert choose(sequence, {1: diverging, 2: solver_mean()})[0] == 2
    with pytest.raises(FloatingPointError, match="every one of"):
        choose(sequence, {1: diverging})
    with pytest.raises(ValueError, match="expected frames held out"):
        choose(orbit(more=0), {1: solver_mean()})


def test_white_noise_has_the_marginals_and_nothing_else():
    sequence = orbit(frames=2000)
    noise = white_noise(sequence)
    assert noise.states.shape == sequence.states.shape and noise.train == sequence.train
    assert noise.learnt.std(axis=0) == pytest.approx(sequence.learnt.std(axis=0), rel=0.1)
    assert abs(np.corrcoef(noise.learnt[:-1, 0], noise.learnt[1:, 0])[0, 1]) < 0.1
    assert (noise.states == white_noise(sequence).states).all()
    assert (noise.states != white_noise(sequence, seed=1).states).any()
