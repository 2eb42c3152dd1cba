"""The table of a comparison: rows, errors, seconds, as text, HTML, CSV, Markdown, JSON and picture."""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from html import escape
from pathlib import Path
from typing import Any

Value = str | float | int | None
COSTS = ("seconds", "CPU seconds", "unknowns")
MARKERS = "osD^vP*X"


def column(heading: str) -> str:
    """Return a heading as the name of a column in files: ``"error at t_end"`` is ``"error_at_t_end"``."""
    return re.sub(r"\W+", "_", heading.lower()).strip("_")


@dataclass(frozen=True)
class Row:
    """One solver: its errors by heading, wall and CPU seconds, number of unknowns; None where there is no figure.

    ``row["error L2"]`` is one error, ``row.error`` the first of them, by which the kind of problem is judged.
    ``failure`` is the text of the exception, empty where the solver succeeded; ``group`` is a heading that the row
    shares with others; ``stages`` are seconds of parts of the work, by heading.

    >>> from skfem_ml.compare import Row
    >>> row = Row("LOD", {"error L2": 0.0125, "error energy": None}, seconds=0.5)
    >>> row.error, row["error energy"]
    (0.0125, None)
    """

    name: str
    errors: Mapping[str, float | None] = field(default_factory=dict)
    seconds: float | None = None
    cpu_seconds: float | None = None
    unknowns: int | None = None
    failure: str = ""
    group: str = ""
    stages: Mapping[str, float] = field(default_factory=dict)

    def __getitem__(self, heading: str) -> float | None:
        """Return one error; KeyError lists the headings."""
        if heading not in self.errors:
            why = f"it failed: {self.failure}" if self.failure else f"it has {list(self.errors)}"
            raise KeyError(f"no error called {heading!r} in row {self.name!r}; {why}")
        return self.errors[heading]

    @property
    def error(self) -> float | None:
        """The first error, None where there is none."""
        return next(iter(self.errors.values()), None)


