"""One thread for many small matrices, whoever else asks for it at the same time."""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache, partial

from threadpoolctl import ThreadpoolController


class _Inside:
    """How many blocks of `one_thread` are open in this process, and what the last to leave restores.

    BLAS has one number of threads for the process: the first block that opens sees the user's, all others see one.
    """

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.count, self.torch_threads = 0, 0
        self.restore: Callable[[], None] = _nothing  # the user's number of threads of BLAS

    def enter(self) -> None:
        """Let BLAS and the torch of this thread use one thread."""
        torch = sys.modules.get("torch")
        with self.lock:
            if self.count == 0:
                libraries = _libraries(torch is not None)
                _set_free(libraries)
                limits = libraries.limit(limits=1, user_api="blas")
                self.restore, self.torch_threads = partial(_restore, libraries, limits.restore_original_limits), 0
            if torch and not self.torch_threads:
                self.torch_threads = torch.get_num_threads()
            self.count += 1
        if torch:
            torch.set_num_threads(1)

    def leave(self) -> None:
        """Restore torch in this thread, and BLAS where nobody is inside any more."""
        torch = sys.modules.get("torch")
        with self.lock:
            if torch and self.torch_threads:
                torch.set_num_threads(self.torch_threads)
            self.count -= 1
            if self.count == 0:
                self.restore()
                self.restore = _nothing


def _nothing() -> None:
    """Nobody is inside."""


def _restore(libraries: ThreadpoolController, original: Callable[[], None]) -> None:
    _set_free(libraries)
    original()
    _set_free(libraries)


def _set_free(libraries: ThreadpoolController) -> None:
    """Let any thread set limits: threadpoolctl (from 3.7 on) ignores all but the one that was first to do so, but here
    the last to leave, whichever it is, restores what the first to enter found.
    """
    for library in libraries.lib_controllers:
        getattr(library, "clear_controlling_thread", _ignored)(force=True)


def _ignored(force: bool) -> None:
    """What older versions of threadpoolctl have to do."""


_inside = _Inside()


def _forked() -> None:
    """A process that is forked within a block has left it: its other threads are gone, and their lock may be held."""
    global _inside
    before, _inside = _inside, _Inside()
    before.restore()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forked)


@contextmanager
def one_thread() -> Iterator[None]:
    """Let every operation of BLAS, and of torch where it is loaded, use one thread.

    The matrices of patches are small: threads that wait for each other on them can cost many times the arithmetic.
    Blocks may overlap in several threads: what the user had set holds again when the last of them is left.
    """
    inside = _inside
    inside.enter()
    try:
        yield
    finally:
        inside.leave()


@cache
def _libraries(with_torch: bool) -> ThreadpoolController:
    """The BLAS libraries of this process, looked for once before and once after torch is loaded."""
    return ThreadpoolController()
