"""Learning rates that change from step to step, for ``fit(..., schedule=...)``, and how many steps a time allows."""

from __future__ import annotations

import math
import sys
import time
from collections.abc import Callable

Schedule = Callable[[int], float]
"""``schedule(step)`` is the learning rate of a step, counted from zero."""
TRIAL = 0.05  # of the seconds: the last trial


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


def affordable(train: Callable[[int], object], seconds: float) -> int:
    """Return how many steps of training fit into so many CPU seconds, at least one, by trials on a copy.

    ``train(steps)`` trains a copy that is thrown away; trials get longer until one takes a twentieth of the seconds,
    and the time of all counts. Infinite seconds allow any number. Raises ValueError for seconds that are not positive.

    >>> affordable(lambda steps: None, math.inf) == sys.maxsize
    True
    """
    if not seconds > 0:
        raise ValueError(f"seconds: expected a positive number, got {seconds}")
    if math.isinf(seconds):
        return sys.maxsize
    begun, steps = time.process_time(), 1
    train(steps)  # the first one allocates
    while True:
        steps *= 2
        start = time.process_time()
        train(steps)
        now = time.process_time()
        if now - start >= TRIAL * seconds or now - begun >= seconds:
            left = max(0.0, seconds - (now - begun))
            return max(1, int(steps * left / max(now - start, 1e-9)))
