"""``skfem-ml demos``: the demos as commands to run, those of a source tree or a copy of those in the package."""

from __future__ import annotations

import ast
import os
import re
import shlex
import shutil
import sys
from collections.abc import Iterator
from importlib import resources
from pathlib import Path
from typing import Annotated

import typer

COPY = "copy them into a folder demos/ here, where they run, by: skfem-ml demos --copy"
FOLDER = Path(".")


def demos(
    folder: Annotated[Path, typer.Argument(help="With --copy: where the folder demos/ is made.")] = FOLDER,
    copy: Annotated[bool, typer.Option("--copy", help="Copy the demos, which then run from there.")] = False,
) -> None:
    """List the demos: what each shows, and the command that runs it from here."""
    if copy:
        found: Path | None = copied(shipped_demos(), folder)
    elif folder != FOLDER:
        raise ValueError(f"folder: expected together with --copy, got {folder}; add --copy or leave it out")
    else:
        found = demo_folder(Path.cwd())
    for path, text in runnable(found or shipped_demos()):
        typer.echo(f"{command(path) if found else path.name}  # {text}")
    if found is None:
        typer.echo(COPY)


def shipped_demos() -> Path:
    """The folder of the demos: in the package, or beside it in a source tree."""
    package = Path(str(resources.files("skfem_ml")))
    return package / "demos" if (package / "demos").is_dir() else package.parent / "demos"


def demo_folder(start: Path) -> Path | None:
    """The demos of the source tree or copy that ``start`` lies in; else None. "demos" is a common name: ours has the
    same ``__init__.py``.
    """
    shipped = shipped_demos()
    if shipped.parent.name != "skfem_ml":  # a source tree
        return shipped
    mark = (shipped / "__init__.py").read_bytes()
    for root in (start, *start.parents):
        init = root / "demos" / "__init__.py"
        if init.is_file() and init.read_bytes() == mark:
            return init.parent
    return None


def copied(source: Path, folder: Path) -> Path:
    """Copy the scripts into ``folder/demos`` and return that; raises ValueError where files would be lost."""
    target = folder / "demos"
    files = {path: target / path.name for path in sorted(source.glob("*.py"))}
    changed = [str(new) for old, new in files.items() if new.exists() and new.read_bytes() != old.read_bytes()]
    if changed:
        raise ValueError(f"{changed[0]}: is there already and differs from the demo; choose another FOLDER")
    target.mkdir(parents=True, exist_ok=True)
    for old, new in files.items():
        shutil.copyfile(old, new)
    return target


def runnable(folder: Path) -> Iterator[tuple[Path, str]]:
    """The files with a main guard, each with what it shows; nothing is imported."""
    for path in sorted(folder.glob("*.py")):
        source = path.read_text(encoding="utf-8")
        if '__name__ == "__main__"' in source:
            yield path, sentence(ast.get_docstring(ast.parse(source)) or "")


def sentence(text: str) -> str:
    """The first sentence after the title of a docstring; where no title is underlined, its first line.

    >>> sentence("Heat\\n====\\n\\nA step of ``RK4``\\nin *time*. More.")
    'A step of RK4 in time.'
    """
    title, *rest = text.split("\n")
    if not rest or not re.fullmatch(r"([=*#~-])\1*", rest[0].strip() or "."):
        return title
    paragraph = " ".join("\n".join(rest[1:]).strip().partition("\n\n")[0].split())
    plain = re.sub(r":\w+:`([^`]*)`", r"\1", paragraph).replace("`", "").replace("*", "")
    return re.split(r"(?<=[.!?:])\s+(?=[A-Z])", plain)[0]


def command(path: Path) -> str:
    """What runs a demo from the present folder."""
    found = shutil.which("python")
    same = found is not None and Path(found).parent == Path(sys.executable).parent
    return f"{'python' if same else near(Path(sys.executable))} {near(path)}"


def near(path: Path) -> str:
    """A path for the shell, relative where it lies below the present folder or beside it."""
    relative = os.path.relpath(path)
    return shlex.quote(str(path) if relative.startswith(os.path.join("..", "..")) else relative)
