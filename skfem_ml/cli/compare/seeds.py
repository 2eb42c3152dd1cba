"""Rows that are drawn or trained, from several seeds: the worst of them is shown, and how far they spread."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from skfem_ml.compare import Row, Table
    from skfem_ml.progress import Progress
P = TypeVar("P")
Seeded = Callable[[int], Callable[[P], object]]  # seed -> solver(problem)


def over_seeds(
    problem: P,
    groups: Mapping[str, Mapping[str, Callable[[P], object] | tuple[Seeded[P], ...]]],
    seeds: Sequence[int],
    judged: str,
    progress: Progress | None = None,
    reference: str | None = None,
) -> tuple[Table, dict[str, str]]:
    """Return the table of solvers by heading, and a remark for each that depends on a seed.

    A solver in a tuple, ``(seeded,)``, is run once a seed, as ``seeded(seed)(problem)``; the row with the largest error
    ``judged`` stands for it (a failure is larger than any), and the remark tells the seeds and the best of them.
    """
    from skfem_ml.compare import Table, compare

    flat: dict[str, dict[str, Callable[[P], object]]] = {}
    names: dict[str, list[str]] = {}
    for heading, solvers in groups.items():
        for name, solver in solvers.items():
            drawn = {f"{name}, seed {k}": solver[0](k) for k in seeds} if isinstance(solver, tuple) else {name: solver}
            flat.setdefault(heading, {}).update(drawn)
            names[name] = list(drawn)
    table = compare(problem, flat, reference=reference, progress=progress)
    rows, remarks, solutions = [], dict[str, str](), {}
    for name, labels in names.items():
        found = sorted((table[label] for label in labels), key=lambda row: _size(row, judged))
        rows.append(replace(found[-1], name=name))
        if found[-1].name in table.solutions:
            solutions[name] = table.solutions[found[-1].name]
        if labels != [name]:
            told = f"worst of seeds {' '.join(map(str, seeds))}, best {_size(found[0], judged):.2e}"
            remarks[name] = told if len(labels) > 1 else f"seed {seeds[0]}"
    headings = (judged, *(heading for heading in table.headings if heading != judged))
    return Table(tuple(rows), table.notes, headings, table.norms, solutions), remarks


def _size(row: Row, judged: str) -> float:
    value = None if row.failure else row[judged]
    return float("inf") if value is None else value
