"""The page and the picture of what `demos.benchmarks.sequences` has measured."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from demos import sequences as demo
from demos.benchmarks.sequences import AS_PUBLISHED, BUDGETS, CLOSED, FIXED, NULLS, TRAINED, Task
from skfem_ml.problems import Sequence

Rows = Mapping[str, Mapping[str, Any]]
METHODS = ("HiTS", "LSTM", "ESN", "CW-RNN")
# Table 1 of Liu, Kutz and Brunton (2022): mean squared errors of the reproduction.
PUBLISHED = {
    "fluid": (1.23e-7, 9.20e-8, 2.22e-8, 6.79e-7),
    "video": (7.09e-5, 1.44e-2, 1.62e-3, 8.05e-2),
    "music": (8.59e-7, 4.65e-5, 2.69e-4, 4.70e-5),
    "ks": (1.04e-3, 3.50, 3.51, 3.59),
}
WHAT = {
    "fluid": "flow past a cylinder at Re 100, 22 SVD coordinates, 151 frames",
    "video": "eight moving blobs, 64 SVD coordinates, 200 frames",
    "music": "the opening of the fugue BWV 846, 128 delays, 2 seconds, 2078 frames",
    "ks": "Kuramoto-Sivashinsky on (0, 32 pi), 512 points, 96 POD coordinates, 4001 frames",
}
REMEMBERED = 1e-2  # of the mean square: white noise counts as reproduced
DIVERGED = 1e3
HEAD = """# Sequences learnt and continued, measured

Written by `python -m demos.benchmarks.sequences` from `sequences.json`. Errors are mean squared errors over the mean
square of the deviation from the mean, so 1 is what the mean has. **Continued**: the held-out frames after those learnt,
from the last of them. **Reproduced**: the published protocol, the sequence learnt generated from its first frame.
**White noise**: the same solver, with the same settings, reproduces white noise of the same shape; where it does, the
reproduction shows memory and nothing of the sequence (of trained rows measured at {least} s). Flow, clip, recording and
orbit are not the published ones, which are not in the paper; its numbers are a scale, no competitor on the same data.

**The worst of the seeds is shown**, the best one in brackets. Trained rows have a budget of process CPU seconds, and
about as many parameters each as HiTS with random features (in echo states the fitted ones). Their rate is the best of
1e-2, 3e-3, 1e-3 on the last frames learnt, each tried (seed 0) for a third of the budget; rows of 600 s take that of
60 s. No setting has seen a frame that is held out. Three seeds where a row trains under two minutes, fewer where it
says so: time did not allow more. Rows that are not here were not run{left}.

HiTS, random features: one hidden layer beside a linear map for each of the strides 1, 4, 16, ...; outputs by least
squares. Chosen: strides, gain and ridge that continue the last frames learnt best. HiTS trained: SOAP on half as many
features, then least squares; one stride: the map of the smallest step alone. HiTS as published: one hidden layer of
this width, ReLU, Adam, five steps (increments normalised). LSTM, CW-RNN: Adam on windows of 200 frames.

