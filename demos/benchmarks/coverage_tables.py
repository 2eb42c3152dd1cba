"""The tables of ``coverage.md``, from the rows of ``coverage.json``."""

from __future__ import annotations

from typing import Any

import numpy as np

Row = dict[str, Any]
SILENT = 0.05  # an error of u_h from which silence is a failure
HEAD = """# Certificates on fields that calibration saw, and did not see

Written by `python -m demos.benchmarks.coverage`. Errors of u_h are relative, in L2, against exact LOD on the same
meshes (32 x 32 coarse elements where nothing else is said), the largest over the four loads of the calibration; the
*other load* is a random sum of sines that no calibration has seen.

- *uncovered*: elements whose true error is above what is said of it; those of which nothing is said are covered. In
  brackets, for networks: what it would be if nothing were called novel.
- *nothing said*: elements with an infinite score (novel, out of range), which a hybrid recomputes.
- *said*: what assembling with the surrogate warns of. A **silent** failure is an error above 5 % without a warning.
- *surrogate*: all of its matrices as they are. In brackets, for super-elements: exact matrices, against n = 64.
- *promised / true*: the error of u_h that is promised where only elements are exact of which nothing is said.
- *hybrid*: `Hybrid(..., tol)` with 3e-4 (paper), 1e-2 (wide), 3e-3 (others).

Ten per cent are to be uncovered on calibrated families, 8 to 12 are aimed at. Fields differ, hence ±, the standard
error of the mean over them; calibration, on 100 fields for n = 8, 60 for n = 32, 20 for the wide model and 264 for
super-elements, has one as well, and k fields promise .9 (k + 1) / k on their mean: 94.5 % for the wide model, 90.3 to
91.5 % for the others. So all are where they should be. On 16 x 16 elements, for which n = 8 was not calibrated, it says
too little.

Of the 132 fields of super-elements' families four failed in silence before *unresolved* was said: checkerboards of
contrast 57 to 378, 5.4 to 7.2 % from exact matrices at n = 32. These are themselves 5.4 to 14 % from those at n = 64
(the figures in brackets), while the energies of the network are close to their labels, which are extrapolated; two of
the four are closer to n = 64 than the exact ones. So what is warned of is the coefficient: exact energies of the
elements that are checked, at n = 32, are more than a per cent from what they converge to. Two hard cells that touch at
a corner on the side of an element are seen by no energy of an element; nine such corners or more, ten times as hard as
their neighbours, are warned of as *corners*. These thresholds were chosen with the 132 fields, and 264 others, at hand;
the *further fields* were looked at afterwards. The logarithm of how much harder they are counts in scores as well: with
it conformal factors on the same 264 fields are 1.02 for elements and 1.29 for u_h, instead of 2.53 and 2.17.

Fields of the calibrated families have numbers from 13,000,000 on, which nothing else uses; at n = 32 those on which the
certificates of the cards were tested, from 11,000,000 on, are among them or all there are.
"""


def report(rows: dict[str, dict[str, Row]]) -> str:
    """All tables as text."""
    parts = [HEAD, summary(rows)]
    for title, found in rows.items():
        parts.append(f"\n## {title}\n")
        for kind, words in (("own", "Families of the calibration"), ("unseen", "Families that it never saw")):
            some = {name: row for name, row in found.items() if row["kind"] == kind}
            if some:
                parts.append(f"\n{words}\n\n{table(some)}{_resolved(some)}")
    return "\n".join(parts)


def summary(rows: dict[str, dict[str, Row]]) -> str:
    """One line a source and kind of fields."""
    lines = [
        "| | fields | uncovered, mean | largest | fields warned of | silent failures | promise kept | other load | "
        "hybrid kept | recomputed, mean |",
        "|---|" + "---:|" * 9,
    ]
    for title, found in rows.items():
        for kind in ("own", "unseen"):
            some = [row for row in found.values() if row["kind"] == kind]
            if some:
                lines.append(f"| {title}, {kind} | {' | '.join(_summed(some))} |")
    return "\n".join(lines) + "\n"


