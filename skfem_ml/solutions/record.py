"""What happened when a solver ran: one frozen record, the same for every kind of solution."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import Any, Protocol


class Losses(Protocol):
    """What one training leaves: losses and seconds at some steps, as `learning.training.History` has them."""

    steps: list[int]
    losses: list[float]
    seconds: list[float]


@dataclass(frozen=True, eq=False)
class Record:
    """What happened when a solver ran; nothing in it can be changed.

    ``unknowns`` is the size of the system that was solved, or the number of parameters that were fitted (None: the
    solver does not say). ``seconds`` maps stages to wall seconds. ``history`` has one entry a training. ``notes`` holds
    what else the solver tells, each documented there; ``record["name"]`` looks in it, KeyError lists the names.

    >>> record = Record(81, {"assembly": 0.25, "solve": 0.5}, notes={"ell": 2})
    >>> record["ell"], sum(record.seconds.values()), "variant" in record
    (2, 0.75, False)
    >>> record.with_notes(variant="galerkin")
    Record(81 unknowns, 0.75 s, ell, variant)
    """

    unknowns: int | None = None
    seconds: Mapping[str, float] = field(default_factory=dict)
    history: tuple[Losses, ...] = ()
    notes: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        unknowns = None if self.unknowns is None else int(self.unknowns)
        object.__setattr__(self, "unknowns", unknowns)
        object.__setattr__(self, "seconds", MappingProxyType(dict(self.seconds)))
        object.__setattr__(self, "history", tuple(self.history))
        object.__setattr__(self, "notes", MappingProxyType(dict(self.notes)))

    def __getitem__(self, name: str) -> Any:
        """Return one of the notes."""
        if name not in self.notes:
            raise KeyError(f"no note called {name!r}; the solver tells {list(self.notes) or 'nothing'}")
        return self.notes[name]

    def __contains__(self, name: object) -> bool:
        return name in self.notes

    def with_notes(self, **notes: object) -> Record:
        """Return the record with more notes, of which a new one of an old name replaces it."""
        return replace(self, notes={**self.notes, **notes})

    def __reduce__(self) -> tuple[object, ...]:
        # A read-only view of a dictionary cannot be pickled.
        return Record, (self.unknowns, dict(self.seconds), self.history, dict(self.notes))

    def __repr__(self) -> str:
        parts = [] if self.unknowns is None else [f"{self.unknowns} unknowns"]
        parts += [f"{sum(self.seconds.values()):.3g} s"] if self.seconds else []
        parts += [f"{len(self.history)} trainings"] if self.history else []
        return f"Record({', '.join([*parts, *self.notes])})"


NOTHING = Record()
