"""docs/faults.md: at least 45 faults, each with a test that is there."""

import ast
import re

from tests.conftest import ROOT

ROW = re.compile(r"^\| (?P<fault>.+?) \| (?P<seen>.+?) \| `(?P<path>tests/[\w/]+\.py)::(?P<name>test_\w+)` \|$")


def test_every_fault_has_a_test():
    lines = (ROOT / "docs" / "faults.md").read_text(encoding="utf-8").splitlines()
    rows = [ROW.match(line) for line in lines if line.startswith("|") and "`tests/" in line]
    assert len(rows) >= 45 and all(rows), [row and row["fault"] for row in rows]
    there: dict[str, set[str]] = {}
    for row in rows:
        if row["path"] not in there:
            tree = ast.parse((ROOT / row["path"]).read_text(encoding="utf-8"))
            there[row["path"]] = {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}
        assert row["name"] in there[row["path"]], row.group()
    assert len({row["fault"] for row in rows}) == len(rows)
