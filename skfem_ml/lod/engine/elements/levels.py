"""Merging blocks of cells whose nodes on the boundary of their element are those of a coarser mesh.

Such a block keeps, of its nodes on a side that lies on the element's boundary, every r-th; on its other sides all. So
blocks have shapes, by which of their sides these are (`Sides`), and those of one shape are merged together.
"""

from __future__ import annotations

from functools import cached_property

import numpy as np
import torch
from numpy import ndarray
from torch import Tensor

from skfem_ml.lod.engine.bordered import eliminate, flat_index, scatter_add
from skfem_ml.lod.engine.elements.condenser import ElementCondenser
from skfem_ml.lod.engine.elements.layout import boundary_nodes

Sides = tuple[bool, bool, bool, bool]  # west, east, south, north: on the boundary of the element or not
Blocks = dict[Sides, Tensor]  # (blocks of this shape, k, N, N), bordered


def trace_values(nodes: ndarray, kept: ndarray, r: int) -> ndarray:
    """Values at nodes ``(2, .)`` of the functions of those that are kept ``(2, .)``, linear between every r-th."""
    inside = (nodes[:, :, None] == kept[:, None]).all(axis=0)
    hats = np.maximum(0, 1 - np.abs(nodes[:, :, None] - kept[:, None]) / r).prod(axis=0) * (kept % r == 0).all(axis=0)
    return np.where(inside.any(axis=1)[:, None], inside, hats)


def kept_nodes(size: int, sides: Sides, r: int) -> ndarray:
    """Of the nodes around ``size`` x ``size`` cells, ``(2, .)``, those that a block with these sides keeps."""
    x, y = nodes = boundary_nodes(size)
    west, east, south, north = sides
    upright = ((x == 0) & west) | ((x == size) & east)
    level = ((y == 0) & south) | ((y == size) & north)
    return nodes[:, ~((upright & (y % r > 0)) | (level & (x % r > 0)))]


def sides_of(place: ndarray, count: int) -> Sides:
    """Which sides of the block at this place, of ``count`` along an edge, lie on the element's boundary."""
    x, y = place.tolist()
    return x == 0, x == count - 1, y == 0, y == count - 1


class Group:
    """The blocks of one shape, each of q x q smaller ones: places ``(blocks, 2)``, and the order of their nodes.

    First the ``inner`` nodes between the smaller blocks, which are eliminated, then those around, then the constraints.
    """

    def __init__(self, places: ndarray, size: int, q: int, sides: Sides, r: int):
        self.places, self.child = places, size // q
        x, y = np.mgrid[1:size, 1:size].reshape(2, -1)
        inner = np.stack([x, y])[:, (x % self.child == 0) | (y % self.child == 0)]
        nodes = np.concatenate([inner, kept_nodes(size, sides, r)], axis=1)
        self.inner, self.width = inner.shape[1], nodes.shape[1] + 4
        self.order = np.full((size + 1, size + 1), -1)
        self.order[tuple(nodes)] = np.arange(nodes.shape[1])
        self.inner_nodes = size * places[:, :, None] + inner  # (blocks, 2, inner)

    def rows(self, at: ndarray, nodes: ndarray) -> ndarray:
        """Where the nodes ``(2, .)`` of the smaller block at this place within come, and the constraints."""
        x, y = nodes + self.child * at[:, None]
        return np.append(self.order[x, y], self.width + np.arange(-4, 0))


