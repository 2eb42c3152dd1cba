"""Fast engine: correctors on quads by static condensation shared between patches, in batched dense algebra.

The page of the room, `skfem_ml.lod.engine`, draws and numbers its steps.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import numpy as np
from numpy import ndarray
from torch import Tensor

from skfem_ml.lod.engine.bordered import Fresh, Workspace
from skfem_ml.lod.engine.elements import element_source
from skfem_ml.lod.engine.held import Held, run_bytes
from skfem_ml.lod.engine.lattice import Lattice
from skfem_ml.lod.engine.reconstruction import Sums, explicit_correctors, interior_values, listed
from skfem_ml.lod.engine.reference import ReferenceEngine
from skfem_ml.lod.engine.rows import Row, Strips, Tower, patch_layout, tower_stack
from skfem_ml.lod.engine.solved import Solved
from skfem_ml.lod.engine.sweep import Sweep
from skfem_ml.lod.engine.threads import one_thread
from skfem_ml.lod.mesh.discretisation import Discretisation
from skfem_ml.lod.mesh.forms import FineForm

T = TypeVar("T")
Rows = dict[int, Row]
Run = tuple[int, ndarray, ndarray]  # row of the grid, elements there, their columns
BAND_BYTES = 2**28  # condensed elements and towers held at a time
SWEEP_BYTES = 2**21  # line rows of the patches swept at a time: they should stay in the cache
INTERIORS = 2**22  # entries of condensed elements whose interiors are recovered at a time


class CondensationEngine:
    """Element correctors on quads by shared static condensation; the same results as ``ReferenceEngine`` to rounding.

    Patches that are not their whole block within the domain (a block that reaches over a gap), or where nothing is
    fixed (the whole domain without Dirichlet boundary), go to ``ReferenceEngine``. Factorised patches stay for later
    calls as long as they fit in ``memory`` bytes; the others are factorised again when they are needed.

    Parameters
    ----------
    space
        The space; two-dimensional, with refine > 1.
    fine_form
        The form with its coefficients.
    memory
        Bytes of factorised patches to hold; 0 for none.
    """

    def __init__(self, space: Discretisation, fine_form: FineForm, memory: int = 0):
        self.space, self.lattice = space, Lattice(space.grid, space.dirichlet)
        self.condenser = element_source(space, fine_form)
        self.applies = space.patches.regular & ~space.floating
        self.others = ReferenceEngine(space, fine_form, memory, self.condenser.correction)
        self.held = Held(memory)

    def local(self, elements: ndarray, loads: ndarray | None = None) -> Iterator[tuple[ndarray, ndarray]]:
        """Pairs of elements and their rows, ``(k, rows, columns)``; see ``ReferenceEngine.local``."""
        regular, asked = self.applies[elements], self._asked(elements)

        def rows(solved: Solved, rows: Rows) -> tuple[ndarray, ndarray]:
            chosen = asked[solved.sweep.elements]
            return solved.sweep.elements[chosen], solved.rows().cpu().numpy()[chosen]

        yield from self._solutions(elements[regular], rows, None, loads)
        yield from self.others.local(elements[~regular], loads)

    def correct(self, elements: ndarray) -> Iterator[tuple[ndarray, ndarray, ndarray]]:
        """Elements, fine nodes of their patches and the correctors there; see ``ReferenceEngine.correct``."""
        regular, asked = self.applies[elements], self._asked(elements)

        def correctors(solved: Solved, rows: Rows) -> tuple[ndarray, ndarray, ndarray]:
            found, nodes, values = explicit_correctors(solved, rows, self.condenser)
            chosen = asked[found]
            return found[chosen], nodes[chosen], values[chosen]

        yield from self._solutions(elements[regular], correctors, None, None, keep=True)
        yield from self.others.correct(elements[~regular])

    def correct_sum(self, elements: ndarray, weights: ndarray, loads: ndarray | None = None) -> ndarray:
        """The sum of weighted correctors on the fine mesh, ``(fine.N, v)``; see ``ReferenceEngine.correct_sum``."""
        regular = self.applies[elements]
        total = np.zeros((self.space.fine_grid.mesh.p.shape[1], weights.shape[2]))
        own, given, more = self._asked(elements[regular])[:, None, None], weights, loads
        weights, loads = weights * own, None if loads is None else loads * own
        sums = Sums(self.condenser, weights.shape[2])
        for parts in self._solutions(elements[regular], lambda solved, _: listed(solved), weights, loads):
            sums.add(parts)
        for at, values in self._interiors(sums, weights, loads) if regular.any() else ():
            total[self.space.refinement.nodes[at]] = values  # neighbours agree on the nodes that they share
        return total if regular.all() else total + self.others.correct_sum(elements[~regular], given, more)

    @property
    def patches(self) -> int:
        """How many factorised patches are held."""
        return self.held.patches + self.others.patches

    def _asked(self, elements: ndarray) -> ndarray:
        asked = np.zeros(len(self.applies), dtype=bool)
        asked[elements] = True
        return asked

    def _solutions(
        self,
        elements: ndarray,
        finish: Callable[[Solved, Rows], T],
        weights: ndarray | None,
        loads: ndarray | None,
        keep: bool = False,
    ) -> Iterator[T]:
        """``finish(solved, rows)`` of every sweep: of those that are held, and of others, factorised for it.

        The loads are a_T(lambda_j, .) where neither weights nor loads are given, else their weighted sum plus
        ``loads``. ``keep`` the steps of condensed elements, which `interior_values` needs.
        """
        asked = self._asked(elements)

        def solve(sweep: Sweep, rows: Rows) -> T:
            return finish(Solved(sweep, self._given(sweep, weights, loads)), rows)

        with one_thread(), ThreadPoolExecutor(self.space.workers) as pool:
            each = map if self.space.workers == 1 else pool.map
            there = [(sweep, rows) for sweep, rows in self.held.sweeps if asked[sweep.elements].any()]
            yield from each(lambda one: solve(*one), there)
            rest = elements[~self.held.mask(asked)[elements]]
            if len(rest):
                yield from self._factorised(rest, solve, each, keep or loads is not None or self.held.memory > 0)

    def _given(self, sweep: Sweep, weights: ndarray | None, loads: ndarray | None) -> Tensor:
        """Condensed loads of the elements of a sweep, ``(B, 4 n + 8, v)``."""
        row, at = sweep.strips.middle, sweep.elements
        if weights is None and loads is None:
            return row.own_loads(sweep.columns)
        parts = []
        if weights is not None:
            parts.append(row.own_loads(sweep.columns) @ self.condenser.on_device(weights[at]))
        if loads is not None:
            parts.append(self.condenser.load(at, row.steps_of(at), self.condenser.on_device(loads[at]))[0])
        return parts[0] if len(parts) == 1 else parts[0] + parts[1]

    def _factorised(
        self, elements: ndarray, solve: Callable[[Sweep, Rows], T], each: Callable, keep: bool
    ) -> Iterator[T]:
        """Factorise patches run by run, and yield ``solve(sweep, rows)``."""
        space, ell = self.space, self.space.ell
        workspace = Workspace(self.condenser.device)
        needed = self.lattice.neighbourhood(elements, ell)
        columns, lines = space.grid.cells[:, elements]
        rows: Rows = {}
        towers: dict[int, Tower] = {}
        for band in self._bands(keep):
            here = sorted(set(lines.tolist()) & set(band))
            wanted = [y for y in range(band.start - ell, band.stop + ell) if y in needed]
            _renew(rows, wanted, lambda y: Row(self.condenser, self.lattice.element[y], needed[y], keep), each)
            bottoms = sorted({bottom for y in here for bottom in (y - ell, y + 1)})
            bottoms = [y for y in bottoms if any(y + e in rows for e in range(ell))]
            _renew(towers, bottoms, lambda y: Tower(self.lattice, rows, y, space.n, ell), each)
            runs = [run for y in here for run in _runs(elements[lines == y], columns[lines == y], y, 2 * ell + 1)]
            for results, made in each(lambda run: self._run(run, rows, towers, workspace, solve), runs):
                self.held.take(made, rows)
                yield from results

    def _bands(self, keep: bool) -> Iterator[range]:
        """Rows of the grid in bands whose condensed elements and towers fit in bounded memory."""
        space, (nx, ny) = self.space, self.space.grid.shape
        element, tower = 4 * space.n + 8, tower_stack(space.n, space.ell).kept
        per_row = 8 * nx * (element**2 * (4 if keep else 1) + tower**2)
        height = max(1, BAND_BYTES // per_row - 2 * space.ell)
        for start in range(0, ny, height):
            yield range(start, min(start + height, ny))

    def _run(
        self, run: Run, rows: Rows, towers: dict[int, Tower], workspace: Workspace, solve: Callable[[Sweep, Rows], T]
    ) -> tuple[list[T], list[Sweep]]:
        """Factorise and solve the patches of a run, a few at a time; also the sweeps, if they are to be held.

        A sweep that is not must be done with before the next one is made: they share their memory.
        """
        y, elements, columns = run
        ell = self.space.ell
        box = self.lattice.box(y - ell, columns[0] - ell, columns[-1] + ell, 2 * ell + 1)
        starts = columns - columns[0]
        layout = patch_layout(self.space.n, ell, box.rim_is_free(starts))
        hold = self.held.reserve(run_bytes(layout, len(elements), box.level.shape[1]))
        memory = Fresh(self.condenser.device) if hold else workspace
        strips = Strips(layout, box, rows[y], (towers.get(y - ell), towers.get(y + 1)), memory)
        size = max(1, SWEEP_BYTES // (8 * layout.strip.line * (2 * layout.strip.line + layout.columns)))
        results, made = [], []
        for start in range(0, len(elements), size):
            part = slice(start, start + size)
            sweep = Sweep(self.space, strips, elements[part], starts[part], memory)
            results.append(solve(sweep, rows))
            if hold:
                made.append(sweep)
        return results, made

    def _interiors(self, sums: Sums, weights: ndarray, loads: ndarray | None) -> Iterator[tuple[ndarray, ndarray]]:
        """Elements and the sums of correctors in them, ``(k, (n + 1)**2, v)``."""
        chunk = max(1, INTERIORS // (4 * self.space.n + 8) ** 2)
        for y, line in enumerate(self.lattice.element):
            for start in range(0, len(line), chunk):
                at = line[start : start + chunk]
                row = self.held.row(y, at)
                if row is None:
                    row = Row(self.condenser, at, np.ones(len(at), dtype=bool), keep=True)
                at = at[at >= 0]
                if len(at):
                    boundary, mu, own = map(
                        self.condenser.on_device, (sums.boundary[at], sums.multipliers[at], weights[at])
                    )
                    more = None if loads is None else self.condenser.on_device(loads[at])
                    with one_thread():
                        values = interior_values(self.condenser, row, at, boundary, mu, own, more)
                    yield at, values.cpu().numpy()


def _renew(held: dict[int, T], wanted: list[int], make: Callable[[int], T], each: Callable) -> None:
    """Drop what is not wanted any more, and make what is missing."""
    for y in set(held) - set(wanted):
        del held[y]
    missing = [y for y in wanted if y not in held]
    held.update(zip(missing, each(make, missing), strict=True))


def _runs(elements: ndarray, columns: ndarray, y: int, gap: int) -> Iterator[Run]:
    """Elements of row y in runs without wide gaps, so that a run's strips are shared and few are built in vain."""
    order = np.argsort(columns)
    for part in np.split(order, np.flatnonzero(np.diff(columns[order]) > gap) + 1):
        if len(part):
            yield y, elements[part], columns[part]
