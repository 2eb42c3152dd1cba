"""The comparison table: right errors, rows that survive failures, and every form it can be written in."""

import csv
import json
import time

import numpy as np
import pytest
from PIL import Image
from skfem import Basis, ElementQuad1, ElementQuad2, MeshQuad

from skfem_ml.coefficients import iid_multilevel
from skfem_ml.compare import Row, Table, compare
from skfem_ml.metrics import energy_error, l2_error
from skfem_ml.problems import Diffusion
from skfem_ml.reference import solver_fem
from skfem_ml.solutions import Analytic
from skfem_ml.solvers import solver_pyamg

COARSE = MeshQuad().refined(2)
FINE = COARSE.refined(2)
PROBLEM = Diffusion(FINE, iid_multilevel(FINE, 4, 1, 5, np.random.default_rng(0)))
BUMP = Analytic(
    lambda x: x[0] * (1 - x[0]) * x[1] * (1 - x[1]),
    lambda x: np.stack([(1 - 2 * x[0]) * x[1] * (1 - x[1]), x[0] * (1 - x[0]) * (1 - 2 * x[1])]),
)
MANUFACTURED = Diffusion(
    FINE, np.ones(256), f=lambda x: 2 * (x[0] * (1 - x[0]) + x[1] * (1 - x[1])), exact=BUMP, name="bump"
)
SOLVERS = {
    "fine FEM": solver_fem(),
    "coarse FEM": solver_fem(COARSE),
    "coarse FEM, harmonic": solver_fem(COARSE, mean="harmonic"),
}


def broken(problem):
    raise RuntimeError("no\nluck | today")


def test_errors_are_those_of_the_metrics():
    table = compare(PROBLEM, SOLVERS)
    fine, basis = table.solutions["fine FEM"], Basis(FINE, ElementQuad1())
    for name, solution in table.solutions.items():
        assert table[name].error_l2 == pytest.approx(l2_error(solution, fine, basis, relative=True), abs=1e-14)
        assert table[name].error_energy == pytest.approx(
            energy_error(solution, fine, basis, PROBLEM.a, relative=True), abs=1e-14
        )
    assert table["fine FEM"].error_l2 == 0 and table["coarse FEM"].error_energy > 0.1
    assert [row.unknowns for row in table.rows] == [289, 25, 25]
    assert table.norm_l2 == pytest.approx(l2_error(fine, 0 * fine.y, basis))
    assert table.norm_energy == pytest.approx(energy_error(fine, 0 * fine.y, basis, PROBLEM.a))
    assert "relative to 'fine FEM'" in table.notes[0]


def test_the_exact_solution_is_the_reference_where_there_is_one():
    basis = Basis(FINE, ElementQuad2(), intorder=8)
    solvers = {"Q1": solver_fem(), "Q2": solver_fem(element=ElementQuad2())}
    table = compare(MANUFACTURED, solvers, basis=basis)
    assert 0 < table["Q2"].error_l2 < table["Q1"].error_l2 < 0.02
    assert table["Q1"].error_l2 == pytest.approx(l2_error(table.solutions["Q1"], BUMP, basis, relative=True))
    named = compare(MANUFACTURED, solvers, reference="Q2")
    assert named["Q2"].error_l2 == 0 and named["Q1"].error_l2 > 0
    given = compare(MANUFACTURED, solvers, reference=table.solutions["Q1"])
    assert given["Q1"].error_l2 == 0 and given["Q1"].error_energy == 0


def test_agreement_of_two_linear_solvers_shows_in_the_table():
    table = compare(PROBLEM, {"direct": solver_fem(), "multigrid": solver_fem(solver=solver_pyamg())})
    assert table["multigrid"].error_l2 < 1e-8 and table["multigrid"].error_energy < 1e-8


def test_a_failing_solver_keeps_the_other_rows():
    solvers = {
        **SOLVERS,
        "broken": broken,
        "nan": lambda problem: lambda x: np.nan * x[0],
        "no function": lambda problem: None,
        "wrong shape": lambda problem: lambda x: x,
        "wild gradient": lambda problem: Analytic(BUMP.value, lambda x: np.inf * x),
    }
    table = compare(PROBLEM, solvers)
    assert table["broken"] == Row("broken", failure="RuntimeError: no luck | today")
    assert table["nan"].failure == "ValueError: the solution is not finite (nan or inf)"
    assert "expected shape" in table["wrong shape"].failure
    assert table["wild gradient"].failure == "ValueError: the gradient is not finite (nan or inf)"
    assert "no luck" in table.to_json()
    assert table["no function"].failure.endswith("a callable u(x), got NoneType")
    assert [row.failure for row in table.rows[:3]] == ["", "", ""]
    assert table["coarse FEM"].error_l2 == compare(PROBLEM, SOLVERS)["coarse FEM"].error_l2


