"""Seconds of a computation, CPU and wall, best of several runs, and the machine in one line: for tables of costs."""

from __future__ import annotations

import os
import platform
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.metadata import version
from typing import TypeVar

from skfem_ml import checks

T = TypeVar("T")
LIMITS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")


@dataclass
class Clock:
    """Seconds spent: ``cpu`` of all threads of this process, ``wall`` on the wall. A busy machine stretches the latter.

    >>> from skfem_ml.compare import clocked
    >>> with clocked() as spent:
    ...     total = sum(range(1000))
    >>> 0 <= spent.cpu < 60 and 0 < spent.wall < 60
    True
    """

    cpu: float = 0.0
    wall: float = 0.0

    def __str__(self) -> str:
        return f"{in_figures(self.cpu, 3)} CPU seconds, {in_figures(self.wall, 3)} s"


def in_figures(seconds: float, figures: int = 2) -> str:
    """Seconds to so many figures or to the second, never as a power of ten: 0.077, 1.5, 1512."""
    return f"{seconds:.0f}" if seconds >= 10 ** (figures - 1) else f"{seconds:.{figures}g}"


@contextmanager
def clocked() -> Iterator[Clock]:
    """Time the lines below ``with clocked() as spent:``; `spent` is a `Clock`, complete after them."""
    spent = Clock()
    wall, cpu = time.perf_counter(), time.process_time()
    try:
        yield spent
    finally:
        spent.wall, spent.cpu = time.perf_counter() - wall, time.process_time() - cpu


def best_of(work: Callable[[], T], runs: int = 1) -> tuple[T, Clock]:
    """Run ``work()`` so many times and return the last result and the least seconds, CPU and wall each.

    The first run pays for imports and caches, so that two runs or more tell what the work costs. Raises ValueError for
    ``runs`` below one, and what ``work`` raises.
    """
    spent = []
    for _ in range(checks.whole(runs, "runs", 1)):
        with clocked() as clock:
            result = work()
        spent.append(clock)
    return result, Clock(min(clock.cpu for clock in spent), min(clock.wall for clock in spent))


def machine() -> str:
    """Return threads and versions in one line; torch is named only where it already runs."""
    limits = [f"{name}={os.environ[name]}" for name in LIMITS if name in os.environ]
    threads = ", ".join(limits) or f"threads not limited, {os.cpu_count()} cores"
    packages = ["scikit-fem", "numpy", "scipy"]
    torch = sys.modules.get("torch")
    if torch is not None:
        threads += f", torch threads={torch.get_num_threads()}"
        packages.append("torch")
    versions = ", ".join(f"{name} {version(name)}" for name in packages)
    return f"{threads}; Python {platform.python_version()}, {versions}"
