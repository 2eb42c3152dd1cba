"""Time, memory and error of H2 operators and of FMMNet against N: ``python -m demos.benchmarks.fmm [largest N]``.

Random points in the unit square. The operator: log|x - y| to 1e-6, leaves of 36 or 32 points; the network: rank 8, 3
layers, leaves of 18 or 16 points, a batch of 4. Run in the root of the source tree it writes ``fmm.md`` and ``fmm.png``
beside this file.

Every case runs in a process of its own; its memory is the largest that it had (`ru_maxrss`) less what it had after the
imports. CPU times, one thread: the least of 25 repeats, of 5 for 64 products, of one for tree and building. Three
things bend such a curve. A tree has 4^k or 9 * 4^k leaves, so one doubling is not quite like the next: N = 9 * 2^k
fills both without padding, and leaves near the size of least work, where close and far blocks cost the same, keep the
difference small. Clusters on the boundary have fewer neighbours, so numbers per point grow towards a limit. And glibc
gives arrays above 32 MiB back to the system when they are freed: from some N on every gradient pays for its pages
again. Times are measured with that switched off (MALLOC_MMAP_THRESHOLD_, MALLOC_TRIM_THRESHOLD_); the network's last
column is without.
"""

import json
import os
import resource
import subprocess
import sys
from itertools import pairwise
from pathlib import Path

import numpy as np

from skfem_ml.compare import best_of
from skfem_ml.pictures import figure, grid, legend_below
from skfem_ml.pictures.graphs import look

