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

import numpy as np
from numpy.typing import NDArray
from skfem import Basis, CellBasis

from skfem_ml.metrics import energy_norm, gradients, l2_norm, values

Array = NDArray[np.float64]
Solution = Callable[[Any], Any]
HEADINGS = ("error L2", "error energy", "seconds", "CPU seconds", "unknowns")


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
    """

    rows: tuple[Row, ...]
    notes: tuple[str, ...] = ()
    norm_l2: float | None = None
    norm_energy: float | None = None
    solutions: Mapping[str, Solution] = field(default_factory=dict, repr=False)

    def __getitem__(self, name: str) -> Row:
        """Return the row of one solver; KeyError lists the names."""
        for row in self.rows:
            if row.name == name:
                return row
        raise KeyError(f"no row called {name!r}; the table has {[row.name for row in self.rows]}")

    def __str__(self) -> str:
        lines = [["", *HEADINGS], *(_texts(row) for row in self.rows)]
        widths = [max(len(line[k]) for line in lines) for k in range(len(HEADINGS) + 1)]
        text = []
        for line, row in zip(lines, [None, *self.rows], strict=True):
            cells = [line[0].ljust(widths[0])] + [c.rjust(w) for c, w in zip(line[1:], widths[1:], strict=True)]
            text.append("  ".join(cells).rstrip() + (f"  failed: {row.failure}" if row and row.failure else ""))
        return "\n".join([*text, *self.notes])

    def to_markdown(self) -> str:
        """Return the table in Markdown, notes below."""
        lines = [["solver", *HEADINGS], ["---"] + ["---:"] * len(HEADINGS)]
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

        panels = [("error_l2", "relative error in L2"), ("error_energy", "relative error in energy")]
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
    coefficient ``a``, in the energy norm. The reference r is ``reference`` (a solution, or the name of one of the
    solvers), else ``problem.exact``, else the first solver. Errors are integrated on ``basis`` (default: first-order
    elements on ``problem.mesh``). Times are the least of ``repeats`` runs. ``progress(name, done, total)`` is called
    before each solver.

    A solver that raises, or gives no finite solution, leaves a row with the error's text; the others go on. An
    unknown name of a reference raises ValueError at once.
    """
    if not solvers or repeats < 1:
        raise ValueError(f"expected at least one solver and repeats >= 1, got {len(solvers)} and {repeats}")
    exact = getattr(problem, "exact", None)
    chosen = reference if reference is not None else (exact if exact is not None else next(iter(solvers)))
    if isinstance(chosen, str) and chosen not in solvers:
        raise ValueError(f"reference: expected a solution or one of {list(solvers)}, got {chosen!r}")
    if basis is None:
        basis = Basis(problem.mesh, problem.mesh.elem(), intorder=4)
    a = getattr(problem, "a", None)
    # A broken reference is an error of the call; it shows before any solver has spent its time.
    measure = None if isinstance(chosen, str) else _Measure(chosen, "the given or exact solution", basis, a)
    rows: list[Row] = []
    solutions: dict[str, Solution] = {}
    for done, (name, solver) in enumerate(solvers.items()):
        if progress is not None:
            progress(name, done, len(solvers))
        rows.append(_run(name, solver, problem, repeats, solutions))
    timing = f"times: least of {repeats} run(s); {_machine()}"
    if isinstance(chosen, str):
        try:
            measure = _Measure(solutions[chosen], f"'{chosen}'", basis, a)
        except Exception as error:
            failed = [_failed(row, error) if row.name == chosen and not row.failure else row for row in rows]
            return Table(tuple(failed), (f"no errors: the reference '{chosen}' failed", timing), solutions=solutions)
    assert measure is not None
    measured = tuple(measure(row, solutions.get(row.name)) for row in rows)
    return Table(measured, (measure.note, timing), measure.norm_l2, measure.norm_energy, solutions)


def _run(name: str, solver: Callable, problem: Any, repeats: int, solutions: dict[str, Solution]) -> Row:
    wall, cpu = [], []
    try:
        for _ in range(repeats):
            start, start_cpu = time.perf_counter(), time.process_time()
            solution = solver(problem)
            wall.append(time.perf_counter() - start)
            cpu.append(time.process_time() - start_cpu)
        if not callable(solution):
            raise TypeError(f"expected a solution, a callable u(x), got {type(solution).__name__}")
    except Exception as error:
        return Row(name, failure=_text(error))
    solutions[name] = solution
    unknowns = getattr(solution, "unknowns", None)
    return Row(name, seconds=min(wall), cpu_seconds=min(cpu), unknowns=None if unknowns is None else int(unknowns))


class _Measure:
    """Errors against one reference, whose values and gradients are computed once."""

    def __init__(self, reference: Solution, label: str, basis: CellBasis, a: Any):
        self.basis, self.a = basis, a
        self.values = _finite(reference, basis)
        self.norm_l2 = l2_norm(self.values, basis)
        self.note = f"errors: relative to {label}, whose L2 norm is {self.norm_l2:.4g}"
        self.gradients: Array | None = None
        self.norm_energy: float | None = None
        if a is not None and hasattr(reference, "grad"):
            self.gradients = _finite_gradient(reference, basis)
            self.norm_energy = energy_norm(self.gradients, basis, a)
            self.note += f" and energy norm {self.norm_energy:.4g}"
        if self.norm_l2 == 0:
            self.note += "; the reference vanishes, so the errors are absolute"

    def __call__(self, row: Row, solution: Solution | None) -> Row:
        if solution is None:
            return row
        energy = None
        try:
            error = l2_norm(_finite(solution, self.basis) - self.values, self.basis) / (self.norm_l2 or 1.0)
            if self.gradients is not None and hasattr(solution, "grad"):
                difference = _finite_gradient(solution, self.basis) - self.gradients
                energy = energy_norm(difference, self.basis, self.a) / (self.norm_energy or 1.0)
        except Exception as trouble:
            return _failed(row, trouble)
        return replace(row, error_l2=error, error_energy=energy)


def _finite(solution: Solution, basis: CellBasis) -> Array:
    u = values(solution, basis)
    if not np.isfinite(u).all():
        raise ValueError("the solution is not finite (nan or inf)")
    return u


def _finite_gradient(solution: Solution, basis: CellBasis) -> Array:
    gradient = gradients(solution, basis)
    if not np.isfinite(gradient).all():
        raise ValueError("the gradient is not finite (nan or inf)")
    return gradient


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
