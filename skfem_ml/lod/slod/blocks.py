"""Blocks of coarse elements condensed onto their outline, joined two by two: see the page `skfem_ml.lod.slod`.

A block of w x h elements is a bordered matrix: unknowns are the 2 (w + h) n fine nodes of its outline, columns the
loads of its elements, column of elements by column from below. Joining two blocks eliminates the open line between
them; the ends of the line stay on the outline.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from typing import NamedTuple

import numpy as np
import torch
from numpy import ndarray
from torch import Tensor

from skfem_ml.lod.engine.bordered import (
    Eliminated,
    Workspace,
    cholesky,
    chosen,
    divide,
    fix_some,
    flat_index,
    half_load,
    recover,
    scatter_add,
)

CHUNK_BYTES = 2**21  # matrices joined at a time: they should stay in the cache


def outline(width: int, height: int, n: int) -> ndarray:
    """Places (x, y) of the fine nodes around width x height elements: west and east with corners, then south and north.

    For one element it is the order of `engine.elements.boundary_nodes`.
    """
    y, x = np.arange(height * n + 1), np.arange(1, width * n)
    sides = [(0 * y, y), (0 * y + width * n, y), (x, 0 * x), (x, 0 * x + height * n)]
    return np.concatenate([np.stack(side) for side in sides], axis=1)


def halves(count: int) -> tuple[int, int]:
    """Two parts of a row of elements, the larger one first."""
    return count - count // 2, count // 2


class Join:
    """Index maps of two blocks that become one: side by side (axis 0) or one upon the other (axis 1).

    Unknowns of the joined matrix: the open line between the blocks, which is eliminated; the outline of both; loads.

    Attributes
    ----------
    line, rest
        How many unknowns are eliminated, and how many are on the outline.
    loads
        How many elements the two blocks have.
    nodes
        Where the outlines of the two blocks are among line and outline.
    """

    def __init__(self, n: int, first: tuple[int, int], second: tuple[int, int], axis: int):
        size = [first[0], first[1]]
        size[axis] += second[axis]
        self.line = first[1 - axis] * n - 1
        place = np.full((size[0] * n + 1, size[1] * n + 1), -1)
        along = np.arange(1, self.line + 1)
        across = np.full(self.line, first[axis] * n)
        place[(across, along) if axis == 0 else (along, across)] = np.arange(self.line)
        around = outline(size[0], size[1], n)
        self.rest = around.shape[1]
        place[around[0], around[1]] = self.line + np.arange(self.rest)
        self.loads = (first[0] * first[1], second[0] * second[1])
        self.size = self.line + self.rest + sum(self.loads)
        self.nodes, self.flat = [], []
        for part, (block, start) in enumerate(((first, 0), (second, first[axis] * n))):
            x, y = outline(block[0], block[1], n) + start * np.eye(2, dtype=int)[axis][:, None]
            nodes = torch.from_numpy(place[x, y])
            columns = self.line + self.rest + (self.loads[0] if part else 0) + torch.arange(self.loads[part])
            self.nodes.append(nodes)
            rows = torch.cat([nodes, columns])
            self.flat.append(flat_index(rows, rows, self.size))

    def chunks(self, count: int) -> Iterator[slice]:
        """Parts of a batch whose matrices stay in the cache."""
        size = max(1, CHUNK_BYTES // (8 * self.size**2))
        yield from (slice(start, min(start + size, count)) for start in range(0, count, size))

    def room(self, count: int, like: Tensor) -> Eliminated:
        """Memory for ``count`` blocks that are joined."""
        kept = self.size - self.line
        return Eliminated(
            like.new_empty(count, kept, kept),
            like.new_empty(count, self.line, self.line).mT,  # stored by columns, as LAPACK does
            like.new_empty(count, kept, self.line),
        )

    def __call__(self, first: Tensor, second: Tensor, free: ndarray, workspace: Workspace, out: Eliminated) -> None:
        """Join blocks ``(B, N, N)`` and write what is left into ``out``.

        ``free`` ``(B, line)``: which unknowns of the line are free; others are fixed to zero.
        """
        count = self.line
        matrix = workspace.empty(f"join {self.size} {count}", len(first), self.size, self.size).zero_()
        scatter_add(matrix, self.flat[0], first)
        scatter_add(matrix, self.flat[1], second)
        fix_some(matrix, free)
        cholesky(matrix[:, :count, :count], out.factor)
        out.coupling.copy_(matrix[:, count:, :count])
        divide(out.coupling, out.factor)
        torch.baddbmm(matrix[:, count:, count:], out.coupling, out.coupling.mT, alpha=-1, out=out.schur)


@cache
def join_of(n: int, first: tuple[int, int], second: tuple[int, int], axis: int) -> Join:
    """The maps with these parameters: they serve every row of patches."""
    return Join(n, first, second, axis)


class Made(NamedTuple):
    """How blocks were joined: that at place i of ``parts[0]`` at place i and ``parts[1]`` at place i + ``offset``.

    Attributes
    ----------
    step
        What brings the unknowns of the lines between them back.
    free
        Which of these are free, ``(places, line)``.
    """

    join: Join
    step: Eliminated
    parts: tuple[Blocks, Blocks]
    offset: int
    free: Tensor


class Blocks:
    """Blocks of the same shape at consecutive places.

    Parameters
    ----------
    matrices
        Bordered matrices ``(places, N, N)``; nothing where only values are to be recovered.
    made
        How they were joined of smaller ones; nothing for elements.
    """

    def __init__(self, matrices: Tensor | None, made: Made | None = None):
        self.matrices, self.made = matrices, made

    def taken(self, at: ndarray) -> Tensor:
        """The matrices at some places, without a copy where these follow one another."""
        assert self.matrices is not None
        run = len(at) > 0 and bool((np.diff(at) == 1).all())
        return self.matrices[at[0] : at[-1] + 1] if run else self.matrices[torch.from_numpy(at)]

    def light(self) -> Blocks:
        """The same without the matrices, for what is to be held."""
        if self.made is None:
            return Blocks(None)
        first, second = self.made.parts
        return Blocks(None, self.made._replace(parts=(first.light(), second.light())))

    def tensors(self) -> Iterator[Tensor]:
        """What is needed to recover values, of the smaller blocks as well."""
        if self.made is not None:
            yield from (self.made.step.factor, self.made.step.coupling, self.made.free)
            yield from (tensor for part in self.made.parts for tensor in part.tensors())

    def values(self, at: ndarray, around: Tensor, g: Tensor, load: Lifted | None = None) -> Tensor:
        """Values around the elements of the blocks at some places, ``(B, elements, 4 n, v)``.

        ``around`` are those on their outlines ``(B, outline, v)``, ``g`` the loads of their elements ``(B, elements,
        v)``; ``load`` is one on one of their elements besides.
        """
        if self.made is None:
            return around[:, None]
        inner = recover(chosen(self.made.step, at), torch.cat([around, -g], 1), None if load is None else load.half)
        places = at, at + self.made.offset
        return spread(self.made.join, self.made.parts, places, torch.cat([inner, around], 1), g, load)

    def lift(self, at: ndarray, element: int, load: Tensor) -> Lifted:
        """A load around one element ``(B, 4 n, v)`` of the blocks at some places, moved to their outlines."""
        if self.made is None:
            return Lifted(load, None, 0, None)
        join, step, parts, offset, free = self.made
        part = int(element >= join.loads[0])
        below = parts[part].lift(at + part * offset, element - part * join.loads[0], load)
        return lifted(join, part, below, chosen(step, at), free[torch.from_numpy(at)])


class Lifted(NamedTuple):
    """A load on one element, moved to the outline of a block."""

    outline: Tensor
    half: Tensor | None
    part: int
    below: Lifted | None


def lifted(join: Join, part: int, below: Lifted, step: Eliminated, free: Tensor) -> Lifted:
    """The load on the outline of a part moved to that of the joined blocks by (3) of the engine's page."""
    count = below.outline.shape[2]
    vector = below.outline.new_zeros(len(below.outline), join.line + join.rest, count)
    vector[:, join.nodes[part]] = below.outline
    inner, rest = vector[:, : join.line] * free[:, :, None], vector[:, join.line :].contiguous()
    return Lifted(rest, half_load(step, inner, rest), part, below)


