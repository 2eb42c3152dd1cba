"""Systems by blocks: memory, CPU seconds, what dask costs, and how far two workers get.

Run ``python -m demos.benchmarks.blocks`` in the root of the source tree; it needs the extra ``distributed``. Every case
runs in a process of its own and goes to ``blocks.json`` beside this file at once: a run that is stopped goes on there.
At the end ``blocks.md`` is written. Coefficients are iid U[1, 5] on 8 x 8 cells a coarse element, seed 0, read from a
file; ell = 2. Memory is the largest resident size of a process (VmHWM), libraries included.
"""

from __future__ import annotations

import gc
import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from multiprocessing import get_context
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from skfem import MeshQuad

from skfem_ml.compare import clocked, machine
from skfem_ml.learning.storage import write_whole
from skfem_ml.lod import LOD, BlockSystem
from skfem_ml.lod.blocks import local_client
from skfem_ml.lod.coarse import CoarseSystem
from skfem_ml.problems import diffusion, load

OUTPUT, REFINE, RUNS = Path(__file__), 8, 3
HEIGHTS = (64, 128, 256, 512)  # rows of 64 elements, for memory against the number of blocks
Result = dict[str, object]


def peak() -> float:
    """The largest resident size of this process so far, in MB."""
    return int(re.findall(r"VmHWM:\s+(\d+)", Path("/proc/self/status").read_text())[0]) / 1e3


def grid(nx: int, ny: int) -> LOD:
    return LOD(MeshQuad.init_tensor(np.arange(nx + 1.0), np.arange(ny + 1.0)), refine=REFINE)


@contextmanager
def field(lod: LOD) -> Iterator[tuple[Path, Path]]:
    """A file with a coefficient, and an empty folder."""
    nx, ny = lod.space.grid.shape
    with TemporaryDirectory() as folder:
        a = np.lib.format.open_memmap(f"{folder}/a.npy", "w+", float, (REFINE * ny, REFINE * nx))
        rng = np.random.default_rng(0)
        for row in a:
            row[:] = rng.uniform(1, 5, len(row))
        a.flush()
        del a
        yield Path(folder, "a.npy"), Path(folder, "blocks")


# The cases.


def two_workers(n: int) -> Result:
    """n x n elements on two workers of dask, solved."""
    lod = grid(n, n)
    with field(lod) as (a, folder), local_client(2) as client, clocked() as spent:
        system = BlockSystem(lod, diffusion, a=a, folder=folder, client=client)
        u = system.solve(load(1.0))
        peaks, seconds = client.run(peak).values(), client.run(time.process_time).values()
    return {
        "driver MB": peak(), "workers MB": list(peaks), "driver CPU s": spent.cpu, "workers CPU s": list(seconds),
        "wall s": spent.wall, "u max": float(u.max()),
    }  # fmt: skip


def one_process(n: int) -> Result:
    """n x n elements block by block here, solved."""
    lod = grid(n, n)
    made = peak()
    with field(lod) as (a, _):
        with clocked() as assembly:
            S = BlockSystem(lod, diffusion, a=a).matrix()
        assembled = peak()
        with clocked() as solution:
            b = BlockSystem(lod, diffusion, a=a).load(load(1.0))
            u = CoarseSystem(S, lod.space.fixed).solve(b, np.zeros(len(b)))[0]
    return {"LOD MB": made, "matrix MB": assembled, "MB": peak(), "CPU s": assembly.cpu, "solve CPU s": solution.cpu,
            "u max": float(u.max())}  # fmt: skip


