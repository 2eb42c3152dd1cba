"""The pictures of all demos, one PNG each: ``python demos/gallery.py [FOLDER [NAME ...]]``.

FOLDER is skfem_ml_output/gallery by default; with names, only those demos are drawn. Some take minutes. The clone is
put on the path, so that this runs from any folder, as a file and as ``python -m demos.gallery``.
"""

import importlib
import sys
from pathlib import Path

FOLDER = "skfem_ml_output/gallery"
HERE = Path(__file__).resolve().parent


def names() -> list[str]:
    """The demos that have a picture: every script beside this one."""
    return sorted(file.stem for file in HERE.glob("*.py") if file.stem not in ("__init__", "gallery"))


def write(folder: str | Path = FOLDER, chosen: list[str] | None = None) -> list[Path]:
    """Write the picture of every demo, or of those chosen, into a folder, and return the paths."""
    if str(HERE.parent) not in sys.path:
        sys.path.append(str(HERE.parent))
    wrong = set(chosen or []) - set(names())
    if wrong:
        raise ValueError(f"expected names of demos ({', '.join(names())}), got {', '.join(sorted(wrong))}")
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    paths = []
    for name in chosen or names():
        paths.append(folder / f"{name}.png")
        print(paths[-1], flush=True)
        importlib.import_module(f"demos.{name}").visualize().savefig(paths[-1], dpi=150)
    return paths


if __name__ == "__main__":
    write(sys.argv[1] if len(sys.argv) > 1 else FOLDER, sys.argv[2:] or None)
