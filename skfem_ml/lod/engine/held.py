"""Factorised patches that stay in memory, within a bound: what lets a second load cost a fraction of the first."""

from __future__ import annotations

import threading

import numpy as np
from numpy import ndarray

from skfem_ml.lod.engine.rows import PatchLayout, Row
from skfem_ml.lod.engine.sweep import Sweep


def run_bytes(layout: PatchLayout, patches: int, strips: int) -> int:
    """Bytes of the factors of a run: lines and multipliers a patch; strips, elements and towers a column."""
    m, stack, n = layout.strip.line, layout.strip, layout.n
    lines = sum(m * (2 * m + layout.columns_met(i)) for i in layout.lines)
    strip = (stack.size + 1) ** 2 + stack.inner * (stack.inner + stack.kept)
    element, tower = 4 * (4 * n + 8) ** 2, 2 * (2 * layout.ell * n + 6 * n) ** 2
    return 8 * (patches * (lines + layout.columns**2) + strips * (strip + element + tower))


class Held:
    """Sweeps with the rows of condensed elements that belong to them, at most ``memory`` bytes by `run_bytes`."""

    def __init__(self, memory: int):
        self.memory, self.bytes = memory, 0
        self.sweeps: list[tuple[Sweep, dict[int, Row]]] = []
        self._rows: dict[int, Row] = {}
        self._lock = threading.Lock()

    def reserve(self, count: int) -> bool:
        """Whether so many more bytes fit; they are taken if they do."""
        with self._lock:
            if self.bytes + count > self.memory:
                return False
            self.bytes += count
            return True

    def take(self, sweeps: list[Sweep], rows: dict[int, Row]) -> None:
        """Hold sweeps and the rows that they were made of."""
        if sweeps:
            rows = dict(rows)
            self.sweeps += [(sweep, rows) for sweep in sweeps]
            self._rows.update(rows)

    def mask(self, like: ndarray) -> ndarray:
        """Which elements have their patch held."""
        out = np.zeros_like(like)
        for sweep, _ in self.sweeps:
            out[sweep.elements] = True
        return out

    def row(self, y: int, elements: ndarray) -> Row | None:
        """The condensed elements of a row of the grid, if all of some are held."""
        row = self._rows.get(y)
        return row if row is not None and np.isin(elements[elements >= 0], row.elements).all() else None

    @property
    def patches(self) -> int:
        """How many patches are held."""
        return sum(len(sweep.elements) for sweep, _ in self.sweeps)
