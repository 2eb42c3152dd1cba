"""Compare solvers on one problem: ``compare(problem, {"name": solver, ...}) -> Table``."""

from __future__ import annotations

import csv
import json
import os
import platform
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

from skfem import CellBasis

from skfem_ml.measures import measure_of

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


def compare(
    problem: Any,
    solvers: Mapping[str, Callable[[Any], Solution]],
    reference: str | Solution | None = None,
    repeats: int = 1,
    basis: CellBasis | None = None,
    progress: Callable[[str, int, int], None] | None = None,
) -> Table:
    """Run every solver on a problem and return a `Table` of relative errors, times and unknowns.

    A solver is ``solver(problem) -> u``, u a solution. Errors are ``|u - r| / |r|`` in L2 and, where the problem has a
    coefficient ``a``, in the energy norm; for `Heat` in L2 over space and time and at the end; for `Eigenproblem`,
    where u is `Eigenpairs`, the largest of values and of vectors (`measures`). The reference r is ``reference`` (a
    solution, or the name of one of the solvers), else ``problem.exact``, else the first solver. Errors are integrated
    on ``basis`` (default: first-order elements on ``problem.mesh``). Times are the least of ``repeats`` runs.
    ``progress(name, done, total)`` is called before each solver.

    A solver that raises, or gives no finite solution, leaves a row with the error's text; the others go on. An
    unknown name of a reference raises ValueError at once.
    """
    if not solvers or repeats < 1:
        raise ValueError(f"expected at least one solver and repeats >= 1, got {len(solvers)} and {repeats}")
    kind = measure_of(problem)
    exact = getattr(problem, "exact", None)
    chosen = reference if reference is not None else (exact if exact is not None else next(iter(solvers)))
    if isinstance(chosen, str) and chosen not in solvers:
        raise ValueError(f"reference: expected a solution or one of {list(solvers)}, got {chosen!r}")
    # A broken reference is an error of the call; it shows before any solver has spent its time.
    measure = None if isinstance(chosen, str) else kind(chosen, "the given or exact solution", problem, basis)
    rows: list[Row] = []
    solutions: dict[str, Solution] = {}
    for done, (name, solver) in enumerate(solvers.items()):
        if progress is not None:
            progress(name, done, len(solvers))
        rows.append(_run(name, solver, problem, repeats, solutions))
    timing = f"times: least of {repeats} run(s); {_machine()}"
    if isinstance(chosen, str):
        try:
            measure = kind(solutions[chosen], f"'{chosen}'", problem, basis)
        except Exception as error:
            failed = [_failed(row, error) if row.name == chosen and not row.failure else row for row in rows]
            notes = (f"no errors: the reference '{chosen}' failed", timing)
            return Table(tuple(failed), notes, headings=kind.headings, solutions=solutions)
    assert measure is not None
    measured = tuple(_measured(measure, row, solutions.get(row.name)) for row in rows)
    return Table(measured, (measure.note, timing), measure.norm_l2, measure.norm_energy, kind.headings, solutions)


def _run(name: str, solver: Callable, problem: Any, repeats: int, solutions: dict[str, Solution]) -> Row:
    wall, cpu = [], []
    try:
        for _ in range(repeats):
            start, start_cpu = time.perf_counter(), time.process_time()
            solution = solver(problem)
            wall.append(time.perf_counter() - start)
            cpu.append(time.process_time() - start_cpu)
        if not isinstance(solution, measure_of(problem).accepts):
            raise TypeError(f"expected {measure_of(problem).wanted}, got {type(solution).__name__}")
    except Exception as error:
        return Row(name, failure=_text(error))
    solutions[name] = solution
    unknowns = getattr(solution, "unknowns", None)
    return Row(name, seconds=min(wall), cpu_seconds=min(cpu), unknowns=None if unknowns is None else int(unknowns))


def _measured(measure: Any, row: Row, solution: Any) -> Row:
    if solution is None:
        return row
    try:
        l2, energy = measure(solution)
    except Exception as trouble:
        return _failed(row, trouble)
    return replace(row, error_l2=l2, error_energy=energy)


def _failed(row: Row, error: Exception) -> Row:
    return replace(row, error_l2=None, error_energy=None, failure=_text(error))


def _text(error: Exception) -> str:
    return " ".join(f"{type(error).__name__}: {error}".split())


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


def _machine() -> str:
    """Return threads and versions in one line; torch is named only where it already runs."""
    names = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
    limits = [f"{name}={os.environ[name]}" for name in names if name in os.environ]
    threads = ", ".join(limits) or f"threads not limited, {os.cpu_count()} cores"
    packages = ["scikit-fem", "numpy", "scipy"]
    torch = sys.modules.get("torch")
    if torch is not None:
        threads += f", torch threads={torch.get_num_threads()}"
        packages.append("torch")
    versions = ", ".join(f"{name} {version(name)}" for name in packages)
    return f"{threads}; Python {platform.python_version()}, {versions}"
