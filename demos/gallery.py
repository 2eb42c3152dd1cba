r"""All demos with their pictures, numbers and seconds: ``python demos/gallery.py [--docs] [FOLDER [NAME ...]]``.

Every demo is run as one runs it by hand, ``python demos/NAME.py`` in FOLDER (skfem_ml_output/gallery by default), and
leaves NAME.png there; the last line that it prints is its number. With names, only those demos are run. All of them
take about half an hour of one core. ``--docs`` writes what the documentation shows, of a clone: small pictures with
script, seed and date in their text chunks, docs/pictures/demos.json, and the table of demos/README.md.
"""

import ast
import json
import os
import re
import subprocess
import sys
from datetime import date
from pathlib import Path

import skfem_ml

FOLDER = Path("skfem_ml_output") / "gallery"
HERE = Path(__file__).resolve().parent
DOCS = HERE.parent / "docs" / "pictures"
WIDTH, BYTES = 900, 60_000  # of the small pictures, at most
MARKS = "<!-- python demos/gallery.py --docs -->", "<!-- end -->"
Entry = dict[str, str | float]


def names() -> list[str]:
    """The demos that have a picture: every script beside this one."""
    return sorted(file.stem for file in HERE.glob("*.py") if file.stem not in ("__init__", "gallery"))


def described(name: str) -> Entry:
    """Title and sentence of a demo, as they stand in its docstring, and its constant ``SEED`` or ``SEEDS``."""
    source = (HERE / f"{name}.py").read_text(encoding="utf-8")
    title, _, rest = (ast.get_docstring(ast.parse(source)) or "").partition("\n")
    sentence = rest.strip("=\n").partition("\n\n")[0]
    found = re.search(r"^SEEDS? = \(?([\d, ]+)\)?", source, re.MULTILINE)
    return {"name": name, "title": title, "sentence": sentence, "seed": found[1] if found else "none"}


def run(name: str, folder: Path) -> Entry:
    """Run one demo in a folder, and return what there is to say of it; RuntimeError where it fails."""
    before = os.times()
    done = subprocess.run(
        [sys.executable, HERE / f"{name}.py"], cwd=folder, capture_output=True, text=True, check=False
    )
    after = os.times()
    if done.returncode:
        raise RuntimeError(f"{name}.py ended with {done.returncode}:\n{done.stderr[-2000:]}")
    print(done.stdout, flush=True)
    seconds = after.children_user - before.children_user + after.children_system - before.children_system
    number = done.stdout.strip().splitlines()[-1]
    measured = {"number": number, "seconds": round(seconds, 1), "date": f"{date.today():%Y-%m-%d}"}
    return {**described(name), **measured, "version": skfem_ml.__version__}


def write(folder: str | Path = FOLDER, chosen: list[str] | None = None, docs: bool = False) -> list[Path]:
    """Run all demos, or those chosen, print names and CPU seconds, and return the paths of their pictures."""
    wrong = set(chosen or []) - set(names())
    if wrong:
        raise ValueError(f"expected names of demos ({', '.join(names())}), got {', '.join(sorted(wrong))}")
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    found = {}
    for name in chosen or names():
        print(f"--- {name}", flush=True)
        found[name] = run(name, folder)
        print(f"--- {name}: {found[name]['seconds']} CPU s, {folder / name}.png", flush=True)
        if docs:
            show(found[name], folder)
    return [folder / f"{name}.png" for name in found]


def show(entry: Entry, folder: Path) -> None:
    """Put the small picture, a film if there is one, and the entry where the documentation reads them."""
    name = str(entry["name"])
    DOCS.mkdir(parents=True, exist_ok=True)
    small(folder / f"{name}.png", DOCS / f"{name}.png", entry)
    if (folder / f"{name}.gif").exists():
        (DOCS / f"{name}.gif").write_bytes((folder / f"{name}.gif").read_bytes())
    file = DOCS / "demos.json"
    entries = {e["name"]: e for e in json.loads(file.read_text(encoding="utf-8"))} if file.exists() else {}
    entries[name] = entry
    kept = [entries[name] for name in sorted(entries) if name in names()]
    file.write_text(json.dumps(kept, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    page = HERE / "README.md"
    text = page.read_text(encoding="utf-8")
    head, rest = text.split(MARKS[0], 1)
    page.write_text(f"{head}{MARKS[0]}\n\n{table(kept)}\n\n{MARKS[1]}{rest.split(MARKS[1], 1)[1]}", encoding="utf-8")


def table(entries: list[Entry]) -> str:
    """All demos as Markdown; those that were not run yet without number and seconds."""
    found = {str(entry["name"]): entry for entry in entries}
    lines = ["| demo | what it shows | its number | CPU s |", "|---|---|---|---:|"]
    for name in names():
        e = found.get(name, {"number": "", "seconds": ""}) | described(name)
        seconds = f"{e['seconds']:.0f}" if e["seconds"] else ""
        cells = (f"`{name}.py`", re.sub(r":math:`(.+?)`", r"\1", str(e["sentence"])), e["number"], seconds)
        lines.append("| " + " | ".join(str(cell).replace("\n", " ").replace("|", "\\|") for cell in cells) + " |")
    return "\n".join(lines)


def small(picture: Path, to: Path, entry: Entry, width: int = WIDTH, limit: int = BYTES) -> None:
    """A picture of at most so many pixels and bytes, of as many colours as that allows, with what made it in its text.

    Where not even 32 colours on two thirds of the width are small enough, that is what is written.
    """
    from PIL import Image
    from PIL.PngImagePlugin import PngInfo

    about = PngInfo()
    software = f"skfem_ml {entry['version']}"
    for key, value in {"Title": entry["title"], "Source": f"demos/{entry['name']}.py", "Seed": entry["seed"],
                       "Creation Time": entry["date"], "Software": software}.items():  # fmt: skip
        about.add_itxt(key, str(value))
    whole = Image.open(picture).convert("RGB")
    for part, colours in ((1, 0), (1, 256), (1, 128), (1, 64), (5 / 6, 64), (5 / 6, 32), (2 / 3, 32)):
        wide = min(round(part * width), whole.width)
        shown = whole.resize((wide, round(whole.height * wide / whole.width)), Image.Resampling.LANCZOS)
        if colours:  # the default, by population, would merge those of lines and markers
            shown = shown.quantize(colours, Image.Quantize.MAXCOVERAGE, kmeans=3, dither=Image.Dither.NONE)
        shown.save(to, optimize=True, pnginfo=about)
        if to.stat().st_size <= limit:
            return


if __name__ == "__main__":
    words = [word for word in sys.argv[1:] if word != "--docs"]
    write(words[0] if words else FOLDER, words[1:] or None, docs="--docs" in sys.argv)
