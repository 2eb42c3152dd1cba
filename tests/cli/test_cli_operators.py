"""``skfem-ml compare rte``, ``compare custom-operator``, ``train fmmnet``: files, numbers, bad input, interruption."""

import json

import numpy as np
import pytest
from skfem import MeshTri

from skfem_ml import load_operator
from skfem_ml.cli.compare.operators import TRAINED
from skfem_ml.fmm.networks import load_network
from skfem_ml.metrics import mean_residual
from tests.cli.commands import refused, rows, skfem_ml

SIZES = ["--cells", 64, "--samples", 90, "--steps", 5]
SMALL = [*SIZES, "--seeds", 2]


def test_compare_rte(tmp_path):
    result = skfem_ml("compare", "rte", *SMALL, "--output", tmp_path, "--json")
    assert result.exit_code == 0, result.stderr
    table = rows(json.loads(result.stdout))
    assert table["affine ridge"]["residual_test"] < 0.1 and len(table) == 8
    assert {path.name for path in tmp_path.iterdir()} == {f"rte.{s}" for s in ("png", "csv", "md", "json")}
    text = (tmp_path / "rte.md").read_text()
    assert "residual test" in text and "- DeepFMMNet: 5 steps of 128 samples, seeds 0, 1" in text
    assert "of several seeds: the worst" in text
    for name, row in table.items():
        best = row["residual_test_best_seed"]
        assert (best is None) == (name not in TRAINED) and (best is None or best <= row["residual_test"])


def test_compare_custom_operator(tmp_path):
    result = skfem_ml("compare", "custom-operator", *SMALL, "--output", tmp_path)
    assert result.exit_code == 0, result.stderr
    assert "residual test" in result.stdout and str(tmp_path / "custom-operator.png") in result.stdout
    table = rows(json.loads((tmp_path / "custom-operator.json").read_text()))
    assert table["H2 from the kernel"]["residual_test"] < 1e-6


def test_train(tmp_path):
    result = skfem_ml("train", "fmmnet", *SIZES, "--output", tmp_path)
    assert result.exit_code == 0, result.stderr
    assert "mean relative residual" in result.stdout
    last = result.stdout.splitlines()[-1]
    assert last == f'load it by: skfem_ml.load_operator("{tmp_path / "fmmnet.safetensors"}")'
    assert {path.name for path in tmp_path.iterdir()} == {f"fmmnet.{s}" for s in ("safetensors", "json", "png")}
    net, card = load_network(tmp_path / "fmmnet.safetensors", N=64)
    content = json.loads((tmp_path / "fmmnet.json").read_text())
    assert card["residual_test"] == content["residual_test"] and card["seed"] == 0
    assert sum(p.numel() for p in net.parameters()) == content["parameters"]
    assert content["history"]["steps"] == [5]


def test_an_interrupted_training_goes_on(tmp_path, stopping):
    """Finding B6: the best network so far is written, and the same command goes on."""
    command = ["train", "fmmnet", "--cells", 64, "--samples", 90, "--steps", 100, "--quiet", "--output", tmp_path]
    path = tmp_path / "fmmnet.safetensors"
    with stopping(50):
        result = skfem_ml(*command)
    assert (result.exit_code, result.stdout) == (130, "")
    assert result.stderr == f"interrupted; the best so far is in {path}\n"
    _, card = load_network(path, N=64)
    assert card["stopped"] and "residual_test" not in card
    assert "a checkpoint of another run" in refused(*command, "--rank", 3)
    result = skfem_ml(*command)
    assert result.exit_code == 0 and result.stdout == "", result.stderr
    assert json.loads((tmp_path / "fmmnet.json").read_text())["history"]["steps"] == [50, 100]
    assert not list(tmp_path.glob("fmmnet.pt*")) and "stopped" not in load_network(path)[1]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["compare", "rte", "--cells", 100], "--cells: expected a multiple of 64"),
        (["compare", "rte", "--samples", 3], "--samples, --steps, --seeds: expected at least 30, 1 and 1, got 3"),
        (["compare", "custom-operator", "--steps", 0], "--samples, --steps, --seeds: expected at least 30, 1 and 1"),
        (["train", "fmmnet", "--cells", 1], "--cells, --samples: expected at least 2 and 30, got 1"),
        (["train", "fmmnet", "--hidden", 0], "--steps, --rank, --hidden, --products: expected at least 1 each"),
        (["train", "fmmnet", "--mesh", "m.vtu"], "--mesh: expected DATA.npz with it"),
        (["train", "fmmnet", "pairs.npz", "--cells", 64], "--cells, --samples: they are of the radiative transfer"),
        (["train", "fmmnet", "no.npz"], "no.npz: expected a .npz file with inputs, outputs and points, found none"),
        (["train", "fmmnet", "--network", "best"], "--network: expected one of 'deep', 'neural'"),
        (["predict", "no.safetensors", "no.npz"], "no.safetensors"),
        (["train", "nothing"], "No such command"),
    ],
)
def test_bad_input(arguments, message, tmp_path):
    output = [] if arguments[1] == "nothing" else ["--output", tmp_path]
    assert message in refused(*arguments, *output)
    assert not list(tmp_path.iterdir())


