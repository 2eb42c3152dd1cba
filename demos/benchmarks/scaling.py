"""How far workers would carry a system by blocks: 1024 x 1024 coarse elements with 32 x 32 fine cells in each.

Run ``python -m demos.benchmarks.scaling`` in the root of the source tree; it writes ``scaling.md`` and ``scaling.png``.
Times of blocks are measured here, on thirteen rows of elements (`BlockSystem.estimate`), and so is what the driver does
with a block; what happens on more workers than this machine has is **simulated**: blocks are handed out one by one, in
turn, each to the worker that is free first.

    strong: the same problem on W workers;  weak: W times 16 rows of elements on W workers.
"""

from __future__ import annotations

import heapq
import time
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy import ndarray
from skfem import MeshQuad
from threadpoolctl import threadpool_limits

from skfem_ml.compare import machine
from skfem_ml.learning.storage import write_whole
from skfem_ml.lod import LOD, BlockSystem, Estimate
from skfem_ml.lod.blocks.columns import Columns
from skfem_ml.pictures import figure, grid, legend_below
from skfem_ml.problems import diffusion

OUTPUT = Path(__file__)
COARSE, REFINE, CELLS = 1024, 32, 32
ROWS = (4, 16)  # of elements in a block
WORKERS = (1, 2, 4, 8, 16, 32, 64, 128, 256)
SCHEDULER = 1e-3  # seconds a task takes dask's scheduler: the order that its documentation gives
SPREAD = 0.1  # of the times of blocks: relative standard deviation in the simulation


class Measured(NamedTuple):
    """An estimate, seconds that the driver takes for a block, and before all of them."""

    estimate: Estimate
    each: float
    once: float


def field(x: ndarray) -> ndarray:
    """A coefficient with values in (1, 5) at every scale, by midpoints: nothing of it is stored."""
    phase = np.sin(37.1 * x[0] + 11 * np.sin(91.7 * x[1])) * np.sin(83.3 * x[1] + 7 * np.sin(1013.0 * x[0]))
    return 3 + 2 * phase


def measured(rows: int) -> Measured:
    """What a block of so many rows takes, at full width."""
    line = np.arange(COARSE + 1.0) / COARSE
    lod = LOD(MeshQuad.init_tensor(line, line), refine=REFINE, cells=CELLS)
    system = BlockSystem(lod, diffusion, rows=rows, a=field, folder="unused")
    found = system.estimate()
    start = time.process_time()
    columns = Columns(lod.space.grid, lod.ell, lod.space.coarse_count)
    once, start = time.process_time() - start, time.process_time()
    columns.add(0, np.ones((rows + 1, COARSE + 1, (2 * lod.ell + 3) ** 2)))
    return Measured(found, time.process_time() - start, once)


def makespan(times: Sequence[float], workers: int, each: float) -> float:
    """Seconds until all blocks are done and summed: a serial scheduler, workers, and a driver that sums in order."""
    free, ready = [0.0] * workers, []
    for number, spent in enumerate(times):
        start = max(heapq.heappop(free), SCHEDULER * (number + 1))
        heapq.heappush(free, start + spent)
        ready.append(start + spent)
    summed = 0.0
    for end in sorted(ready):
        summed = max(summed, end) + each
    return summed


def simulated(found: Measured, rows: int, workers: int, height: int) -> float:
    """Seconds on so many workers, for so many rows of elements."""
    blocks = -(-height // rows)
    spent = found.estimate.seconds / found.estimate.files * found.estimate.workers
    times = spent * np.exp(np.random.default_rng(0).normal(0, SPREAD, blocks))
    return found.once * height / COARSE + makespan(times.tolist(), workers, found.each)


def report(all_found: dict[int, Measured]) -> str:
    """``scaling.md``."""
    lines = [HEAD.format(machine=machine(), spread=SPREAD, scheduler=1e3 * SCHEDULER, n=COARSE, refine=REFINE)]
    lines += [
        "| rows in a block | what `estimate` says | of a block, s | the driver, s a block |",
        "|---:|---|---:|---:|",
    ]
    for rows, found in all_found.items():
        each = found.estimate.seconds / found.estimate.files
        lines.append(f"| {rows} | {found.estimate} | {each:.1f} | {found.each:.2f} |")
    lines += ["", "| workers | " + " | ".join(f"strong, {rows} rows | weak, {rows} rows" for rows in all_found) + " |"]
    lines.append("|---:" * (1 + 2 * len(all_found)) + "|")
    for workers in WORKERS:
        cells = [f"{value:.2f}" for rows, found in all_found.items() for value in efficiencies(found, rows, workers)]
        lines.append(f"| {workers} | " + " | ".join(cells) + " |")
    return "\n".join([*lines, "", "![parallel efficiency against workers](scaling.png)", ""])


def efficiencies(found: Measured, rows: int, workers: int) -> tuple[float, float]:
    """Strong and weak parallel efficiency."""
    alone, few = simulated(found, rows, 1, COARSE), simulated(found, rows, 1, max(ROWS))
    return alone / workers / simulated(found, rows, workers, COARSE), few / simulated(
        found, rows, workers, max(ROWS) * workers
    )


def draw(all_found: dict[int, Measured]):
    """Efficiencies against workers."""
    with figure(7, 4.8) as picture:
        axes = picture.subplots()
        for (rows, found), marker in zip(all_found.items(), "os", strict=True):
            strong, weak = zip(*(efficiencies(found, rows, workers) for workers in WORKERS), strict=True)
            axes.plot(WORKERS, strong, f"{marker}-", label=f"strong, {rows} rows in a block")
            axes.plot(WORKERS, weak, f"{marker}--", label=f"weak, {rows} rows in a block", fillstyle="none")
        axes.set(title="efficiency, simulated from measured times of blocks", xlabel="workers", xscale="log")
        axes.set(ylabel="parallel efficiency", ylim=(0, 1.1))
        axes.set_xticks(WORKERS, [str(workers) for workers in WORKERS])
        axes.minorticks_off()
        grid(axes)
        legend_below(axes)
    return picture


HEAD = """# How far workers would carry a system by blocks

Written by `python -m demos.benchmarks.scaling`. {n} x {n} coarse elements with {refine} x {refine} fine cells in each,
ell = 2, a coefficient that is a function of the place. {machine}.

Measured: blocks of 1, 2, 4 and 6 rows at full width, and what the driver does with a block. **Simulated** from that:
workers with a core each, times of blocks with a relative deviation of {spread}, {scheduler:g} ms a task in a serial
scheduler, a driver that reads and sums blocks as they come. What is not in it: disks and networks.
"""


def main() -> None:
    """Measure, simulate, and write page and picture."""
    with threadpool_limits(1):
        found = {rows: measured(rows) for rows in ROWS}
    write_whole(OUTPUT.with_suffix(".md"), report(found).encode())
    draw(found).savefig(OUTPUT.with_suffix(".png"), dpi=110)


if __name__ == "__main__":
    main()
