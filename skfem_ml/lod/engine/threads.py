"""One thread for many small matrices."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache

from threadpoolctl import ThreadpoolController


@contextmanager
def one_thread() -> Iterator[None]:
    """Let every operation of BLAS, and of torch where it is loaded, use one thread.

    The matrices of patches are small: threads that wait for each other on them can cost many times the arithmetic.
    """
    torch = sys.modules.get("torch")
    threads = torch.get_num_threads() if torch else 0
    try:
        if torch:
            torch.set_num_threads(1)
        with _libraries("torch" in sys.modules).limit(limits=1, user_api="blas"):
            yield
    finally:
        if torch:
            torch.set_num_threads(threads)


@cache
def _libraries(with_torch: bool) -> ThreadpoolController:
    """The BLAS libraries of this process, looked for once before and once after torch is loaded."""
    return ThreadpoolController()
