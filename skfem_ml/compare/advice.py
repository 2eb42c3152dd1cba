"""One sentence that says which rows of a table of costs to take."""

from __future__ import annotations

from skfem_ml import checks
from skfem_ml.compare.clock import in_figures
from skfem_ml.compare.table import Row, Table

WORTH = 1.1  # times that a coarse answer must be cheaper to be spoken of
NEAR = 1.5  # a coarse answer within this factor of the best is as good


def advice(table: Table, fine: str, coarse: str, within: float = 0.01) -> str:
    """Say which row to take: the cheapest of group ``fine`` whose energy error is ``within``, and of group ``coarse``.

    ``table`` is that of `compare_loads`; cheapest is the least "CPU seconds". Of coarse answers, whose energy says
    nothing, those count whose L2 error is within a factor of 1.5 of the least one; where none of them is cheaper than
    the fine answer, the sentence says that nothing coarse pays. Raises ValueError for ``within`` that is no positive
    number.
    """
    best, cheap = cheapest(table, fine, coarse, within)
    if best is None:
        return f"for this, use none of these: no fine answer has an error of {within:.2g} in energy or less."
    told = f"for this, use {best.name}: the fine solution to {_error(best, 'error energy')} in energy in {_told(best)}"
    if cheap is None:
        return f"{told}; nothing coarse that is near the best coarse answer is cheaper."
    gain = _seconds(best) / _seconds(cheap)
    return (
        f"{told}; where a coarse function to {_error(cheap, 'error L2')} in L2 is enough, {cheap.name} in "
        f"{_told(cheap)}, {gain:.2g} times cheaper."
    )


def cheapest(table: Table, fine: str, coarse: str, within: float = 0.01) -> tuple[Row | None, Row | None]:
    """The rows that `advice` speaks of; None where no fine answer is good enough, or nothing coarse is cheaper."""
    checks.positive(within, "within")
    energies = [(row, row["error energy"]) for row in _costed(table, fine)]
    good = [row for row, energy in energies if energy is not None and energy <= within]
    if not good:
        return None, None
    best, answers = min(good, key=_seconds), _costed(table, coarse)
    least = min((row["error L2"] or 0.0 for row in answers), default=0.0)
    near = [row for row in answers if (row["error L2"] or 0.0) <= NEAR * least]
    cheap = min(near, key=_seconds, default=None)
    return best, cheap if cheap is not None and _seconds(cheap) * WORTH < _seconds(best) else None


def _costed(table: Table, group: str) -> list[Row]:
    return [row for row in table if row.group == group and row.error is not None and row.cpu_seconds is not None]


def _seconds(row: Row) -> float:
    return row.cpu_seconds or 0.0


def _error(row: Row, heading: str) -> str:
    return f"{row[heading] or 0.0:.1e}"


def _told(row: Row) -> str:
    return f"{in_figures(_seconds(row))} CPU seconds"
