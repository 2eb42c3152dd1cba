"""The command line ``skfem-ml``, thin over the library: `app` lists the commands, each in a file of its own.

``run`` runs a comparison or a training and says what came of it; ``screen`` is all that is printed, ``errors`` how a
command ends, ``options`` what several commands are asked, ``outputs`` how files are written, ``cases`` how a field
becomes a problem, ``learned`` the surrogates beside it. Here is what must be there before any of them is loaded: the
entry, and Ctrl-C at any moment, one line and exit code 130.
"""

from __future__ import annotations

import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

__all__ = ["main"]
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


def main() -> None:
    """Run the command line on ``sys.argv`` and leave with its exit code: 0, 2 for bad input, 130 for Ctrl-C, else 1."""
    with told():  # from here on; what the commands need takes a moment to load
        from skfem_ml.cli.app import run

        run()