@dataclass(frozen=True, eq=False, repr=False)
class Table:
    """The result of `compare`: rows, notes (reference, threads, versions), and the solutions by name.

    ``headings`` name the errors, which depend on the kind of problem. ``norms`` are those of the reference by heading:
    an absolute error is the relative one times the norm. ``table["LOD"]`` is a row; a table can be counted and walked
    through, and ``pandas.DataFrame(table.to_dict())`` holds it.

    >>> table = Table((Row("LOD", {"error L2": 0.0125}, 0.5, 0.25, 81),), headings=("error L2",))
    >>> table["LOD"]["error L2"], len(table), [row.name for row in table]
    (0.0125, 1, ['LOD'])
    >>> table
          error L2  seconds  CPU seconds  unknowns
    LOD  1.250e-02      0.5         0.25        81
    """

    rows: tuple[Row, ...]
    notes: tuple[str, ...] = ()
    headings: tuple[str, ...] = ("error L2", "error energy")
    norms: Mapping[str, float | None] = field(default_factory=dict)
    solutions: Mapping[str, Any] = field(default_factory=dict)

    def __getitem__(self, name: str) -> Row:
        """Return the row of one solver; KeyError lists the names."""
        for row in self.rows:
            if row.name == name:
                return row
        raise KeyError(f"no row called {name!r}; the table has {[row.name for row in self.rows]}")

    def __len__(self) -> int:
        return len(self.rows)

    def __iter__(self) -> Iterator[Row]:
        return iter(self.rows)

    def __str__(self) -> str:
        lines = [["", *self._titles()], *(self._texts(row) for row in self.rows)]
        widths = [max(len(line[k]) for line in lines) for k in range(len(lines[0]))]
        text = []
        for line, row, group in zip(lines, [None, *self.rows], ["", *self._groups()], strict=True):
            text += [group] if group else []
            cells = [line[0].ljust(widths[0])] + [c.rjust(w) for c, w in zip(line[1:], widths[1:], strict=True)]
            text.append("  ".join(cells).rstrip() + (f"  failed: {row.failure}" if row and row.failure else ""))
        return "\n".join([*text, *self.notes])

    __repr__ = __str__

    def _repr_html_(self) -> str:
        """The table in HTML, notes below: what a notebook shows."""
        titles = self._titles()
        head = "".join(f"<th>{escape(title)}</th>" for title in ("", *titles))
        body = ""
        for row, group in zip(self.rows, self._groups(), strict=True):
            name, *cells = (escape(text) for text in self._texts(row))
            name += f"<br>failed: {escape(row.failure)}" if row.failure else ""
            body += f'<tr><th colspan="{len(titles) + 1}">{escape(group)}</th></tr>\n' if group else ""
            body += f"<tr><th>{name}</th>" + "".join(f"<td>{cell}</td>" for cell in cells) + "</tr>\n"
        notes = "".join(f"<p>{escape(note)}</p>\n" for note in self.notes)
        return f"<table>\n<tr>{head}</tr>\n{body}</table>\n{notes}"

    def to_dict(self) -> dict[str, list[Value]]:
        """Return the columns, each a list with one entry a row, named as in `to_csv`."""
        records = [self._record(row) for row in self.rows]
        return {name: [record[name] for record in records] for name in self._record(Row(""))}

    def to_markdown(self) -> str:
        """Return the table in Markdown, notes below."""
        titles = self._titles()
        lines = [["solver", *titles], ["---"] + ["---:"] * len(titles)]
        for row, group in zip(self.rows, self._groups(), strict=True):
            lines += [[f"*{group}*", *[""] * len(titles)]] if group else []
            name, *cells = self._texts(row)
            label = f"{name} (failed: {row.failure})" if row.failure else name
            lines.append([label.replace("|", "\\|"), *cells])
        return "\n".join(["| " + " | ".join(line) + " |" for line in lines] + ["", *self.notes]) + "\n"

    def to_json(self) -> str:
        """Return rows, norms of the reference, headings and stages by column, and notes as a JSON object."""
        content = {
            "rows": [self._record(row) for row in self.rows],
            "norms": {column(heading): self.norms.get(heading) for heading in self.headings},
            "headings": {column(heading): heading for heading in self.headings},
            "stages": {column(stage): stage for stage in self._stages()},
            "notes": list(self.notes),
        }
        return json.dumps(content, indent=2, allow_nan=False)

    @classmethod
    def from_json(cls, content: Mapping[str, Any]) -> Table:
        """Return the table of the object that `to_json` wrote. Raises ValueError for anything else."""
        try:
            headings, stages = content["headings"], content.get("stages", {})
            rows = tuple(_row(record, headings, stages) for record in content["rows"])
            norms = {heading: content["norms"].get(name) for name, heading in headings.items()}
            return cls(rows, tuple(content["notes"]), tuple(headings.values()), norms)
        except (KeyError, TypeError, AttributeError) as error:
            raise ValueError(f"table: expected what Table.to_json writes, got {str(content)[:80]}") from error

    def to_csv(self, path: str | Path) -> None:
        """Write one line per row under a header line; empty fields where there is no figure.

        The columns of errors are named by their headings (`column`), so that no error passes for another.
        """
        with open(path, "w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, list(self._record(Row(""))))
            writer.writeheader()
            writer.writerows(self._record(row) for row in self.rows)

    def plot(self, path: str | Path) -> None:
        """Write the work-precision picture: relative errors over CPU seconds, both logarithmic.

        Where a row has no CPU seconds all are drawn over wall seconds, and the axis says so. Rows without an error, and
        the reference itself (error zero), have no place on it. Raises ValueError where no row is left.
        """
        from matplotlib import colormaps
        from matplotlib.figure import Figure  # not pyplot: no window system, no global state
        from matplotlib.ticker import NullFormatter

        timed = [row for row in self.rows if row.seconds and any(row.errors.values())]
        panels = [heading for heading in self.headings if any(row.errors.get(heading) for row in timed)]
        if not panels:
            raise ValueError("nothing to plot: expected a row with a positive error and a time, got none")
        cpu, few = all(row.cpu_seconds for row in timed), len(self.rows) <= 10
        colours = [f"C{k}" if few else colormaps["turbo"](k / (len(self.rows) - 1)) for k in range(len(self.rows))]
        figure = Figure(figsize=(4.5 * len(panels) + 2.0, 4.2), layout="constrained")
        for axes, heading in zip(figure.subplots(1, len(panels), squeeze=False)[0], panels, strict=True):
            for k, row in enumerate(self.rows):
                if row in timed and row.errors.get(heading):
                    seconds = row.cpu_seconds if cpu else row.seconds
                    style = {"color": colours[k], "marker": MARKERS[k % len(MARKERS)], "linestyle": "none"}
                    axes.loglog(seconds, row.errors[heading], **style, label=row.name)
            axes.set_xlabel("CPU seconds" if cpu else "wall time in seconds")
            axes.set_ylabel(f"relative {heading}")
            axes.grid(True, which="both", alpha=0.3)
            for axis in (axes.xaxis, axes.yaxis):
                low, high = axis.get_data_interval()
                if high > 10 * low:  # else the minor labels are the only ones
                    axis.set_minor_formatter(NullFormatter())
        labels = {
            label: line for axes in figure.axes for line, label in zip(*axes.get_legend_handles_labels(), strict=True)
        }
        figure.legend(labels.values(), labels.keys(), loc="outside right upper")
        figure.savefig(path, dpi=150)

    def _record(self, row: Row) -> dict[str, Value]:
        errors = {column(heading): row.errors.get(heading) for heading in self.headings}
        costs = {"seconds": row.seconds, "cpu_seconds": row.cpu_seconds, "unknowns": row.unknowns}
        stages = {column(stage): row.stages.get(stage) for stage in self._stages()}
        return {"name": row.name, "group": row.group, **errors, **stages, **costs, "failure": row.failure}

    def _stages(self) -> list[str]:
        return list(dict.fromkeys(stage for row in self.rows for stage in row.stages))

    def _costs(self) -> list[str]:
        """The headings of costs of which there is a figure; all where no row succeeded."""
        known = [title for k, title in enumerate(COSTS) if any(_cost(row)[k] is not None for row in self.rows)]
        return known if known or any(row.errors for row in self.rows) else list(COSTS)

    def _titles(self) -> list[str]:
        return [*self.headings, *self._stages(), *self._costs()]

    def _groups(self) -> list[str]:
        """The heading above each row, empty where it is that of the row before."""
        names = [row.group for row in self.rows]
        return [name if name != before else "" for name, before in zip(names, ["", *names], strict=False)]

    def _texts(self, row: Row) -> list[str]:
        errors = [_number(row.errors.get(heading), ".3e") for heading in self.headings]
        costs = zip(COSTS, _cost(row), (".3g", ".3g", "d"), strict=True)
        stages = [_number(row.stages.get(stage), ".2g") for stage in self._stages()]
        totals = [_number(value, form) for name, value, form in costs if name in self._costs()]
        return [row.name, *errors, *stages, *totals]


def _row(record: Mapping[str, Any], headings: Mapping[str, str], stages: Mapping[str, str]) -> Row:
    """The row of a record of `to_json`."""
    errors = {} if record["failure"] else {heading: record[name] for name, heading in headings.items()}
    spent = {stage: record[name] for name, stage in stages.items() if record.get(name) is not None}
    seconds, cpu, unknowns = (record[name] for name in ("seconds", "cpu_seconds", "unknowns"))
    return Row(record["name"], errors, seconds, cpu, unknowns, record["failure"], record["group"], spent)


def _cost(row: Row) -> tuple[float | None, float | None, int | None]:
    return row.seconds, row.cpu_seconds, row.unknowns


def _number(value: float | None, form: str) -> str:
    return "-" if value is None else format(value, form)
