"""``skfem-ml demos``: the demos of the source repository, or where to find them."""

from __future__ import annotations

import ast
from importlib.util import find_spec
from pathlib import Path

import typer

import skfem_ml


def demos() -> None:
    """List the demos with their first lines."""
    folder = demo_folder()
    if folder is None:
        typer.echo(
            "The demos are not part of the installed package: they are the folder demos/ of the source "
            "repository. Get the source, and in its root run: python -m demos.NAME"
        )
        return
    for path in sorted(folder.glob("*.py")):
        if not path.name.startswith("_"):
            typer.echo(f"{path.stem:24} {summary(path)}")
    typer.echo(f"run one in {folder.parent}: python -m demos.NAME")


def demo_folder() -> Path | None:
    """Return the folder of the demos: beside the package in a source tree, or importable as ``demos``."""
    beside = Path(skfem_ml.__file__).parents[1] / "demos"
    if beside.is_dir():
        return beside
    spec = find_spec("demos")
    places = [Path(place) for place in (spec.submodule_search_locations or [])] if spec is not None else []
    # "demos" is a common name: ours speak of skfem_ml.
    ours = [place for place in places if any("skfem_ml" in p.read_text(encoding="utf-8") for p in place.glob("*.py"))]
    return ours[0] if ours else None


def summary(path: Path) -> str:
    """Return the first line of a module's docstring, without importing it."""
    text = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8")))
    return text.splitlines()[0] if text else ""
