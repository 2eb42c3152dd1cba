"""The import directions between the rooms of the package, read from the syntax tree, and what an import may load."""

import ast
import importlib.util
import subprocess
import sys
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "skfem_ml"

FLOOR = {
    "checks",
    "progress",
    "displays",
    "meshes",
    "coefficients",
    "solutions",
    "problems",
    "metrics",
    "stepping",
    "solvers",
}
LEARNING = {"learning", "learning.optim"}
LOD = {"lod", "lod.mesh", "lod.uses"}
LEARNED = {"lod.surrogate.networks", "lod.surrogate.conformal", "lod.surrogate.elements"}
METHODS = {
    "pinn",
    "fmm",
    "fmm.networks",
    "hits",
    "lod.slod",
    "lod.blocks",
    "lod.surrogate",
    "lod.surrogate.networks",
    "lod.surrogate.conformal",
    "lod.surrogate.elements",
    "lod.surrogate.recipe",
    "lod.engine",
} | LOD
# Files of lod/ that use the method; what is not listed is the method itself.
USES = {
    "lod/solver.py",
    "lod/gradient.py",
    "lod/inversion.py",
    "lod/judging.py",
    "lod/splitting.py",
    "lod/surrogate/setting.py",
}
# What each room may import of ours, besides itself. A room is a folder, or a file that stands alone.
ALLOWED = {
    "__init__": set(),
    "checks": set(),
    "progress": set(),
    "displays": set(),
    "meshes": {"checks"},
    "coefficients": {"checks", "meshes"},
    "solutions": {"checks", "displays", "meshes", "learning"},  # files; loaded by the functions that keep them
    "solvers": {"checks", "meshes", "coefficients", "solutions", "problems"},
    "problems": {"checks", "meshes", "coefficients", "solutions"},
    "metrics": {"checks", "coefficients", "solutions", "problems", "solvers"},
    "stepping": {"checks", "coefficients", "problems", "solvers"},
    "pictures": {"checks", "meshes", "solutions"},
    "compare": FLOOR,
    "reference": FLOOR | {"learning"},  # results on disk; loaded by the functions that keep them
    "learning": {"checks", "progress", "displays", "learning.optim", "__init__"},
    "learning.optim": {"checks"},
    "lod.mesh": FLOOR,
    "lod.engine": FLOOR | {"lod.mesh"},
    "lod": FLOOR | {"lod.mesh", "lod.engine"},
    "lod.slod": FLOOR | {"lod", "lod.mesh", "lod.engine"},
    "lod.blocks": FLOOR | LEARNING | {"lod", "lod.mesh", "lod.engine"},
    "lod.uses": FLOOR | LEARNING | {"lod", "lod.mesh", "lod.engine", "compare"},
    "lod.surrogate": FLOOR | LEARNING | LOD | LEARNED | {"compare"},
    "lod.surrogate.conformal": FLOOR | LOD,
    "lod.surrogate.elements": FLOOR | LEARNING | LOD | {"lod.engine", "lod.surrogate.conformal", "compare"},
    "lod.surrogate.recipe": FLOOR | LEARNING | LOD | LEARNED | {"lod.surrogate", "lod.blocks", "compare"},
    "lod.surrogate.networks": FLOOR | LEARNING,
    "pinn": FLOOR | LEARNING,
    "fmm": FLOOR | LEARNING,
    "fmm.networks": FLOOR | LEARNING | {"fmm"},
    "hits": FLOOR | LEARNING,
    "baselines": FLOOR | LEARNING,
    "saved": LEARNING | {"fmm", "fmm.networks", "baselines"},
    "cli": FLOOR | LEARNING | METHODS | {"reference", "compare", "pictures", "baselines", "saved", "__init__"},
}
# Loaded by the functions that need them, never by an import of the room. Files that define networks need torch at once;
# that the import of lod itself stays free of it is tested by running it.
HEAVY = {"torch", "matplotlib"}
TORCH_ROOMS = LEARNING | METHODS | {"baselines"}
# Readers of files: not even their package pays for them before a file is read.
LATE = {"meshio", "PIL", "pyamg"}


