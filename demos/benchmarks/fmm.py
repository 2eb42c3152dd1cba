"""Time and memory of H2 operators and of FMMNet against N: ``python -m demos.benchmarks.fmm [largest N]``.

Random points in the unit square, leaves of at most 49 points, the kernel log|x - y| to 1e-6; the network with rank 8
and 3 layers on a batch of 4. Every case runs in a process of its own; the memory is the largest that it had
(`ru_maxrss`), less what it had after the imports. CPU times, one thread. A tree has 4^k or 9 * 4^k leaves, so the work
of one doubling is not that of the next; over two doublings it is.
"""

import json
import resource
import subprocess
import sys
import time

import numpy as np

LEAF, TOL, RANK, BATCH = 49, 1e-6, 8, 4
SIZES = tuple(48 * 2**k for k in range(7, 12))  # 6144 to 98304


def kernel(x, y):
    square = ((x - y) ** 2).sum(axis=0)
    return 0.5 * np.log(np.where(square == 0, 1.0, square))


def memory() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def timed(call, repeats: int = 3):
    """The value of a call and the least CPU seconds of some repeats."""
    best = np.inf
    for _ in range(repeats):
        start = time.process_time()
        value = call()
        best = min(best, time.process_time() - start)
    return value, best


def operator(N: int) -> dict[str, float]:
    from skfem_ml.fmm import H2Operator, H2Skeleton

    points, before = np.random.default_rng(0).random((2, N)), memory()
    skeleton, tree = timed(lambda: H2Skeleton(points, leaf=LEAF), 1)
    op, build = timed(lambda: H2Operator.from_kernel(skeleton, kernel, tol=TOL, symmetric=True), 1)
    q = np.random.default_rng(1).random(N)
    product = timed(lambda: op @ q)[1]
    storage = op.storage()
    return {
        "tree": tree,
        "build": build,
        "product": product,
        "MiB": memory() - before,
        "stored MiB": storage.numbers / 2**17,
        "error": storage.error,
    }


def network(N: int) -> dict[str, float]:
    import torch

    from skfem_ml.fmm import H2Skeleton
    from skfem_ml.fmm.network import FMMNet

    torch.set_num_threads(1)
    generator, before = torch.Generator().manual_seed(0), memory()
    skeleton = H2Skeleton(np.random.default_rng(0).random((2, N)), leaf=LEAF)
    net = FMMNet(skeleton, RANK, generator=generator)
    q = torch.randn(BATCH, N, generator=generator)
    forward = timed(lambda: net(q).sum().detach())[1]
    both = timed(lambda: net(q).sum().backward())[1]
    count = sum(p.numel() for p in net.parameters())
    return {"forward": forward, "with gradient": both, "MiB": memory() - before, "parameters": count}


def main(largest: int) -> None:
    for name in ("operator", "network"):
        previous: dict[str, float] = {}
        for N in (size for size in SIZES if size <= largest):
            command = [sys.executable, "-m", "demos.benchmarks.fmm", name, str(N)]
            row = json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout)
            cells = [f"{key} {value:.3g}" + _ratio(key, value, previous) for key, value in row.items()]
            print(f"{name}, N = {N}: " + ", ".join(cells), flush=True)
            previous = row


def _ratio(key: str, value: float, previous: dict[str, float]) -> str:
    return f" (x{value / previous[key]:.2f})" if key in previous and key != "error" else ""


if __name__ == "__main__":
    if len(sys.argv) == 3:
        print(json.dumps({"operator": operator, "network": network}[sys.argv[1]](int(sys.argv[2]))))
    else:
        main(int(sys.argv[1]) if len(sys.argv) > 1 else SIZES[-1])
