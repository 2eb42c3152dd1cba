"""The pages of flows and sequences: the worst seed is shown, memory is claimed only where white noise proves it."""

import numpy as np

from demos.benchmarks import flows_tables, sequences_tables
from demos.benchmarks.sequences import CLOSED, Results, Task, tasks
from skfem_ml.problems import Sequence
from tests.gallery import orbit

SHAPE = Sequence("fluid", np.random.default_rng(0).normal(size=(12, 2)), 9, 1.0)


def rows_of(noise):
    """Rows of two closed forms, three seeds each, and one trained row; the same solver on white noise."""
    made = {}
    for method, factor in zip(list(CLOSED)[:2], (1.0, 10.0), strict=True):
        for seed in (0, 1, 2):
            error = factor * 10.0 ** (seed - 6)
            made[Task("fluid", method, 0, seed).key] = row(error, error / 10)
        made[Task("fluid", method, noise=True).key] = row(5.0, noise)
    made[Task("fluid", "LSTM", 5).key] = {"failure": "FloatingPointError: not finite", "load average": 1.0}
    made[Task("fluid", "mean").key] = row(1.0, 1.0)
    return made


def row(continued, reproduced):
    return {
        "continued": continued, "reproduced": reproduced, "CPU seconds": 2.0, "unknowns": 7, "rate": None,
        "load average": 2.5,
    }  # fmt: skip


def test_the_worst_seed_is_shown_and_the_best_beside_it():
    lines = sequences_tables.section(rows_of(0.9), "fluid")
    assert "| HiTS, random features | 1.0e-04 (1.0e-06) | 1.0e-05 (1.0e-07) | 9.0e-01 | 7 | 2 | 3 |" in lines
    assert any(line.startswith("| LSTM | 5 | diverges | diverges |") for line in lines)
    assert not any(line.startswith("| CW-RNN") for line in lines)  # not run is no result
    assert any("best by HiTS, random features, 1.0e-04; then HiTS, chosen, 1.0e-03" in line for line in lines)


def test_memory_is_claimed_where_white_noise_is_reproduced_and_nowhere_else():
    memory, none = (" ".join(sequences_tables.section(rows_of(noise), "fluid")) for noise in (1e-8, 0.9))
    assert "reproduced as well by HiTS, random features (1.0e-08)" in memory and "is memory" in memory
    assert "memory" not in none and "reproduced by no row (best 9.0e-01" in none
    page = sequences_tables.page(rows_of(0.9), {"fluid": SHAPE}, "threads")
    assert "2.5 on two cores" in page and "(3 held out)" in page


def test_rows_go_to_a_file_at_once_and_are_not_run_again(tmp_path):
    results = Results(tmp_path / "rows.json")
    results.run(Task("linear", "linear (DMD)"), orbit())
    again = Results(tmp_path / "rows.json").rows
    assert again == results.rows and again["linear | linear (DMD) | 0 | 0"]["continued"] < 1e-12
    keys = [task.key for task in tasks()]
    assert len(keys) == len(set(keys)) and {task.budget for task in tasks()} == {0, 5, 60, 600}
    assert {task.seed for task in tasks() if task.budget == 600} == {0}


def errors(mean, worst):
    return {"mean": mean, "median": mean / 2, "worst": worst}


def flow(mean, seconds):
    return {"note": "", "seconds": seconds, "test": errors(mean, 9 * mean), "accept": errors(mean / 2, 4 * mean)}


def test_flows_show_the_worst_seed_and_who_wins():
    results = {
        f"hopf | ours | {seed}": {"rows": {"hierarchy": flow(10.0 ** (seed - 8), 0.4)}, "training": 40.0 + seed}
        for seed in (0, 1, 2)
    }
    results["hopf | classical | 0"] = {
        "rows": {"RK4, 0.01": flow(1e-9, 0.3), "DOP853": flow(1e-7, 0.1), "RK4, 1": flow(1e-5, 0.01)}, "training": None
    }  # fmt: skip

    page = flows_tables.page(results, ["hopf", "lorenz"], "threads")
    assert "| hierarchy | 1.0e-06 | 5.0e-07 | 1.0e-08 | 5.0e-07 | 9.0e-06 | 0.400 | 0 1 2 |" in page
    assert "hopf, DOP853: 4.0 times faster, with 1.0e-01 of the error" in page
    assert "CPU seconds a seed: ours 40 41 42" in page and "## lorenz\n\nNot measured." in page
