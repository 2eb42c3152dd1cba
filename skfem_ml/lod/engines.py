"""Which engine computes the correctors, and the progress shown while it does."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from .correctors import ReferenceEngine

NAMES = ("auto", "condensation", "reference")


def find_engine(lod: Any) -> Any:
    """The engine class for a space. Raises ValueError for an unknown name and where a forced one does not apply."""
    if lod.engine not in NAMES:
        raise ValueError(f"engine: expected one of {', '.join(NAMES)}, got {lod.engine!r}")
    applies = lod.grid.dim == 2 and lod.n > 1
    if lod.engine == "condensation" and not applies:
        raise ValueError(f"engine: expected quads with refine > 1 for the condensation engine, got dimension {lod.grid.dim} "
                         f'and refine = {lod.n}; use engine="auto" or "reference"')
    if lod.engine == "reference" or not applies:
        return ReferenceEngine
    return _condensation


def _condensation(lod: Any, fine_form: Any) -> Any:
    from .condensation import CondensationEngine  # imports torch: only when it runs

    return CondensationEngine(lod, fine_form)


def progress_over(batches: Iterable[Any], total: int, show: bool) -> Iterator[Any]:
    """Pass batches on, whose first entry lists elements, and show how many of ``total`` are done."""
    if not show:
        yield from batches
        return
    from rich.progress import Progress

    with Progress(transient=True) as bar:
        task = bar.add_task("correctors", total=total)
        for batch in batches:
            bar.advance(task, len(batch[0]))
            yield batch
