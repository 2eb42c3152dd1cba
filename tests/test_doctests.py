"""Doctests: all of the package pass, and every public class has one that a reader can paste."""

import doctest
import importlib
from pathlib import Path

import pytest

from tests.test_public_names import public_classes

PACKAGE = Path(__file__).parents[1] / "skfem_ml"
WITH_EXAMPLES = [
    ".".join(path.relative_to(PACKAGE.parent).with_suffix("").parts).removesuffix(".__init__")
    for path in sorted(PACKAGE.rglob("*.py"))
    if ">>>" in path.read_text(encoding="utf-8")
]
# Exceptions are caught and protocols written, not made: they need no example.
CLASSES = [
    value
    for value in public_classes()
    if not issubclass(value, BaseException) and not getattr(value, "_is_protocol", False)
]


@pytest.mark.parametrize("value", CLASSES, ids=lambda value: f"{value.__module__}.{value.__name__}")
def test_every_public_class_has_an_example_of_three_to_six_lines(value):
    lines = [line for line in (value.__doc__ or "").splitlines() if line.strip().startswith(">>>")]
    assert 3 <= len(lines) <= 6


@pytest.mark.parametrize("name", WITH_EXAMPLES)
def test_examples_say_the_truth(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    output: list[str] = []
    module = importlib.import_module(name)
    runner = doctest.DocTestRunner(verbose=False)
    for test in doctest.DocTestFinder(exclude_empty=True).find(module, name):
        runner.run(test, out=output.append, clear_globs=True)
    assert runner.summarize(verbose=False).failed == 0, "".join(output)
