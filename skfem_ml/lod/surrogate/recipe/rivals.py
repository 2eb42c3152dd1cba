"""The table of a verdict: a model beside what else one would take, on fields that it has not seen."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TypeVar

import numpy as np
from numpy import ndarray
from skfem import BilinearForm

from skfem_ml.compare import Clock, Row, Table, best_of, machine
from skfem_ml.compare.verdict import COARSE, COARSE_ERROR, FIELD, FINE, FINE_ERROR, HEADINGS, LEARNED, LOAD, MEAN_ERROR
from skfem_ml.lod.coarse import CoarseSystem
from skfem_ml.lod.local import GeometricMean, LocalMap
from skfem_ml.lod.mesh.loads import FineLoad
from skfem_ml.lod.method import LOD
from skfem_ml.lod.surrogate.recipe.labelling.ways import Way, exact_ways
from skfem_ml.metrics import l2_error
from skfem_ml.problems import diffusion, load
from skfem_ml.progress import Progress
from skfem_ml.solvers import Multigrid, solver_pyamg

LOG = logging.getLogger("skfem_ml")
T = TypeVar("T")
TOL = 1e-6  # of iterative solvers
TRUTH = 1e-9  # of the fine solution that all are held against
SHORT = 0.5  # CPU seconds below which work is done twice, and the lesser time counts
Solve = Callable[[], ndarray]
LocalMaps = Mapping[str, BilinearForm | LocalMap]
OVER: dict[str, Callable[..., float]] = {COARSE_ERROR: np.max, MEAN_ERROR: np.mean, FINE_ERROR: np.max}


@dataclass(frozen=True)
class Answer:
    """What a method made of a field: the solution, on the coarse or a fine mesh, and seconds by stage."""

    u: ndarray
    field: Clock
    load: Clock


class Judge:
    """Methods on one LOD, with the load 1: ``judge(a)`` runs all of them on a field.

    Parameters
    ----------
    lod
        The LOD: boundary conditions, patches, cells of the coefficient.
    form
        The form of the coefficient ``a``.
    finest
        Fine cells along a coarse edge of the mesh that counts as the truth.
    learned
        Local maps that were learned, by name.
    given
        Local maps that were there before, by name: rivals without training.
    alike
        Names of local maps that do the same work with other weights: the least of their seconds counts for all.

    Raises ValueError where no coarse node is free or none is fixed.
    """

    def __init__(
        self,
        lod: LOD,
        form: BilinearForm,
        finest: int,
        learned: LocalMaps,
        given: LocalMaps | None = None,
        alike: Sequence[str] = (),
    ):
        fixed = lod.space.fixed
        if not 0 < fixed.sum() < len(fixed):
            raise ValueError(
                f"lod: expected fixed and free coarse nodes, got {fixed.sum()} fixed of {len(fixed)}; without them "
                "there is no solution to judge by"
            )
        self.lod, self.exact = lod, f"exact, n = {finest}"
        ways = exact_ways(lod, form, finest)
        null = {} if form is not diffusion else {"geometric mean": Way("geometric mean", lod, GeometricMean())}
        maps = {**(given or {}), **learned}
        self.coarse = {**null, **ways, **{name: Way(name, lod, local_map) for name, local_map in maps.items()}}
        self.learned, self.alike = tuple(learned), tuple(alike)
        self.finest = _Fine(lod.with_fine(finest), form)
        self.own = _Fine(lod.with_fine(lod.space.m), form) if lod.space.m < finest else None
        self.b = self.finest.lod.space.prolongation.T @ self.finest.F

    @property
    def groups(self) -> dict[str, str]:
        """The heading of every row."""
        names = dict.fromkeys(self.coarse, COARSE)
        return {**dict.fromkeys(self.fine(), FINE), **names, **dict.fromkeys(self.learned, LEARNED)}

    def fine(self) -> dict[str, Callable[[ndarray], Solve]]:
        """Methods whose answer is a fine function: ``prepare(a)`` gives ``solve()``."""
        n, finest = self.finest.lod.space.n, self.finest
        rows: dict[str, Callable[[ndarray], Solve]] = {}
        if self.own is not None:
            rows[f"multigrid, n = {self.own.lod.space.n}"] = self.own.passed
        rows[f"multigrid, one pass, n = {n}"] = finest.passed
        rows[f"multigrid, n = {n}"] = lambda a: finest.solved(a, TOL)
        rows[f"AMG-CG, n = {n}"] = finest.amg
        return rows

    def __call__(self, a: ndarray, progress: Callable[[str], None] = lambda name: None) -> dict[str, Row]:
        """One row a method: errors of u_h and u, and CPU seconds of the field and of the load; failures told."""
        answers: dict[str, Answer] = {}
        failures: dict[str, str] = {}
        works: dict[str, Callable[[], Solve]] = {
            **{name: (lambda prepare=prepare: prepare(a)) for name, prepare in self.fine().items()},  # type: ignore[misc]
            **{name: (lambda way=way: self._coarse(way, a)) for name, way in self.coarse.items()},  # type: ignore[misc]
        }
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # of fields outside training: their errors are measured here
            for name, prepare in works.items():
                progress(name)
                try:
                    answers[name] = _answer(prepare)
                except (ValueError, RuntimeError, TypeError, ArithmeticError) as error:
                    failures[name] = " ".join(f"{type(error).__name__}: {error}".split())
            truth = self.finest.solved(a, TRUTH)()
        exact = answers[self.exact].u
        rows = {name: self._row(name, answer, exact, truth) for name, answer in answers.items()}
        lost = {name: Row(name, failure=text, group=self.groups[name]) for name, text in failures.items()}
        return {name: {**rows, **lost}[name] for name in works}

    def _coarse(self, way: Way, a: ndarray) -> Solve:
        solved = CoarseSystem(way.matrix(a), self.lod.space.fixed)
        zero = np.zeros(self.lod.coarse.N)
        solved.solve(self.b, zero)  # which factorises
        return lambda: solved.solve(self.b, zero)[0]

    def _row(self, name: str, answer: Answer, exact: ndarray, truth: ndarray) -> Row:
        group, u_h = self.groups[name], None
        if group == FINE:
            fine = answer.u if len(answer.u) == len(truth) else self._interpolated(answer.u)
        else:
            u_h = l2_error(answer.u, exact, self.lod.coarse, relative=True)
            fine = self.finest.lod.space.prolongation @ answer.u
        w = self.finest.F
        u = float(np.sqrt((w @ (fine - truth) ** 2) / (w @ truth**2)))
        stages = {FIELD: answer.field.cpu, LOAD: answer.load.cpu}
        errors = {COARSE_ERROR: u_h, MEAN_ERROR: u_h, FINE_ERROR: u}
        return Row(name, errors, answer.field.wall + answer.load.wall, sum(stages.values()), None, "", group, stages)

    def _interpolated(self, u: ndarray) -> ndarray:
        """A function on the cells of the coefficient at the nodes of the finest mesh: bilinear in every coarse cell."""
        assert self.own is not None
        own, finest = self.own.lod.space, self.finest.lod.space
        line = np.linspace(0, own.n, finest.n + 1)
        hats = np.maximum(0.0, 1 - abs(line[:, None] - np.arange(own.n + 1)))
        weights = hats
        for _ in range(own.grid.dim - 1):
            weights = np.kron(hats, weights)
        out = np.empty(len(self.finest.F))
        out[finest.refinement.nodes] = u[own.refinement.nodes] @ weights.T
        return out


class _Fine:
    """Fine solutions with the load 1 on the fine mesh of an LOD, by multigrid and by pyamg."""

    def __init__(self, lod: LOD, form: BilinearForm):
        self.lod, self.form = lod, form
        self.F = FineLoad(lod.space, load(1.0)).on_fine  # the lumped mass matrix as well
        fixed = lod.space.fine_dirichlet
        self.free = np.flatnonzero(~fixed)
        self.first = Multigrid(lod.space.fine_grid, form, dirichlet=np.flatnonzero(fixed), a=1.0)

    def levels(self, a: ndarray) -> Multigrid:
        """Multigrid of a coefficient; what depends on the mesh alone is there."""
        return self.first.update(a=a[self.lod.space.coefficient_cell])

    def passed(self, a: ndarray) -> Solve:
        """One full-multigrid pass."""
        levels = self.levels(a)
        return lambda: levels.fmg(self.F)

    def solved(self, a: ndarray, tol: float) -> Solve:
        """Until the error is ``tol`` in energy."""
        levels = self.levels(a)
        return lambda: levels.complete(self.F, tol=tol).u

    def amg(self, a: ndarray) -> Solve:
        """Conjugate gradients of pyamg (Ruge-Stueben) to 1e-6; the matrix is assembled for every field."""
        A = self.lod.system(self.form, a=a).fine_matrix()[self.free][:, self.free]
        inverse = solver_pyamg(TOL, "ruge-stuben").prepare(A)

        def solve() -> ndarray:
            u = np.zeros(len(self.F))
            u[self.free] = inverse(self.F[self.free])
            return u

        return solve


def tabulated(
    judge: Judge, fields: Iterable[ndarray], left: Callable[[], bool] = lambda: True, progress: Progress | None = None
) -> Table | None:
    """The table of a verdict: the largest errors over the fields, their means, and median seconds.

    Fields are taken as long as ``left()``, the first in any case; Ctrl-C ends it as well, and None is returned where
    there is no field yet. A method that fails on one field has failed.
    """
    runs: list[dict[str, Row]] = []
    for k, a in enumerate(fields):
        if runs and not left():
            break

        def tell(name: str, k: int = k) -> None:
            if progress is not None:
                progress(k, k + 1, f"verdict, field {k + 1}: {name}")

        try:
            runs.append(judge(a, tell))
        except KeyboardInterrupt:
            LOG.info("verdict: interrupted after %d field(s)", len(runs))
            break
    if not runs:
        return None
    table = summarised(runs, judge.alike)
    n = judge.finest.lod.space.n
    notes = (
        f"errors: relative L2, the largest of {len(runs)} field(s) and their mean, of u_h against exact LOD and of u "
        f"against the fine solution at n = {n}; load 1",
        "costs: median CPU seconds of one field and of one load (one for all coarse systems, which are as large); "
        f"{machine()}",
    )
    return replace(table, notes=notes)


def summarised(runs: list[dict[str, Row]], alike: Sequence[str] = ()) -> Table:
    """The table of several fields, without notes; rows that are ``alike`` cost the same."""
    rows = [_over(name, [run[name] for run in runs]) for name in runs[0]]
    coarse = {row.name for row in rows if row.group != FINE and not row.failure}
    rows = _shared(rows, LOAD, coarse, np.median)
    return Table(tuple(_shared(rows, FIELD, coarse & {*alike}, np.min)), (), HEADINGS)


def _shared(rows: list[Row], stage: str, names: Collection[str], over: Callable[..., float]) -> list[Row]:
    """Some of the rows with the seconds of a stage that they have in common."""
    if not names:
        return rows
    seconds = float(over([row.stages[stage] for row in rows if row.name in names]))
    return [_costing(row, stage, seconds) if row.name in names else row for row in rows]


def _costing(row: Row, stage: str, seconds: float) -> Row:
    """The row with other seconds of a stage."""
    stages = {**row.stages, stage: seconds}
    return replace(row, stages=stages, cpu_seconds=sum(stages.values()))


def _over(name: str, rows: list[Row]) -> Row:
    failure = next((row.failure for row in rows if row.failure), "")
    if failure:
        return Row(name, failure=failure, group=rows[0].group)
    errors = {heading: [row[heading] for row in rows] for heading in HEADINGS}
    found = {h: None if None in values else float(OVER[h](values)) for h, values in errors.items()}
    stages = {stage: float(np.median([row.stages[stage] for row in rows])) for stage in (FIELD, LOAD)}
    wall = float(np.median([row.seconds or 0.0 for row in rows]))
    return Row(name, found, wall, sum(stages.values()), None, "", rows[0].group, stages)


def _answer(prepare: Callable[[], Solve]) -> Answer:
    solve, field = _timed(prepare)
    u, each = _timed(solve)
    if not np.isfinite(u).all():
        raise ValueError("the solution: expected finite values, got nan or inf")
    return Answer(u, field, each)


def _timed(work: Callable[[], T]) -> tuple[T, Clock]:
    result, spent = best_of(work)
    if spent.cpu < SHORT:
        result, again = best_of(work)
        spent = min(spent, again, key=lambda clock: clock.cpu)
    return result, spent