def room_of(path: Path) -> str:
    """The room of a file, from its path below the package: the longest name in the map that its folders spell."""
    if path.as_posix() in USES:
        return "lod.uses"
    folders = list(path.parts[:-1])
    if not folders:
        return path.stem
    while len(folders) > 1 and ".".join(folders) not in ALLOWED:
        folders.pop()
    return ".".join(folders)


def imports(source: str, path: Path):
    """Yield (dotted name, whether it is inside a function or for type checkers) of every import, made absolute."""
    package = ["skfem_ml", *path.parts[:-1]]

    def visit(node: ast.AST, inside: bool):
        for child in ast.iter_child_nodes(node):
            if isinstance(child, ast.Import):
                yield from ((alias.name, inside) for alias in child.names)
            elif isinstance(child, ast.ImportFrom):
                base = package[: len(package) - child.level + 1] if child.level else []
                start = ".".join([*base, *([child.module] if child.module else [])])
                yield from ((f"{start}.{alias.name}", inside) for alias in child.names)
            elif not is_typing_guard(child):
                function = isinstance(child, (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda))
                yield from visit(child, inside or function)

    yield from visit(ast.parse(source), False)


def is_typing_guard(node: ast.AST) -> bool:
    return isinstance(node, ast.If) and ast.unparse(node.test) in ("TYPE_CHECKING", "typing.TYPE_CHECKING")


def file_of(name: str) -> Path | None:
    """The file below the package that a dotted name lies in, where there is one."""
    parts = name.split(".")[1:]
    for length in range(len(parts), -1, -1):
        base = Path(*parts[:length])
        for path in ([base.with_suffix(".py")] if length else []) + [base / "__init__.py"]:
            if (PACKAGE / path).is_file():
                return path
    return None


def violations(source: str, path: Path) -> list[str]:
    """Return what is wrong with the imports of one file, given by its path below the package."""
    room = room_of(path)
    if room not in ALLOWED:
        return [f"{path}: unknown room {room!r}; add it to the map of import directions"]
    wrong = []
    for name, inside in imports(source, path):
        top = name.partition(".")[0]
        if top == "skfem_ml":
            target = room_of(file_of(name) or Path("nowhere"))
            if target == "__init__" and not name.endswith("__version__"):
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
    assert set(ALLOWED) == {room_of(path) for path in FILES}


@pytest.mark.parametrize("path", FILES, ids=str)
def test_imports_keep_their_direction(path):
    assert violations((PACKAGE / path).read_text(encoding="utf-8"), path) == []


def test_no_circles():
    """Neither between files nor between rooms, imports inside functions included."""
    files = {
        path: {found for name, _ in imports((PACKAGE / path).read_text("utf-8"), path) if (found := file_of(name))}
        for path in FILES
    }
    assert cycle({path: targets - {path} for path, targets in files.items() if path.name != "__init__.py"}) == []
    rooms: dict[str, set[str]] = {room: set() for room in ALLOWED}
    for path, targets in files.items():
        rooms[room_of(path)] |= {room_of(target) for target in targets} - {room_of(path)}
    assert cycle(rooms) == []


def cycle(graph: dict) -> list:
    """A list of nodes that import one another in a circle, or nothing."""
    done: set = set()

    def walk(node, trail):
        if node in trail:
            return trail[trail.index(node) :]
        if node in done or node not in graph:
            return []
        for target in sorted(graph[node], key=str):
            found = walk(target, [*trail, node])
            if found:
                return found
        done.add(node)
        return []

    return next((found for node in graph if (found := walk(node, []))), [])


def test_a_circle_would_be_found():
    assert cycle({"a": {"b"}, "b": {"c"}, "c": {"b"}}) == ["b", "c"] and cycle({"a": {"b"}, "b": set()}) == []


