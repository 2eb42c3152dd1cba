"""Upright stacks of coarse elements, condensed onto their sides (5): towers of ell, strips of 2 ell + 1."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from numpy import ndarray
from torch import Tensor

from skfem_ml.lod.engine.bordered import (
    LARGE,
    Eliminated,
    Workspace,
    cholesky,
    divide,
    fix_some,
    flat_index,
    scatter_add,
    subtract_lower,
)

CHUNK_BYTES = 2**22  # stacks condensed at a time: they should stay in the cache


class Block(NamedTuple):
    """A layer of a stack: ``size`` elements from element ``start`` on, in every column of the grid (or nothing)."""

    start: int
    size: int
    matrices: Tensor | None


class Stack:
    """The order of unknowns and columns in the bordered matrix of a stack of elements.

    First the unknowns on the level edges ``inner`` between its blocks, which are eliminated; then those of the left
    line, the right line and the level edges ``outer``; constraints at the left and the right coarse nodes; and
    functionals at the left and the right nodes. A single element is a stack with its two level edges as outer ones.

    Parameters
    ----------
    n
        Fine cells along a coarse edge.
    height
        Elements in the stack.
    inner, outer
        Levels (0: below the first element) whose edges are eliminated, and kept; unknowns on others are fixed.
    cut
        1 to leave out the ends of the lines, which are fixed; else 0.
    """

    def __init__(self, n: int, height: int, inner: tuple[int, ...], outer: tuple[int, ...] = (), cut: int = 0):
        self.n, self.height, self.inner_levels, self.outer_levels, self.cut = n, height, inner, outer, cut
        self.nodes = height + 1
        self.line = height * n + 1 - 2 * cut
        self.inner = len(inner) * (n - 1)
        self.constraints_at = 2 * self.line + len(outer) * (n - 1)  # places after the inner ones are gone
        self.functionals_at = self.constraints_at + 2 * self.nodes
        self.kept = self.functionals_at + 2 * self.nodes
        self.size = self.inner + self.kept
        self._places: dict[tuple[int, int], tuple[Tensor, Tensor]] = {}

    def places(self, start: int, size: int) -> tuple[Tensor, Tensor]:
        """Of a block of elements: its rows, and the flat places of rows by rows."""
        if (start, size) not in self._places:
            rows = self.rows(start, size)
            self._places[start, size] = rows, flat_index(rows, rows, self.size + 1)
        return self._places[start, size]

    def rows(self, start: int, size: int) -> Tensor:
        """Places of a block of elements in the matrix of the stack; ``self.size``: left out."""
        y = start * self.n + np.arange(size * self.n + 1) - self.cut
        line = np.where((y >= 0) & (y < self.line), self.inner + y, self.size)
        right = np.where(line < self.size, line + self.line, self.size)
        node = np.arange(start, start + size + 1)
        corners = [
            self.inner + at + side * self.nodes + node
            for at in (self.constraints_at, self.functionals_at)
            for side in (0, 1)
        ]
        return torch.from_numpy(np.concatenate([line, right, self._level(start), self._level(start + size), *corners]))

    def _level(self, level: int) -> ndarray:
        edge = np.arange(self.n - 1)
        if level in self.inner_levels:
            return self.inner_levels.index(level) * (self.n - 1) + edge
        if level in self.outer_levels:
            return self.inner + 2 * self.line + self.outer_levels.index(level) * (self.n - 1) + edge
        return np.full(self.n - 1, self.size)


def condense_stacks(
    stack: Stack, blocks: list[Block], first: int, free: ndarray, workspace: Workspace | None, device: torch.device
) -> Eliminated:
    """Stacks in the columns ``first``, first + 1, ... of the coarse grid, with the inner level edges eliminated by (1).

    Of the Schur complement of strips, blocks above the diagonal (left line, right line, rest) are left undefined.

    Parameters
    ----------
    blocks
        Their layers, from below.
    free
        Which inner unknowns are free, ``(stacks, stack.inner)``.
    workspace
        Memory for the result; without it fresh memory is taken.
    """
    memory, count, inner, size = workspace or Workspace(device), len(free), stack.inner, stack.size
    matrices = memory.empty("stacks", count, size + 1, size + 1)
    done = Eliminated(
        matrices[:, inner:size, inner:size],
        memory.empty("stack factor", count, inner, inner).mT,
        memory.empty("stack coupling", count, stack.kept, inner),
    )
    chunk = max(1, CHUNK_BYTES // (8 * size**2))
    for start in range(0, count, chunk):
        part = slice(start, min(start + chunk, count))
        matrix = matrices[part].zero_()
        for block in blocks:  # the last place takes what is left out
            _add_block(stack, matrix, block, first + start)
        fix_some(matrix, free[part])
        _eliminate_levels(stack, matrix, *(out[part] for out in done))
    return done


def _add_block(stack: Stack, matrix: Tensor, block: Block, first: int) -> None:
    if block.matrices is None:
        return
    start, stop = max(first, 0), min(first + len(matrix), len(block.matrices))
    if start >= stop:
        return
    target = matrix[start - first : stop - first]
    scatter_add(target, stack.places(block.start, block.size)[1].to(matrix.device), block.matrices[start:stop])


def _eliminate_levels(stack: Stack, matrix: Tensor, schur: Tensor, factor: Tensor, coupling: Tensor) -> None:
    cholesky(matrix[:, : stack.inner, : stack.inner], factor)
    coupling.copy_(matrix[:, stack.inner : stack.size, : stack.inner])
    divide(coupling, factor)
    large = stack.line >= LARGE and not stack.outer_levels  # a tower is scattered whole into strips
    subtract_lower(schur, coupling, [0, stack.line, 2 * stack.line, stack.kept] if large else [0, stack.kept])
