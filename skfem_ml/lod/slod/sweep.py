"""Patches row by row: what neighbours share is condensed once, and what fits in memory is held for the next pass."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import numpy as np
import torch
from numpy import ndarray
from torch import Tensor

from skfem_ml.lod.engine.bordered import Eliminated, Workspace, chosen
from skfem_ml.lod.engine.elements import ElementCondenser, element_source
from skfem_ml.lod.engine.lattice import Lattice
from skfem_ml.lod.engine.threads import one_thread
from skfem_ml.lod.mesh.discretisation import Discretisation
from skfem_ml.lod.mesh.forms import FineForm
from skfem_ml.lod.slod.blocks import Blocks, halves, join_of, join_rows
from skfem_ml.lod.slod.matrices import unit_load
from skfem_ml.lod.slod.responses import Outlines, Responses
from skfem_ml.lod.slod.rims import Rims, along

PATCHES = 64  # that are treated together


class ElementRow:
    """The elements of one row of the grid, condensed with the load of every element; ``ell`` places of nothing at both
    ends.

    Attributes
    ----------
    elements, columns
        Their numbers, and the columns of the grid in which they lie.
    blocks
        Bordered matrices of 4 n unknowns and one load.
    """

    def __init__(self, condenser: ElementCondenser, line: ndarray, ell: int):
        self.columns = np.flatnonzero(line >= 0)
        self.elements, self._condenser = line[self.columns], condenser
        count = 4 * condenser.space.n
        out = torch.zeros(len(line) + 2 * ell, count + 1, count + 1, dtype=torch.float64)
        self.blocks = Blocks(out)
        self.steps: list[Eliminated] = []
        self.halves: list[Tensor] = []
        if not len(self.elements):
            return
        matrices, steps = condenser.condense(self.elements, keep=True)
        self.steps = [step._replace(schur=step.schur.new_empty(0, *step.schur.shape[1:])) for step in steps]
        load = torch.from_numpy(unit_load(condenser.space.n)[:, None]).expand(len(self.elements), -1, 1)
        vector, self.halves = condenser.load(self.elements, self.steps, load)
        own = matrices.new_zeros(len(self.elements), count + 1, count + 1)
        own[:, :count, :count] = matrices[:, :count, :count]
        own[:, :count, count] = own[:, count, :count] = vector[:, :count, 0]
        out[torch.from_numpy(self.columns + ell)] = own

    def tensors(self) -> Iterator[Tensor]:
        """What it holds."""
        yield from (part for step in self.steps for part in step)
        yield from self.halves
        if self.blocks.matrices is not None:
            yield self.blocks.matrices

    def interior(self, around: Tensor, g: Tensor, loads: Tensor | None = None) -> Tensor:
        """Nodal values ``(k, (n + 1)**2, v)`` from those around the elements ``(k, 4 n, v)``.

        The load is ``g`` ``(k, v)`` times that of the element, and ``loads`` ``(k, (n + 1)**2, v)``.
        """
        halves_ = [half * g.reshape(len(g), *[1] * (half.dim() - 2), -1) for half in self.halves]
        if loads is not None:
            more = self._condenser.load(self.elements, self.steps, loads)[1]
            halves_ = [half + other for half, other in zip(halves_, more, strict=True)]
        nothing = around.new_zeros(len(around), 4, around.shape[2])
        return self._condenser.interior(self.elements, self.steps, around, nothing, halves_)

    def boundary_load(self, at: ndarray, loads: Tensor) -> Tensor:
        """Loads ``(B, (n + 1)**2, v)`` on the elements in some columns, condensed: ``(B, 4 n, v)``."""
        index = np.searchsorted(self.columns, at)
        steps = [chosen(step, index) for step in self.steps]
        return self._condenser.load(self.elements[index], steps, loads)[0][:, : 4 * self._condenser.space.n]


class Sweep:
    """All patches of a form with its coefficients, row after row of the grid: ``for y, patches in sweep``.

    Parameters
    ----------
    space, fine_form
        The space, and the form on it.
    memory
        Bytes of factorised patches that are held, so that the next pass does not factorise them again.
    """

    def __init__(self, space: Discretisation, fine_form: FineForm, memory: int):
        self.space, self.lattice, self.memory = space, Lattice(space.grid, space.dirichlet), memory
        self.condenser = element_source(space, fine_form)
        self.rims = Rims(space, self.lattice, fine_form)
        self._held: dict[int, list[Responses]] = {}
        self._counted: set[int] = set()
        self._bytes, self._full = 0, False
        self._elements: dict[int, ElementRow] = {}
        self._columns: dict[tuple[int, int], Blocks] = {}
        self._workspace = Workspace(self.condenser.device)

    def __iter__(self) -> Iterator[tuple[int, Responses]]:
        """Patches, a few at a time, and the row of the grid in which their middle elements lie."""
        with one_thread():
            for y in range(self.space.grid.shape[1]):
                for key in [key for key in self._columns if key[1] < y - self.space.ell]:
                    del self._columns[key]
                if y in self._held:
                    yield from ((y, patches) for patches in self._held[y])
                else:
                    yield from ((y, patches) for patches in self._holding(y))
            self._columns.clear()

    @property
    def patches(self) -> int:
        """How many patches are held."""
        return sum(len(patches.elements) for row in self._held.values() for patches in row)

    def elements(self, y: int) -> ElementRow:
        """The condensed elements of a row of the grid; kept until ``forget``."""
        if y not in self._elements:
            line = self.lattice.element
            row = line[y] if 0 <= y < len(line) else np.full(line.shape[1], -1)
            with one_thread():
                self._elements[y] = ElementRow(self.condenser, row, self.space.ell)
        return self._elements[y]

    def forget(self, y: int) -> None:
        """Let go of the condensed elements up to this row, unless memory is left for them."""
        for key in [key for key in self._elements if key <= y]:
            if not self._reserve(self._elements[key].tensors()):
                del self._elements[key]

    def _holding(self, y: int) -> Iterator[Responses]:
        """The patches of a row, factorised; they are held if memory is left for all of them."""
        made: list[Responses] = []
        fits = True
        for patches in self._row(y):
            fits = fits and self._reserve(patches.tensors())
            made = [*made, patches] if fits else []
            yield patches
        if fits:
            self._held[y] = made

    def _reserve(self, tensors: Iterable[Tensor]) -> bool:
        """Whether these fit into what is left of the memory, which is theirs then; shared ones count once.

        When something has not fitted nothing else is taken: what is not held may come back at a counted address.
        """
        new = {t.data_ptr(): t.numel() * t.element_size() for t in tensors if t.data_ptr() not in self._counted}
        self._full = self._full or self._bytes + sum(new.values()) > self.memory
        if self._full:
            return False
        self._bytes += sum(new.values())
        self._counted.update(new)
        return True

    def _row(self, y: int) -> Iterator[Responses]:
        space, ell = self.space, self.space.ell
        n, p = space.n, 2 * ell + 1
        line = self.lattice.element[y]
        present = np.flatnonzero(line >= 0)
        box = self.lattice.box(y - ell, -ell, space.grid.shape[0] - 1 + ell, p)
        free = along(box.upright.T, box.node.T, n)[:, 1:-1]
        widths = halves(p)
        made = {1: self._upright(p, y - ell)}
        parts = self._slab(widths[0], y - ell, free, made), self._slab(widths[1], y - ell, free, made)
        join = join_of(n, (widths[0], p), (widths[1], p), 0)
        outlines = Outlines(*self.rims.masks(y), self.rims.robin(y))
        for start in range(0, len(present), PATCHES):
            at = present[start : start + PATCHES]
            own = Outlines(*(values[at] for values in outlines))
            yield Responses(line[at], at, join, parts, widths[0], free[at + widths[0]], own, self._workspace)

    def _slab(self, width: int, bottom: int, free: ndarray, made: dict[int, Blocks]) -> Blocks:
        """Blocks of some columns of p elements from row ``bottom`` up, at every place of the row: ``made[width]``.

        ``free`` are the unknowns of all lines of the row. Smaller ones are made on the way.
        """
        n, p = self.space.n, 2 * self.space.ell + 1
        if width not in made:
            first, second = halves(width)
            parts = self._slab(first, bottom, free, made), self._slab(second, bottom, free, made)
            join, lines = join_of(n, (first, p), (second, p), 0), free[first : first + len(free) - width]
            made[width] = join_rows(join, parts, first, lines, self._workspace)
        return made[width]

    def _upright(self, height: int, bottom: int) -> Blocks:
        """Blocks of one column and some elements from row ``bottom`` up, at every place of the row; kept for others."""
        if height == 1:
            return self.elements(bottom).blocks
        if (height, bottom) not in self._columns:
            n, ell = self.space.n, self.space.ell
            first, second = halves(height)
            parts = self._upright(first, bottom), self._upright(second, bottom + first)
            box = self.lattice.box(bottom, -ell, self.space.grid.shape[0] - 1 + ell, height)
            free = np.repeat(box.level_inside[first][:, None], n - 1, axis=1)
            join = join_of(n, (1, first), (1, second), 1)
            self._columns[height, bottom] = join_rows(join, parts, 0, free, self._workspace)
        return self._columns[height, bottom]