def spread(
    join: Join,
    parts: tuple[Blocks, Blocks],
    places: tuple[ndarray, ndarray],
    whole: Tensor,
    g: Tensor,
    load: Lifted | None,
) -> Tensor:
    """Values around the elements of both parts, from those on line and outline of the joined block."""
    loads = g.split(list(join.loads), dim=1)
    below = [load.below if load is not None and load.part == part else None for part in (0, 1)]
    return torch.cat([
        parts[part].values(places[part], whole[:, join.nodes[part]], loads[part], below[part]) for part in (0, 1)
    ], dim=1)  # fmt: skip


def join_rows(join: Join, parts: tuple[Blocks, Blocks], offset: int, free: ndarray, workspace: Workspace) -> Blocks:
    """Blocks of ``parts[0]`` at places 0, 1, ... joined with those of ``parts[1]`` that are ``offset`` places further.

    ``free`` ``(places, line)``: which unknowns of the lines between them are free.
    """
    first, second = parts[0].taken(np.arange(len(free))), parts[1].taken(offset + np.arange(len(free)))
    out = join.room(len(free), first)
    for some in join.chunks(len(free)):
        join(first[some], second[some], free[some], workspace, Eliminated(*(tensor[some] for tensor in out)))
    step = out._replace(schur=out.schur.new_empty(0, 0, 0))  # matrices are to be let go of when no block needs them
    return Blocks(out.schur, Made(join, step, parts, offset, torch.from_numpy(free.copy()).to(out.schur)))
