"""The import directions between the rooms of the package, read from the syntax tree, and what an import may load."""

import ast
import importlib.util
import subprocess
import sys
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "skfem_ml"

FLOOR = {"cells", "coefficients", "solutions", "problems", "metrics", "measures", "stepping", "solvers"}
LEARNING = {"nn", "training", "optim", "storage"}
METHODS = {"lod", "pinn", "fmm", "hits"}
# What each room may import of ours, besides itself.
ALLOWED = {
    "__init__": set(),
    "cells": set(),
    "coefficients": {"cells"},
    "solutions": {"cells"},
    "solvers": set(),
    "stepping": set(),
    "problems": {"cells", "coefficients", "solutions"},
    "metrics": {"coefficients", "solutions"},
    "measures": {"metrics", "problems", "solutions", "stepping"},
    "reference": FLOOR | {"storage"},  # results on disk; loaded by the functions that keep them
    "compare": FLOOR,
    "meshes": {"cells", "coefficients"},
    "pictures": {"cells", "solutions"},
    **dict.fromkeys(LEARNING, frozenset()),
    **dict.fromkeys(METHODS, frozenset(FLOOR | LEARNING)),
    "cli": FLOOR | LEARNING | METHODS | {"reference", "compare", "meshes", "pictures", "__init__"},
}
# Loaded by the functions that need them, never by an import of the room. Files that define networks need torch at once;
# that the import of lod itself stays free of it is tested by running it.
HEAVY = {"torch", "matplotlib"}
TORCH_ROOMS = LEARNING | METHODS
# Readers of files: not even their package pays for them before a file is read.
LATE = {"meshio", "PIL", "pyamg"}


def room_of(path: Path) -> str:
    """The room of a file, from its path below the package: a module's or a folder's name."""
    return path.parts[0].removesuffix(".py")


def imports(source: str, path: Path):
    """Yield (dotted name, whether it is inside a function) of every import; relative ones are made absolute."""
    package = ["skfem_ml", *path.parts[:-1]]

    def visit(node: ast.AST, inside: bool):
        for child in ast.iter_child_nodes(node):
            if isinstance(child, ast.Import):
                yield from ((alias.name, inside) for alias in child.names)
            elif isinstance(child, ast.ImportFrom):
                base = package[: len(package) - child.level + 1] if child.level else []
                start = ".".join([*base, *([child.module] if child.module else [])])
                yield from ((f"{start}.{alias.name}", inside) for alias in child.names)
            else:
                function = isinstance(child, (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda))
                yield from visit(child, inside or function or is_typing_guard(child))

    yield from visit(ast.parse(source), False)


def is_typing_guard(node: ast.AST) -> bool:
    return isinstance(node, ast.If) and ast.unparse(node.test) in ("TYPE_CHECKING", "typing.TYPE_CHECKING")


def violations(source: str, path: Path) -> list[str]:
    """Return what is wrong with the imports of one file, given by its path below the package."""
    room = room_of(path)
    if room not in ALLOWED:
        return [f"{path}: unknown room {room!r}; add it to the map of import directions"]
    wrong = []
    for name, inside in imports(source, path):
        top, *rest = name.split(".")
        if top == "skfem_ml":
            target = rest[0] if rest and not rest[0].startswith("__version__") else "__init__"
            if target not in ALLOWED:
                wrong.append(f"{path}: imports {name}, an unknown room")
            elif target != room and target not in ALLOWED[room]:
                wrong.append(f"{path}: {room} must not import {target} ({name})")
        elif not inside and (top in LATE or (top in HEAVY and not (top == "torch" and room in TORCH_ROOMS))):
            wrong.append(f"{path}: {top} must be imported inside the function that needs it")
        if top == "pyamg" and room != "solvers":
            wrong.append(f"{path}: pyamg belongs to solvers alone")
    return wrong


FILES = sorted(path.relative_to(PACKAGE) for path in PACKAGE.rglob("*.py"))


def test_the_package_is_found():
    assert {"__init__", "cells", "coefficients", "problems", "metrics", "reference", "compare"} <= {
        room_of(path) for path in FILES
    }


