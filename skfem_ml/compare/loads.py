"""Many coefficients, many loads: what each method costs once a mesh, once a coefficient and once a load."""

from __future__ import annotations

import gc
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from scipy.sparse import csr_matrix
from skfem import Basis, CellBasis

from skfem_ml import checks
from skfem_ml.compare.clock import Clock, best_of, machine
from skfem_ml.compare.run import Groups, Solver, Solvers, failed, reference_among, ungrouped
from skfem_ml.compare.table import Row, Table
from skfem_ml.problems import Diffusion, Field, Staged, load, mass
from skfem_ml.problems.diffusion import Array
from skfem_ml.progress import Progress
from skfem_ml.solutions import FEFunction, probes

HEADINGS = ("error L2", "error energy")
STAGES = ("CPU s mesh", "CPU s field", "CPU s load")


def compare_loads(
    problem: Diffusion,
    solvers: Groups[Diffusion],
    loads: Sequence[Field],
    reference: str | None = None,
    count: int | None = None,
    fields: int = 1,
    repeats: int = 1,
    progress: Progress | None = None,
) -> Table:
    """Run every solver on one coefficient and several loads and return a `Table` of errors and of costs by stage.

    Errors are ``|u - r| / |r|``, the largest of all ``loads``, in L2 and energy, r being the solutions of
    ``reference``, the name of one of the solvers (default: the first). Loads are integrated on the problem's mesh
    beforehand: their time is no solver's. The energy of a solution whose record says "homogenised" is left out.

    For solvers in stages (`problems.Staged`) "CPU s mesh", "CPU s field" and "CPU s load" are spent once a mesh, once a
    coefficient and once a load (the least of ``repeats``; their median). "CPU seconds" and "seconds"
    (wall) are ``mesh + fields (field + count load)``: reckoned for ``count`` loads (default: those run) of each of
    ``fields`` coefficients from what one took. Solvers that are not staged spend everything on every load.

    A solver that raises leaves a row with the error's text. Raises ValueError for no solver and no load, and where the
    reference fails.
    """
    flat, groups = ungrouped(solvers)
    if not len(loads):
        raise ValueError("loads: expected at least one, got none")
    uses = checks.whole(fields, "fields", 1), checks.whole(len(loads) if count is None else count, "count", 1)
    _, named = reference_among(problem, flat, next(iter(flat)) if reference is None else reference)
    study = _Study(problem, loads, uses, checks.whole(repeats, "repeats", 1))
    rows = _rows(study, flat, named, progress)
    told = f"errors: relative to '{named}', the largest of {len(loads)} load(s)"
    costs = f"costs: reckoned for {uses[0]} coefficient(s) of {uses[1]} load(s) each; {machine()}"
    ordered = tuple(replace(rows[name], group=groups.get(name, "")) for name in flat)
    norms = dict(zip(HEADINGS, study.norms.sizes(), strict=True))
    return Table(ordered, (told, costs), HEADINGS, norms, study.solutions)


def _rows(study: _Study, solvers: Solvers[Diffusion], named: str, progress: Progress | None) -> dict[str, Row]:
    """The rows by name, the reference first."""
    rows: dict[str, Row] = {}
    for done, name in enumerate([named, *(name for name in solvers if name != named)]):
        if progress is not None:
            progress(done, len(solvers), name)
        gc.collect()  # factors of large meshes may lie in circles, and the next method makes others
        try:
            rows[name] = study.row(name, solvers[name])
        except Exception as error:
            rows[name] = failed(Row(name), error)
            if name == named:
                why = rows[name].failure
                raise ValueError(f"reference: expected {named!r} to solve the problem, got {why}") from error
    return rows


