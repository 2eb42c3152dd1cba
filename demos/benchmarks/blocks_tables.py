"""The page and the picture of what `demos.benchmarks.blocks` has measured."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from skfem_ml.pictures import figure, grid, legend_below

Results = Mapping[str, Mapping[str, Any]]


def report(results: Results, machine: str) -> str:
    """``blocks.md``."""
    return "\n".join([HEAD.format(machine=machine, load=_loads(results)), *_sizes(results), *_costs(results),
                      *_ratio(results), *_heights(results), *_notes(results), ""])  # fmt: skip


HEAD = """# Systems by blocks

Written by `python -m demos.benchmarks.blocks`: coefficients iid U[1, 5] on 8 x 8 cells a coarse element (seed 0), read
from a file, ell = 2, blocks of 16 rows unless said otherwise. CPU seconds are those of all processes named; memory is
the largest resident size of a process, libraries included (a process that has only loaded them has 270 MB).
{machine}.

Load averages {load} at the ends of the cases, on two cores: CPU seconds are stretched where processes share caches;
what is compared was run in turn, and the least of three runs is shown where there are three.
"""


def _notes(results: Results) -> list[str]:
    return [f"\n{name}: {one['note']}." for name, one in results.items() if "note" in one]


def _loads(results: Results) -> str:
    loads = sorted(one["load average"] for one in results.values())
    return f"{loads[0]:.1f} to {loads[-1]:.1f}"


def _sizes(results: Results) -> list[str]:
    two, one = results["two workers 256"], results["one process 512"]
    total = two["driver MB"] + sum(two["workers MB"])
    workers = " and ".join(f"{size:.0f}" for size in two["workers MB"])
    seconds = " and ".join(f"{spent:.0f}" for spent in two["workers CPU s"])
    return [
        "## Size",
        "",
        "| coarse elements | by | memory, MB | CPU seconds |",
        "|---|---|---|---|",
        f"| 256 x 256 | two workers of dask, with the solution | {total:.0f} in all: {workers}, driver and scheduler "
        f"{two['driver MB']:.0f} | {seconds}, driver {two['driver CPU s']:.0f} |",
        f"| 512 x 512 | one process, the matrix | {one['matrix MB']:.0f} (the LOD alone {one['LOD MB']:.0f}) | "
        f"{one['CPU s']:.0f} |",
        f"| 512 x 512 | the same, with the solution | {one['MB']:.0f} | {one['CPU s'] + one['solve CPU s']:.0f} |",
        "",
    ]


def _costs(results: Results) -> list[str]:
    cost = results["overhead 128"]
    rows = {
        "the engine on the whole, `lod.assemble`": cost["whole"],
        "by blocks in one process": cost["blocks"],
        "by blocks on one worker of dask: the worker": cost["dask, worker"],
        "the worker and the driver, which reads the files and sums them": cost["dask"],
    }
    return [
        "## What blocks and dask cost: 128 x 128 elements",
        "",
        "| matrix | CPU seconds | of the engine's |",
        "|---|---|---|",
        *(f"| {name} | {spent:.1f} | {spent / cost['whole']:.2f} |" for name, spent in rows.items()),
        "",
    ]


def _ratio(results: Results) -> list[str]:
    found = results["ratio 128"]
    plain, dask = (found[f"{way} 1"] / found[f"{way} 2"] for way in ("plain", "dask"))
    return [
        "## Two workers: 128 x 64 elements in blocks of 8 rows",
        "",
        f"Two processes without dask take the blocks {plain:.2f} times as fast as one ({found['plain 1']:.0f} and "
        f"{found['plain 2']:.0f} s on the",
        f"wall), two workers of dask {dask:.2f} times as fast as one of them ({found['dask 1']:.0f} and "
        f"{found['dask 2']:.0f} s, files included), in the same",
        "minutes." + (" Below one: other work had the second core." if plain < 1 else ""),
        "",
    ]


def _heights(results: Results) -> list[str]:
    tall = {name: one for name, one in results.items() if name.startswith("tall")}
    return [
        "## Memory against the number of blocks: rows of 64 elements, 16 rows a block",
        "",
        "![memory against the number of blocks](blocks.png)",
        "",
        "| blocks | memory, MB | of them S | CPU seconds |",
        "|---|---|---|---|",
        *(f"| {one['blocks']} | {one['MB']:.0f} | {one['S MB']:.0f} | {one['CPU s']:.1f} |" for one in tall.values()),
    ]


def draw(results: Results, path: Path) -> None:
    """Memory, and memory without S (its columns and the CSR of them), against the number of blocks."""
    tall = [one for name, one in results.items() if name.startswith("tall")]
    blocks = [one["blocks"] for one in tall]
    with figure(6, 4.4) as picture:
        axes = picture.subplots()
        axes.plot(blocks, [one["MB"] for one in tall], "o-", label="largest resident size")
        axes.plot(blocks, [one["MB"] - 2 * one["S MB"] for one in tall], "s--", label="less twice the size of S")
        axes.plot(blocks, [one["libraries MB"] for one in tall], ":", label="libraries")
        axes.set(title="memory against the number of blocks", xlabel="blocks of 16 rows of 64 elements", ylabel="MB")
        axes.set(xscale="log", ylim=(0, None))
        axes.set_xticks(blocks, [str(count) for count in blocks])
        axes.minorticks_off()
        grid(axes)
        legend_below(axes)
    picture.savefig(path, dpi=110)
