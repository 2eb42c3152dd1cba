"""Time of the radiative transfer samples: ``python -m demos.benchmarks.rte [samples]``, for N = 320, 640, 1280.

The dense solver is timed on four of the same samples, and the largest difference on them is printed.
"""

import sys
import time

import numpy as np

from skfem_ml.reference import rte_dense, rte_samples

SAMPLES = 20_000
SIZES = (320, 640, 1280)


def measure(samples: int, N: int) -> str:
    """Return one line: seconds of the generator, of the dense solver for as many samples, and their difference."""
    start = time.perf_counter()
    scattering, u = rte_samples(samples, N, np.random.default_rng(0))
    seconds = time.perf_counter() - start
    start = time.perf_counter()
    dense = [rte_dense(row) for row in scattering[:4]]
    slow = (time.perf_counter() - start) / len(dense) * samples
    difference = max(float(np.abs(d - v).max() / d.max()) for d, v in zip(dense, u, strict=False))
    return f"N = {N}: {samples} samples {seconds:.1f} s; dense {slow:.0f} s (from 4); difference {difference:.1e}"


if __name__ == "__main__":
    for N in SIZES:
        print(measure(int(sys.argv[1]) if len(sys.argv) > 1 else SAMPLES, N), flush=True)
