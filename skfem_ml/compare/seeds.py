"""Rows that differ in their seed alone: how they are made, and how they are shown as one."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from operator import attrgetter

import numpy as np

from skfem_ml.compare.clock import in_figures
from skfem_ml.compare.table import Row, Table

SEEDS = (0, 1, 2)
MARK = ", seed "


def seeded(
    name: str, factory: Callable[..., Callable], seeds: Sequence[int] = SEEDS, **options: object
) -> dict[str, Callable]:
    """Return one solver a seed for `compare`, ``factory(seed=seed, **options)``, named ``"name, seed 0"`` and so on."""
    return {f"{name}{MARK}{seed}": factory(seed=seed, **options) for seed in seeds}


def by_method(table: Table) -> dict[str, list[Row]]:
    """Return the rows of a table by method, all seeds of one together, in the table's order."""
    groups: dict[str, list[Row]] = {}
    for row in table:
        groups.setdefault(row.name.split(MARK)[0], []).append(row)
    return groups


def worst_of_seeds(table: Table) -> Table:
    """Return a table with one row a method: of several seeds the worst, by the first error, and the best beside it.

    A seed that failed is the worst. Seconds are those of the slowest seed; the solution is that of the worst.
    """
    first = table.headings[0]
    headings = (first, f"{first}, best seed", *table.headings[1:])
    rows: list[Row] = []
    solutions: dict[str, object] = {}
    for name, found in by_method(table).items():
        worst = max(found, key=lambda row: (bool(row.failure), row.error or 0.0))
        best = min((row.error for row in found if row.error is not None), default=None)
        spread = {headings[1]: best if len(found) > 1 else None}
        wall, cpu = (_most([cost(row) for row in found]) for cost in (attrgetter("seconds"), attrgetter("cpu_seconds")))
        errors = {} if worst.failure else {**worst.errors, **spread}
        rows.append(replace(worst, name=name, errors=errors, seconds=wall, cpu_seconds=cpu))
        solutions |= {name: table.solutions[worst.name]} if worst.name in table.solutions else {}
    note = "of several seeds: the worst, the best beside it, the seconds of the slowest"
    return replace(table, rows=tuple(rows), headings=headings, solutions=solutions, notes=(*table.notes, note))


def _most(values: Sequence[float | None]) -> float | None:
    return max((value for value in values if value is not None), default=None)


def median_rows(table: Table) -> list[str]:
    """Return Markdown lines, the rows of one method with several seeds drawn together: median (worst)."""
    headings = [*table.headings, "CPU seconds"]
    lines = [f"| method | {' | '.join(headings)} | unknowns |", f"|---|{'---:|' * (len(headings) + 1)}"]
    for name, rows in by_method(table).items():
        failures = [row.failure for row in rows if row.failure]
        if failures:
            lines.append(f"| {name} | failed: {failures[0]} |{' |' * len(headings)}")
            continue
        cells = [median_and_worst([row.errors.get(heading) for row in rows], ".1e") for heading in table.headings]
        cells.append(median_and_worst([row.cpu_seconds for row in rows], ".3g"))
        lines.append(f"| {name} | {' | '.join(cells)} | {rows[0].unknowns or ''} |")
    return lines


def median_and_worst(values: Sequence[float | None], form: str) -> str:
    """Return ``"median (worst)"``, the number alone where there is one, ``"-"`` where a value is missing."""
    known = [value for value in values if value is not None]
    if len(known) < len(values) or not known:
        return "-"
    middle = format(float(np.median(known)), form)
    return middle if len(known) == 1 else f"{middle} ({format(max(known), form)})"


def seeds_lines(table: Table) -> list[str]:
    """Return one line a method with several seeds: errors by heading and CPU seconds, each from least to largest."""
    lines = []
    for name, rows in by_method(table).items():
        good = [row for row in rows if not row.failure]
        if len(rows) < 2 or not good:
            continue
        parts = [_range(heading, [row.errors.get(heading) for row in good]) for heading in table.headings]
        parts.append(_range("CPU seconds", [row.cpu_seconds for row in good], ".3g"))
        seeds = ", ".join(row.name.rpartition(MARK)[2] for row in rows)
        failed = f"; {len(rows) - len(good)} failed" if len(good) < len(rows) else ""
        lines.append(f"{name}, seeds {seeds}: {'; '.join(part for part in parts if part)}{failed}")
    return lines


def sentence(table: Table, learned: str) -> str:
    """Return one sentence: which row to use, and what the best method of the group ``learned`` has beside it.

    A method with several seeds counts by its worst. The row to use is the cheapest, in CPU seconds, whose first error
    is within twice the best learned one, or, where no other row comes there, the learned one itself.
    """
    found = {name: _worst(rows) for name, rows in by_method(table).items()}
    known = {name: cost for name, cost in found.items() if cost is not None}
    own = {name: known[name] for name, rows in by_method(table).items() if name in known and rows[0].group == learned}
    if not own:
        return "for this, use what has the least error above: no learned row succeeded."
    best = min(own, key=lambda name: own[name][0])
    error, seconds = own[best]
    spent = in_figures(seconds)
    rivals = {name: cost for name, cost in known.items() if name not in own and cost[0] <= 2 * error}
    if not rivals:
        return f"for this, use {best}: {error:.1e} at worst in {spent} CPU seconds, which no other row reaches."
    use = min(rivals, key=lambda name: rivals[name][1])
    reached = f"{rivals[use][0]:.1e}" if rivals[use][0] else "the reference"
    there = f"for this, use {use}: {reached} in {in_figures(rivals[use][1])} CPU seconds"
    if rivals[use][1] > seconds:
        return f"{there}; or {best}, cheaper: {error:.1e} at worst in {spent}."
    return f"{there}; the best learned row, {best}, has {error:.1e} at worst in {spent}."


def _worst(rows: list[Row]) -> tuple[float, float] | None:
    """The largest first error of some rows, and their largest CPU seconds; None where a figure is missing."""
    errors, seconds = [row.error for row in rows], [row.cpu_seconds for row in rows]
    if any(value is None for value in (*errors, *seconds)):
        return None
    return max(error or 0.0 for error in errors), max(value or 0.0 for value in seconds)


def _range(heading: str, values: Sequence[float | None], form: str = ".1e") -> str:
    known = [value for value in values if value is not None]
    return f"{heading} {format(min(known), form)} to {format(max(known), form)}" if known else ""
