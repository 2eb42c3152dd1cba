"""Run solvers on one problem and measure what they return."""

from __future__ import annotations

import os
import platform
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from importlib.metadata import version
from typing import Any

from skfem import CellBasis

from skfem_ml.compare.measures import measure_of
from skfem_ml.compare.table import Row, Table
from skfem_ml.progress import Progress

Solution = Callable[[Any], Any]


def compare(
    problem: Any,
    solvers: Mapping[str, Callable[[Any], Solution]],
    reference: str | Solution | None = None,
    repeats: int = 1,
    basis: CellBasis | None = None,
    progress: Progress | None = None,
) -> Table:
    """Run every solver on a problem and return a `Table` of relative errors, times and unknowns.

    A solver is ``solver(problem) -> u``, u a solution. Errors are ``|u - r| / |r|`` in L2 and, where the problem has a
    coefficient ``a``, in the energy norm; for `Heat` in L2 over space and time and at the end; for `Eigenproblem`,
    where u is `Eigenpairs`, the largest of values and of vectors (`measures`). The reference r is ``reference`` (a
    solution, or the name of one of the solvers), else ``problem.exact``, else the first solver. Errors are integrated
    on ``basis`` (default: first-order elements on ``problem.mesh``). Times are the least of ``repeats`` runs.
    ``progress(done, total, name)`` is called before each solver.

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
            progress(done, len(solvers), name)
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
