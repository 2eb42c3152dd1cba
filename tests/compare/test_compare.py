"""The comparison table: right errors, rows that survive failures, and every form it can be written in."""

import csv
import json
import time
from dataclasses import replace

import numpy as np
import pytest
from matplotlib.figure import Figure
from PIL import Image
from skfem import Basis, ElementQuad1, ElementQuad2, MeshQuad

from skfem_ml.coefficients import iid_multilevel
from skfem_ml.compare import Row, Table, best_of, compare
from skfem_ml.metrics import energy_error, l2_error
from skfem_ml.problems import Diffusion, Eigenproblem, Sequence, heat_box
from skfem_ml.reference import eig_reference, solver_fem, solver_mean
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
        assert table[name].error == pytest.approx(l2_error(solution, fine, basis, relative=True), abs=1e-14)
        energy = energy_error(solution, fine, basis, PROBLEM.a, relative=True)
        told = table[name]["error energy"]  # of a solution with an averaged coefficient it would say nothing
        assert told is None if "homogenised" in solution.record else told == pytest.approx(energy, abs=1e-14)
    assert table["fine FEM"].error == 0 and table["coarse FEM"]["error energy"] > 0.1
    assert [row.unknowns for row in table.rows] == [289, 25, 25]
    assert table.norms["error L2"] == pytest.approx(l2_error(fine, 0 * fine.y, basis))
    assert table.norms["error energy"] == pytest.approx(energy_error(fine, 0 * fine.y, basis, PROBLEM.a))
    assert "relative to 'fine FEM'" in table.notes[0]


def test_the_exact_solution_is_the_reference_where_there_is_one():
    basis = Basis(FINE, ElementQuad2(), intorder=8)
    solvers = {"Q1": solver_fem(), "Q2": solver_fem(element=ElementQuad2())}
    table = compare(MANUFACTURED, solvers, basis=basis)
    assert 0 < table["Q2"].error < table["Q1"].error < 0.02
    assert table["Q1"].error == pytest.approx(l2_error(table.solutions["Q1"], BUMP, basis, relative=True))
    named = compare(MANUFACTURED, solvers, reference="Q2")
    assert named["Q2"].error == 0 and named["Q1"].error > 0
    given = compare(MANUFACTURED, solvers, reference=table.solutions["Q1"])
    assert given["Q1"].error == 0 and given["Q1"]["error energy"] == 0


def test_agreement_of_two_linear_solvers_shows_in_the_table():
    table = compare(PROBLEM, {"direct": solver_fem(), "multigrid": solver_fem(solver=solver_pyamg())})
    assert table["multigrid"].error < 1e-8 and table["multigrid"]["error energy"] < 1e-8


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
    assert table["nan"].failure.startswith("ValueError: the solution: expected finite numbers, got")
    assert "expected shape" in table["wrong shape"].failure
    assert table["wild gradient"].failure.startswith("ValueError: the gradient: expected finite numbers, got")
    assert "no luck" in table.to_json()
    assert table["no function"].failure.endswith("a callable u(x), got NoneType")
    assert [row.failure for row in table.rows[:3]] == ["", "", ""]
    assert table["coarse FEM"].error == compare(PROBLEM, SOLVERS)["coarse FEM"].error


def test_a_failing_reference_keeps_times_and_unknowns():
    for failing in (broken, lambda problem: lambda x: np.nan * x[0]):
        table = compare(PROBLEM, {"first": failing, **SOLVERS})
        assert table["first"].failure and table["fine FEM"].unknowns == 289 and table["fine FEM"].seconds > 0
        assert table["fine FEM"].error is None and "the reference 'first' failed" in table.notes[0]
        assert json.loads(table.to_json())["norms"] == {"error_l2": None, "error_energy": None}
        str(table), table.to_markdown()


def test_interrupts_are_not_swallowed():
    def interrupted(problem):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        compare(PROBLEM, {"interrupted": interrupted})


def test_wrong_calls_are_refused_before_any_solver_runs():
    def never(problem):
        raise AssertionError("a solver ran")

    with pytest.raises(ValueError, match="reference, if it is a name: expected one of 'a', got 'b'"):
        compare(PROBLEM, {"a": never}, reference="b")
    with pytest.raises(ValueError, match="solvers: expected at least one, by name, got none"):
        compare(PROBLEM, {})
    with pytest.raises(ValueError, match="repeats: expected a whole number >= 1, got 0"):
        compare(PROBLEM, {"a": never}, repeats=0)
    with pytest.raises(ValueError, match="the solution: expected finite"):
        compare(PROBLEM, {"a": never}, reference=lambda x: np.inf + x[0])
    with pytest.raises(KeyError, match="no row called 'b'; the table has"):
        compare(PROBLEM, SOLVERS)["b"]


def test_a_solution_without_gradient_has_no_energy_error():
    table = compare(MANUFACTURED, {"value only": lambda problem: lambda x: BUMP(x), "FEM": solver_fem()})
    assert table["value only"].error < 1e-14 and table["value only"]["error energy"] is None
    assert table["FEM"]["error energy"] > 0 and table["value only"].unknowns is None


