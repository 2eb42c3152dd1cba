"""``skfem-ml models``: the trained models in the package."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from skfem_ml.cli import options as opt
from skfem_ml.cli.screen import Screen

if TYPE_CHECKING:
    from collections.abc import Mapping

# Rooms with shipped models, and what a command line does with them.
USES = {
    "lod": "skfem-ml solve FIELD --method hybrid --surrogate NAME",
    "hits": "skfem-ml compare flows SYSTEM --model NAME",
}


@dataclass(frozen=True)
class Shipped:
    """One model of the package.

    >>> Shipped("wide", "lod", "quads", 2048).line(6)
    'wide    lod       2 kB  quads'
    """

    name: str
    room: str
    purpose: str
    bytes: int

    def line(self, width: int) -> str:
        """The model as a line of a list whose names have ``width`` letters."""
        return f"{self.name:{width}}  {self.room:4} {self.bytes / 1024:6.0f} kB  {self.purpose}"


def models(json: opt.Json = False, debug: opt.Debug = False) -> None:
    """List the trained models in the package: name, room, size, what each is made for, and how to use one."""
    found = list(shipped_models())
    width = max((len(model.name) for model in found), default=0)
    uses = [f"use one of {room}: {use}" for room, use in USES.items() if room in {model.room for model in found}]
    text = "\n".join([*(model.line(width) for model in found), *uses]) if found else "no model is shipped"
    Screen(json=json).tell(text, {"models": [asdict(model) for model in found]})


def shipped_models() -> Iterator[Shipped]:
    """The models, room by room. Raises CorruptModelError for a file that is damaged (skfem-ml doctor lists them)."""
    from skfem_ml.learning import load_model, shipped

    for room in USES:
        for name, path in shipped(room).items():
            yield Shipped(name, room, purpose(room, load_model(path)[1]), Path(path).stat().st_size)


def purpose(room: str, card: Mapping[str, object]) -> str:
    """What a model is made for, from its card."""
    if room == "hits":
        return f"flow maps of {card.get('system', 'a system of its own')}"
    if card.get("kind") == "elements":
        return f"refine {card['n']}, any ell and boundary; {family(card)}"
    boundary = "u = 0 on the whole boundary" if card["boundary"] == "dirichlet" else "u = 0 on any sides"
    fine = "" if card["cells"] == card["n"] else f" ({card['n']} fine)"
    return f"refine {card['cells']}{fine}, ell = {card['ell']}, {boundary}; {family(card)}"


def family(card: Mapping[str, object]) -> str:
    """The coefficients a surrogate was trained on, and whether it pays, where that was measured."""
    from skfem_ml.compare import Verdict

    name, values = card.get("family"), card.get("range")
    text = str(name) if isinstance(name, str) else "fields of its own"
    told = f"{text} in [{values[0]:g}, {values[1]:g}]" if isinstance(values, list) else text
    return told + Verdict.brief(card)