LEAF = {"operator": 36, "network": 18}
TOL, RANK, BATCH = 1e-6, 8, 4
REPEATS, PROBES = 25, 64
SIZES = tuple(9 * 2**k for k in range(10, 15))  # 9216 to 147456
KEEP = {"MALLOC_MMAP_THRESHOLD_": str(2**33), "MALLOC_TRIM_THRESHOLD_": str(2**35)}
THREADS = {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
TARGET = 2.2  # growth of time and memory at twice the points
COUNTED = {
    "operator": ("build s", "product ms", "64 products ms", "MiB", "stored MiB"),
    "network": ("forward ms", "with gradient ms", "MiB", "parameters", "pages anew ms"),
}
Row = dict[str, float]
HERE = Path(__file__)


def kernel(x, y):
    square = ((x - y) ** 2).sum(axis=0)
    return 0.5 * np.log(np.where(square == 0, 1.0, square))


def memory() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def timed(call, repeats: int = REPEATS):
    """The value of a call and the least CPU milliseconds of some repeats."""
    value, spent = best_of(call, repeats)
    return value, 1e3 * spent.cpu


def operator(N: int) -> Row:
    from skfem_ml.fmm import H2Operator, H2Skeleton

    points, before = np.random.default_rng(0).random((2, N)), memory()
    skeleton, tree = timed(lambda: H2Skeleton(points, leaf=LEAF["operator"]), 1)
    op, build = timed(lambda: H2Operator.from_kernel(skeleton, kernel, tol=TOL, symmetric=True), 1)
    q = np.random.default_rng(1).standard_normal((N, PROBES))
    product, used = timed(lambda: op @ q[:, 0])[1], memory() - before
    rows = np.random.default_rng(2).choice(N, 32, replace=False)  # others than those the builder measures
    exact = np.stack([kernel(points[:, k, None], points) for k in rows]) @ q
    many, seconds = timed(lambda: op @ q, 5)
    error = float(np.linalg.norm(many[rows] - exact) / np.linalg.norm(exact))
    stored = op.storage().numbers / 2**17
    return {
        "tree s": tree / 1e3,
        "build s": build / 1e3,
        "product ms": product,
        "64 products ms": seconds,
        "MiB": used,
        "stored MiB": stored,
        "error": error,
    }


def network(N: int) -> Row:
    import torch

    from skfem_ml.fmm import FMMNet, H2Skeleton

    torch.set_num_threads(1)
    generator, before = torch.Generator().manual_seed(0), memory()
    net = FMMNet(H2Skeleton(np.random.default_rng(0).random((2, N)), leaf=LEAF["network"]), RANK, generator=generator)
    q = torch.randn(BATCH, N, generator=generator)

    def both():
        net.zero_grad(set_to_none=True)
        net(q).sum().backward()

    forward = timed(lambda: net(q).sum().detach())[1]
    gradient = timed(both)[1]
    count = sum(p.numel() for p in net.parameters())
    return {"forward ms": forward, "with gradient ms": gradient, "MiB": memory() - before, "parameters": count}


def case(name: str, N: int, environment: dict[str, str]) -> Row:
    command = [sys.executable, "-m", "demos.benchmarks.fmm", name, str(N)]
    env = {**os.environ, **THREADS, **environment}
    return json.loads(subprocess.run(command, capture_output=True, text=True, check=True, env=env).stdout)


def measure(largest: int) -> dict[str, list[Row]]:
    rows: dict[str, list[Row]] = {"operator": [], "network": []}
    for name, found in rows.items():
        for N in (size for size in SIZES if size <= largest):
            row = {"N": float(N), **case(name, N, KEEP)}
            if name == "network":
                plain = case(name, N, {})
                row |= {"pages anew ms": plain["with gradient ms"], "MiB": plain["MiB"]}
            found.append(row)
            print(name, *(f"{key} {value:.4g}" for key, value in row.items()), flush=True)
    return rows


def growth(rows: list[Row], key: str) -> list[float]:
    """The ratios of one column between successive N."""
    values = [row[key] for row in rows]
    return [b / a for a, b in pairwise(values)]


def report(rows: dict[str, list[Row]]) -> str:
    lines = ["# Cost of H2 operators and of FMMNet against N", "", *__doc__.split("\n\n", 1)[1].strip().splitlines()]
    for name, found in rows.items():
        keys = list(found[0])
        lines += ["", f"## {name}", "", "| " + " | ".join(keys) + " |", "|---:" * len(keys) + "|"]
        lines += ["| " + " | ".join(_cell(key, row[key]) for key in keys) + " |" for row in found]
        lines += ["", f"Growth at twice the points (target: at most {TARGET}):", ""]
        for key in COUNTED[name]:
            ratios = growth(found, key)
            words = ", ".join(f"{ratio:.2f}" for ratio in ratios)
            lines.append(f"- {key}: {words}{_verdict(ratios)}")
    return "\n".join([*lines, "", "![time, memory and error against N](fmm.png)", ""])


def _cell(key: str, value: float) -> str:
    if key == "error":
        return f"{value:.1e}"
    return f"{value:,.0f}" if key in ("N", "parameters") else f"{value:.3g}" if value < 1000 else f"{value:,.0f}"


def _verdict(ratios: list[float]) -> str:
    return "" if not ratios else f"; at most {max(ratios):.2f}" + (", missed" if max(ratios) > TARGET else "")


def visualize(rows: dict[str, list[Row]]):
    """Time, memory and error against N, with lines of slope one."""
    sizes = {name: np.array([row["N"] for row in found]) for name, found in rows.items()}
    with figure(14, 5.4) as picture:
        seconds, space, error = picture.subplots(1, 3)
        shown = (
            (seconds, (("operator", "product ms"), ("network", "forward ms"), ("network", "with gradient ms"))),
            (space, (("operator", "MiB"), ("operator", "stored MiB"), ("network", "MiB"))),
        )
        for ax, curves in shown:
            for k, (name, key) in enumerate(curves):
                values = np.array([row[key] for row in rows[name]])
                ax.loglog(sizes[name], values, **look(k), label=f"{name}: {key}")
                ax.loglog(sizes[name], values[0] * sizes[name] / sizes[name][0], ":", color="0.6")
        error.loglog(sizes["operator"], [row["error"] for row in rows["operator"]], "-o", label="error of a product")
        error.axhline(TOL, color="0.6", ls=":", label="tolerance")
        seconds.set(title="time (dotted: like $N$)", xlabel="points $N$", ylabel="CPU milliseconds")
        space.set(title="memory (dotted: like $N$)", xlabel="points $N$", ylabel="MiB")
        error.set(title="error of the operator", xlabel="points $N$", ylabel="relative error")
        error.set_ylim(TOL / 100, 3 * TOL)
        for ax in (seconds, space, error):
            grid(ax)
            legend_below(ax, 1)
    return picture


def main(largest: int) -> None:
    rows = measure(largest)
    HERE.with_name("fmm.md").write_text(report(rows), encoding="utf-8")
    visualize(rows).savefig(HERE.with_name("fmm.png"), dpi=100)


if __name__ == "__main__":
    if len(sys.argv) == 3:
        print(json.dumps({"operator": operator, "network": network}[sys.argv[1]](int(sys.argv[2]))))
    else:
        main(int(sys.argv[1]) if len(sys.argv) > 1 else SIZES[-1])