def tall(height: int) -> Result:
    """64 elements a row, ``height`` rows, in blocks of 16."""
    start = peak()
    lod = grid(64, height)
    with field(lod) as (a, _), clocked() as spent:
        S = BlockSystem(lod, diffusion, a=a).matrix()
    S_bytes = S.data.nbytes + S.indices.nbytes + S.indptr.nbytes
    return {"blocks": height // 16, "libraries MB": start, "MB": peak(), "S MB": S_bytes / 1e6, "CPU s": spent.cpu}


def overhead(n: int) -> Result:
    """CPU seconds of the engine on the whole, by blocks here, and on one worker of dask; the least of three."""
    lod = grid(n, n)
    found: dict[str, list[float]] = {}
    with field(lod) as (a, folder), local_client(1) as client:
        flat = np.empty(lod.space.coefficient_refinement.cells.size)
        raster = np.load(a)
        at = REFINE * lod.space.grid.cells[::-1][:, :, None] + np.indices((REFINE,) * 2).reshape(2, 1, -1)
        flat[lod.space.coefficient_refinement.cells] = raster[tuple(at)]
        for run in range(RUNS):  # the first pays for imports
            ways: dict[str, Callable[[], object]] = {
                "whole": lambda: lod.assemble(diffusion, a=flat),
                "blocks": lambda: BlockSystem(lod, diffusion, a=a).matrix(),
                "dask": lambda run=run: BlockSystem(  # type: ignore[misc]
                    lod, diffusion, a=a, folder=folder / str(run), client=client
                ).matrix(),
            }
            for name, way in ways.items():
                before = sum(client.run(time.process_time).values())
                with clocked() as spent:
                    way()
                worker = sum(client.run(time.process_time).values()) - before
                found.setdefault(name, []).append(spent.cpu + (worker if name == "dask" else 0))
                found.setdefault(f"{name}, worker", []).append(worker)
            gc.collect()
    return {name: min(values) for name, values in found.items()}


def half(n: int, a: Path, part: int, parts: int) -> None:
    """Some blocks of a system, in a process of its own."""
    system = BlockSystem(grid(n, n // 2), diffusion, rows=8, a=a)
    for number in range(part, len(system), parts):
        system.task(number).run()


def ratio(n: int) -> Result:
    """Wall seconds of one and of two, of processes without dask and of workers of dask, in turn; the least of three."""
    lod = grid(n, n // 2)
    found: dict[str, list[float]] = {}
    pools = {count: ProcessPoolExecutor(count, get_context("spawn")) for count in (1, 2)}
    with field(lod) as (a, folder), local_client(1) as one, local_client(2) as two:
        for run in range(RUNS):
            for count, client in ((1, one), (2, two)):
                with clocked() as plain:
                    list(pools[count].map(half, *zip(*[(n, a, k, count) for k in range(count)], strict=True)))
                with clocked() as dask:
                    where = folder / f"{run}-{count}"
                    BlockSystem(lod, diffusion, rows=8, a=a, folder=where, client=client).compute()
                found.setdefault(f"plain {count}", []).append(plain.wall)
                found.setdefault(f"dask {count}", []).append(dask.wall)
    for pool in pools.values():
        pool.shutdown()
    return {name: min(values) for name, values in found.items()} | {"all": found}


CASES: dict[str, Callable[[], Result]] = {
    "two workers 256": lambda: two_workers(256),
    "overhead 128": lambda: overhead(128),
    "ratio 128": lambda: ratio(128),
    **{f"tall {height}": (lambda height=height: tall(height)) for height in HEIGHTS},  # type: ignore[misc]
    "one process 512": lambda: one_process(512),
}


def run() -> dict[str, Result]:
    """All cases that are not measured yet, each in a new process; returns all."""
    path = OUTPUT.with_suffix(".json")
    results: dict[str, Result] = json.loads(path.read_text()) if path.exists() else {}
    for name in CASES:
        if name not in results:
            command = [sys.executable, "-W", "ignore", "-m", "demos.benchmarks.blocks", name]
            done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
            results[name] = {**json.loads(done.stdout.splitlines()[-1]), "load average": os.getloadavg()[0]}
            write_whole(path, json.dumps(results, indent=1).encode())
    return results


if __name__ == "__main__":
    if len(sys.argv) > 1:
        print(json.dumps(CASES[sys.argv[1]]()))
    else:
        from demos.benchmarks.blocks_tables import draw, report

        measured = run()
        write_whole(OUTPUT.with_suffix(".md"), report(measured, machine()).encode())
        draw(measured, OUTPUT.with_suffix(".png"))
