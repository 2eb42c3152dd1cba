"""One place that runs a comparison, and one that runs a training: with progress, files, warnings and an exit code."""

from __future__ import annotations

import json as json_format
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import typer

from skfem_ml.cli.errors import FAILED, held_interrupt
from skfem_ml.cli.screen import LOG, Screen, Warned, as_json, say

if TYPE_CHECKING:
    from skfem_ml.compare import Table
    from skfem_ml.progress import Progress

T = TypeVar("T")
Solvers = dict[str, Any]  # name -> solver(problem), which returns a solution of any kind; or heading -> such a mapping


def plot(table: Table, path: Path) -> None:
    """The work-precision picture."""
    table.plot(path)


def nothing(table: Table) -> dict[str, str]:
    """No remarks."""
    return {}


@dataclass(frozen=True)
class Comparison:
    """What ``skfem-ml compare`` runs: solvers on one problem, and what is told besides the table.

    ``solvers(progress)`` makes the rows; ``progress`` is for trainings among them. ``notes`` stand above the table and
    ``remarks(table)`` below, the latter by row or, under the name "", about all; ``facts(table)`` joins the JSON.
    ``files`` are written besides CSV, Markdown and JSON: suffix -> ``write(table, path)``. ``tabulate(problem, solvers,
    progress)`` makes the table; by default it is `compare`'s.
    """

    name: str
    problem: Callable[[], object]
    solvers: Callable[[Progress], Solvers]
    reference: str | None = None
    notes: Sequence[str] = ()
    heading: str = ""
    facts: Callable[[Table], Mapping[str, object]] = nothing
    remarks: Callable[[Table], Mapping[str, str]] = nothing
    files: Mapping[str, Callable[[Table, Path], None]] = field(default_factory=lambda: {"png": plot})
    tabulate: Callable[[Any, Solvers, Progress], Table] | None = None


class Rows:
    """How far a comparison is: rows, and steps of the training that one of them is."""

    def __init__(self, report: Progress, warned: Warned):
        self.report, self.warned = report, warned
        self.done, self.total = 0, 1

    def row(self, done: int, total: int, name: str) -> None:
        """The progress of `compare`."""
        self.done, self.total, self.warned.row = done, total, name
        self.report(done, total, name)

    def step(self, done: int, total: int, text: str) -> None:
        """The progress of a training."""
        self.report(self.done, self.total, f"{self.warned.row}, step {done} of {total}, {text}")


def run_comparison(comparison: Comparison, folder: Path, screen: Screen) -> None:
    """Compare, write files named after the comparison into a folder, and print; exit code 1 where a row failed.

    Raises ValueError where the reference fails, OSError where the folder cannot be written.
    """
    from skfem_ml.cli.outputs import Outputs

    suffixes = [*comparison.files, "csv", "md", "json"]
    outputs = Outputs(folder, [f"{comparison.name}.{suffix}" for suffix in suffixes])
    warned = screen.warned
    with screen.progress() as report:
        rows = Rows(report, warned)
        report(0, 1, f"{comparison.name}: preparing")
        solvers = comparison.solvers(rows.step)
        tabulate = comparison.tabulate or partial(_compared, reference=comparison.reference)
        table = tabulate(comparison.problem(), solvers, rows.row)
        warned.row = ""
        if comparison.reference is not None and table[comparison.reference].failure:
            raise ValueError(f"the reference, {comparison.reference}, failed: {table[comparison.reference].failure}")
        report(len(table), len(table) + 1, "pictures and files")
        content, remarks = _content(comparison, table, warned, outputs.files()), comparison.remarks(table)
        for suffix, write in comparison.files.items():
            outputs.write(f"{comparison.name}.{suffix}", partial(write, table))
        outputs.write(f"{comparison.name}.csv", table.to_csv)
        outputs.write_text(f"{comparison.name}.md", _markdown(comparison, table, warned, remarks))
        outputs.write_text(f"{comparison.name}.json", as_json(content) + "\n")
    screen.tell(_text(comparison, table, remarks, outputs.files()), content)
    warned.tell()
    failures = [f"{row.name}: {row.failure}" for row in table.rows if row.failure]
    for failure in failures:
        say(f"error: {failure}")
    if failures:
        raise typer.Exit(FAILED)


def _compared(problem: object, solvers: Solvers, progress: Progress, reference: str | None) -> Table:
    from skfem_ml.compare import compare

    return compare(problem, solvers, reference=reference, progress=progress)


def run_training(screen: Screen, start: str, train: Callable[[Progress], T], keep: Callable[[], Path | None]) -> T:
    """Train and return what came of it; stopped by Ctrl-C, ``keep()`` writes the best so far, and its file is named.

    ``start`` says what begins; ``keep`` returns None where nothing is recorded yet. A run that is stopped raises
    KeyboardInterrupt with the line to print.
    """
    with screen.progress() as report:
        try:
            LOG.info("%s; Ctrl-C stops it and keeps the best so far", start)
            with held_interrupt():
                import torch  # noqa: F401 (every training needs it)
            return train(report)
        except KeyboardInterrupt:
            with held_interrupt():
                path = keep()
            said = "nothing was recorded yet, nothing is written" if path is None else f"the best so far is in {path}"
            raise KeyboardInterrupt(said) from None


def _content(comparison: Comparison, table: Table, warned: Warned, files: Mapping[str, str]) -> dict[str, object]:
    from skfem_ml import __version__

    return {
        "version": __version__,
        "problem": comparison.name,
        **comparison.facts(table),
        **json_format.loads(table.to_json()),
        "warnings": warned.lines(),
        "files": dict(files),
    }


def _text(comparison: Comparison, table: Table, remarks: Mapping[str, str], files: Mapping[str, str]) -> str:
    """Notes, the table with a remark behind its row, remarks about all."""
    lines = [_remarked(line, remarks) for line in str(table).splitlines()]
    above = [*comparison.notes, ""] if comparison.notes else []
    below = [remarks[""]] if "" in remarks else []
    return "\n".join([*above, *lines, *below, "", "files: " + ", ".join(files.values())])


def _remarked(line: str, remarks: Mapping[str, str]) -> str:
    """A line of the table with the remark of the row that it begins with (names are followed by two blanks)."""
    remark = remarks.get(line.partition("  ")[0].strip()) if line[:1].strip() else None
    return f"{line}  {remark}" if remark else line


def _markdown(comparison: Comparison, table: Table, warned: Warned, remarks: Mapping[str, str]) -> str:
    told = {name: " ".join(text.split()) for name, text in remarks.items()}
    lines = [f"- {name}: {text}" if name else f"- {text}" for name, text in told.items()]
    notes = [f"- {note}" for note in comparison.notes] + [f"- warning: {line}" for line in warned.lines()]
    heading = comparison.heading or f"skfem-ml compare {comparison.name}"
    parts = [f"# {heading}", "\n".join(notes), table.to_markdown().rstrip("\n"), "\n".join(lines)]
    return "\n\n".join(part for part in parts if part) + "\n"
