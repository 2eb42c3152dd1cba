"""What patches side by side share: condensed elements, towers and strips of rows of the coarse grid."""

from __future__ import annotations

from functools import cache

import numpy as np
import torch
from numpy import ndarray
from torch import Tensor

from skfem_ml.lod.engine.bordered import Eliminated, Workspace, chosen
from skfem_ml.lod.engine.elements import ElementCondenser
from skfem_ml.lod.engine.lattice import Box, Lattice
from skfem_ml.lod.engine.stacks import Block, Stack, condense_stacks


class Row:
    """The condensed elements of one row of the coarse grid, ``(columns of the grid, N, N)``; zero where there is none.

    Parameters
    ----------
    condenser
        Condenses elements.
    elements
        The elements of the row, -1 in holes.
    wanted
        Which of them are needed.
    keep
        Whether to keep the elimination steps, to recover the interior of elements.
    """

    def __init__(self, condenser: ElementCondenser, elements: ndarray, wanted: ndarray, keep: bool):
        self.present = (elements >= 0) & wanted
        columns = np.flatnonzero(self.present)
        self.elements = elements[columns]
        matrices, self._steps = condenser.condense(self.elements, keep)
        if len(columns) < len(elements):
            sparse = matrices.new_zeros(len(elements), *matrices.shape[1:])
            sparse[torch.from_numpy(columns).to(matrices.device)] = matrices
            matrices = sparse
        self.matrices, self._condenser = matrices, condenser

    def own_loads(self, columns: ndarray) -> Tensor:
        """a_T(lambda_j, .) for the elements in some columns, condensed, ``(k, 4 n + 8, 4)``."""
        return self._condenser.own_loads(self.matrices[torch.from_numpy(columns).to(self.matrices.device)])

    def steps_of(self, elements: ndarray) -> list[Eliminated]:
        """The elimination steps of some of its elements (where they were kept)."""
        order = np.argsort(self.elements)
        at = order[np.searchsorted(self.elements, elements, sorter=order)]
        return [chosen(step, at) for step in self._steps]


class Tower:
    """Stacks of ell elements from one row up, in every column of the grid: the lower or upper arm of strips.

    Attributes
    ----------
    matrices
        Bordered matrices ``(columns of the grid, N, N)``.
    step
        How the level edges inside were eliminated; None for ell = 1, where a tower is an element.
    """

    step: Eliminated | None

    def __init__(self, lattice: Lattice, rows: dict[int, Row], bottom: int, n: int, ell: int):
        present = [rows.get(bottom + e) for e in range(ell)]
        some = next(row for row in present if row is not None)
        if ell == 1:
            self.matrices, self.step = some.matrices, None
            return
        width = len(some.matrices)
        levels = lattice.box(bottom, 0, width - 1, ell).level_inside[1:-1]  # (ell - 1, width)
        known = np.stack([row.present if row is not None else np.zeros(width, dtype=bool) for row in present])
        free = np.repeat((levels & (known[:-1] | known[1:])).T, n - 1, axis=1)
        blocks = [Block(e, 1, row.matrices if row is not None else None) for e, row in enumerate(present)]
        self.step = condense_stacks(tower_stack(n, ell), blocks, 0, free, None, some.matrices.device)
        self.matrices = self.step.schur


@cache
def tower_stack(n: int, ell: int) -> Stack:
    """The order of unknowns in a tower."""
    return Stack(n, ell, tuple(range(1, ell)), (0, ell))


class PatchLayout:
    """The strips of a patch, and the order of its columns.

    A patch has the constraints line by line: the columns that a line has met in a sweep are the first ones.

    Parameters
    ----------
    n, ell
        Fine cells along a coarse edge, and localisation parameter.
    rim
        Whether unknowns on the rim of patches are kept (where a natural boundary runs along it) or are all fixed.
    """

    def __init__(self, n: int, ell: int, rim: bool):
        self.n, self.ell, self.rim = n, ell, rim
        self.height, self.nodes = 2 * ell + 1, 2 * ell + 2
        levels = (0, ell, ell + 1, self.height) if rim else (ell, ell + 1)
        self.strip = Stack(n, self.height, levels, (), 0 if rim else 1)
        self.lines = range(0, self.nodes) if rim else range(1, self.height)
        self.columns = self.nodes**2

    def columns_met(self, line: int) -> int:
        """How many columns a sweep from the left has met when it eliminates the line."""
        return (min(line + 1, self.height) + 1) * self.nodes

    def columns_of_strip(self, j: int) -> tuple[slice, slice]:
        """Columns which the j-th strip has, and their places in the condensed strip."""
        start = self.strip.constraints_at
        return slice(j * self.nodes, (j + 2) * self.nodes), slice(start, start + 2 * self.nodes)


@cache
def patch_layout(n: int, ell: int, rim: bool) -> PatchLayout:
    """The layout with these parameters: one serves every row of patches."""
    return PatchLayout(n, ell, rim)


class Strips:
    """Strips of 2 ell + 1 elements, one in every column of a block, condensed onto their two long sides.

    Attributes
    ----------
    step
        ``(columns of the block, ...)``; its Schur complement is what patches are made of.
    free
        Which of the eliminated unknowns are free, ``(columns of the block, inner)``.
    middle
        The row of elements whose patches these are.
    towers
        The lower and the upper towers, None where the block leaves the grid.
    """

    def __init__(
        self,
        layout: PatchLayout,
        box: Box,
        middle: Row,
        towers: tuple[Tower | None, Tower | None],
        workspace: Workspace,
    ):
        self.layout, self.box, self.middle, self.towers = layout, box, middle, towers
        ell, n = layout.ell, layout.n
        arms = [tower.matrices if tower is not None else None for tower in towers]
        blocks = [Block(0, ell, arms[0]), Block(ell, 1, middle.matrices), Block(ell + 1, ell, arms[1])]
        self.free = np.repeat(box.level[list(layout.strip.inner_levels)].T, n - 1, axis=1)
        self.step = condense_stacks(layout.strip, blocks, box.origin[1], self.free, workspace, middle.matrices.device)

    @property
    def schur(self) -> Tensor:
        return self.step.schur
