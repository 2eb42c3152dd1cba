"""Seconds for a training: read from words, shared out, and how many are left."""

from __future__ import annotations

import math
import re
import time

UNITS = {"s": 1.0, "sec": 1.0, "min": 60.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
PARTS = re.compile(r"(\d+(?:\.\d*)?|\.\d+)\s*([a-z]+)")
SHARES = {"labels": 0.35, "training": 0.4, "calibration": 0.1, "verdict": 0.15}


def seconds_of(budget: str | float) -> float:
    """Seconds in a budget: a number of them, or words such as "90s", "20min", "1h", "1h 30min", "2d".

    Raises ValueError for anything else, and where it is not positive and finite.

    >>> seconds_of("20min"), seconds_of("1h 30min"), seconds_of(90)
    (1200.0, 5400.0, 90.0)
    """
    if isinstance(budget, str):
        text = budget.strip().lower()
        found = PARTS.findall(text)
        if not found or PARTS.sub("", text).strip() or any(unit not in UNITS for _, unit in found):
            raise _refused(budget)
        seconds = sum(float(number) * UNITS[unit] for number, unit in found)
    elif isinstance(budget, (int, float)) and not isinstance(budget, bool):
        seconds = float(budget)
    else:
        raise _refused(budget)
    if not (math.isfinite(seconds) and seconds > 0):
        raise _refused(budget)
    return seconds


def _refused(budget: object) -> ValueError:
    return ValueError(
        f"budget: expected wall seconds, a positive number or words such as '90s', '20min', '1h 30min', got {budget!r}"
    )


class Budget:
    """A budget that runs from the moment it is made: ``seconds`` in all, ``spent`` and ``left``.

    >>> from skfem_ml.lod.surrogate.recipe.budget import Budget
    >>> budget = Budget("1h")
    >>> budget.seconds, round(budget.share("labels")), budget.left > 3590
    (3600.0, 1260, True)
    """

    def __init__(self, budget: str | float):
        self.seconds = seconds_of(budget)
        self._start = time.perf_counter()

    def __repr__(self) -> str:
        return f"Budget({self.seconds:g} s, {self.spent:.0f} spent)"

    @property
    def spent(self) -> float:
        """Wall seconds since it was made."""
        return time.perf_counter() - self._start

    @property
    def left(self) -> float:
        """Wall seconds until it ends; negative afterwards."""
        return self.seconds - self.spent

    def share(self, name: str) -> float:
        """Seconds planned for a part: "labels", "training", "calibration" (refit and doubt) or "verdict"."""
        return SHARES[name] * self.seconds
