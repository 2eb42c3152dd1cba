"""Learning rates that change from step to step, for ``fit(..., schedule=...)``."""

from __future__ import annotations

import math
from collections.abc import Callable

Schedule = Callable[[int], float]
"""``schedule(step)`` is the learning rate of a step, counted from zero."""


def cosine(rate: float, steps: int, warm: float = 0) -> Schedule:
    """Return ``rate min(1, (step + 1) / warm) (1 + cos(pi step / steps)) / 2``: a linear rise, then half a cosine.

    The rise takes ``warm`` steps (0: none); the rate would be zero at ``steps``. Raises ValueError for a rate that is
    not positive, steps below one and a negative warm.

    >>> rate = cosine(0.1, 100, warm=10)
    >>> [round(rate(step), 4) for step in (0, 9, 50, 99)]
    [0.01, 0.098, 0.05, 0.0]
    """
    if not (rate > 0 and steps >= 1 and warm >= 0):
        raise ValueError(f"rate, steps, warm: expected > 0, >= 1, >= 0, got {rate}, {steps}, {warm}")
    return lambda step: rate * min(1.0, (step + 1) / max(warm, 1)) * 0.5 * (1 + math.cos(math.pi * step / steps))
