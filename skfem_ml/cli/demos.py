"""``skfem-ml demos``: the demos of the source repository as commands to run, or where to find them."""

from __future__ import annotations

import ast
import os
import shlex
import shutil
import sys
from collections.abc import Iterator
from importlib import resources
from pathlib import Path

import typer

NO_SOURCE = (
    "The demos are not part of the installed package: they are the folder demos/ of the source repository. Get the "
    "source, and run in its root: skfem-ml demos"
)


def demos() -> None:
    """List the demos: what each shows, and the command that runs it from here."""
    folder = demo_folder(Path.cwd())
    if folder is None:
        typer.echo(NO_SOURCE)
        return
    for path, text in runnable(folder):
        typer.echo(f"{command(path)}  # {text}")


def demo_folder(start: Path) -> Path | None:
    """The folder of the demos: beside the package in a source tree, or in ``start`` or above it."""
    package = Path(str(resources.files("skfem_ml")))
    for root in (package.parent, start, *start.parents):
        # "demos" is a common name: ours lies beside the package's own source.
        if (root / "demos").is_dir() and (root / "skfem_ml" / "__init__.py").is_file():
            return root / "demos"
    return None


def runnable(folder: Path) -> Iterator[tuple[Path, str]]:
    """The files with a main guard, each with the first line of its docstring; nothing is imported."""
    for path in sorted(folder.glob("*.py")):
        source = path.read_text(encoding="utf-8")
        if '__name__ == "__main__"' in source:
            yield path, (ast.get_docstring(ast.parse(source)) or "").partition("\n")[0]


def command(path: Path) -> str:
    """What runs a demo from the present folder."""
    found = shutil.which("python")
    same = found is not None and Path(found).parent == Path(sys.executable).parent
    return f"{'python' if same else near(Path(sys.executable))} {near(path)}"


def near(path: Path) -> str:
    """A path for the shell, relative where it lies below the present folder or beside it."""
    relative = os.path.relpath(path)
    return shlex.quote(str(path) if relative.startswith(os.path.join("..", "..")) else relative)
