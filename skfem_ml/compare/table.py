"""The table of a comparison: rows, errors, seconds, as text, CSV, Markdown, JSON and picture."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

Solution = Callable[[Any], Any]
COSTS = ("seconds", "CPU seconds", "unknowns")


@dataclass(frozen=True)
class Row:
    """One solver: relative errors, wall and CPU seconds, number of unknowns; None where there is no figure.

    ``failure`` is the text of the exception, empty where the solver succeeded.
    """

    name: str
    error_l2: float | None = None
    error_energy: float | None = None
    seconds: float | None = None
    cpu_seconds: float | None = None
    unknowns: int | None = None
    failure: str = ""


@dataclass(frozen=True, eq=False)
class Table:
    """The result of `compare`: rows, notes (reference, threads, versions), and the solutions by name.

    ``norm_l2`` and ``norm_energy`` are the norms of the reference: an absolute error is the relative one times them.
    ``headings`` name the two errors, which depend on the kind of problem.
    """

    rows: tuple[Row, ...]
    notes: tuple[str, ...] = ()
    norm_l2: float | None = None
    norm_energy: float | None = None
    headings: tuple[str, str] = ("error L2", "error energy")
    solutions: Mapping[str, Solution] = field(default_factory=dict, repr=False)

    def __getitem__(self, name: str) -> Row:
        """Return the row of one solver; KeyError lists the names."""
        for row in self.rows:
            if row.name == name:
                return row
        raise KeyError(f"no row called {name!r}; the table has {[row.name for row in self.rows]}")

    def __str__(self) -> str:
        lines = [["", *self.headings, *COSTS], *(_texts(row) for row in self.rows)]
        widths = [max(len(line[k]) for line in lines) for k in range(len(lines[0]))]
        text = []
        for line, row in zip(lines, [None, *self.rows], strict=True):
            cells = [line[0].ljust(widths[0])] + [c.rjust(w) for c, w in zip(line[1:], widths[1:], strict=True)]
            text.append("  ".join(cells).rstrip() + (f"  failed: {row.failure}" if row and row.failure else ""))
        return "\n".join([*text, *self.notes])

    def to_markdown(self) -> str:
        """Return the table in Markdown, notes below."""
        titles = [*self.headings, *COSTS]
        lines = [["solver", *titles], ["---"] + ["---:"] * len(titles)]
        for row in self.rows:
            name, *cells = _texts(row)
            label = f"{name} (failed: {row.failure})" if row.failure else name
            lines.append([label.replace("|", "\\|"), *cells])
        return "\n".join(["| " + " | ".join(line) + " |" for line in lines] + ["", *self.notes]) + "\n"

    def to_json(self) -> str:
        """Return rows, norms and notes as a JSON object."""
        content = {
            "rows": [asdict(row) for row in self.rows],
            "norm_l2": self.norm_l2,
            "norm_energy": self.norm_energy,
            "notes": list(self.notes),
        }
        return json.dumps(content, indent=2, allow_nan=False)

    def to_csv(self, path: str | Path) -> None:
        """Write one line per row under a header line; empty fields where there is no figure."""
        with open(path, "w", newline="", encoding="utf-8") as file:
            writer = csv.writer(file)
            writer.writerow([f.name for f in fields(Row)])
            writer.writerows(["" if v is None else v for v in asdict(row).values()] for row in self.rows)

    def plot(self, path: str | Path) -> None:
        """Write the work-precision picture, relative error over wall seconds, both logarithmic.

        Rows without an error, and the reference itself (error zero), have no place on it. Raises ValueError where no
        row is left.
        """
        from matplotlib.figure import Figure  # not pyplot: no window system, no global state

        panels = list(zip(("error_l2", "error_energy"), (f"relative {h}" for h in self.headings), strict=True))
        panels = [p for p in panels if any(getattr(row, p[0]) and row.seconds for row in self.rows)]
        if not panels:
            raise ValueError("nothing to plot: expected a row with a positive error and a time, got none")
        figure = Figure(figsize=(4.5 * len(panels) + 2.0, 4.2), layout="constrained")
        for axes, (key, label) in zip(figure.subplots(1, len(panels), squeeze=False)[0], panels, strict=True):
            for k, row in enumerate(self.rows):
                if getattr(row, key) and row.seconds:
                    axes.loglog(row.seconds, getattr(row, key), "osD^vP*X"[k % 8], color=f"C{k % 10}", label=row.name)
            axes.set_xlabel("wall time in seconds")
            axes.set_ylabel(label)
            axes.grid(True, which="both", alpha=0.3)
        figure.legend(*figure.axes[0].get_legend_handles_labels(), loc="outside right upper")
        figure.savefig(path, dpi=150)


def _texts(row: Row) -> list[str]:
    def number(value: float | None, form: str) -> str:
        return "-" if value is None else format(value, form)

    return [
        row.name,
        number(row.error_l2, ".3e"),
        number(row.error_energy, ".3e"),
        number(row.seconds, ".3g"),
        number(row.cpu_seconds, ".3g"),
        number(row.unknowns, "d"),
    ]
