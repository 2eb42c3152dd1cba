"""The tables of ``interiors.md``, from the rows that `demos.benchmarks.interiors` has measured."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

Row = Mapping[str, Any]
COLUMNS = (
    "exact, n = 8",
    "exact, n = 16",
    "extrapolated",
    "interiors, n = 16",
    "interiors, n = 32",
    "extrapolated interiors",
    "wide network",
    "geometric mean",
)
MATRICES = ("exact, n = 8", "exact, n = 16", "extrapolated", "extrapolated interiors", "wide network")
INTRODUCTION = """# Cheaper exact answers

Written by `python -m demos.benchmarks.interiors`. 32 x 32 coarse elements, ell = 2, the coefficient on 256 x 256 cells,
load 1, zero boundary values; n fine cells along a coarse edge. The reference is exact LOD at n = 32.

- *extrapolated*: `Extrapolated(diffusion)`, S_16 + (S_16 - S_8) / 3 of exact local matrices.
- *interiors, n = 16, 32*: `LOD(..., refine=8, interiors=CondensedInteriors(32))`, elements condensed on a finer mesh
  onto the boundary nodes of n = 8 and four moments.
- *extrapolated interiors*: `LOD(..., refine=8, interiors=32)`, H_32 + (H_32 - H_16) / 3 of their energies H.
- *wide network*: the shipped surrogate `diffusion-wide-q1-ell2-n32`; *geometric mean*: coarse finite elements.

Every entry is the largest of its fields: two seeds ([11, 0] and [11, 1]) of the families that no surrogate was trained
on, one of each checkerboard, and one field a decade of the families of `surrogate.md` (the first of the two there).
The last are the two fields on which the wide network, or its hybrid, is known to be worst."""


def report(rows: Mapping[str, Row]) -> str:
    """The Markdown of all rows."""
    reported = {name: row for name, row in rows.items() if not name.startswith("limit")}
    limits = {name[7:]: row for name, row in rows.items() if name.startswith("limit")}
    parts = [INTRODUCTION, advice(reported, limits), solutions(reported), matrices(reported), certificates(reported)]
    return "\n".join([*parts, seconds(reported), factors(limits), limit(limits), ""])


def advice(rows: Mapping[str, Row], limits: Mapping[str, Row]) -> str:
    """Which to take, with how much closer each was than exact n = 8, over the fields where exact LOD is of use."""
    good = [row for row in rows.values() if row["definite"]]
    told = []
    for name in ("extrapolated interiors", "extrapolated"):
        gain = np.array([row["exact, n = 8"]["u"] / row[name]["u"] for row in good])
        spent = np.median([row[name]["seconds"] / row["exact, n = 8"]["seconds"] for row in good])
        told += [spent, np.median(gain), gain.min()]
    better = sum(row["extrapolated interiors"]["u"] < row["extrapolated"]["u"] for row in good)
    rest = [row["exact, n = 32"] / row["extrapolated (16, 32)"] for row in limits.values()]
    same = [row["extrapolated interiors"] / row["exact, n = 32"] for row in limits.values()]
    return ADVICE.format(*told, better, len(good), np.median(same), max(same), min(rest), max(rest))


def grouped(rows: Mapping[str, Row]) -> dict[str, list[Row]]:
    """Rows by field family and contrast, the number or seed of the field left out."""
    out: dict[str, list[Row]] = {}
    for name, row in rows.items():
        out.setdefault(name if name.startswith(("checkerboard", "worst")) else name.rpartition(", ")[0], []).append(row)
    return out


def table(title: str, text: str, head: Iterable[str], lines: Iterable[Iterable[str]]) -> str:
    """A section with a table, its first column on the left."""
    head = list(head)
    body = ["| " + " | ".join(line) + " |" for line in lines]
    marks = "|---|" + "---:|" * (len(head) - 1)
    return "\n".join([f"\n## {title}\n", text, "", "| " + " | ".join(head) + " |", marks, *body])


def largest(rows: Iterable[Row], method: str, key: str) -> str:
    return f"{max(row[method][key] for row in rows):.1e}"


def solutions(rows: Mapping[str, Row]) -> str:
    lines = []
    for name, own in grouped(rows).items():
        bad = "" if all(row["definite"] for row in own) else " (S not definite)"
        lines.append([name + bad, *(largest(own, method, "u") for method in COLUMNS)])
    wins = sum(row["extrapolated interiors"]["u"] < row["wide network"]["u"] for row in rows.values())
    more = sum(row["extrapolated"]["u"] < row["wide network"]["u"] for row in rows.values())
    text = SOLUTIONS_TEXT.format(wins, len(rows), more)
    return table("Coarse solutions", text, ["field", *COLUMNS], lines)


def matrices(rows: Mapping[str, Row]) -> str:
    lines = [
        [name, *(f"{largest(own, method, 'median')} / {largest(own, method, 'largest')}" for method in MATRICES)]
        for name, own in grouped(rows).items()
    ]
    text = "Relative error |S^_T - S_T|_F / |S_T|_F over the elements: median / largest."
    return table("Local matrices", text, ["field", *MATRICES], lines)


def certificates(rows: Mapping[str, Row]) -> str:
    lines = []
    for name, own in grouped(rows).items():
        cells = [name]
        for method in ("extrapolated", "wide network"):
            hybrids = [row[method]["hybrid"] for row in own]
            cells.append(f"{min(row[method]['covered'] for row in own):.1%}")
            cells.append(f"{max(one['share'] for one in hybrids):.0%}")
            cells.append(f"{max(one['u'] for one in hybrids):.1e}")
        lines.append(cells)
    means = {m: np.mean([row[m]["covered"] for row in rows.values()]) for m in ("extrapolated", "wide network")}
    text = CERTIFICATE_TEXT.format(means["extrapolated"], means["wide network"])
    head = [f"{what}{who}" for who in (", extrapolated", ", network") for what in ("covered", "recomputed", "u_h")]
    return table("Certificates", text, ["field", *head], lines)


def seconds(rows: Mapping[str, Row]) -> str:
    names, base = [*COLUMNS, "exact, n = 32"], "exact, n = 8"
    lines = []
    for name in names:
        spent = np.median([row[name]["seconds"] for row in rows.values()])
        ratio = np.median([row[name]["seconds"] / row[base]["seconds"] for row in rows.values()])
        lines.append([name, f"{spent:.2f}", f"{ratio:.2f}"])
    text = "CPU seconds for all 1024 local matrices, one thread, one run a field: medians over all fields."
    return table("Seconds", text, ["", "seconds", "times exact, n = 8"], lines)


def factors(rows: Mapping[str, Row]) -> str:
    names = [name for name in next(iter(rows.values())) if name.startswith("factor")]
    lines = []
    for name in names:
        cells = [name[7:]]
        for k in (0, 1):
            errors = np.array([row[name][k] for row in rows.values()])
            best = np.array([min(row[one][k] for one in names) for row in rows.values()])
            cells += [f"{np.exp(np.log(errors).mean()):.1e}", f"{(errors / best).max():.1f}"]
        lines.append(cells)
    head = ["theta", "n = 32, mean", "worst against the best", "n = 64, mean", "worst against the best"]
    return table("The factor of extrapolated interiors", FACTOR_TEXT, head, lines)


def limit(rows: Mapping[str, Row]) -> str:
    names = [name for name in next(iter(rows.values())) if not name.startswith("factor")]
    lines = [[name, *(f"{row[one]:.1e}" for one in names)] for name, row in rows.items()]
    return table("Which is closer to the limit", LIMIT_TEXT, ["field", *names], lines)


ADVICE = """
## Which to take

