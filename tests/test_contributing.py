"""CONTRIBUTING says what the tests check, and its script runs."""

import re

import pytest

from tests import test_structure
from tests.conftest import ROOT
from tests.test_documents import blocks

PAGE = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")


def test_the_numbers_are_those_of_the_tests():
    text = " ".join(PAGE.split())
    assert f"at most {test_structure.LINES} lines, functions at most {test_structure.BODY} " in text
    assert f"folders at most {test_structure.FOLDER} files" in text and f"meant: {test_structure.ANY} in all" in text


def test_every_file_that_is_named_is_there():
    named = re.findall(r"`((?:tests|skfem_ml|demos|\.ci|docs)/[\w./]*)`|\]\((\S+)\)", PAGE)
    named += re.findall(r"\]\((\S+)\)()", (ROOT / "SECURITY.md").read_text(encoding="utf-8"))
    paths = [first or second for first, second in named if "NAME" not in first]
    assert len(paths) > 8 and [path for path in paths if not (ROOT / path).exists()] == []


def test_the_method_in_an_hour_runs(capsys):
    ((_, script),) = blocks(PAGE, "python")
    exec(compile(script, "CONTRIBUTING.md", "exec"), {})
    lines = capsys.readouterr().out.splitlines()
    assert any(line.startswith("mean ") for line in lines) and "failed" not in "".join(lines)


@pytest.mark.parametrize("command", [line for _, block in blocks(PAGE, "sh") for line in block.splitlines()])
def test_the_commands_name_what_is_there(command):
    for path in re.findall(r"\btests/\S*", command):
        assert (ROOT / path).exists()
    assert ".venv/bin/" in command
