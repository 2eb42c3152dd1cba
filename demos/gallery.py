"""The pictures of all demos, one PNG each: ``python demos/gallery.py [FOLDER]`` (default skfem_ml_output/gallery)."""

import runpy
import sys
from pathlib import Path

FOLDER = "skfem_ml_output/gallery"
HERE = Path(__file__).parent


def write(folder: str | Path = FOLDER, names: list[str] | None = None) -> list[Path]:
    """Write the picture of every demo, or of those named, into a folder, and return the paths."""
    if names is None:
        names = sorted(file.stem for file in HERE.glob("*.py") if file.stem not in ("__init__", "gallery"))
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    paths = []
    for name in names:
        paths.append(folder / f"{name}.png")
        print(paths[-1], flush=True)
        runpy.run_path(str(HERE / f"{name}.py"))["visualize"]().savefig(paths[-1], dpi=150)
    return paths


if __name__ == "__main__":
    write(*sys.argv[1:2])
