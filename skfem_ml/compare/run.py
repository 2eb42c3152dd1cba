"""Run solvers on one problem and measure what they return."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import TypeVar

from skfem import CellBasis

from skfem_ml import checks
from skfem_ml.compare.clock import best_of, machine
from skfem_ml.compare.measures import Measure, measure_of
from skfem_ml.compare.table import Row, Table
from skfem_ml.progress import Progress

P = TypeVar("P")
Solver = Callable[[P], object]
Solvers = Mapping[str, Solver[P]]
Groups = Mapping[str, Solver[P] | Solvers[P]]


def compare(
    problem: P,
    solvers: Groups[P],
    reference: object = None,
    repeats: int = 1,
    basis: CellBasis | None = None,
    progress: Progress | None = None,
) -> Table:
    """Run every solver on a problem and return a `Table` of relative errors, times and unknowns.

    A solver is ``solver(problem) -> u``, u a solution; ``{"heading": {"name": solver, ...}}`` groups rows. Errors are
    ``|u - r| / |r|`` in L2 and, where the problem has a coefficient ``a``, in the energy norm; for `Heat` in L2 over
    space and time and at the end; for `Eigenproblem`, where u is `Eigenpairs`, the largest of values and of vectors
    (`measures`). The reference r is ``reference`` (a
    solution, or the name of one of the solvers), else ``problem.exact``, else the first solver. Errors are integrated
    on ``basis`` (default: first-order elements on ``problem.mesh``). Times are the least of ``repeats`` runs.
    ``progress(done, total, name)`` is called before each solver.

    A solver that raises, or gives no finite solution, leaves a row with the error's text; the others go on. An
    unknown name of a reference raises ValueError at once.
    """
    solvers, groups = ungrouped(solvers)
    checks.whole(repeats, "repeats", 1)
    kind = measure_of(problem)
    chosen, named = reference_among(problem, solvers, reference)
    # A broken reference is an error of the call; it shows before any solver has spent its time.
    measure = None if named else kind(chosen, "the given or exact solution", problem, basis)
    rows, solutions = _rows(problem, solvers, repeats, progress)
    rows = [replace(row, group=groups.get(row.name, "")) for row in rows]
    timing = f"times: least of {repeats} run(s); {machine()}"
    try:
        measure = measure or kind(solutions[named], f"'{named}'", problem, basis)
    except Exception as error:
        rows = [failed(row, error) if row.name == named and not row.failure else row for row in rows]
        return Table(tuple(rows), (f"no errors: the reference '{named}' failed", timing), kind.headings, {}, solutions)
    norms = dict(zip(kind.headings, measure.norms, strict=True))
    measured = tuple(_measured(measure, row, solutions) for row in rows)
    return Table(measured, (measure.note, timing), kind.headings, norms, solutions)


def ungrouped(solvers: Groups[P]) -> tuple[dict[str, Solver[P]], dict[str, str]]:
    """The solvers by name, and the heading of each that has one. ValueError for none, and for two of one name."""
    flat: dict[str, Solver[P]] = {}
    headings: dict[str, str] = {}
    for name, given in solvers.items():
        within = given if isinstance(given, Mapping) else {name: given}
        twice = sorted(set(within) & set(flat))
        if twice:
            raise ValueError(f"solvers: expected names that differ, got {twice} in two groups")
        flat |= within
        headings |= dict.fromkeys(within, name) if isinstance(given, Mapping) else {}
    if not flat:
        raise ValueError("solvers: expected at least one, by name, got none")
    return flat, headings


def reference_among(problem: P, solvers: Solvers[P], reference: object) -> tuple[object, str]:
    """The reference as given or known, and the name of the solver that gives it, "" where none does."""
    exact = getattr(problem, "exact", None)
    chosen = reference if reference is not None else (exact if exact is not None else next(iter(solvers)))
    if isinstance(chosen, str):
        checks.choice(chosen, list(solvers), "reference, if it is a name")
        return chosen, chosen
    return chosen, ""


def _rows(
    problem: P, solvers: Solvers[P], repeats: int, progress: Progress | None
) -> tuple[list[Row], dict[str, object]]:
    """The rows without errors, and the solutions by name."""
    rows: list[Row] = []
    solutions: dict[str, object] = {}
    for done, (name, solver) in enumerate(solvers.items()):
        if progress is not None:
            progress(done, len(solvers), name)
        rows.append(_run(name, solver, problem, repeats, solutions))
    return rows, solutions


def _run(name: str, solver: Callable[[P], object], problem: P, repeats: int, solutions: dict[str, object]) -> Row:
    kind = measure_of(problem)
    try:
        solution, spent = best_of(lambda: solver(problem), repeats)
        if not isinstance(solution, kind.accepts):
            raise TypeError(f"expected {kind.wanted}, got {type(solution).__name__}")
    except Exception as error:
        return Row(name, failure=_text(error))
    solutions[name] = solution
    unknowns = getattr(solution, "unknowns", None)
    return Row(name, {}, spent.wall, spent.cpu, None if unknowns is None else int(unknowns))


def _measured(measure: Measure, row: Row, solutions: Mapping[str, object]) -> Row:
    if row.name not in solutions:
        return row
    try:
        return replace(row, errors=dict(zip(measure.headings, measure(solutions[row.name]), strict=True)))
    except Exception as trouble:
        return failed(row, trouble)


def failed(row: Row, error: Exception) -> Row:
    return replace(row, errors={}, failure=_text(error))


def _text(error: Exception) -> str:
    return " ".join(f"{type(error).__name__}: {error}".split())
