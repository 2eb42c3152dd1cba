"""Which engine computes the correctors, and the progress shown while it does."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import nullcontext
from typing import Any

from skfem_ml.lod.engine.reference import ReferenceEngine
from skfem_ml.lod.mesh.discretisation import Discretisation
from skfem_ml.lod.mesh.forms import FineForm
from skfem_ml.progress import Progress, bar

NAMES = ("auto", "condensation", "reference")


def find_engine(name: str, space: Discretisation) -> Callable[[Discretisation, FineForm], Any]:
    """What makes the engine of that name. Raises ValueError for an unknown name and where it does not apply."""
    if name not in NAMES:
        raise ValueError(f"engine: expected one of {', '.join(NAMES)}, got {name!r}")
    applies = space.grid.dim == 2 and space.n > 1
    if name == "condensation" and not applies:
        raise ValueError(
            f"engine: expected quads with refine > 1 for the condensation engine, got dimension {space.grid.dim} "
            f'and refine = {space.n}; use engine="auto" or "reference"'
        )
    return ReferenceEngine if name == "reference" or not applies else _condensation


def _condensation(space: Discretisation, fine_form: FineForm) -> Any:
    from skfem_ml.lod.engine.condensation import CondensationEngine

    return CondensationEngine(space, fine_form)


def progress_over(batches: Iterable[Any], total: int, progress: bool | Progress) -> Iterator[Any]:
    """Pass batches on, whose first entry lists elements, and tell how many of ``total`` are done."""
    if progress is False:
        yield from batches
        return
    done = 0
    with bar() if progress is True else nullcontext(progress) as tell:
        for batch in batches:
            done += len(batch[0])
            tell(done, total, "correctors")
            yield batch
