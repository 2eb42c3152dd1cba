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
    assert 0 < table["adaptive, tol 0.001"]["error_l2"] < 0.9
    page = (tmp_path / "flows.md").read_text(encoding="utf-8")
    assert "- hierarchy: seed 0, 60 steps a map" in page and "- wins: " in page
    assert "wanted 'cubic', got 'hyperbolic'" in refused("compare", "flows", "cubic", "--model", path)


@pytest.mark.slow
def test_models_of_several_seeds_are_compared_by_the_worst(tmp_path):
    errors = []
    short = ("hyperbolic", "--levels", "6", "--steps", 40, "--starts", 30)
    paths = [tmp_path / str(seed) / "hyperbolic.safetensors" for seed in (0, 1)]
    for seed, path in enumerate(paths):
        assert skfem_ml("train", "hits", *short, "--seed", seed, "--output", path.parent).exit_code == 0
    for models in (paths[:1], paths[1:], paths):
        chosen = [word for path in models for word in ("--model", path)]
        asked = ("compare", "flows", "hyperbolic", *chosen, "--starts", 5, "--times", 64, "--output", tmp_path)
        result = skfem_ml(*asked, "--json")
        assert result.exit_code == 0, result.stderr
        errors.append(rows(json.loads(result.stdout))["hierarchy"]["error_l2"])
    assert errors[2] == max(errors[:2]) > min(errors[:2])
    assert "- hierarchy: seeds 0 1, 40 steps a map" in (tmp_path / "flows.md").read_text(encoding="utf-8")


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
