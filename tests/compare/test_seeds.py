"""Rows that differ in their seed alone."""

import numpy as np
import pytest

from skfem_ml.compare import Row, Table, by_method, compare, median_rows, seeded, seeds_lines, sentence
from skfem_ml.problems import Eigenproblem
from skfem_ml.solutions import Eigenpairs


def table(rival=1e-9, cost=0.1):
    rows = [Row("FEM", {"error L2": rival}, 1.0, cost, 10, group="elements")]
    rows += [Row(f"net, seed {k}", {"error L2": e}, 2.0, 2.0, 20, group="learned") for k, e in ((0, 3e-9), (1, 1e-8))]
    return Table(tuple(rows), headings=("error L2",))


def test_seeded_solvers_differ_by_their_seed():
    def solver(seed, size):
        return lambda problem: Eigenpairs(np.array([1.0 + size * seed, 2.0]))

    found = compare(Eigenproblem(np.diag([1.0, 2.0]), exact=Eigenpairs(np.array([1.0, 2.0]))),
                    seeded("net", solver, (0, 3), size=0.1))  # fmt: skip
    assert [row.name for row in found] == ["net, seed 0", "net, seed 3"]
    assert [row.error for row in found] == pytest.approx([0, 0.3])
    assert list(by_method(found)) == ["net"]


def test_medians_and_spread_are_told():
    lines = median_rows(table())
    assert lines[2] == "| FEM | 1.0e-09 | 0.1 | 10 |" and lines[3] == "| net | 6.5e-09 (1.0e-08) | 2 (2) | 20 |"
    assert seeds_lines(table()) == ["net, seeds 0, 1: error L2 3.0e-09 to 1.0e-08; CPU seconds 2 to 2"]


@pytest.mark.parametrize(
    ("rival", "cost", "words"),
    [
        (1e-9, 0.1, "for this, use FEM: 1.0e-09 in 0.1 CPU seconds; the best learned row, net, has 1.0e-08 at worst"),
        (1e-3, 0.1, "for this, use net: 1.0e-08 at worst in 2 CPU seconds, which no other row reaches"),
        (1e-9, 9.0, "or net, cheaper: 1.0e-08 at worst in 2"),
    ],
)
def test_the_sentence_says_what_to_use(rival, cost, words):
    assert words in sentence(table(rival, cost), "learned")


def test_a_failed_seed_is_counted():
    rows = (*table().rows, Row("net, seed 2", failure="ValueError: diverged", group="learned"))
    failed = Table(rows, headings=("error L2",))
    assert "1 failed" in seeds_lines(failed)[0] and "no learned row succeeded" in sentence(failed, "learned")
    assert "failed: ValueError" in median_rows(failed)[3]