class Level:
    """Blocks of an element merged from q x q blocks of ``child`` cells along an edge.

    Attributes
    ----------
    size
        Cells along an edge of the merged blocks.
    bytes
        Of their matrices in one element.
    """

    def __init__(self, condenser: ElementCondenser, child: int, q: int, r: int):
        n, self.size, self.q, self.r = condenser.space.n, child * q, q, r
        self.device, self.count = condenser.device, n // self.size
        self.within = np.stack(np.divmod(np.arange(q * q), q)[::-1], axis=1)  # places of smaller blocks, x fastest
        self.groups: dict[Sides, Group] = {}
        for sides, places in self._by_shape(self.count).items():
            self.groups[sides] = Group(places, self.size, q, sides, r)
        self.bytes = 8 * sum(len(group.places) * group.width**2 for group in self.groups.values())
        self.borders = {}
        for sides, group in self.groups.items():
            x, y = group.inner_nodes[:, 0], group.inner_nodes[:, 1]
            self.borders[sides] = condenser.border[torch.from_numpy(x + (n + 1) * y)].mT[:, None]  # (., 1, 4, inner)

    def merged(self, blocks: Blocks) -> Blocks:
        """The blocks of this level, from those of the one below."""
        out = {}
        for sides, group in self.groups.items():
            some = next(iter(blocks.values()))
            matrix = some.new_zeros(len(group.places), some.shape[1], group.width, group.width)
            for shape, which, places in self._sources[sides]:
                scatter_add(matrix, places, blocks[shape][which])
            matrix[:, :, -4:, : group.inner] += self.borders[sides]
            out[sides] = eliminate(matrix, group.inner).schur
        return out

    @staticmethod
    def _by_shape(count: int) -> dict[Sides, ndarray]:
        out: dict[Sides, list[ndarray]] = {}
        for place in np.stack(np.divmod(np.arange(count**2), count)[::-1], axis=1):
            out.setdefault(sides_of(place, count), []).append(place)
        return {sides: np.array(places) for sides, places in out.items()}

    @cached_property
    def _sources(self) -> dict[Sides, list[tuple[Sides, Tensor, Tensor]]]:
        """For each smaller block: its shape, which of that shape it is in every block, and its flat places."""
        return {sides: self._sources_of(group) for sides, group in self.groups.items()}

    def _sources_of(self, group: Group) -> list[tuple[Sides, Tensor, Tensor]]:
        count, child, out = self.count * self.q, self.size // self.q, []
        where = {sides: [tuple(p) for p in places.tolist()] for sides, places in self._by_shape(count).items()}
        for at in self.within:
            places = self.q * group.places + at
            shape = sides_of(places[0], count)
            which = [where[shape].index(tuple(place)) for place in places.tolist()]
            rows = torch.from_numpy(group.rows(at, kept_nodes(child, shape, self.r)))
            out.append(
                (shape, torch.tensor(which, device=self.device), flat_index(rows, rows, group.width).to(self.device))
            )
        return out


class FirstLevel(Level):
    """Blocks of q x q coefficient cells, condensed whole: their matrices are linear in the values and reciprocals."""

    def __init__(self, condenser: ElementCondenser, q: int, r: int):
        super().__init__(condenser, condenser.leaf, q, r)
        self._cells, self._parts = {}, {}
        m = condenser.space.m
        for sides, group in self.groups.items():
            at = self.q * group.places[:, None] + self.within  # (blocks, q * q, 2)
            self._cells[sides] = at[:, :, 0] + m * at[:, :, 1]
            self._parts[sides] = torch.stack([self._linear(condenser, sides, b) for b in range(len(at))])

    def blocks(self, values: Tensor) -> Blocks:
        """The blocks of elements with these values of their coefficient cells, ``(k, m * m)``."""
        out = {}
        for sides, group in self.groups.items():
            own = values.T[torch.from_numpy(self._cells[sides])].mT  # (blocks, k, q * q)
            terms = torch.cat([own, 1 / own, torch.ones_like(own[:, :, :1])], dim=2)
            matrix = (terms @ self._parts[sides]).view(*own.shape[:2], group.width, group.width)
            out[sides] = eliminate(matrix, group.inner).schur if group.inner else matrix
        return out

    def _linear(self, condenser: ElementCondenser, sides: Sides, number: int) -> Tensor:
        """What values, reciprocals and 1 are multiplied by in the matrix of a block, ``(2 q * q + 1, N * N)``."""
        q, s, m, group = self.q, condenser.leaf, condenser.space.m, self.groups[sides]
        out = condenser.border.new_zeros(2 * q * q + 1, group.width, group.width)
        for cell, at in enumerate(self.within):
            place = q * group.places[number] + at
            kept = kept_nodes(s, sides_of(place, m), self.r)
            F = condenser.on_device(trace_values(boundary_nodes(s), kept, self.r))
            stiffness, border, gram = condenser.leaf_parts(int(place[0] + m * place[1]))
            *nodes, _, _, _, _ = group.rows(at, kept)
            out[cell][np.ix_(nodes, nodes)] += F.T @ stiffness @ F
            out[q * q + cell, -4:, -4:] += gram
            out[-1][nodes, -4:] += F.T @ border
            out[-1][-4:, nodes] += border.T @ F
        out[-1, -4:, : group.inner] += self.borders[sides][number, 0]
        return out.flatten(1)
