"""The table of coverage on a small mesh: what a row holds, what counts as a silent failure, and its text."""

import json

import pytest

from demos.benchmarks import coverage
from demos.benchmarks.coverage_tables import failed_silently, report, table
from skfem_ml.lod import Surrogate

SMALL = coverage.Source(lambda: Surrogate.load("diffusion-q1-ell2-n8"), 8, lambda: coverage.paper(5, 1), level=4)


@pytest.fixture(scope="module")
def rows():
    own, unseen = dict(SMALL.own()), dict(coverage.unseen())
    chosen = [("iid-6 5", own, "own"), ("checkerboard 4.99", unseen, "unseen"), ("Bernoulli 1000", unseen, "unseen")]
    return {name: coverage.measured(SMALL, name, fields[name], kind) for name, fields, kind in chosen}


def test_rows_of_coverage(rows):
    own, *others = rows.values()
    assert own["said"] == [] and own["uncovered"] < 0.4 and own["surrogate"] < 1e-3
    assert own["left"] <= own["promised"] and own["hybrid"]["true"] <= own["hybrid"]["promised"] <= SMALL.tol
    for row in others:
        assert row["said"] and row["surrogate"] > 0.05 and not failed_silently(row)
        assert row["trusted"] == 0 and row["hybrid"] == {"share": 1.0, "promised": 0.0, "true": 0.0, "other load": 0.0}


def test_a_silent_failure_is_told(rows):
    quiet = {**rows["Bernoulli 1000"], "said": []}
    assert failed_silently(quiet) and "**silent**" in table({"quiet": quiet}) and "**silent**" not in table(rows)
    assert failed_silently({**quiet, "surrogate": float("nan")})
    text = report({"small": rows})
    assert "| small, own | 1 |" in text and "| small, unseen | 2 |" in text
    assert json.loads(json.dumps(rows)) == rows


def test_every_source_and_field_has_one_row():
    jobs = [(title, name) for title, name, _ in coverage.jobs([])]
    assert len(jobs) == len(set(jobs))
    for title, source in coverage.SOURCES.items():
        unseen = [name for at, name in jobs if at == title and name not in dict(source.own())]
        assert len(unseen) >= 12 or not source.unseen
    assert {title for title, _, _ in coverage.jobs(["super-elements"])} == {"super-elements"}
