"""``skfem-ml compare rte``, ``compare custom-operator``, ``train fmmnet``: files, numbers, bad input, interruption."""

import json

import numpy as np
import pytest

from skfem_ml.fmm.networks import load_network
from tests.cli.commands import refused, rows, skfem_ml

SMALL = ["--cells", 64, "--samples", 90, "--steps", 5]


def test_compare_rte(tmp_path):
    result = skfem_ml("compare", "rte", *SMALL, "--output", tmp_path, "--json")
    assert result.exit_code == 0, result.stderr
    table = rows(json.loads(result.stdout))
    assert table["affine ridge"]["residual_test"] < 0.1 and len(table) == 8
    assert {path.name for path in tmp_path.iterdir()} == {f"rte.{s}" for s in ("png", "csv", "md", "json")}
    assert "residual test" in (tmp_path / "rte.md").read_text()


def test_compare_custom_operator(tmp_path):
    result = skfem_ml("compare", "custom-operator", *SMALL, "--output", tmp_path)
    assert result.exit_code == 0, result.stderr
    assert "residual test" in result.stdout and str(tmp_path / "custom-operator.png") in result.stdout
    table = rows(json.loads((tmp_path / "custom-operator.json").read_text()))
    assert table["H2 from the kernel"]["residual_test"] < 1e-6


def test_train(tmp_path):
    result = skfem_ml("train", "fmmnet", *SMALL, "--output", tmp_path)
    assert result.exit_code == 0, result.stderr
    assert "mean relative residual" in result.stdout
    last = result.stdout.splitlines()[-1]
    assert last == f'load it by: skfem_ml.fmm.load_learned("{tmp_path / "fmmnet.safetensors"}")'
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
        (["compare", "rte", "--samples", 3], "--samples, --steps: expected at least 30 and 1, got 3"),
        (["compare", "custom-operator", "--steps", 0], "--samples, --steps: expected at least 30 and 1"),
        (["train", "fmmnet", "--cells", 1], "--cells, --samples, --steps: expected at least 2, 30 and 1, got 1"),
        (["train", "fmmnet", "--hidden", 0], "--rank, --hidden, --products: expected at least 1 each"),
        (["train", "nothing"], "No such command"),
    ],
)
def test_bad_input(arguments, message, tmp_path):
    output = [] if arguments[1] == "nothing" else ["--output", tmp_path]
    assert message in refused(*arguments, *output)
    assert not list(tmp_path.iterdir())


def test_help_names_the_units():
    result = skfem_ml("train", "fmmnet", "--help")
    assert result.exit_code == 0 and np.all([f"--{name}" in result.stdout for name in ("cells", "steps", "rank")])