def _summed(rows: list[Row]) -> list[str]:
    uncovered = [row["uncovered"] for row in rows]
    silent = sum(failed_silently(row) for row in rows)
    mean = _percent(np.mean(uncovered))
    if len(rows) > 1 and max(uncovered) > 0:
        mean += f" ± {100 * np.std(uncovered, ddof=1) / len(rows) ** 0.5:.1f}"
    cells = [str(len(rows)), mean, _percent(max(uncovered))]
    cells += [_share([bool(row["said"]) for row in rows]), str(silent)]
    known = [row for row in rows if "promised" in row]
    if not known:
        return cells + ["-"] * 4
    cells += [_share([row[which] <= row["promised"] for row in known]) for which in ("left", "other load")]
    cells.append(_share([row["hybrid"]["true"] <= max(row["hybrid"]["promised"], 1e-12) for row in known]))
    return [*cells, _percent(np.mean([row["hybrid"]["share"] for row in known]))]


def failed_silently(row: Row) -> bool:
    """Whether the surrogate is off by more than 5 % and nothing was said."""
    return not row["surrogate"] <= SILENT and not row["said"]


def table(rows: dict[str, Row]) -> str:
    """One line a field."""
    lines = [
        "| | contrast | uncovered | nothing said | said | surrogate | promised / true | hybrid: recomputed | "
        "promised / true |",
        "|---|" + "---:|" * 3 + "---|" + "---:|" * 4,
    ]
    for name, row in rows.items():
        blind = f" ({_percent(row['blind'])})" if "blind" in row else ""
        cells = [f"{row['contrast']:.3g}", _percent(row["uncovered"]) + blind, _percent(1 - row["trusted"]), _said(row)]
        cells.append(_percent(row["surrogate"]) + (f" ({_percent(row['exact'])})" if "exact" in row else ""))
        if "promised" in row:
            hybrid = row["hybrid"]
            cells += [_pair(row["promised"], row["left"]), _percent(hybrid["share"])]
            cells.append(_pair(hybrid["promised"], hybrid["true"]))
        else:
            cells += ["-"] * 3
        lines.append(f"| {name} | {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def _resolved(rows: dict[str, Row]) -> str:
    """How far exact matrices are off: with a warning that the coefficient is not resolved, and with none at all."""
    known = [row for row in rows.values() if "exact" in row]
    said = [row["exact"] for row in known if "unresolved" in _said(row)]
    silent = [row["exact"] for row in known if not row["said"]]
    if not said or not silent:
        return ""
    first, second = ([_percent(f(each)) for f in (np.min, np.median, np.max)] for each in (said, silent))
    return (
        f"\n{len(said)} fields are said not to be resolved: exact matrices at n = 32 are {first[0]} to {first[2]} off "
        f"(median {first[1]}) against n = 64. Of the {len(silent)} of which nothing is said: {second[0]} to "
        f"{second[2]} (median {second[1]}).\n"
    )


def _said(row: Row) -> str:
    """Reasons, in a few words."""
    words = {
        "cells an element resolve": "unresolved", "corners on the sides": "corners", "checked are off": "checked",
        "by their values": "values", "by their pattern": "pattern", "pattern of the field": "field",
        "by a doubt": "doubt", "not positive definite": "S indefinite",
    }  # fmt: skip
    return ", ".join(short for long, short in words.items() if any(long in text for text in row["said"])) or (
        "other" if row["said"] else "**silent**" if failed_silently(row) else "-"
    )


def _pair(promised: float, true: float) -> str:
    return f"{_percent(promised)} / {_percent(true)}" if np.isfinite(promised) else f"nothing / {_percent(true)}"


def _percent(value: float) -> str:
    if not np.isfinite(value):
        return "no solution"
    return f"{100 * value:.3g} %" if value >= 1e-5 else "0 %" if value < 1e-10 else f"{100 * value:.0e} %"


def _share(values: list[bool]) -> str:
    return f"{sum(values)} of {len(values)}"