{machine}. Load averages {load} on two cores: CPU seconds are stretched where processes share caches, so that a budget
buys fewer steps than on a quiet machine, for all methods alike.
"""


def page(rows: Rows, sequences: Mapping[str, Sequence], machine: str) -> str:
    """``sequences.md``."""
    loads = sorted(row["load average"] for row in rows.values())
    load = f"{loads[0]:.1f} to {loads[-1]:.1f}" if loads else "unknown"
    missing = ", ".join(name for name in sequences if not of(rows, name, AS_PUBLISHED, BUDGETS[-1]))
    left = f":\n{AS_PUBLISHED} for {BUDGETS[-1]} s on {missing} (its worst seed diverges in 60)" if missing else ""
    lines = [HEAD.format(machine=machine, load=load, least=BUDGETS[0], left=left)]
    for name, sequence in sequences.items():
        lines += [f"## {name}", "", f"{WHAT[name]} ({sequence.held_out} held out).", "", *section(rows, name)]
    return "\n".join([*lines, "![sequences](sequences.png)", ""])


def section(rows: Rows, name: str) -> list[str]:
    """Both blocks and the sentences of one sequence."""
    head = ["continued | reproduced | white noise | parameters | CPU s |", "---:|---:|---:|---:|---:|"]
    lines = ["### Closed form", "", f"| method | {head[0]} seeds |", f"|---|{head[1]}---:|"]
    for method in (*FIXED, *CLOSED):
        found = of(rows, name, method, 0)
        noise = rows.get(Task(name, method, noise=True).key)
        lines += [f"| {method} | {cells(found, noise)} | {len(found) if method in CLOSED else ''} |"] if found else []
    trained = [
        f"| {method} | {budget} | {cells(found, noise_of(rows, name, method, budget))} | {rate(found)} | {len(found)} |"
        for method in TRAINED
        for budget in BUDGETS
        if (found := of(rows, name, method, budget))
    ]
    if trained:
        lines += ["", "### Trained", "", f"| method | budget, s | {head[0]} rate | seeds |"]
        lines += [f"|---|---:|{head[1]}---:|---:|", *trained]
    figures = ", ".join(f"{m} {v:.2e}" for m, v in zip(METHODS, PUBLISHED[name], strict=True))
    lines += ["", f"Published, mean squared errors of the reproduction of their sequence: {figures}."]
    return [*lines, "", continued(rows, name), "", remembered(rows, name), ""]


def of(rows: Rows, name: str, method: str, budget: int) -> list[Mapping[str, Any]]:
    """The rows of all seeds that were run."""
    keys = (Task(name, method, budget, seed).key for seed in (0, 1, 2))
    return [rows[key] for key in keys if key in rows]


def noise_of(rows: Rows, name: str, method: str, budget: int) -> Mapping[str, Any] | None:
    return rows.get(Task(name, method, budget, noise=True).key)


def values(found: list[Mapping[str, Any]], part: str) -> list[float]:
    """Errors of all seeds in ascending order; a failure is infinite."""
    return sorted(np.inf if row.get("failure") else float(row[part]) for row in found)


def cells(found: list[Mapping[str, Any]], noise: Mapping[str, Any] | None) -> str:
    """Continued, reproduced, white noise, parameters, CPU seconds."""
    told = [spread(values(found, part)) for part in ("continued", "reproduced")]
    told.append("" if noise is None else spread(values([noise], "reproduced")))
    sound = [row for row in found if not row.get("failure")]
    told.append(str(sound[0]["unknowns"]) if sound else "")
    told.append(f"{np.median([row['CPU seconds'] for row in sound]):.2g}" if sound else "")
    return " | ".join(told)


def spread(errors: list[float]) -> str:
    """The worst, and the best in brackets where there are several."""
    return number(errors[-1]) + (f" ({number(errors[0])})" if len(errors) > 1 else "")


def number(error: float) -> str:
    return f"{error:.1e}" if error < DIVERGED else "diverges"


def rate(found: list[Mapping[str, Any]]) -> str:
    return f"{found[0]['rate']:g}" if found[0].get("rate") else ""


def every(rows: Rows, name: str, part: str, methods: Mapping[str, object]) -> dict[str, float]:
    """The worst seed's error of every row that was run, by its label."""
    found = {}
    for method in methods:
        for budget in (0, *BUDGETS):
            seeds = of(rows, name, method, budget)
            if seeds:
                count = f"{len(seeds)} seed{'s' if len(seeds) > 1 else ''}"
                found[method + (f" ({budget} s, {count})" if budget else "")] = values(seeds, part)[-1]
    return found


def continued(rows: Rows, name: str) -> str:
    """Who continues best, by the worst seed."""
    learnt = every(rows, name, "continued", {"linear (DMD)": 0, **CLOSED, **TRAINED})
    null = min(every(rows, name, "continued", NULLS).values())
    order = sorted(learnt, key=learnt.__getitem__)
    best, other = order[0], order[1]
    if learnt[best] > 0.5 * null:
        return (
            f"**Continued**: by none. The best row, {best}, has {number(learnt[best])}, the best model that has learnt "
            f"nothing {number(null)}."
        )
    return (
        f"**Continued** best by {best}, {number(learnt[best])}; then {other}, {number(learnt[other])}. The best model "
        f"that has learnt nothing has {number(null)}."
    )


def remembered(rows: Rows, name: str) -> str:
    """Whether the reproduction is memory: only where white noise says so."""
    noise = {
        method: values([row], "reproduced")[0]
        for method in (*CLOSED, *TRAINED)
        if (row := rows.get(Task(name, method, BUDGETS[0] if method in TRAINED else 0, noise=True).key))
    }
    learnt = {method: error for method, error in noise.items() if error < REMEMBERED}
    if not noise:
        return "White noise was not measured."
    if learnt:
        told = ", ".join(f"{method} ({number(error)})" for method, error in learnt.items())
        return (
            f"**Reproduced**: white noise of this shape is reproduced as well by {told}. What these rows reproduce is "
            "memory: nothing of this sequence need be understood for it."
        )
    best = min(noise, key=noise.__getitem__)
    return (
        f"**Reproduced**: white noise of this shape is reproduced by no row (best {number(noise[best])}, {best}), so "
        "that who reproduces this sequence has used what is regular in it."
    )


def picture(path: Path) -> None:
    """The picture of the demo, with few colours."""
    demo.visualize().savefig(path, dpi=65)
    Image.open(path).quantize(64).save(path, optimize=True)