@pytest.mark.parametrize(
    ("path", "source", "message"),
    [
        ("problems/heat.py", "from skfem_ml.reference import solver_fem", "problems must not import reference"),
        ("problems/heat.py", "import skfem_ml.compare as c", "problems must not import compare"),
        ("solvers/direct.py", "from skfem_ml import reference", "solvers must not import reference"),
        ("solvers/direct.py", "from .. import metrics", "solvers must not import metrics"),
        ("lod/method.py", "from ..reference.fem import solver_fem", "lod must not import reference"),
        ("lod/method.py", "from skfem_ml.pinn.solver import residual", "lod must not import pinn"),
        ("lod/method.py", "def f():\n    from skfem_ml import compare", "lod must not import compare"),
        ("lod/method.py", "from skfem_ml.lod.judging import errors_of", "lod must not import lod.uses"),
        ("lod/method.py", "from skfem_ml.lod.surrogate import Surrogate", "lod must not import lod.surrogate"),
        ("lod/mesh/patches.py", "from skfem_ml.lod.engine import rows", "lod.mesh must not import lod.engine"),
        (
            "lod/surrogate/model.py",
            "from skfem_ml.lod.engine.rows import R",
            "lod.surrogate must not import lod.engine",
        ),
        ("fmm/operator.py", "from skfem_ml.fmm.networks import FMMNet", "fmm must not import fmm.networks"),
        ("hits/hierarchy.py", "from skfem_ml.baselines import LSTM", "hits must not import baselines"),
        ("baselines/recurrent.py", "from skfem_ml.hits import HiTS", "baselines must not import hits"),
        ("learning/training.py", "from skfem_ml.problems import Diffusion", "learning must not import problems"),
        ("compare/table.py", "from skfem_ml.lod.method import LOD", "compare must not import lod"),
        ("metrics.py", "import torch", "torch must be imported inside"),
        ("compare/run.py", "try:\n    from torch import nn\nexcept E:\n    pass", "torch must be imported inside"),
        ("compare/run.py", "import matplotlib.pyplot as plt", "matplotlib must be imported inside"),
        ("coefficients/files.py", "class A:\n    import meshio", "meshio must be imported inside"),
        ("metrics.py", "def f():\n    import pyamg", "pyamg belongs to solvers alone"),
        ("utils.py", "", "unknown room 'utils'"),
        ("helpers/common.py", "", "unknown room 'helpers'"),
        ("metrics.py", "from skfem_ml.utils import x", "an unknown room"),
        ("__init__.py", "from skfem_ml.lod.method import LOD", "__init__ must not import lod"),
    ],
)
def test_the_check_catches_violations(path, source, message):
    found = violations(source, Path(path))
    assert len(found) == 1 and message in found[0]


@pytest.mark.parametrize(
    ("path", "source"),
    [
        ("lod/method.py", "from ..coefficients import validate\nfrom .mesh.patches import Patches"),
        ("lod/solver.py", "from skfem_ml.lod.method import LOD"),
        ("reference/fem.py", "def solve():\n    import torch\n    return torch"),
        ("metrics.py", "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    import torch"),
        ("pinn/solver.py", "import torch"),
        ("cli/app.py", "from skfem_ml import __version__\nfrom skfem_ml.lod import LOD\nimport skfem_ml.compare"),
        ("problems/heat.py", "import numpy\nfrom skfem_ml.coefficients.validation import validate"),
    ],
)
def test_the_check_allows_what_is_allowed(path, source):
    assert violations(source, Path(path)) == []


@pytest.mark.parametrize(
    ("code", "absent"),
    [
        ("import skfem_ml", ["torch", "matplotlib", "skfem", "numpy"]),
        ("import skfem_ml; skfem_ml.LOD", ["torch", "matplotlib"]),
        ("import skfem_ml.coefficients", ["torch", "matplotlib", "PIL", "meshio"]),
        ("import skfem_ml.reference", ["torch", "matplotlib", "pyamg"]),
        ("import skfem_ml.compare", ["torch", "matplotlib"]),
        ("import skfem_ml.lod", ["torch", "matplotlib"]),
        ("import skfem_ml.fmm; skfem_ml.fmm.H2Operator", ["torch", "matplotlib", "pyamg"]),
        ("import skfem_ml.stepping", ["torch", "matplotlib", "pyamg"]),
        ("import skfem_ml.pictures", ["torch", "matplotlib"]),
        ("import skfem_ml.cli", ["torch", "matplotlib", "skfem", "numpy"]),
    ],
)
def test_an_import_leaves_the_heavy_libraries_alone(code, absent):
    assert importlib.util.find_spec("skfem_ml") is not None
    code = f"import sys; {code}; print([m for m in {absent} if m in sys.modules])"
    result = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, cwd=PACKAGE.parent, check=False
    )
    assert result.stdout.strip() == "[]", result.stdout + result.stderr
