"""Pages of what was measured: those that the scripts in demos/benchmarks write, included as they are."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from sphinx.application import Sphinx
    from sphinx.config import Config

FOLDER = "measured"
SOURCE = Path(__file__).resolve().parents[2] / "demos" / "benchmarks"
INTRODUCTION = """# Measured

Every figure of this site stands on one of these pages, each written by its script, `python -m demos.benchmarks.NAME` in
a clone, with seeds, versions and the machine.

```{toctree}
:maxdepth: 1

"""


def names() -> list[str]:
    """The benchmarks that have a page."""
    return sorted(path.stem for path in SOURCE.glob("*.md"))


def write(app: Sphinx, config: Config) -> None:
    """Write a page that includes each of them, and the list."""
    folder = Path(app.srcdir) / FOLDER
    folder.mkdir(exist_ok=True)
    for name in names():
        include = f"```{{include}} ../../demos/benchmarks/{name}.md\n:relative-images:\n:relative-docs: .\n```\n"
        (folder / f"{name}.md").write_text(include, encoding="utf-8")
    (folder / "index.md").write_text(INTRODUCTION + "\n".join(names()) + "\n```\n", encoding="utf-8")


def setup(app: Sphinx) -> dict[str, bool]:
    app.connect("config-inited", write)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
