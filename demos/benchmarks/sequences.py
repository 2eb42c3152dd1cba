"""Sequence generation measured: hierarchies, recurrent networks and null models, beside the published numbers.

Run ``python -m demos.benchmarks.sequences`` in the root of the source tree; it writes ``sequences.md`` and
``sequences.png`` beside this file. Every row is kept in ``skfem_ml_output/sequences`` and used again, so a run that was
stopped goes on; remove the folder to measure anew, give ``--table`` to write what is measured so far, ``--picture`` to
draw the picture alone. Echo state networks need the extra ``esn``. Give the number of threads by ``OMP_NUM_THREADS``;
the times of the table in the tree are CPU seconds on one.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

import numpy as np
from PIL import Image

from demos import sequences as demo
from skfem_ml.baselines import solver_esn, solver_recurrent
from skfem_ml.compare import Row, compare
from skfem_ml.hits import solver_chosen, solver_hits, solver_trained
from skfem_ml.hits.generation import parameter_count
from skfem_ml.problems import Sequence
from skfem_ml.reference import solver_analogue, solver_linear, solver_mean, solver_persistence

SEEDS = (0, 1, 2)
BUDGET = 5.0  # CPU seconds of training of a recurrent network: several times what the hierarchy takes
FOLDER = Path("skfem_ml_output/sequences")
OUTPUT = Path(__file__).with_suffix(".md")
PARTS = ("error reproduced", "error continued")
METHODS = ("HiTS", "LSTM", "ESN", "CW-RNN")
# Table 1 of Liu, Kutz and Brunton (2022): mean squared errors.
PUBLISHED = {
    "fluid": (1.23e-7, 9.20e-8, 2.22e-8, 6.79e-7),
    "video": (7.09e-5, 1.44e-2, 1.62e-3, 8.05e-2),
    "music": (8.59e-7, 4.65e-5, 2.69e-4, 4.70e-5),
    "ks": (1.04e-3, 3.50, 3.51, 3.59),
}
WHAT = {
    "fluid": "flow past a cylinder at Re 100, 22 SVD coordinates, 151 frames (45 held out)",
    "video": "eight moving blobs, 64 SVD coordinates, 200 frames (20 held out)",
    "music": "the opening of the fugue BWV 846, 128 delays, 2 seconds, 2078 frames (276 held out)",
    "ks": "Kuramoto-Sivashinsky on (0, 32 pi), 512 points, 96 POD coordinates, 4001 frames (40 held out)",
}
NOTES = [
    "Errors are mean squared errors as in the published program: over right singular vectors of norm 1 (fluid, video),",
    "samples of a signal of peak 1 (music), 512 values of u (Kuramoto-Sivashinsky, truncation of POD included). Flow,",
    "clip, recording and orbit are not the published ones, which are not in the paper; their numbers are a scale, no",
    "competitor on the same data. In brackets the error over the mean square of the deviation from the mean.",
    "",
    "**Reproduced**: trained on a sequence, which is then generated from its first frame: the published protocol, a",
    "test of memory. The table of all frames passes it with error zero, and so does every map with more features than",
    "pairs to learn, if states have dimensions for it. **Continued**: the held-out frames after it, from its",
    "last. What memorised is no better there than the mean (1 in brackets), or far worse.",
    "",
    "HiTS: one hidden layer of random features beside a linear map for each of the strides 1, 4, 16, ...; outputs by",
    "least squares. HiTS trained: SOAP on half as many features, then least squares. HiTS chosen: strides, gain and",
    "ridge that continue the last frames learnt best. HiTS as published: one hidden layer of this width, ReLU, Adam,",
    f"five steps. LSTM and CW-RNN: Adam on windows of 200 frames, {BUDGET:g} CPU seconds, as many parameters as HiTS;",
    "echo state network: as many fitted ones. Parameters of HiTS include the features that are drawn.",
]


def solvers(name: str, sequence: Sequence, seed: int) -> dict[str, Callable]:
    """Return the rows with random numbers for one sequence."""
    width, count = demo.WIDTHS[name], parameter_count(sequence, demo.WIDTHS[name])
    return {
        "HiTS": solver_hits(width, seed=seed),
        "HiTS trained": solver_hits(max(8, width // 2), steps=200, seed=seed),
        "HiTS chosen": solver_chosen(width, seed=seed),
        "HiTS as published": solver_trained(width, steps=300, seed=seed),
        "LSTM": solver_recurrent("lstm", count, steps=10**6, seconds=BUDGET, seed=seed),
        "CW-RNN": solver_recurrent("cwrnn", count, steps=10**6, seconds=BUDGET, seed=seed),
        "ESN": lambda sequence: solver_esn(count, seed=seed)(sequence),  # a row of its own fails without the extra
    }


NULLS = {
    "mean": solver_mean,
    "first / last frame": solver_persistence,
    "table / analogue": solver_analogue,
    "linear (DMD)": solver_linear,
}
SLOW = {"HiTS trained", "HiTS as published", "LSTM", "CW-RNN", "ESN"}  # one seed


def file_of(name: str, method: str, seed: int) -> Path:
    """Return where a row is kept."""
    return FOLDER / f"{name} {method} {seed}.json".replace(" / ", "-").replace(" ", "_")


def measured(sequence: Sequence, name: str, method: str, seed: int, solver: Callable) -> Row:
    """Return one row, from its file if there is one."""
    path = file_of(name, method, seed)
    if path.exists():
        return Row(**json.loads(path.read_text(encoding="utf-8")))
    start = time.perf_counter()
    row = compare(sequence, {method: solver}).rows[0]
    print(f"{name}, {row.name}, seed {seed}: {dict(row.errors)}, {row.cpu_seconds}, {row.failure}",
          f"({time.perf_counter() - start:.0f} s)", flush=True)  # fmt: skip
    if not row.failure.startswith("ImportError"):
        FOLDER.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(asdict(row)), encoding="utf-8")
    return row


def section(name: str, only_measured: bool) -> list[str]:
    """Return the lines of one sequence; if ``only_measured``, rows without a file are said to be missing."""
    sequence = demo.SEQUENCES[name]()
    deviation = [float(v) for v in variances(sequence)]
    rows: dict[str, list[Row]] = {}
    for seed in SEEDS:
        drawn = solvers(name, sequence, seed)
        fixed = {m: make() for m, make in NULLS.items()}
        for method, solver in (fixed | drawn if seed == SEEDS[0] else drawn).items():
            found = rows.setdefault(method, [])
            if (seed == SEEDS[0] or method not in SLOW) and (not only_measured or file_of(name, method, seed).exists()):
                found.append(measured(sequence, name, method, seed, solver))
    published = dict(zip(METHODS, PUBLISHED[name], strict=True))
    lines = [f"## {name}", "", WHAT[name] + ".", ""]
    lines += [
        "| method | reproduced | continued | parameters | CPU seconds | published |",
        "|---|---:|---:|---:|---:|---:|",
    ]
    for method, found in rows.items():
        lines.append(line(method, found, deviation, published.get(method)))
    return [*lines, ""]


def variances(sequence: Sequence) -> tuple[float, float]:
    """Return the mean squares of the deviation from the mean of what was learnt, for both parts."""
    truth = np.split(sequence.truth, [sequence.train])
    mean = truth[0].mean(axis=0)
    return tuple(((part - mean) ** 2).mean() for part in truth)


def line(method: str, rows: list[Row], deviation: list[float], published: float | None) -> str:
    """Return one line: the median over seeds."""
    good = [row for row in rows if not row.failure]
    cells = ["diverges" if rows else "not measured", "", "", ""]
    if good:
        errors = [float(np.median([row[part] for row in good])) ** 2 for part in PARTS]
        cells = [f"{e * d:.1e} ({e:.0e})" for e, d in zip(errors, deviation, strict=True)]
        cells += [str(good[0].unknowns), f"{np.median([row.cpu_seconds for row in good]):.2g}"]
    elif rows and rows[0].failure.startswith("ImportError"):
        cells[0] = "not measured (extra esn missing)"
    return "| " + " | ".join([method, *cells, "" if published is None else f"{published:.2e}"]) + " |"


def main() -> None:
    """Measure what is not measured yet, and write table and picture."""
    picture = OUTPUT.with_suffix(".png")
    demo.visualize().savefig(picture, dpi=65)
    Image.open(picture).quantize(64).save(picture, optimize=True)
    if "--picture" in sys.argv[1:]:
        return
    seeds = f"Seeds {SEEDS} (median) where a row takes seconds, seed 0 where it takes longer."
    lines = ["# Sequence generation, measured", "", "Written by `python -m demos.benchmarks.sequences`.", seeds, "",
             *NOTES, ""]  # fmt: skip
    for name in demo.SEQUENCES:
        lines += section(name, only_measured="--table" in sys.argv[1:])
    OUTPUT.write_text("\n".join([*lines, "![sequences](sequences.png)", ""]), encoding="utf-8")


if __name__ == "__main__":
    main()
