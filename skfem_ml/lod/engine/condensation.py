"""Fast engine: correctors on quads by static condensation shared between patches, in batched dense algebra.

Coarse elements are condensed onto their boundary once. Vertical strips of 2 ell + 1 elements, condensed onto their two
long sides, serve 2 ell + 1 patches each. A patch is then block-tridiagonal on the lines between its strips: forward
elimination of the constraints and the four right-hand sides gives the multipliers, a back-substitution on the lines the
correctors there, and functionals carried along as columns turn them into rows of the local matrix.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
from numpy import ndarray

from skfem_ml.lod.engine.bordered import Workspace
from skfem_ml.lod.engine.elements import ElementCondenser
from skfem_ml.lod.engine.lattice import Lattice
from skfem_ml.lod.engine.reconstruction import explicit_correctors, sum_correctors
from skfem_ml.lod.engine.reference import ReferenceEngine
from skfem_ml.lod.engine.rows import Row, Strips, Tower, patch_layout, tower_stack
from skfem_ml.lod.engine.sweep import Sweep
from skfem_ml.lod.engine.threads import one_thread
from skfem_ml.lod.mesh.discretisation import Discretisation
from skfem_ml.lod.mesh.forms import FineForm

BAND_BYTES = 2**28  # condensed elements and towers held at a time
SWEEP_BYTES = 2**21  # line rows of the patches swept at a time: they should stay in the cache


class CondensationEngine:
    """Element correctors on quads by shared static condensation; the same results as ``ReferenceEngine`` to rounding.

    Patches that are not their whole block within the domain (a block that reaches over a gap), or where nothing is
    fixed (the whole domain without Dirichlet boundary), go to ``ReferenceEngine``.

    Parameters
    ----------
    space
        The space; two-dimensional, with refine > 1.
    fine_form
        The form with its coefficients.
    """

    def __init__(self, space: Discretisation, fine_form: FineForm):
        self.space, self.fine_form = space, fine_form
        self.lattice = Lattice(space.grid, space.dirichlet)
        self.applies = space.patches.regular & ~space.floating

    def local(self, elements: ndarray, loads: ndarray | None = None) -> Iterator[tuple[ndarray, ndarray]]:
        """Pairs of elements and their rows, ``(k, rows, columns)``; see ``ReferenceEngine.local``."""
        regular = self.applies[elements]
        yield from self.sweeps(elements[regular], loads, lambda sweep, *_: (sweep.elements, sweep.rows().cpu().numpy()))
        if not regular.all():
            yield from ReferenceEngine(self.space, self.fine_form).local(elements[~regular], loads)

    def correct(self, elements: ndarray, loads: ndarray | None = None) -> Iterator[tuple[ndarray, ndarray, ndarray]]:
        """Elements, fine nodes of their patches and the correctors there; see ``ReferenceEngine.correct``."""
        regular = self.applies[elements]
        yield from self.sweeps(elements[regular], loads, explicit_correctors, keep=True)
        if not regular.all():
            yield from ReferenceEngine(self.space, self.fine_form).correct(elements[~regular], loads)

    def correct_sum(self, elements: ndarray, loads: ndarray | None, weights: ndarray | None) -> ndarray:
        """The sum of all correctors on the fine mesh, ``(fine.N,)``; see ``ReferenceEngine.correct_sum``."""
        regular = self.applies[elements]
        total = sum_correctors(self.space, self.fine_form, self.sweeps, elements[regular], loads, weights)
        if not regular.all():
            total += ReferenceEngine(self.space, self.fine_form).correct_sum(elements[~regular], loads, weights)
        return total

    def sweeps(
        self, elements: ndarray, loads: ndarray | None, finish: Callable[..., Any], keep: bool = False
    ) -> Iterator[Any]:
        """Solve patches run by run and yield ``finish(sweep, rows, condenser)``; ``keep`` the steps of condensed
        elements.
        """
        if not len(elements):
            return
        space, ell = self.space, self.space.ell
        condenser = ElementCondenser(space, self.fine_form, loads)
        workspace = Workspace(condenser.device)
        needed = self.lattice.neighbourhood(elements, ell)
        columns, lines = space.grid.cells[:, elements]
        rows: dict[int, Row] = {}
        towers: dict[int, Tower] = {}
        with one_thread(), ThreadPoolExecutor(space.workers) as pool:
            each = map if space.workers == 1 else pool.map
            for band in self._bands(condenser, keep):
                here = sorted(set(lines.tolist()) & set(band))
                wanted = [y for y in range(band.start - ell, band.stop + ell) if y in needed]
                _renew(rows, wanted, lambda y: Row(condenser, self.lattice.element[y], needed[y], keep), each)
                bottoms = sorted({bottom for y in here for bottom in (y - ell, y + 1)})
                bottoms = [y for y in bottoms if any(y + e in rows for e in range(ell))]
                _renew(towers, bottoms, lambda y: Tower(self.lattice, rows, y, space.n, ell), each)
                runs = [run for y in here for run in _runs(elements[lines == y], columns[lines == y], y, 2 * ell + 1)]
                for results in each(
                    lambda run: [finish(sweep, rows, condenser) for sweep in self._solve(run, rows, towers, workspace)],
                    runs,
                ):
                    yield from results

    def _bands(self, condenser: ElementCondenser, keep: bool) -> Iterator[range]:
        """Rows of the grid in bands whose condensed elements and towers fit in bounded memory."""
        space, (nx, ny) = self.space, self.space.grid.shape
        element, tower = 4 * space.n + 4 + condenser.columns, tower_stack(space.n, space.ell).kept
        per_row = 8 * nx * (element**2 * (4 if keep else 1) + tower**2)
        height = max(1, BAND_BYTES // per_row - 2 * space.ell)
        for start in range(0, ny, height):
            yield range(start, min(start + height, ny))

    def _solve(
        self, run: tuple[int, ndarray, ndarray], rows: dict[int, Row], towers: dict[int, Tower], workspace: Workspace
    ) -> Iterator[Sweep]:
        """Solve the patches of one run of elements in a row, ``(row, elements, their columns)``, a few at a time.

        A sweep must be done with before the next one is taken: they share their memory.
        """
        y, elements, columns = run
        ell = self.space.ell
        box = self.lattice.box(y - ell, columns[0] - ell, columns[-1] + ell, 2 * ell + 1)
        starts = columns - columns[0]
        layout = patch_layout(self.space.n, ell, box.rim_is_free(starts), rows[y].loaded.shape[2])
        strips = Strips(layout, box, rows[y], (towers.get(y - ell), towers.get(y + 1)), workspace)
        size = max(1, SWEEP_BYTES // (8 * layout.strip.line * (2 * layout.strip.line + layout.columns)))
        for start in range(0, len(elements), size):
            part = slice(start, start + size)
            yield Sweep(self.space, strips, elements[part], starts[part], workspace)


def _renew(held: dict[int, Any], wanted: list[int], make: Callable[[int], Any], each: Callable[..., Any]) -> None:
    """Drop what is not wanted any more, and make what is missing."""
    for y in set(held) - set(wanted):
        del held[y]
    missing = [y for y in wanted if y not in held]
    held.update(zip(missing, each(make, missing), strict=True))


def _runs(elements: ndarray, columns: ndarray, y: int, gap: int) -> Iterator[tuple[int, ndarray, ndarray]]:
    """Elements of row y in runs without wide gaps, so that a run's strips are shared and few are built in vain."""
    order = np.argsort(columns)
    for part in np.split(order, np.flatnonzero(np.diff(columns[order]) > gap) + 1):
        if len(part):
            yield y, elements[part], columns[part]
