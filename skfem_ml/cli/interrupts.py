"""Ctrl-C at any moment: one line and exit code 130."""

from __future__ import annotations

import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

INTERRUPTED = 130
AGAIN = 0.05  # seconds


@contextmanager
def told() -> Iterator[None]:
    """Leave with a line where Ctrl-C comes, also while modules are loaded; once the block has ended it is too late.

    Nothing is done where Ctrl-C is ignored (``nohup``) or another program runs this one in a thread.
    """
    mine = threading.current_thread() is threading.main_thread()
    if mine := mine and signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, _interrupt)
    try:
        yield
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        sys.exit(INTERRUPTED)
    finally:
        if mine:
            signal.signal(signal.SIGINT, signal.SIG_IGN)


def _interrupt(number: int, frame: FrameType | None) -> None:
    """Raise KeyboardInterrupt, after torch is loaded: the process aborts where an exception comes in between."""
    spec = getattr(sys.modules.get("torch"), "__spec__", None)
    if getattr(spec, "_initializing", False) and hasattr(signal, "setitimer"):
        signal.signal(signal.SIGALRM, _interrupt)
        signal.setitimer(signal.ITIMER_REAL, AGAIN)
        return
    raise KeyboardInterrupt
