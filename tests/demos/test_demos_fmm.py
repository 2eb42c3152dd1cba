"""The demo of the radiative transfer with short settings, and the table script on rows of its own."""

import json

import numpy as np
import pytest

from demos import rte_network
from demos.benchmarks import fmm_rows, fmm_tables
from tests.gallery import check_figure


def test_rte_network():
    result = rte_network.compute(sizes=(40, 80), samples=300, steps=300)
    assert result.sizes == [40, 80]
    deep, line = result.residuals(rte_network.DEEP), result.residuals(rte_network.AFFINE)
    assert max(deep) < min(line) and deep[1] < 2 * deep[0]
    check_figure(rte_network.visualize(result))


def test_tables_are_written_and_go_on(tmp_path, monkeypatch):
    monkeypatch.setattr(fmm_tables, "SIZES", (64,))
    for name, value in (("SAMPLES", 60), ("TEST", 20), ("VALIDATION", 4), ("OUTPUT", tmp_path / "fmm_tables.py")):
        monkeypatch.setattr(fmm_tables, name, value)
    short = fmm_tables.Recipe(4, optimiser="adam", every=2)
    for name in ("solver_fmmnet", "solver_conv", "solver_deep"):
        make = getattr(fmm_tables, name)
        monkeypatch.setattr(fmm_tables, name, lambda *_, make=make, **options: make(short, **options))
    make_mnn = fmm_tables.solver_mnn
    monkeypatch.setattr(fmm_tables, "solver_mnn", lambda **options: make_mnn(short, **options))
    rows = fmm_tables.measure_all(tmp_path)
    held = json.loads((tmp_path / "fmm_tables.json").read_text())
    assert held == rows and len(rows) == 4 + 15 + 3 + 1 + 5 + 12 + 3
    monkeypatch.setattr(fmm_tables, "measured", None)  # nothing is left to measure
    assert fmm_tables.measure_all(tmp_path) == rows
    text = fmm_tables.report(rows)
    assert "| FMMNet (h2nn), as published | 0.0235 / 0.0235 |" in text and "| H2 from the kernel, rank 6 | " in text
    assert np.isfinite([row["test"] for row in rows]).all()
    check_figure(fmm_tables.visualize(rows))
    fmm_tables.write()
    assert (tmp_path / "fmm_tables.md").read_text() == text and (tmp_path / "fmm_tables.png").exists()
    assert "not measured" in fmm_tables.report([row for row in rows if row["problem"] == fmm_tables.RTE])


@pytest.mark.filterwarnings("ignore:no two of the")
def test_rows_of_many_parameters(tmp_path, monkeypatch):
    for name, value in (("OUTPUT", tmp_path / "fmm_rows.py"), ("N", 40), ("CELLS", 8)):
        monkeypatch.setattr(fmm_rows, name, value)
    monkeypatch.setattr(fmm_rows, "SAMPLES", dict.fromkeys(fmm_rows.SAMPLES, 45))
    monkeypatch.setattr(fmm_rows, "STEPS", dict.fromkeys(fmm_rows.STEPS, 2))
    monkeypatch.setattr(fmm_rows, "KERNEL", {"components": (4,), "lengths": (1.0,), "ridges": (1e-4,)})
    rows = fmm_rows.measure_all(seeds=(0, 1))
    assert json.loads((tmp_path / "fmm_rows.json").read_text()) == rows
    monkeypatch.setattr(fmm_rows, "measured", None)  # nothing is left to measure
    assert fmm_rows.measure_all(seeds=(0, 1)) == rows
    text = fmm_rows.report(rows)
    for problem in (fmm_rows.POINTS, fmm_rows.DARCY):
        found = fmm_rows.of_method(rows, problem)
        assert all(len(each) == 2 for name, each in found.items() if name != "FNO") and fmm_rows.AFFINE in found
        worst = max(row["test"] for row in found[fmm_rows.AFFINE])
        assert f"{worst:.2e}" in text and all(f"| {name} |" in text for name in found)
    assert "ms by elimination" in text
    check_figure(fmm_rows.visualize(rows))
    fmm_rows.write()
    assert (tmp_path / "fmm_rows.md").read_text() == text and (tmp_path / "fmm_rows.png").exists()
