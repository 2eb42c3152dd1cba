"""Rows of several seeds as one: the worst is shown, and the best beside it."""

import json

from skfem_ml.compare import Row, Table, worst_of_seeds


def test_the_worst_is_shown_and_a_failure_is_worse_than_any():
    rows = (
        Row("line", {"test": 0.3, "train": 0.2}, 1.0, 0.5),
        Row("net, seed 0", {"test": 0.1, "train": 0.1}, 9.0, 8.0, 7),
        Row("net, seed 1", {"test": 0.2, "train": 0.05}, 5.0, 4.0, 7),
        Row("bad, seed 0", {"test": 0.2, "train": 0.1}, 5.0, 4.0),
        Row("bad, seed 1", failure="ValueError: no"),
    )
    table = worst_of_seeds(Table(rows, ("note",), ("test", "train"), {}, {"net, seed 1": "solution", "line": "A"}))
    assert [row.name for row in table] == ["line", "net", "bad"]
    assert table.headings == ("test", "test, best seed", "train")
    assert table["net"].errors == {"test": 0.2, "train": 0.05, "test, best seed": 0.1}
    assert (table["net"].cpu_seconds, table["net"].seconds, table["net"].unknowns) == (8.0, 9.0, 7)
    assert table["line"]["test, best seed"] is None and table["bad"].failure == "ValueError: no"
    assert table.solutions == {"net": "solution", "line": "A"} and "the worst" in table.notes[-1]
    assert Table.from_json(json.loads(table.to_json()))["net"]["test, best seed"] == 0.1
