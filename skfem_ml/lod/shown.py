"""What an LOD and a system tell of themselves: one line for ``repr``, a table for notebooks. Nothing is computed."""

from __future__ import annotations

from typing import TYPE_CHECKING

from skfem_ml import displays
from skfem_ml.lod.mesh.forms import described
from skfem_ml.lod.mesh.interpolation import name_of

if TYPE_CHECKING:
    from skfem_ml.lod.method import LOD
    from skfem_ml.lod.system import System

KINDS = {1: "lines", 2: "quads", 3: "hexes"}


def lod_text(lod: LOD) -> str:
    """The one line of an LOD."""
    space = lod.space
    told = [f"{len(space.grid.corners)} {KINDS[space.grid.dim]}", f"refine={space.n}", f"ell={lod.ell}"]
    told += [f"cells={space.m}"] if space.m != space.n else []
    told += [name] if (name := name_of(space.interpolation)) != "projection" else []
    interiors = "" if space.interiors is None else f", {space.interiors!r}"
    return f"LOD({', '.join(told)}, {_engine(lod)} on {space.device}{interiors})"


def lod_html(lod: LOD) -> str:
    """The table of an LOD."""
    return displays.table("LOD", _facts(lod))


def system_text(system: System) -> str:
    """The one line of a system."""
    told = [_form(system), *(described(name, value) for name, value in system.coefficients.items())]
    return f"System({', '.join(told)} on {system.lod!r})"


def system_html(system: System) -> str:
    """The table of a system: its form, its coefficients, and the LOD it is on."""
    coefficients = ", ".join(described(name, value) for name, value in system.coefficients.items())
    return displays.table("System", {"form": _form(system), "coefficients": coefficients, **_facts(system.lod)})


def _facts(lod: LOD) -> dict[str, object]:
    space, dim = lod.space, lod.space.grid.dim
    count, nodes = len(space.grid.corners), space.coarse_count
    facts: dict[str, object] = {
        "coarse mesh": f"{count} {KINDS[dim]}, {nodes - int(space.fixed.sum())} of {nodes} nodes free",
        "fine mesh": f"{count * space.n**dim} {KINDS[dim]}, {space.n} along a coarse edge",
        "coefficient": f"{count * space.m**dim} values, {space.m} along a coarse edge",
        "patches": f"ell = {lod.ell}, up to {2 * lod.ell + 1} coarse cells across",
        "interpolation": name_of(space.interpolation),
        "engine": f"{_engine(lod)} on {space.device}",
    }
    return facts if space.interiors is None else {**facts, "interiors": repr(space.interiors)}


def _engine(lod: LOD) -> str:
    return getattr(lod.engine, "__name__", type(lod.engine).__name__)


def _form(system: System) -> str:
    return getattr(getattr(system.form, "form", None), "__name__", type(system.form).__name__)
