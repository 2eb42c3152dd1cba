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


@pytest.mark.slow
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


@pytest.mark.slow
@posix
def test_a_training_into_a_pipe_says_what_it_does_and_leaves_its_best(tmp_path):
    """Finding B6: a line where output is a pipe; stopped by Ctrl-C, the best so far is judged, written and usable."""
    fields, file, kept = tmp_path / "fields", tmp_path / "m.safetensors", tmp_path / "run"
    fields.mkdir()
    for k in range(10):
        np.save(fields / f"{k}.npy", np.random.default_rng(k).uniform(1, 5, (8, 8)))
    options = [*TOY, "--budget", "5min", "--out", file, "--resume", kept]
    with started("train", "surrogate", fields, *options) as run:
        line = heard(run, str(fields))[0]
        exists(kept / "training.pt", run)
        run.send_signal(signal.SIGINT)
        output, errors = run.communicate(timeout=LIMIT)
    assert "5min" in line and "Ctrl-C" in line
    assert run.returncode == 0 and "training interrupted after" in errors + output and str(file) in output
    model = Surrogate.load(file)
    assert model.card["stopped"].startswith("interrupted after") and model.card.name == "m" and model.has_doubt
    assert model.verdict.sentence() in output
    np.save(tmp_path / "a.npy", np.random.default_rng(11).uniform(1, 5, (16, 16)))
    options = ["--surrogate", file, "--refine", "2", "--json", "--output", tmp_path]
    solved = skfem_ml("solve", tmp_path / "a.npy", "--method", "surrogate", *options)
    assert solved.exit_code == 0 and json.loads(solved.stdout)["max"] > 0, solved.stderr


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
