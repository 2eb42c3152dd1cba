"""How far a long computation is: one signature, ``progress(done, total, text)``, and a bar that has it."""

from __future__ import annotations

import logging
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

Progress = Callable[[int, int, str], None]
"""``progress(done, total, text)``: so many of all steps are done, and what there is to say of them."""

LOG = logging.getLogger("skfem_ml")
EVERY = 10.0  # seconds between lines where there is no terminal


@contextmanager
def bar(show: bool = True) -> Iterator[Progress]:
    """A `Progress` that moves a bar on stderr, or, where stderr is no terminal, logs a line every ten seconds.

    Lines go to the logger ``skfem_ml`` (level INFO). With ``show`` false nothing is shown.
    """
    if not show:
        yield lambda done, total, text: None
    elif not sys.stderr.isatty():
        yield _lines()
    else:
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, SpinnerColumn, TextColumn, TimeElapsedColumn
        from rich.progress import Progress as Bars

        said = TextColumn("{task.description}")
        columns = (SpinnerColumn(), said, BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
        with Bars(*columns, console=Console(stderr=True), transient=True) as bars:
            task = bars.add_task("", total=None)
            yield lambda done, total, text: bars.update(task, completed=done, total=total, description=text)


def _lines() -> Progress:
    start, last = time.monotonic(), [0.0]

    def tell(done: int, total: int, text: str) -> None:
        now = time.monotonic() - start
        if now - last[0] >= EVERY or done == total:
            last[0] = now
            LOG.info("%s: %d of %d after %.0f s", text, done, total, now)

    return tell
