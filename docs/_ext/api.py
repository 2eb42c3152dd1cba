"""Pages of the API: one a room, from the public list of the room, before autosummary writes one for every name."""

from __future__ import annotations

import importlib
import inspect
import pkgutil
import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import skfem_ml

if TYPE_CHECKING:
    from sphinx.application import Sphinx
    from sphinx.config import Config

# What a user looks for first comes first; rooms that are not named here follow.
ORDER = "lod lod.surrogate lod.surrogate.conformal lod.surrogate.networks lod.slod lod.blocks solvers coefficients "
ORDER += "problems compare reference meshes solutions metrics pictures pinn fmm fmm.networks hits stepping baselines "
ORDER += "learning learning.optim saved cli"
KINDS = ("Classes", "Functions", "Other names")
FOLDER = "api"


def rooms() -> list[str]:
    """The modules of the package that have a public list, in the order of the site."""
    modules = pkgutil.walk_packages(skfem_ml.__path__, "skfem_ml.")
    found = {info.name for info in modules if (info.ispkg or info.name.count(".") == 1) and public(info.name)}
    first = [f"skfem_ml.{name}" for name in ORDER.split()]
    return [name for name in first if name in found] + sorted(found - set(first))


def public(room: str) -> list[str]:
    """The public names of a module: its list; of a file in the package's folder, what it defines."""
    module = importlib.import_module(room)
    listed = getattr(module, "__all__", None)
    if listed is None and room.count(".") == 1 and not room.endswith((".checks", ".displays", ".progress")):
        listed = [name for name, value in vars(module).items() if getattr(value, "__module__", None) == room]
        listed = [name for name in listed if not name.startswith("_")]
    return sorted(n for n in listed or () if n[0] != "_" and not inspect.ismodule(getattr(module, n)))


def homes() -> dict[int, str]:
    """Every public object (by its id) with the name that it is documented under, in the most special room."""
    found = {}
    for room in ["skfem_ml", *rooms()]:
        for name in public(room):
            found[id(getattr(importlib.import_module(room), name))] = f"{room}.{name}"
    return found


def kind(value: object) -> str:
    """The heading that a name stands under."""
    if inspect.isclass(value):
        return KINDS[0]
    return KINDS[1] if inspect.isroutine(value) else KINDS[2]


def summary(names: list[str]) -> list[str]:
    """A table of names of the room at hand with their first sentences; each gets a page of its own."""
    return [".. autosummary::", "   :nosignatures:", "   :toctree: names", "", *(f"   {name}" for name in names), ""]


def tables(room: str, documented: dict[int, str]) -> list[str]:
    """The names of a room by kind: those described here, then those described in another room."""
    module, lines = importlib.import_module(room), []
    for heading in KINDS:
        names = [name for name in public(room) if kind(getattr(module, name)) == heading]
        places = {f"{room}.{name}": documented[id(getattr(module, name))] for name in names}
        own = [name.removeprefix(f"{room}.") for name, place in places.items() if name == place]
        elsewhere = [f":py:obj:`~{place}`" for name, place in places.items() if name != place]
        lines += [heading, "-" * len(heading), ""] if names else []
        lines += summary(own) if own else []
        lines += ["Described in other rooms: " + ", ".join(elsewhere), ""] if elsewhere else []
    return lines


def page(room: str, documented: dict[int, str]) -> str:
    """The page of a room: what its docstring says, and tables of its names; the package's own page lists the rooms."""
    title = room.removeprefix("skfem_ml.") if room != "skfem_ml" else "API"
    lines = [title, "=" * len(title), "", f".. automodule:: {room}", "   :no-members:", ""]
    lines += [f".. currentmodule:: {room}", ""]
    if room == "skfem_ml":
        lines += [".. toctree::", "   :maxdepth: 1", ""]
        lines += [f"   {name.removeprefix('skfem_ml.')} <{name}>" for name in rooms()]
        lines += ["", "What ``from skfem_ml import`` gives:", ""]
    return "\n".join([*lines, *tables(room, documented)])


def first_sentence(lines: Sequence[str], settings: object) -> str:
    """The first sentence of a docstring for the tables: up to a full stop that stands in no literal.

    Sphinx 9.0 looks for broken markup in the whole paragraph in place of the sentence, and cuts "``a . b``" in two.
    """
    text = "\n".join(lines).strip().split("\n\n")[0]
    sentences = re.split(r"(?<=\.)\s+", " ".join(text.split()))
    whole = (" ".join(sentences[:n]) for n in range(1, len(sentences) + 1))
    return next((part for part in whole if part.count("``") % 2 == 0), "").replace("::", ":")


def listed(lines: list[str]) -> list[str]:
    """Turn the columns of a module's docstring, "``file``   what is in it", into a list."""
    found: list[str] = []
    within = False
    for line in lines:
        entry = re.match(r"(``[^`]+``)\s+(\S.*)", line) if within or not (found and found[-1]) else None
        if entry:
            found += ([] if within else [""]) + [f"- {entry[1]}: {entry[2]}"]
        else:
            found.append(f"  {line.strip()}" if within and line.strip() else line)
        within = bool(entry) or (within and bool(line.strip()))
    return found


def describe(app: Sphinx, what: str, name: str, value: object, options: object, lines: list[str]) -> None:
    """Say what a constant is where its docstring is that of its type; make lists of the columns of modules."""
    if what == "module":
        lines[:] = listed(lines)
    if what == "data" and value.__doc__ == type(value).__doc__:
        keys = ", ".join(f"``{key!r}``" for key in value) if type(value) is dict else ""
        lines[:] = [f"A dictionary with the keys {keys}." if keys else f"A constant, a ``{type(value).__name__}``."]


def write(app: Sphinx, config: Config) -> None:
    """Write the pages; one that says what it said keeps its time, so that it is not built again."""
    folder = Path(app.srcdir) / FOLDER
    folder.mkdir(exist_ok=True)
    documented = homes()
    pages = {f"{room}.rst": page(room, documented) for room in rooms()} | {"index.rst": page("skfem_ml", documented)}
    for name, text in pages.items():
        if not (folder / name).exists() or (folder / name).read_text(encoding="utf-8") != text:
            (folder / name).write_text(text, encoding="utf-8")


def setup(app: Sphinx) -> dict[str, bool]:
    from sphinx.ext import autosummary

    autosummary.extract_summary = first_sentence
    app.connect("autodoc-process-docstring", describe)
    app.connect("config-inited", write)  # before the files are looked for
    return {"parallel_read_safe": True, "parallel_write_safe": True}
