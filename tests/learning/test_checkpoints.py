"""Faults of a training run: kills, a full disk, two runs at once, damaged files; and resume to the last bit."""

import os
import pickle
import signal
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest
import torch

from skfem_ml.learning import CheckpointInUseError, CorruptModelError, checkpoints, load_checkpoint, save_checkpoint
from skfem_ml.learning.checkpoints import locked

STATE = {"net": {"w": torch.arange(5.0)}, "history": {"steps": [1]}, "step": 3}
# A run as a user writes one: own draws that depend on the step alone, averaged weights, SOAP, a schedule.
RUN = """
import os, resource, signal, sys, torch
from skfem_ml.learning import storage
from skfem_ml.learning import MLP, SOAP, fit

def draw(step):
    x = torch.rand(16, 1, generator=torch.Generator().manual_seed(step), dtype=torch.float64)
    return x, torch.sin(3 * x)

def loss(net, batch):
    return (net(batch[0]) - batch[1]).square().mean()

def run(path, steps=60, every=5, net=None, **more):
    net = MLP((1, 6, 1), generator=torch.Generator().manual_seed(0)) if net is None else net
    history = fit(
        net, loss, draw, optimiser=SOAP(net.parameters(), lr=1e-2), steps=steps, every=every, average=0.9,
        validate=lambda net: float(loss(net, draw(10**6)).detach()), schedule=lambda step: 1e-2 / (1 + step),
        checkpoint=path, **more,
    )
    return net, history
"""


def child(code, *arguments):
    return subprocess.Popen(
        [sys.executable, "-c", RUN + textwrap.dedent(code), *map(str, arguments)],
        stdout=subprocess.PIPE,
        cwd=Path(__file__).parents[2],
        text=True,
    )


def finished(path=None, **options):
    space = {}
    exec(RUN, space)
    net, history = space["run"](path, **options)
    return [p.detach().clone() for p in net.parameters()], history


@pytest.fixture(scope="module")
def uninterrupted():
    return finished()


def assert_same(one, other):
    (weights, history), (expected, wanted) = one, other
    assert all(torch.equal(a, b) for a, b in zip(weights, expected, strict=True))
    assert (history.steps, history.losses, history.best_step) == (wanted.steps, wanted.losses, wanted.best_step)


def test_resume_after_kill_9_in_the_middle(tmp_path, uninterrupted):
    path = tmp_path / "run.pt"
    process = child(
        """
        import time
        def tell(step, steps, value):
            print(step, flush=True)
            time.sleep(60 if step >= 25 else 0)
        run(sys.argv[1], progress=tell)
        """,
        path,
    )
    while process.stdout.readline().strip() != "25":
        pass
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert load_checkpoint(path)["step"] == 25
    assert_same(finished(path), uninterrupted)
    assert [p.name for p in tmp_path.iterdir()] == ["run.pt"]


def test_resume_after_kill_9_in_a_save(tmp_path, uninterrupted):
    """Half of the third checkpoint is in its temporary file when the process dies: the second one loads."""
    path = tmp_path / "run.pt"
    process = child(
        """
        calls = []
        real = os.fsync
        def fsync(handle):
            calls.append(handle)
            if len(calls) == 5:  # a save synchronises the file and its folder
                os.ftruncate(handle, 100)
                os.kill(os.getpid(), signal.SIGKILL)
            real(handle)
        os.fsync = fsync
        run(sys.argv[1])
        """,
        path,
    )
    assert process.wait(timeout=60) == -signal.SIGKILL
    assert load_checkpoint(path)["step"] == 10 and len(list(tmp_path.glob(".run.pt.*.tmp"))) == 1
    assert_same(finished(path), uninterrupted)


def test_a_full_disk_keeps_the_old_checkpoint(tmp_path, uninterrupted):
    """A limit on the size of files from the second record on: writes fail half-way, as on a full disk."""
    path = tmp_path / "run.pt"
    process = child(
        """
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        def full(step, *_):
            if step == 10:
                resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))
        try:
            run(sys.argv[1], progress=full)
        except OSError as error:
            print("refused", error.errno)
        """,
        path,
    )
    assert process.communicate(timeout=60)[0].startswith("refused")
    assert load_checkpoint(path)["step"] == 10 and [p.name for p in tmp_path.iterdir()] == ["run.pt"]
    assert_same(finished(path), uninterrupted)


def test_a_second_run_is_refused_and_a_dead_ones_lock_taken_over(tmp_path, uninterrupted):
    path = tmp_path / "run.pt"
    process = child("import time\nrun(sys.argv[1], progress=lambda *_: (print(1, flush=True), time.sleep(60)))", path)
    process.stdout.readline()
    with pytest.raises(CheckpointInUseError, match=f"in use by process {process.pid} on .*choose another checkpoint"):
        finished(path)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert (tmp_path / ".run.pt.lock").exists()
    assert_same(finished(path), uninterrupted)
    assert [p.name for p in tmp_path.iterdir()] == ["run.pt"]


def test_a_lock_within_one_process_and_one_removed_meanwhile(tmp_path, monkeypatch):
    path = tmp_path / "run.pt"
    with locked(path):
        with pytest.raises(CheckpointInUseError, match=f"process {os.getpid()}"), locked(path):
            pass
        with locked(tmp_path / "other.pt"):
            pass
    answers = [False, True]
    monkeypatch.setattr(checkpoints, "_same_file", lambda *_: answers.pop(0))
    with locked(path), locked(None):
        assert not answers


def test_a_divergence_names_step_and_checkpoint(tmp_path):
    process = child(
        """
        net = MLP((1, 6, 1), generator=torch.Generator().manual_seed(0))
        calls, plain = [], loss
        def loss(net, batch):
            calls.append(1)
            return plain(net, batch) * (float("nan") if len(calls) > 34 else 1.0)
        net, history = run(sys.argv[1], net=net)
        print(history.status, history.message)
        print(float(plain(net, draw(10**6))) == history.best)
        """,
        tmp_path / "run.pt",
    )
    text = process.communicate(timeout=60)[0]
    assert "-1 the loss is nan at step" in text and f"last good checkpoint is {tmp_path / 'run.pt'}, step" in text
    assert text.strip().endswith("True")


def test_damaged_checkpoints_are_refused(tmp_path):
    path = tmp_path / "run.pt"
    save_checkpoint(path, STATE)
    whole = path.read_bytes()
    assert load_checkpoint(path)["step"] == 3
    flipped = [whole[:k] + bytes([whole[k] ^ 1]) + whole[k + 1 :] for k in range(0, len(whole), 7)]
    for data in [*flipped, whole[:-1], whole + b"x", whole[:30], b""]:
        path.write_bytes(data)
        with pytest.raises(CorruptModelError, match="remove it to start anew"):
            load_checkpoint(path)
    with pytest.raises(FileNotFoundError):
        load_checkpoint(tmp_path / "none.pt")


class Hostile:
    def __reduce__(self):
        return os.mkdir, (os.environ["SKFEM_ML_TEST_FOLDER"],)


@pytest.mark.parametrize("plain", [True, False])
def test_a_pickle_in_the_place_of_a_checkpoint_is_never_run(plain, tmp_path, monkeypatch):
    monkeypatch.setenv("SKFEM_ML_TEST_FOLDER", str(tmp_path / "made"))
    path = tmp_path / "run.pt"
    if plain:
        path.write_bytes(pickle.dumps(Hostile()))
    else:
        save_checkpoint(path, {"net": Hostile()})  # with a right checksum
    with pytest.raises(CorruptModelError):
        load_checkpoint(path)
    assert not (tmp_path / "made").exists()
