"""Numbered pieces of work on an executor: so many at a time, each tried up to three times."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from concurrent.futures import FIRST_COMPLETED, Future, wait
from typing import TypeVar

T = TypeVar("T")
TRIES = 3
AHEAD = 128  # pieces that are handed out at a time, some MB each: bounds what waits in memory


class NotHandedOutError(RuntimeError):
    """An executor takes no more; ``left`` are the numbers that are not done, ``reason`` is what it raised."""

    def __init__(self, left: list[int], reason: Exception):
        super().__init__(f"{len(left)} cannot be handed out: {reason}")
        self.left, self.reason = left, reason


def tried(
    count: int, submit: Callable[[int], Future[T]], tell: Callable[[int], None]
) -> tuple[dict[int, T], dict[int, Exception]]:
    """Results by number, and what was raised by those that failed three times; ``tell(done)`` after each.

    Raises ValueError at once where a piece does, for it would on every worker, and `NotHandedOutError`.
    """
    waiting, running, tries = deque(range(count)), dict[Future[T], int](), [0] * count
    done, failed = dict[int, T](), dict[int, Exception]()
    while waiting or running:
        while waiting and len(running) < AHEAD:
            number = waiting.popleft()
            try:
                running[submit(number)] = number
            except Exception as error:
                raise NotHandedOutError(sorted({number, *waiting, *running.values(), *failed}), error) from error
        for future in wait(running, return_when=FIRST_COMPLETED).done:
            number = running.pop(future)
            tries[number] += 1
            try:
                done[number] = future.result()
                tell(len(done))
            except ValueError:
                for other in running:
                    other.cancel()
                raise
            except Exception as error:
                if tries[number] < TRIES:
                    waiting.append(number)
                else:
                    failed[number] = error
    return done, failed
