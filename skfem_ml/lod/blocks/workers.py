"""Blocks on workers: threads, or processes of dask; what fails is tried again, what is done stays on disk."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from concurrent.futures import Executor, Future
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, Protocol

import numpy as np
from numpy import ndarray

from skfem_ml import checks
from skfem_ml.lod.blocks.task import BlockTask, Stored, run_stored
from skfem_ml.lod.blocks.tries import TRIES, NotHandedOutError, tried
from skfem_ml.progress import Progress

if TYPE_CHECKING:
    from distributed import Client

LOOPBACK = "127.0.0.1"
SETTINGS = {
    "distributed.worker.profile.enabled": False,  # it looks at the stack a hundred times a second
    # By default memory goes back to the system at once, and every array is fetched anew: 1.4 times the CPU time.
    "distributed.nanny.pre-spawn-environ.MALLOC_TRIM_THRESHOLD_": 2**28,
    "distributed.nanny.pre-spawn-environ.MALLOC_MMAP_THRESHOLD_": 2**25,
}


class Distributed(Protocol):
    """A ``dask.distributed.Client``."""

    def get_executor(self, *, pure: bool) -> Executor:
        """Its workers as an executor of the standard library."""


class Computed(NamedTuple):
    """How many blocks were found on disk, and how many were computed.

    >>> from skfem_ml.lod.blocks import Computed
    >>> counted = Computed(found=3, computed=1)
    >>> counted
    Computed(found=3, computed=1)
    """

    found: int
    computed: int


class BlocksFailedError(RuntimeError):
    """Some blocks failed for good; ``elements`` are the numbers of their coarse elements, the others' files stay."""

    def __init__(self, message: str, elements: ndarray):
        super().__init__(message)
        self.elements = elements


class Done(NamedTuple):
    """What a worker tells of a block: its key, whether it was found, and what was wrong with its file."""

    key: str
    found: bool
    damaged: str


def make_file(task: BlockTask, path: Path) -> Done:
    """Leave the file of a block at ``path``."""
    stored = run_stored(task, path)
    return Done(stored.key, stored.found, stored.damaged)


def run_here(
    count: int, task_of: Callable[[int], BlockTask], path_of: Callable[[int], Path], tell: Progress
) -> Iterator[Stored]:
    """The results of all blocks, one after the other, whose files are left; what a block raises ends it."""
    for number in range(count):
        stored = run_stored(task_of(number), path_of(number))
        tell(number + 1, count, "blocks")
        if stored.damaged:
            checks.warn(stored.damaged)
        yield stored


def run_all(
    count: int, task_of: Callable[[int], BlockTask], path_of: Callable[[int], Path], on: Executor, tell: Progress
) -> list[Done]:
    """Leave the files of all blocks, each tried up to three times, and return what is told of them.

    Raises ValueError at once where a block has bad coefficients, which are as bad on every worker, and
    `BlocksFailedError` when all others are done, or where no more can be handed out.
    """

    def submit(number: int) -> Future[Done]:
        return on.submit(make_file, task_of(number), path_of(number))

    try:
        done, failed = tried(count, submit, lambda number: tell(number, count, "blocks"))
    except NotHandedOutError as error:
        raise _failure(error.left, count, task_of, "cannot be handed out", error.reason) from error.reason
    for damaged in sorted(one.damaged for one in done.values() if one.damaged):
        checks.warn(damaged)
    if failed:
        first = next(iter(failed.values()))
        raise _failure(sorted(failed), count, task_of, f"failed {TRIES} times", first) from first
    return [done[number] for number in range(count)]


def _failure(
    numbers: list[int], count: int, task_of: Callable[[int], BlockTask], what: str, error: Exception
) -> BlocksFailedError:
    windows = [task_of(number).window for number in numbers]
    elements = np.concatenate([window.elements[window.own] for window in windows])
    rows = ", ".join(f"{window.rows.start} to {window.rows.stop - 1}" for window in windows[:5])
    few = ", ".join(map(str, elements[:8].tolist())) + (", ..." if len(elements) > 8 else "")
    return BlocksFailedError(
        f"{len(numbers)} of {count} blocks {what}, those of coarse rows {rows}{', ...' if len(windows) > 5 else ''} "
        f"({len(elements)} elements: {few}), the first with {type(error).__name__}: {error}; the files of the others "
        "stay, run it again",
        elements,
    )


def executor_of(client: Executor | Distributed) -> Executor:
    """What blocks are submitted to. Raises TypeError for what is neither."""
    if isinstance(client, Executor):
        return client
    if not hasattr(client, "get_executor"):
        raise TypeError(
            f"client: expected a dask.distributed.Client or a concurrent.futures.Executor, got {type(client).__name__}"
        )
    return client.get_executor(pure=False)


@contextmanager
def local_client(workers: int = 2) -> Iterator[Client]:
    """A dask client of as many processes on this machine, of one thread each, that are reached from it alone.

    A script that uses it has its ``if __name__ == "__main__":``, since processes import it. For other machines start
    ``dask scheduler`` and ``dask worker`` there and take a ``Client`` of the scheduler's address, with TLS:
    ``distributed.Security(tls_ca_file=..., require_encryption=True, ...)``; whoever reaches a scheduler runs what he
    likes. Raises ImportError without dask.
    """
    try:
        import dask
        from distributed import Client, LocalCluster
    except ImportError as error:
        raise ImportError(
            'distributed: expected dask.distributed, which is not installed; pip install "skfem-ml[distributed]"'
        ) from error
    options = {"n_workers": checks.whole(workers, "workers", 1), "threads_per_worker": 1}
    nannies = logging.getLogger("distributed.nanny")
    level = nannies.level
    try:
        with (
            dask.config.set(SETTINGS),
            LocalCluster(**options, host=LOOPBACK, dashboard_address=f"{LOOPBACK}:0") as cluster,
            Client(cluster) as client,
        ):
            yield client
            nannies.setLevel(logging.ERROR)  # that processes with torch take seconds to end is of no interest
    finally:
        nannies.setLevel(level)
