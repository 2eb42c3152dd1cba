"""Ctrl-C: one line, exit code 130, and what a training leaves."""

import json
import os
import signal
import time

import numpy as np
import pytest

from skfem_ml.hits import HiTS
from skfem_ml.lod.surrogate import Surrogate
from tests.cli.commands import LIMIT, heard, skfem_ml, started

TOY = ["--coarse", "4", "--refine", "2", "--ell", "1"]
posix = pytest.mark.skipif(os.name != "posix", reason="signals")


def exists(path, run):
    """Wait until the program has made a file or folder; it is taken for dead after a long while."""
    deadline = time.monotonic() + LIMIT
    while not path.exists():
        assert run.poll() is None and time.monotonic() < deadline, run.communicate()
        time.sleep(0.05)


@posix
def test_ctrl_c_ends_in_one_line(tmp_path):
    """Finding B3, E: the signal is sent when the program has made its folder, not after a number of seconds."""
    np.save(tmp_path / "a.npy", np.random.default_rng(0).uniform(1, 9, (512, 512)))
    out = tmp_path / "out"
    options = ["--engine", "reference", "--quiet", "--output", out]
    with started("compare", "diffusion", tmp_path / "a.npy", *options) as run:
        exists(out, run)
        run.send_signal(signal.SIGINT)
        output, errors = run.communicate(timeout=LIMIT)
    assert (run.returncode, output, errors) == (130, "", "interrupted\n")
    assert list(out.iterdir()) == []


@posix
def test_a_training_into_a_pipe_says_what_it_does_and_leaves_its_best(tmp_path):
    """Finding B6: a line where output is a pipe; stopped by Ctrl-C, the model so far and one line that says where."""
    file, checkpoint = tmp_path / "m.safetensors", tmp_path / "run.pt"
    with started("train", "surrogate", file, *TOY, "--steps", 4000, "--checkpoint", checkpoint) as run:
        line = heard(run, str(file))[0]
        exists(checkpoint, run)
        run.send_signal(signal.SIGINT)
        _, errors = run.communicate(timeout=LIMIT)
    assert "4000 steps" in line and "Ctrl-C" in line
    assert run.returncode == 130 and errors.splitlines()[-1] == f"interrupted; the best so far is in {file}"
    assert Surrogate.load(file).card["stopped"]


def test_the_best_surrogate_so_far(tmp_path, stopping):
    """Finding B6: what is written is the best of the records, usable, and its card says that the run was stopped."""
    file = tmp_path / "m.safetensors"
    with stopping(30):
        result = skfem_ml("train", "surrogate", file, *TOY, "--steps", "60", "--quiet")
    assert result.exit_code == 130 and result.stderr == f"interrupted; the best so far is in {file}\n"
    card = Surrogate.load(file).card
    assert card["stopped"] and card["name"] == "m" and card.errors == {}
    low, high = card["extent"]
    assert low < 0 < high < 2  # of logarithms of values in [1, 5] over their mean
    np.save(tmp_path / "a.npy", np.random.default_rng(0).uniform(1, 5, (16, 16)))
    options = ["--surrogate", file, "--refine", "2", "--json", "--output", tmp_path]
    solved = skfem_ml("solve", tmp_path / "a.npy", "--method", "surrogate", *options)
    assert solved.exit_code == 0 and json.loads(solved.stdout)["max"] > 0, solved.stderr
    with stopping(0):
        result = skfem_ml("train", "surrogate", tmp_path / "none.safetensors", *TOY, "--steps", "60")
    assert result.exit_code == 130 and "nothing is written" in result.stderr
    assert not (tmp_path / "none.safetensors").exists()


def test_the_flow_maps_so_far(tmp_path, stopping):
    """Finding B6: the maps that are trained and the best of the one at work; the same command goes on."""
    command = ["train", "hits", "hyperbolic", "--levels", "5,6,7", "--steps", 60, "--starts", 40, "--output", tmp_path]
    with stopping(61):
        result = skfem_ml(*command)
    path = tmp_path / "hyperbolic.safetensors"
    assert result.exit_code == 130 and result.stderr == f"interrupted; the best so far is in {path}\n"
    hits = HiTS.load(path)
    assert len(hits.all_maps) == 2 and hits.card["stopped"]
    assert skfem_ml(*command).exit_code == 0
    hits = HiTS.load(path)
    assert len(hits.all_maps) == 3 and "stopped" not in hits.card