def own_pairs(path, points=None, n=60, N=81):
    rng = np.random.default_rng(0)
    points = rng.random((2, N)) if points is None else points
    q = rng.standard_normal((n, N))
    w = np.tanh(q) @ np.exp(-((points[:, :, None] - points[:, None]) ** 2).sum(axis=0)) / N + 1
    np.savez(path, points=points, inputs=q, outputs=w)
    return points, q, w


@pytest.mark.parametrize("network", ["deep", "neural"])
def test_own_pairs_are_trained_and_used(network, tmp_path):
    """Issue 16: ``train fmmnet DATA.npz``, and something that reads the file that it writes (finding D)."""
    data, model = tmp_path / "own.npz", tmp_path / "fmmnet.safetensors"
    points, q, w = own_pairs(data)
    result = skfem_ml("train", "fmmnet", data, "--network", network, "--steps", 20, "--output", tmp_path)
    assert result.exit_code == 0, result.stderr
    content = json.loads((tmp_path / "fmmnet.json").read_text())
    assert content["problem"] == "own" and content["data"] == "own.npz" and content["network"] == network
    assert content["residual_ridge"] > 0 and "affine ridge" in result.stdout
    result = skfem_ml("predict", model, data, "--output", tmp_path, "--json")
    assert result.exit_code == 0, result.stderr
    whole = np.load(tmp_path / "prediction.npz")["outputs"]
    np.testing.assert_allclose(whole, load_operator(model)(q), rtol=0, atol=1e-6)
    assert json.loads(result.stdout)["residual"] == pytest.approx(mean_residual(whole, w))
    # The columns in another order, with their points: the same values, each at its point.
    mixed = np.random.default_rng(1).permutation(81)
    np.savez(tmp_path / "mixed.npz", points=points[:, mixed], inputs=q[:, mixed])
    result = skfem_ml("predict", model, tmp_path / "mixed.npz", "--output", tmp_path)
    assert result.exit_code == 0, result.stderr
    np.testing.assert_allclose(np.load(tmp_path / "prediction.npz")["outputs"], whole[:, mixed], rtol=0, atol=1e-6)
    np.savez(tmp_path / "other.npz", points=points + 1, inputs=q)
    assert "expected the 81 points that the model was made for" in refused("predict", model, tmp_path / "other.npz")
    np.savez(tmp_path / "short.npz", inputs=q[:, 1:])
    assert "q: expected shape (n, 81)" in refused("predict", model, tmp_path / "short.npz", "--output", tmp_path)


@pytest.mark.parametrize("where", ["nodes", "cells"])
def test_points_of_a_mesh_file(where, tmp_path):
    mesh = MeshTri().refined(3)
    mesh.save(tmp_path / "mesh.vtu")
    x = mesh.p if where == "nodes" else mesh.p[:, mesh.t].mean(axis=1)
    data = tmp_path / "own.npz"
    _, q, w = own_pairs(data, x, N=x.shape[1])
    np.savez(data, inputs=q, outputs=w)
    command = ["train", "fmmnet", data, "--mesh", tmp_path / "mesh.vtu", "--steps", 2, "--output", tmp_path]
    result = skfem_ml(*command)
    assert result.exit_code == 0, result.stderr
    np.testing.assert_allclose(load_operator(tmp_path / "fmmnet.safetensors").net.skeleton.points, x)
    np.savez(data, inputs=q[:, 1:], outputs=w[:, 1:])
    assert f"--mesh: expected {x.shape[1] - 1} nodes" in refused(*command)


def test_help_names_the_units():
    result = skfem_ml("train", "fmmnet", "--help")
    assert result.exit_code == 0 and np.all([f"--{name}" in result.stdout for name in ("cells", "steps", "rank")])