- **Smooth coefficients, or little time**: exact LOD at n = 8.
- **Rough ones** (values that jump from cell to cell): `LOD(..., refine=8, interiors=32)`, {:.1f} times the time of
  n = 8 and closer to n = 32 by a factor of {:.0f} in the median over the fields, {:.1f} at the least. Every verb of a
  system works with it.
- **A certificate, another form, lines or hexes**: `Extrapolated(form)`, {:.1f} times the time, a factor of {:.0f} in
  the median, {:.1f} at the least. Extrapolated interiors are closer on {} of {} fields.
- **The limit of fine meshes**: exact n = 32 is not it. Against n = 64, extrapolated interiors are as good as exact
  n = 32 (its error times {:.1f} in the median, {:.1f} at most), and `Extrapolated(form, (16, 32))` is {:.1f} to
  {:.0f} times better than exact n = 32. Where values meet in corners at high contrast (checkerboards, Bernoulli) the
  order is below two, and three meshes, `Extrapolated(form, (8, 16, 32))`, which estimate it, are the best that was
  measured."""
SOLUTIONS_TEXT = """Relative L2 error of u_h. Where exact S at n = 32 is not definite exact LOD is of no use at ell = 2,
and no row means much. Extrapolated interiors are closer than the wide network on {} of {} fields, extrapolated matrices
on {}."""
CERTIFICATE_TEXT = """Covered: the share of elements whose error is not above the certificate |S_16 - S_8|_F / 3, or the
network's doubt (a 0.9 quantile), at its smallest. Then `Hybrid(..., tol=0.02)`: the share that is recomputed, and u_h.
On average {:.1%} and {:.1%} are covered."""
FACTOR_TEXT = """H_32 + theta (H_32 - H_16): relative L2 error of u_h against exact n = 32 and n = 64, geometric means
over the fields of the next table, which are others than those above (seed 7, other contrasts, 16 x 16 coarse elements);
then the largest ratio to the best theta of a field."""
LIMIT_TEXT = """Relative L2 error of u_h against exact n = 64, 16 x 16 coarse elements, the coefficient on 128 x 128
cells."""
