"""What a run by blocks will cost, before it is made: seconds, memory and files, from a few rows of elements."""

from __future__ import annotations

import math
import re
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numpy import ndarray

from skfem_ml import checks
from skfem_ml.lod.blocks.task import BlockTask

if TYPE_CHECKING:
    from skfem_ml.lod.blocks.system import BlockSystem

FITTED, CHECKED = (1, 2, 4), 6  # rows of elements in the blocks that are run
LEAST, REPEATS = 0.2, 3  # seconds of a sample, and how often it is run to reach them
STATUS, RESET = Path("/proc/self/status"), Path("/proc/self/clear_refs")
NUMBER = 8  # bytes


class BlockSample(NamedTuple):
    """A block that was run: its rows of elements, CPU seconds, and the largest resident size of the process meanwhile.

    The size is in bytes; None: unknown.

    >>> from skfem_ml.lod.blocks import BlockSample
    >>> sample = BlockSample(rows=2, seconds=0.5, memory=None)
    >>> sample.rows, sample.memory is None
    (2, True)
    """

    rows: int
    seconds: float
    memory: float | None


@dataclass(frozen=True)
class Estimate:
    r"""What `BlockSystem.matrix` will cost.

    A block of r rows takes t(r) = t_0 + t_1 r seconds and m(r) = m_0 + m_1 r bytes, fitted (least squares of relative
    errors) on blocks of 1, 2 and 4 rows that were run; B blocks on W workers take ceil(B / W) t(r). The relative
    uncertainty is the largest deviation of a sample from the line, that of a block of 6 rows, which the fit has not
    seen, among them.

    Attributes
    ----------
    seconds
        CPU seconds of the worker that has most to do: wall seconds where every worker has a core of its own, and
        as if they did not slow each other; without what a scheduler takes.
    uncertainty
        Relative, of ``seconds``.
    worker_memory
        Bytes of a process that computes blocks, libraries and grid among them; None where it cannot be measured (it
        needs ``/proc``, and rights to write there).
    matrix_memory
        Bytes of S while it is made, beside that.
    files, file_memory
        Files in the folder, and bytes of all of them.
    workers
        For how many.
    samples
        What was run.

    >>> from skfem_ml.lod.blocks import Estimate, BlockSample
    >>> samples = [BlockSample(rows, 0.1 + 0.5 * rows, None) for rows in (1, 2, 4, 6)]
    >>> print(Estimate.of(samples, blocks=64, rows=16, workers=2, matrix_memory=6e8, file_memory=8e8))
    4 min 19 s (4 min 19 s to 4 min 19 s) on 2 workers; memory unknown, 600 MB for S; 64 files, 800 MB
    """

    seconds: float
    uncertainty: float
    worker_memory: float | None
    matrix_memory: float
    files: int
    file_memory: float
    workers: int
    samples: tuple[BlockSample, ...] = ()

    @classmethod
    def of(
        cls, samples: Sequence[BlockSample], *, blocks: int, rows: int, workers: int, matrix_memory: float,
        file_memory: float, kept: bool = True,
    ) -> Estimate:  # fmt: skip
        """From samples, the last of which checks the line of the others; files where results are ``kept``."""
        at = np.array([sample.rows for sample in samples], dtype=float)
        line, off = _line(at, np.array([sample.seconds for sample in samples]))
        known = [sample.memory for sample in samples if sample.memory is not None]
        memory = float(np.dot(_line(at, np.array(known))[0], (1, rows))) if len(known) == len(samples) else None
        seconds = math.ceil(blocks / workers) * float(np.dot(line, (1, rows)))
        files = (blocks, file_memory) if kept else (0, 0.0)
        return cls(seconds, off, memory, matrix_memory, *files, workers, tuple(samples))

    @property
    def range(self) -> tuple[float, float]:
        """Seconds, at least and at most."""
        return self.seconds / (1 + self.uncertainty), self.seconds * (1 + self.uncertainty)

    def __str__(self) -> str:
        low, high = (spoken(seconds) for seconds in self.range)
        each = "memory unknown" if self.worker_memory is None else f"{size(self.worker_memory)} each"
        workers = f"{self.workers} worker{'s' if self.workers > 1 else ''}"
        files = f"; {self.files} files, {size(self.file_memory)}" if self.files else "; no files"
        told = f"{spoken(self.seconds)} ({low} to {high}) on {workers}; {each}, {size(self.matrix_memory)} for S"
        return told + files


def _line(at: ndarray, values: ndarray) -> tuple[ndarray, float]:
    """Offset and slope >= 0 of all but the last, and the largest relative deviation of any value from the line."""
    first, some = at[:-1], values[:-1]
    weights = 1 / np.maximum(some, 1e-9)
    offset, slope = np.linalg.lstsq(np.stack([weights, weights * first], axis=1), weights * some, rcond=None)[0]
    line = np.array([offset, slope]) if offset > 0 else np.array([0.0, (weights @ some) / (weights @ first)])
    return line, float(abs(values / np.maximum(line[0] + line[1] * at, 1e-9) - 1).max())


def estimated(system: BlockSystem, workers: int = 1) -> Estimate:
    """Run some blocks of a system, thirteen rows of elements in all, and say what the whole will cost."""
    checks.whole(workers, "workers", 1)
    space, rows = system.lod.space, min(system.rows, system.lod.space.grid.shape[-1])
    height = space.grid.shape[-1]
    sizes = [min(count, height) for count in (*FITTED, CHECKED)]
    _run(system.part(range(0, 1)))  # what is slow for once
    middle = height // 2
    samples = []
    for count in sizes:
        start = max(0, min(middle - count // 2, height - count))
        samples.append(_best(system.part(range(start, start + count))))
    wide = (2 * space.ell + 3) ** space.grid.dim
    entries = wide * space.coarse_count
    nodes_a_row = space.coarse_count / (height + 1)
    of_blocks = len(system) * (rows + 1) * nodes_a_row * wide * NUMBER
    return Estimate.of(
        samples, blocks=len(system), rows=rows, kept=system.folder is not None, workers=workers,
        matrix_memory=3 * NUMBER * entries, file_memory=of_blocks,
    )  # fmt: skip


def _best(task: BlockTask) -> BlockSample:
    """The least seconds, and the most memory, of as many runs as take a fifth of a second, at most three."""
    runs = [_run(task)]
    while len(runs) < REPEATS and sum(run.seconds for run in runs) < LEAST:
        runs.append(_run(task))
    known = [run.memory for run in runs if run.memory is not None]
    return BlockSample(runs[0].rows, min(run.seconds for run in runs), max(known) if len(known) == len(runs) else None)


def _run(task: BlockTask) -> BlockSample:
    known, start = _resident(reset=True), time.process_time()
    task.run()
    return BlockSample(len(task.window.rows), time.process_time() - start, None if known is None else _resident())


def _resident(*, reset: bool = False) -> float | None:
    """The largest resident size of this process since the last reset, in bytes; None where it is not known."""
    try:
        if reset:
            RESET.write_text("5")
        return 1024.0 * int(re.findall(r"VmHWM:\s+(\d+)", STATUS.read_text())[0])
    except (OSError, IndexError):
        return None


def spoken(seconds: float) -> str:
    """A length of time in words, to two units."""
    if seconds < 60:
        return f"{seconds:.3g} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest} s"
    hours, minutes = divmod(round(seconds / 60), 60)
    return f"{hours} h {minutes} min"


def size(count: float) -> str:
    """Bytes in words."""
    for unit in ("bytes", "kB", "MB"):
        if count < 1000:
            return f"{count:.3g} {unit}"
        count /= 1000
    return f"{count:.3g} GB"
