"""``skfem-ml compare heat`` and ``compare eigen``: files, numbers, bad input."""

import json
import re
import sys

import numpy as np
import pytest

from skfem_ml.cli.compare.eigen import LEARNED, eigen_solvers
from skfem_ml.problems import Eigenproblem, report_matrix
from tests.cli.commands import refused, rows, skfem_ml


@pytest.mark.slow
def test_compare_heat(tmp_path):
    result = skfem_ml("compare", "heat", "--steps", 20, "--output", tmp_path, "--json")
    assert result.exit_code == 0, result.stderr
    table = rows(json.loads(result.stdout))
    assert 0.01 < table["FD as published"]["error_l2"] < 0.02
    assert all(table[f"ELM, 1200 features, seed {seed}"]["error_l2"] < 2e-10 for seed in (0, 1, 2))
    assert {path.name for path in tmp_path.iterdir()} == {f"heat.{s}" for s in ("png", "csv", "md", "json")}
    page = (tmp_path / "heat.md").read_text()
    assert "error at t_end" in page and "seeds 0, 1, 2" in page and "for this, use " in page


def test_compare_eigen(tmp_path):
    result = skfem_ml("compare", "eigen", "--pairs", 5, "--output", tmp_path)
    assert result.exit_code == 0, result.stderr
    assert "error eigenvalue" in result.stdout and str(tmp_path / "eigen.png") in result.stdout
    assert "orthonormal network, seeds 0, 1, 2" in result.stdout and "for this, use eigh" in result.stdout
    table = rows(json.loads((tmp_path / "eigen.json").read_text()))
    assert all(row["error_eigenvalue"] < 1e-12 and row["residual"] < 1e-12 for row in table.values())
    assert len(table) == 4


def test_all_pairs_have_flows_and_windowed_networks_as_well():
    groups = eigen_solvers(Eigenproblem(report_matrix()), 6, seed=4)
    assert [name for name in groups[LEARNED] if "windowed" in name] == [
        f"windowed networks, seed {seed}" for seed in (4, 5, 6)
    ]
    assert sum(map(len, groups.values())) == 9


@pytest.mark.parametrize("suffix", [".npy", ".csv"])
def test_compare_eigen_of_a_file(tmp_path, suffix):
    matrix = np.diag([3.0, 1.0, 2.0])
    path = tmp_path / f"matrix{suffix}"
    np.save(path, matrix) if suffix == ".npy" else np.savetxt(path, matrix, delimiter=",")
    result = skfem_ml("compare", "eigen", path, "--pairs", 2, "--json", "--output", tmp_path)
    assert result.exit_code == 0, result.stderr
    assert set(rows(json.loads(result.stdout))) == {
        "eigh",
        *(f"orthonormal network, seed {seed}" for seed in (0, 1, 2)),
    }


def test_bad_input(tmp_path):
    np.save(tmp_path / "upper.npy", np.triu(np.ones((3, 3))))
    (tmp_path / "words.csv").write_text("a,b\nc,d\n")
    assert "expected a symmetric matrix" in refused("compare", "eigen", tmp_path / "upper.npy")
    assert "cannot be read as a matrix" in refused("compare", "eigen", tmp_path / "words.csv")
    assert "expected between 1 and 6 pairs" in refused("compare", "eigen", "--pairs", 7)
    assert "expected at least 1 and 2, got 0 and 100" in refused("compare", "heat", "--steps", 0)
    refused("compare", "eigen", tmp_path / "absent.npy")


def test_compare_sequences(tmp_path):
    asked = ("compare", "sequences", "--seconds", 0.05, "--seeds", 2, "--output", tmp_path)
    result = skfem_ml(*asked, "--json")
    assert result.exit_code == 0, result.stderr
    table = rows(json.loads(result.stdout))
    assert table["HiTS"]["error_reproduced"] < 2e-3 < 0.1 < table["linear (DMD)"]["error_reproduced"]
    assert table["table / analogue"]["error_reproduced"] == 0 and table["HiTS, chosen"]["error_continued"] < 0.02
    assert {row["group"] for row in table.values()} == {"closed form", "trained, 0.05 CPU s"}
    assert {path.name for path in tmp_path.iterdir()} == {f"sequences.{s}" for s in ("png", "csv", "md", "json")}
    page = (tmp_path / "sequences.md").read_text(encoding="utf-8")
    assert "| solver | error continued | error continued, best seed | error reproduced |" in page
    told = [line for line in page.splitlines() if line.startswith("- ")]
    assert [line for line in told if re.match(r"- LSTM: rate 0\.0", line)]
    assert "- seeds 0 1 of every row that is drawn" in told
    assert table["LSTM"]["error_continued_best_seed"] <= table["LSTM"]["error_continued"]


def test_bad_input_of_sequences(monkeypatch):
    monkeypatch.setitem(sys.modules, "reservoirpy", None)
    monkeypatch.setitem(sys.modules, "reservoirpy.nodes", None)
    assert "pip install 'skfem-ml[esn]'" in refused("compare", "sequences", "--esn")
    assert "NAME: expected one of fluid, video, music, ks, got 'fugue'" in refused("compare", "sequences", "fugue")
    assert "expected at least 1, more than 0, at least 1" in refused("compare", "sequences", "--seconds", 0)