def test_a_vanishing_reference_makes_absolute_errors():
    table = compare(PROBLEM, {"one": lambda problem: lambda x: 1 + 0 * x[0]}, reference=lambda x: 0 * x[0])
    assert table["one"].error == pytest.approx(1) and "errors are absolute" in table.notes[0]


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
        Row("fine FEM", {"error L2": 0.0, "error energy": 0.0}, 0.5, 0.4, 289),
        Row("coarse", {"error L2": 0.0125, "error energy": 0.25}, 0.03, 0.02, 25),
        Row("odd | name", failure="ValueError: a | b"),
    ),
    ("a note",),
    norms={"error L2": 2.0, "error energy": 3.0},
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
        assert from_json["error_l2"] == row.error and from_json["failure"] == row.failure
        assert from_csv["error_l2"] == ("" if row.error is None else str(row.error))
    assert content["norms"] == {"error_l2": table.norms["error L2"], "error_energy": table.norms["error energy"]}
    assert "numpy" in content["notes"][1]


DIAGONAL = Eigenproblem(np.diag([1.0, 2.0, 3.0]))


@pytest.mark.parametrize(
    ("problem", "solver", "columns"),
    [
        (PROBLEM, solver_fem(), ["error_l2", "error_energy"]),
        (heat_box(), solver_fem(scheme="cn", steps=4), ["error_l2", "error_at_t_end"]),
        (
            Eigenproblem(np.diag([1.0, 2.0, 3.0])),
            eig_reference(2),
            ["error_eigenvalue", "eigenvector_angle", "residual"],
        ),
        (Sequence("turn", np.eye(4), 3, 1.0), solver_mean(), ["error_reproduced", "error_continued"]),
    ],
    ids=["diffusion", "heat", "eigen", "sequence"],
)
def test_files_name_errors_by_their_headings(tmp_path, problem, solver, columns):
    """Finding A8: no residual, eigenvalue error or error in time is written as an error in L2 or in energy."""
    table = compare(problem, {"it": solver})
    table.to_csv(tmp_path / "t.csv")
    names = ["name", "group", *columns, "seconds", "cpu_seconds", "unknowns", "failure"]
    assert (tmp_path / "t.csv").read_text().splitlines()[0].split(",") == names == list(table.to_dict())
    content = json.loads(table.to_json())
    assert list(content["rows"][0]) == names and list(content["norms"]) == columns
    assert tuple(content["headings"].values()) == table.headings and list(content["headings"]) == columns
    assert content["rows"][0][columns[0]] == table["it"].error == table["it"][table.headings[0]]


def test_a_table_is_counted_walked_through_and_shown():
    assert len(TABLE) == 3 and [row.name for row in TABLE] == ["fine FEM", "coarse", "odd | name"]
    assert repr(TABLE) == str(TABLE) and TABLE.to_dict()["error_energy"] == [0.0, 0.25, None]
    assert TABLE.to_dict()["name"] == [row.name for row in TABLE]
    html = replace(TABLE, notes=("a < b",))._repr_html_()
    assert html.count("<tr>") == 4 and "<td>1.250e-02</td>" in html and "<p>a &lt; b</p>" in html
    assert "odd | name<br>failed: ValueError: a | b" in html
    with pytest.raises(KeyError, match="no error called 'residual' in row 'coarse'; it has"):
        TABLE["coarse"]["residual"]
    with pytest.raises(KeyError, match="it failed: ValueError"):
        TABLE["odd | name"]["error L2"]


def test_the_picture_is_over_cpu_seconds_where_they_are_known(monkeypatch):
    figures = []
    monkeypatch.setattr(Figure, "savefig", lambda figure, *args, **kwargs: figures.append(figure))
    TABLE.plot("none.png")
    axes = figures[0].axes[0]
    assert axes.get_xlabel() == "CPU seconds" and list(axes.lines[0].get_xdata()) == [0.02]
    replace(TABLE, rows=tuple(replace(row, cpu_seconds=None) for row in TABLE)).plot("none.png")
    axes = figures[1].axes[0]
    assert axes.get_xlabel() == "wall time in seconds" and list(axes.lines[0].get_xdata()) == [0.03]


def test_the_clock_counts_the_best_run(monkeypatch):
    ticks = iter([0.0, 3.0, 10.0, 11.0, 20.0, 22.0])
    monkeypatch.setattr(time, "perf_counter", lambda: next(ticks))
    cpu = iter([0.0, 0.5, 1.0, 1.7, 2.0, 2.6])
    monkeypatch.setattr(time, "process_time", lambda: next(cpu))
    results = iter("abc")
    result, spent = best_of(lambda: next(results), 3)
    assert result == "c" and (spent.cpu, spent.wall) == (0.5, 1.0)
    with pytest.raises(ValueError, match="runs: expected a whole number >= 1, got 0"):
        best_of(lambda: None, 0)


def test_plot_is_a_picture_and_needs_something_to_show(tmp_path):
    TABLE.plot(tmp_path / "t.png")
    pixels = np.asarray(Image.open(tmp_path / "t.png").convert("RGB"))
    assert min(pixels.shape[:2]) > 400 and len(np.unique(pixels.reshape(-1, 3), axis=0)) > 10
    with pytest.raises(ValueError, match="nothing to plot"):
        Table((Row("reference", {"error L2": 0.0}, 1.0, 1.0, 1),)).plot(tmp_path / "none.png")
