"""One sentence that says which rows of a table of costs to take."""

from __future__ import annotations

from skfem_ml import checks
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
    checks.positive(within, "within")
    good = [
        row for row in _costed(table, fine) if (energy := row.errors["error energy"]) is not None and energy <= within
    ]
    if not good:
        return f"for this, use none of these: no fine answer has an error of {within:.2g} in energy or less."
    best = min(good, key=_seconds)
    told = f"for this, use {best.name}: the fine solution to {_error(best, 'error energy')} in energy in {_told(best)}"
    answers = _costed(table, coarse)
    if not answers:
        return f"{told}."
    least = min(row["error L2"] or 0.0 for row in answers)
    cheap = min((row for row in answers if (row["error L2"] or 0.0) <= NEAR * least), key=_seconds)
    if _seconds(cheap) * WORTH >= _seconds(best):
        return f"{told}; nothing coarse that is near the best coarse answer is cheaper."
    gain = _seconds(best) / _seconds(cheap)
    return (
        f"{told}; where a coarse function to {_error(cheap, 'error L2')} in L2 is enough, {cheap.name} in "
        f"{_told(cheap)}, {gain:.2g} times cheaper."
    )


def _costed(table: Table, group: str) -> list[Row]:
    return [row for row in table if row.group == group and row.error is not None and row.cpu_seconds is not None]


def _seconds(row: Row) -> float:
    return row.cpu_seconds or 0.0


def _error(row: Row, heading: str) -> str:
    return f"{row[heading] or 0.0:.1e}"


def _told(row: Row) -> str:
    return f"{_seconds(row):.2g} CPU seconds"
