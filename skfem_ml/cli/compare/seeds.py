"""Rows that are drawn or trained, from several seeds: the worst of them is shown, and how far they spread."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from skfem_ml.compare import Row, Table
    from skfem_ml.progress import Progress
P = TypeVar("P")
Solver = Callable[[P], object]


def over_seeds(
    problem: P,
    groups: Mapping[str, Mapping[str, Solver[P] | tuple[Callable[..., Solver[P]]]]],
    seeds: Sequence[int],
    judged: str,
    progress: Progress | None = None,
    reference: str | None = None,
) -> tuple[Table, dict[str, str]]:
    """Return the table of solvers by heading, and a remark for each that depends on a seed.

    A solver in a tuple, ``(factory,)``, is run once a seed, as ``factory(seed=seed)(problem)``; the row with the
    largest error ``judged`` stands for it (a failure is larger than any), and the remark tells the seeds and the best.
    """
    from skfem_ml.compare import Table, by_method, compare, seeded

    flat: dict[str, dict[str, Solver[P]]] = {heading: {} for heading in groups}
    drawn = {name for solvers in groups.values() for name, solver in solvers.items() if isinstance(solver, tuple)}
    for heading, solvers in groups.items():
        for name, solver in solvers.items():
            rows = seeded(name, solver[0], seeds) if isinstance(solver, tuple) else {name: solver}
            flat[heading] |= rows
    table = compare(problem, flat, reference=reference, progress=progress)
    shown, remarks, solutions = [], dict[str, str](), {}
    for name, found in by_method(table).items():
        ordered = sorted(found, key=lambda row: _size(row, judged))
        shown.append(replace(ordered[-1], name=name))
        if ordered[-1].name in table.solutions:
            solutions[name] = table.solutions[ordered[-1].name]
        if name in drawn:
            told = f"worst of seeds {' '.join(map(str, seeds))}, best {_size(ordered[0], judged):.2e}"
            remarks[name] = told if len(found) > 1 else f"seed {seeds[0]}"
    headings = (judged, *(heading for heading in table.headings if heading != judged))
    return Table(tuple(shown), table.notes, headings, table.norms, solutions), remarks


def _size(row: Row, judged: str) -> float:
    value = None if row.failure else row[judged]
    return float("inf") if value is None else value
