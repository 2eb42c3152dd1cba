"""The shape of the package, read from the syntax tree: short files and functions, small folders, few ``Any``."""

import ast
from collections import Counter

import pytest

from tests.conftest import LAPACK, ROOT

PACKAGE = ROOT / "skfem_ml"
FILES = sorted(path.relative_to(PACKAGE) for path in PACKAGE.rglob("*.py"))
LINES, BODY, FOLDER, ANY = 300, 40, 14, 100
NODES = (ast.FunctionDef, ast.AsyncFunctionDef)


def long_functions(source: str) -> list[str]:
    """Functions of more than 40 lines, from ``def`` to their end, docstring and inner functions included."""
    found = [node for node in ast.walk(ast.parse(source)) if isinstance(node, NODES)]
    lengths = [(node.name, (node.end_lineno or node.lineno) - node.lineno + 1) for node in found]
    return [f"{name}: {length} lines" for name, length in lengths if length > BODY]


def uses_of_any(source: str) -> list[int]:
    """The lines of all names ``Any`` within the annotations of parameters, results and variables."""
    annotations = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, NODES):
            annotations.append(node.returns)
        elif isinstance(node, (ast.arg, ast.AnnAssign)):
            annotations.append(node.annotation)
    found = [(annotation.lineno, count_any(annotation)) for annotation in annotations if annotation is not None]
    return sorted(line for line, count in found for _ in range(count))


def count_any(annotation: ast.AST) -> int:
    """How often ``Any`` or ``typing.Any`` stands in an annotation, also in one that is written as a string."""
    if isinstance(annotation, ast.Constant) and isinstance(annotation.value, str):
        try:
            return count_any(ast.parse(annotation.value, mode="eval").body)
        except SyntaxError:
            return 0  # the text of an Annotated, no type
    if is_literal(annotation):
        return 0
    here = getattr(annotation, "id", getattr(annotation, "attr", None)) == "Any"
    return here + sum(map(count_any, ast.iter_child_nodes(annotation)))


def is_literal(annotation: ast.AST) -> bool:
    return isinstance(annotation, ast.Subscript) and ast.unparse(annotation.value).split(".")[-1] == "Literal"


@pytest.mark.parametrize("path", FILES, ids=str)
def test_files_and_functions_are_short(path):
    source = (PACKAGE / path).read_text(encoding="utf-8")
    lines = source.count("\n")
    assert lines <= LINES
    assert long_functions(source) == []


def test_folders_are_small():
    count = Counter(path.parent.as_posix() for path in FILES)
    assert {folder: number for folder, number in count.items() if number > FOLDER} == {}


def test_what_is_run_under_two_kernels_is_there():
    """Finding B3: a renamed file must not drop out of the list."""
    assert [name for name in LAPACK if not (ROOT / name).exists()] == []
    assert "pytest -m lapack" in (ROOT / ".ci" / "run").read_text(encoding="utf-8")


def test_any_stands_where_anything_is_meant_and_nowhere_else():
    count = {path.as_posix(): len(uses_of_any((PACKAGE / path).read_text(encoding="utf-8"))) for path in FILES}
    assert sum(count.values()) <= ANY, {path: number for path, number in count.items() if number}


def test_the_checks_see_what_they_look_for():
    body = "\n".join(["    x = 1"] * 40)
    assert long_functions(f"def f():\n{body}") == ["f: 41 lines"]
    assert long_functions(f"class A:\n    async def g(self):\n{body.replace('x', '    x')}") == ["g: 41 lines"]
    assert long_functions("def f():\n    x = 1\n\n    def g():\n        pass") == []
    source = """
from typing import Annotated, Any, Literal
import typing as t
a: dict[str, Any] = {}
b: Any | None
def f(x: "list[Any]", *y: t.Any, z: Literal["Any"] = "Any", **rest: Annotated[Any, "Any number of it"]) -> Any:
    return Any
"""
    assert uses_of_any(source) == [4, 5, 6, 6, 6, 6]
