"""``skfem-ml train hits`` and ``compare flows``: files, numbers, a stopped run, bad input."""

import json

import numpy as np
import pytest

from skfem_ml.hits import HiTS
from skfem_ml.problems import hyperbolic
from skfem_ml.reference import trajectories
from tests.cli.commands import refused, rows, skfem_ml

SHORT = ("--levels", "5,7", "--steps", 60, "--starts", 40)


def test_train_and_compare(tmp_path):
    result = skfem_ml("train", "hits", "hyperbolic", *SHORT, "--output", tmp_path, "--json")
    assert result.exit_code == 0, result.stderr
    told = json.loads(result.stdout)
    assert told["test error"] < 0.1 * told["null error"] and told["dt"] == [0.32, 1.28]
    path = tmp_path / "hyperbolic.safetensors"
    assert told["files"]["safetensors"] == str(path) and HiTS.load(path).card["seed"] == 0
    again = skfem_ml("train", "hits", "hyperbolic", *SHORT, "--output", tmp_path, "--json")
    assert json.loads(again.stdout) == told  # from its checkpoints
    result = skfem_ml(
        "compare", "flows", "hyperbolic", "--model", path, "--starts", 10, "--times", 64, "--output", tmp_path, "--json"
    )
    assert result.exit_code == 0, result.stderr
    table = rows(json.loads(result.stdout))
    assert table["RK4, dt = 0.04"]["error_l2"] < 1e-7 < table["network, dt = 1.28"]["error_l2"] < 0.9
    assert {"flows.png", "flows.csv", "flows.md", "flows.json"} <= {p.name for p in tmp_path.iterdir()}
    assert "wanted 'cubic', got 'hyperbolic'" in refused("compare", "flows", "cubic", "--model", path)


def test_train_from_a_file(tmp_path):
    found = trajectories(hyperbolic(), "train", count=30, every=32)
    np.savez(tmp_path / "mine.npz", t=found.t, y=found.y)
    result = skfem_ml("train", "hits", tmp_path / "mine.npz", "--levels", "0,2", "--steps", 60, "--output", tmp_path)
    assert result.exit_code == 0, result.stderr
    assert "mean squared error" in result.stdout
    assert HiTS.load(tmp_path / "mine.safetensors").all_maps[0].dt == pytest.approx(1.28)


def test_bad_input(tmp_path):
    np.savez(tmp_path / "short.npz", t=np.arange(3.0), y=np.zeros((5, 2, 4)))
    np.savez(tmp_path / "other.npz", x=np.zeros(3))
    (tmp_path / "words.npz").write_text("no archive")
    assert "got (3,) and (5, 2, 4)" in refused("train", "hits", tmp_path / "short.npz")
    assert "expected .npz with t (k,)" in refused("train", "hits", tmp_path / "other.npz")
    assert "expected .npz with t (k,)" in refused("train", "hits", tmp_path / "words.npz")
    assert "found none" in refused("train", "hits", tmp_path / "absent.npz")
    assert "expected one of cubic, " in refused("train", "hits", "pendulum")
    assert "--levels: expected different whole numbers" in refused("train", "hits", "--levels", "a,b")
    assert "--levels: expected whole numbers from 0 to 10" in refused("train", "hits", "--levels", "3,11")
    assert "--steps, --starts: expected at least 1" in refused("train", "hits", "--steps", 0)
    small = ("--output", tmp_path, "--starts", 5, "--levels", "7")
    assert "--variant: expected one of" in refused("train", "hits", "hyperbolic", "--variant", "mine", *small)
    assert "expected one of cubic, " in refused("compare", "flows", "pendulum")
    assert "expected the name of a model of the package" in refused("compare", "flows", "lorenz")
    assert "--starts, --times: expected at least 1" in refused("compare", "flows", "--starts", 0)
