"""Models by name: which files are shipped with the package, and the card that says what one was made for."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import NamedTuple

from skfem_ml.learning.storage import load_model

MODELS = Path(__file__).parents[1] / "models"
Json = Mapping[str, object]
Range = Mapping[str, list[float]]
"""Smallest and largest values seen in training: "low" and "high", lists of one length."""


@dataclass(frozen=True)
class Card(Mapping[str, object]):
    """What a model was made for, by what, and what it is worth; a read-only mapping of its flat JSON as well.

    Parameters
    ----------
    kind, name
        The kind of model ("surrogate", "hits", ...) and its name.
    setting
        What the model needs to fit; see `lod.surrogate.Setting`.
    network
        Kind and sizes of the network, from which it is built again.
    extent, shapes, features, patterns
        What training has seen: the range of inputs, shapes of patches, ranges of features and of patterns.
    doubt
        How the network's estimate of its own error was trained: "quantile", the share "covered", and "trusted", up to
        where it has been tested. None where it was not: the model then says nothing of its errors.
    certificate
        What is promised of the errors, and on which fields it was calibrated; see `lod.surrogate.conformal`.
    errors
        Errors on fields that were not trained on.
    facts
        Everything else: seed, steps, fields, family, script.

    >>> card = Card(name="toy", setting={"n": 8}, facts={"seed": 0})
    >>> card["n"], card["seed"], card.doubt is None
    (8, 0, True)
    >>> Card.from_json(card.to_json(), setting=["n"]) == card
    True
    """

    kind: str = "surrogate"
    name: str = ""
    setting: Json = field(default_factory=dict)
    network: Json = field(default_factory=dict)
    extent: tuple[float, float] | None = None
    shapes: tuple[str, ...] | None = None
    features: Range | None = None
    patterns: Range | None = None
    doubt: Json | None = None
    certificate: Json | None = None
    errors: Json = field(default_factory=dict)
    facts: Json = field(default_factory=dict)

    def to_json(self) -> dict[str, object]:
        """One flat dictionary of JSON values; what is empty is left out."""
        own = {name: getattr(self, name) for name in OWN}
        lists = {name: list(value) if isinstance(value, tuple) else value for name, value in own.items()}
        return {**{name: value for name, value in lists.items() if value not in (None, "", {})}, **self.setting} | {
            **self.facts
        }

    @classmethod
    def from_json(cls, flat: Json, setting: Iterable[str] = ()) -> Card:
        """The card of a flat dictionary, ``setting`` the names of the entries that are its setting.

        Raises ValueError for entries of another type than theirs.
        """
        own = {name: CHECKS[name](name, flat[name]) for name in OWN if flat.get(name) is not None}
        names = [name for name in setting if name in flat]
        rest = {name: value for name, value in flat.items() if name not in OWN and name not in names}
        return cls(**own, setting={name: flat[name] for name in names}, facts=rest)  # type: ignore[arg-type]

    def summary(self) -> str:
        """One line: the numbers and words of the card."""
        plain = {k: v for k, v in self.to_json().items() if isinstance(v, (int, float, str)) and k not in NOT_TOLD}
        return ", ".join(f"{k} {v:.4g}" if isinstance(v, float) else f"{k} {v}" for k, v in plain.items())

    def __getitem__(self, key: str) -> object:
        return self.to_json()[key]

    def __iter__(self) -> Iterator[str]:
        return iter(self.to_json())

    def __len__(self) -> int:
        return len(self.to_json())

    def __repr__(self) -> str:
        return f"Card({self.summary()})"


NOT_TOLD = ("kind", "name", "script", "symmetric")
OWN = tuple(each.name for each in fields(Card) if each.name not in ("setting", "facts"))


class Model(NamedTuple):
    """A model of the package: its name, the room it belongs to, file, size in bytes, and its card in one line.

    >>> from skfem_ml import models
    >>> model = models()[0]
    >>> model.room, model.name, model.bytes > 100_000
    ('hits', 'van-der-pol', True)
    """

    name: str
    room: str
    file: Path
    bytes: int
    summary: str


def models() -> list[Model]:
    """What is shipped in every room, by room and name. Raises CorruptModelError for a file that was changed.

    >>> [model.name for model in models() if model.room == "hits"]
    ['van-der-pol']
    """
    found = []
    for room in sorted(folder.name for folder in MODELS.iterdir() if folder.is_dir()):
        for name, path in shipped(room).items():
            card = Card.from_json(load_model(path)[1])
            found.append(Model(name, room, path, path.stat().st_size, card.summary()))
    return found


def shipped(room: str) -> dict[str, Path]:
    """The models of the package in a folder of its models, "lod" or "hits": name -> file."""
    return {path.stem: path for path in sorted((MODELS / room).glob("*.safetensors"))}


def find_model(room: str, name_or_path: str | Path) -> Path:
    """The file of a model: a path (anything with a suffix, or a ``Path``), or the name of a model of the package.

    Raises FileNotFoundError with the names there are.
    """
    if isinstance(name_or_path, Path) or Path(name_or_path).suffix:
        return Path(name_or_path)
    known = shipped(room)
    if name_or_path not in known:
        raise FileNotFoundError(
            f"{name_or_path}: expected the name of a model of the package ({', '.join(known) or 'there is none'}) or "
            "a path with its suffix, got neither"
        )
    return known[name_or_path]


def _text(name: str, value: object) -> str:
    if not isinstance(value, str):
        raise ValueError(f"card: expected text as {name}, got {value!r:.80}")
    return value


def _texts(name: str, value: object) -> tuple[str, ...]:
    if not isinstance(value, (list, tuple)):
        raise ValueError(f"card: expected a list as {name}, got {value!r:.80}")
    return tuple(_text(name, each) for each in value)


def _numbers(name: str, value: object) -> list[float]:
    if not isinstance(value, (list, tuple)) or not all(type(each) in (int, float) for each in value):
        raise ValueError(f"card: expected a list of numbers as {name}, got {value!r:.80}")
    return [float(each) for each in value]


def _pair(name: str, value: object) -> tuple[float, float]:
    pair = _numbers(name, value)
    if len(pair) != 2:
        raise ValueError(f"card: expected two numbers as {name}, got {len(pair)}")
    return pair[0], pair[1]


def _entries(name: str, value: object) -> dict[str, object]:
    if not isinstance(value, Mapping):
        raise ValueError(f"card: expected a dictionary as {name}, got {value!r:.80}")
    return dict(value)


def _range(name: str, value: object) -> dict[str, list[float]]:
    both = {side: _numbers(name, _entries(name, value).get(side)) for side in ("low", "high")}
    if len(both["low"]) != len(both["high"]):
        raise ValueError(f"card: expected as many low as high values of {name}, got {value!r:.80}")
    return both


CHECKS = {
    **dict.fromkeys(("kind", "name"), _text), **dict.fromkeys(("network", "doubt", "certificate", "errors"), _entries),
    "extent": _pair, "shapes": _texts, **dict.fromkeys(("features", "patterns"), _range),
}  # fmt: skip