@pytest.mark.parametrize("path", FILES, ids=str)
def test_imports_keep_their_direction(path):
    assert violations((PACKAGE / path).read_text(encoding="utf-8"), path) == []


@pytest.mark.parametrize(
    ("path", "source", "message"),
    [
        ("problems.py", "from skfem_ml.reference import solver_fem", "problems must not import reference"),
        ("problems.py", "import skfem_ml.compare as c", "problems must not import compare"),
        ("solvers.py", "from skfem_ml import coefficients", "solvers must not import coefficients"),
        ("solvers.py", "from . import metrics", "solvers must not import metrics"),
        ("lod/space.py", "from ..reference.fem import solver_fem", "lod must not import reference"),
        ("lod/space.py", "from skfem_ml.pinn.loss import residual", "lod must not import pinn"),
        ("lod/space.py", "def f():\n    from skfem_ml import compare", "lod must not import compare"),
        ("training.py", "from skfem_ml.problems import Diffusion", "training must not import problems"),
        ("compare.py", "from .lod import LOD", "compare must not import lod"),
        ("reference/fem.py", "from ..nn import Network", "reference must not import nn"),
        ("metrics.py", "import torch", "torch must be imported inside"),
        ("compare.py", "try:\n    from torch import nn\nexcept E:\n    pass", "torch must be imported inside"),
        ("compare.py", "import matplotlib.pyplot as plt", "matplotlib must be imported inside"),
        ("coefficients/files.py", "class A:\n    import meshio", "meshio must be imported inside"),
        ("metrics.py", "def f():\n    import pyamg", "pyamg belongs to solvers alone"),
        ("utils.py", "", "unknown room 'utils'"),
        ("helpers/common.py", "", "unknown room 'helpers'"),
        ("metrics.py", "from skfem_ml.utils import x", "an unknown room"),
        ("__init__.py", "from skfem_ml.lod import LOD", "__init__ must not import lod"),
    ],
)
def test_the_check_catches_violations(path, source, message):
    found = violations(source, Path(path))
    assert len(found) == 1 and message in found[0]


@pytest.mark.parametrize(
    ("path", "source"),
    [
        ("lod/space.py", "from ..coefficients import validate\nfrom .patches import Patch\nfrom skfem_ml.nn import x"),
        ("reference/fem.py", "def solve():\n    import torch\n    return torch"),
        ("metrics.py", "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    import torch"),
        ("pinn/solver.py", "import torch"),
        ("cli.py", "from skfem_ml import __version__\nfrom skfem_ml.lod import LOD\nimport skfem_ml.compare"),
        ("problems.py", "import numpy\nfrom skfem_ml.coefficients.validation import validate"),
    ],
)
def test_the_check_allows_what_is_allowed(path, source):
    assert violations(source, Path(path)) == []


@pytest.mark.parametrize(
    ("module", "absent"),
    [
        ("skfem_ml", ["torch", "matplotlib", "skfem", "numpy"]),
        ("skfem_ml.coefficients", ["torch", "matplotlib", "PIL", "meshio"]),
        ("skfem_ml.reference", ["torch", "matplotlib", "pyamg"]),
        ("skfem_ml.compare", ["torch", "matplotlib"]),
        ("skfem_ml.lod", ["torch", "matplotlib"]),
        ("skfem_ml.fmm", ["torch", "matplotlib", "pyamg"]),
        ("skfem_ml.pictures", ["torch", "matplotlib"]),
        ("skfem_ml.cli", ["torch", "matplotlib", "skfem", "numpy"]),
    ],
)
def test_an_import_leaves_the_heavy_libraries_alone(module, absent):
    if importlib.util.find_spec(module) is None:
        pytest.skip(f"{module} does not exist yet")
    code = f"import sys, {module}; print([m for m in {absent} if m in sys.modules])"
    result = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, cwd=PACKAGE.parent, check=False
    )
    assert result.stdout.strip() == "[]", result.stdout + result.stderr