def test_a_failing_reference_keeps_times_and_unknowns():
    for failing in (broken, lambda problem: lambda x: np.nan * x[0]):
        table = compare(PROBLEM, {"first": failing, **SOLVERS})
        assert table["first"].failure and table["fine FEM"].unknowns == 289 and table["fine FEM"].seconds > 0
        assert table["fine FEM"].error_l2 is None and "the reference 'first' failed" in table.notes[0]
        assert json.loads(table.to_json())["norm_l2"] is None
        str(table), table.to_markdown()


def test_interrupts_are_not_swallowed():
    def interrupted(problem):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        compare(PROBLEM, {"interrupted": interrupted})


def test_wrong_calls_are_refused_before_any_solver_runs():
    def never(problem):
        raise AssertionError("a solver ran")

    with pytest.raises(ValueError, match=r"reference: expected a solution or one of \['a'\], got 'b'"):
        compare(PROBLEM, {"a": never}, reference="b")
    with pytest.raises(ValueError, match="at least one solver and repeats >= 1, got 0 and 1"):
        compare(PROBLEM, {})
    with pytest.raises(ValueError, match="got 1 and 0"):
        compare(PROBLEM, {"a": never}, repeats=0)
    with pytest.raises(ValueError, match="not finite"):
        compare(PROBLEM, {"a": never}, reference=lambda x: np.inf + x[0])
    with pytest.raises(KeyError, match="no row called 'b'; the table has"):
        compare(PROBLEM, SOLVERS)["b"]


def test_a_solution_without_gradient_has_no_energy_error():
    table = compare(MANUFACTURED, {"value only": lambda problem: lambda x: BUMP(x), "FEM": solver_fem()})
    assert table["value only"].error_l2 < 1e-14 and table["value only"].error_energy is None
    assert table["FEM"].error_energy > 0 and table["value only"].unknowns is None


def test_a_vanishing_reference_makes_absolute_errors():
    table = compare(PROBLEM, {"one": lambda problem: lambda x: 1 + 0 * x[0]}, reference=lambda x: 0 * x[0])
    assert table["one"].error_l2 == pytest.approx(1) and "errors are absolute" in table.notes[0]


def test_times_are_the_least_of_the_repeats_and_progress_is_told():
    pauses, calls = iter([0.2, 0.02, 0.2]), []

    def slow(problem):
        time.sleep(next(pauses))
        return BUMP

    table = compare(
        PROBLEM, {"slow": slow}, repeats=3, reference=BUMP, progress=lambda *progress: calls.append(progress)
    )
    assert 0.02 <= table["slow"].seconds < 0.2
    assert table["slow"].cpu_seconds < 0.02  # sleeping costs no CPU
    assert calls == [(0, 1, "slow")] and "least of 3 run(s)" in table.notes[1]


TABLE = Table(
    (
        Row("fine FEM", 0.0, 0.0, 0.5, 0.5, 289),
        Row("coarse", 0.0125, 0.25, 0.03, 0.03, 25),
        Row("odd | name", failure="ValueError: a | b"),
    ),
    ("a note",),
    2.0,
    3.0,
)


def test_text_is_aligned():
    lines = str(TABLE).splitlines()
    assert lines[0].split() == ["error", "L2", "error", "energy", "seconds", "CPU", "seconds", "unknowns"]
    assert len(lines[0]) == len(lines[1]) == len(lines[2])
    assert "1.250e-02" in lines[2] and lines[2].endswith(" 25")
    assert lines[3].endswith("failed: ValueError: a | b") and lines[4] == "a note"


def test_markdown_has_one_cell_per_column():
    lines = TABLE.to_markdown().splitlines()
    for line in lines[:5]:
        assert line.replace("\\|", "").count("|") == 7
    assert lines[1] == "| --- | ---: | ---: | ---: | ---: | ---: |" and lines[-1] == "a note"
    assert "odd \\| name (failed: ValueError: a \\| b)" in lines[4]


def test_csv_and_json_keep_every_digit(tmp_path):
    table = compare(PROBLEM, {**SOLVERS, "broken": broken})
    table.to_csv(tmp_path / "t.csv")
    with open(tmp_path / "t.csv", newline="") as file:
        read = list(csv.DictReader(file))
    content = json.loads(table.to_json())
    for row, from_csv, from_json in zip(table.rows, read, content["rows"], strict=True):
        assert from_csv["name"] == from_json["name"] == row.name
        assert from_json["error_l2"] == row.error_l2 and from_json["failure"] == row.failure
        assert from_csv["error_l2"] == ("" if row.error_l2 is None else str(row.error_l2))
    assert content["norm_l2"] == table.norm_l2 and "numpy" in content["notes"][1]


def test_plot_is_a_picture_and_needs_something_to_show(tmp_path):
    TABLE.plot(tmp_path / "t.png")
    pixels = np.asarray(Image.open(tmp_path / "t.png").convert("RGB"))
    assert min(pixels.shape[:2]) > 400 and len(np.unique(pixels.reshape(-1, 3), axis=0)) > 10
    with pytest.raises(ValueError, match="nothing to plot"):
        Table((Row("reference", 0.0, 0.0, 1.0, 1.0, 1),)).plot(tmp_path / "none.png")