@dataclass
class _Study:
    """One coefficient and its loads; the first solver that is run is the reference."""

    problem: Diffusion
    loads: Sequence[Field]
    uses: tuple[int, int]
    repeats: int
    solutions: dict[str, FEFunction] = field(default_factory=dict)

    def __post_init__(self) -> None:
        basis = Basis(self.problem.mesh, self.problem.mesh.elem())
        self.vectors = [load(f).assemble(basis) for f in self.loads]
        self.norms = _Norms(self.problem, basis)

    def row(self, name: str, solver: Solver[Diffusion]) -> Row:
        """The row of a solver."""
        given, spent = self._staged(solver) if isinstance(solver, Staged) else self._plain(solver)
        solutions = [u for u in given if isinstance(u, FEFunction)]
        if len(solutions) < len(given):
            raise TypeError(f"expected a solution as an FEFunction, got {type(given[0]).__name__}")
        error, energy = self.norms.errors([self.norms.on_fine(u) for u in solutions])
        self.solutions[name] = solutions[0]
        errors = {"error L2": error, "error energy": None if "homogenised" in solutions[0].record else energy}
        stages = {stage: clock.cpu for stage, clock in zip(STAGES, spent, strict=True)}
        wall, cpu = (self._total([getattr(clock, kind) for clock in spent]) for kind in ("wall", "cpu"))
        return Row(name, errors, wall, cpu, solutions[0].unknowns, stages=stages)

    def _total(self, seconds: Sequence[float]) -> float:
        (mesh, once, each), (fields, count) = seconds, self.uses
        return mesh + fields * (once + count * each)

    def _staged(self, solver: Staged) -> tuple[list[object], list[Clock]]:
        prepare, mesh = best_of(lambda: solver.build(self.problem))
        answer, once = best_of(lambda: prepare(self.problem.a), self.repeats)
        # What a method keeps of a load is to save it nothing: later rounds have other loads of the same kind.
        rounds = [
            [best_of(lambda b=b, k=k: answer(k * b)) for b in self.vectors]  # type: ignore[misc]
            for k in range(1, self.repeats + 1)
        ]
        fastest = [min((run[1] for run in runs), key=lambda clock: clock.cpu) for runs in zip(*rounds, strict=True)]
        return [u for u, _ in rounds[0]], [mesh, once, _median(fastest)]

    def _plain(self, solver: Solver[Diffusion]) -> tuple[list[object], list[Clock]]:
        problems = [replace(self.problem, f=f) for f in self.loads]
        runs = [best_of(lambda each=each: solver(each), self.repeats) for each in problems]  # type: ignore[misc]
        return [u for u, _ in runs], [Clock(), Clock(), _median([clock for _, clock in runs])]


def _median(clocks: Sequence[Clock]) -> Clock:
    return Clock(float(np.median([c.cpu for c in clocks])), float(np.median([c.wall for c in clocks])))


class _Norms:
    """Norms of first-order functions on the problem's mesh, by its mass and stiffness matrices."""

    def __init__(self, problem: Diffusion, basis: CellBasis):
        self.basis, self.matrices = basis, (mass.assemble(basis), problem.stiffness(basis))
        self.reference: list[Array] = []
        self._prolongations: dict[int, tuple[CellBasis, csr_matrix]] = {}

    def on_fine(self, u: FEFunction) -> Array:
        """The nodal values ``(N,)``; those of a coarser basis are interpolated, which is exact where meshes nest."""
        checks.finite(u.y, "the solution")
        if u.basis.mesh is self.basis.mesh and u.basis.N == self.basis.N:
            return u.y
        known = self._prolongations.get(id(u.basis.mesh))
        if known is None:
            known = self._prolongations[id(u.basis.mesh)] = u.basis, probes(u.basis, self.basis.doflocs)
        return known[1] @ u.y

    def sizes(self) -> tuple[float, float]:
        """Norms of the first reference solution, in L2 and energy."""
        return self._size(self.reference[0], 0), self._size(self.reference[0], 1)

    def errors(self, solutions: list[Array]) -> tuple[float, float]:
        """The largest relative errors in L2 and energy; absolute where the reference vanishes."""
        if not self.reference:
            self.reference = solutions
        pairs = list(zip(solutions, self.reference, strict=True))
        l2, energy = (max(self._size(u - r, k) / (self._size(r, k) or 1.0) for u, r in pairs) for k in (0, 1))
        return l2, energy

    def _size(self, y: Array, kind: int) -> float:
        return float(np.sqrt(max(y @ (self.matrices[kind] @ y), 0.0)))
