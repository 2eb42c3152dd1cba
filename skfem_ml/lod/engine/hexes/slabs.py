"""Slabs of (2 ell + 1)^2 hexes between two planes of constant x, and these planes: what patches in a row share."""

from __future__ import annotations

from functools import cached_property

import numpy as np
import torch
from numpy import ndarray
from torch import Tensor

from skfem_ml.lod.engine.bordered import cholesky_in_place, divide, scatter_add, subtract_lower
from skfem_ml.lod.engine.hexes.elements import HexElements


class Beam:
    """The rows in x of coarse elements around one of them, at y and z: blocks ``[z, y]`` of elements for every x."""

    def __init__(self, elements: HexElements, y: int, z: int):
        self.elements, self.space = elements, elements.space
        ell = self.space.ell
        self.width, self.n, self.margin = 2 * ell + 1, self.space.n, ell + 1
        padded = np.pad(self.space.grid.cell_at, [(ell, ell), (ell, ell), (self.margin,) * 2], constant_values=-1)
        self.cells = padded[z : z + self.width, y : y + self.width]
        self._planes: dict[int, Plane] = {}
        self._slabs: dict[int, Slab] = {}

    def block(self, x: int) -> ndarray:
        """The elements ``[z, y]`` at x, -1 where there is none."""
        return self.cells[:, :, x + self.margin]

    def plane(self, x: int) -> Plane:
        """The plane below the elements at x."""
        if x not in self._planes:
            self._planes[x] = Plane(self, x)
        return self._planes[x]

    def slab(self, x: int) -> Slab:
        """The slab of the elements at x; earlier ones than a patch reaches back to are given up."""
        for before in [at for at in self._slabs if at < x - self.width]:
            del self._slabs[before]
        if x not in self._slabs:
            self._slabs[x] = Slab(self, x)
        return self._slabs[x]

    def free(self, count: ndarray, nodes: ndarray) -> ndarray:
        """Which fine nodes are off Gamma_D and held by no other elements than the ``count`` that were counted."""
        there = nodes >= 0
        return there & ~self.space.fine_dirichlet[nodes] & (count == self.space.fine_node_cells[nodes])


class Plane:
    """The fine nodes between elements at x - 1 and at x that are free in a patch with both, or by its end.

    Attributes
    ----------
    place
        Number of the unknown at every node ``[z, y]``, -1 where it is fixed.
    first, last
        Which unknowns are free where a patch begins, or ends, with the plane.
    """

    def __init__(self, beam: Beam, x: int):
        n, size = beam.n, beam.width * beam.n + 1
        nodes, counts = np.full((size, size), -1), np.zeros((2, size, size), dtype=int)
        for side, (column, level) in enumerate(((x - 1, n), (x, 0))):
            for c, b in zip(*np.nonzero(beam.block(column) >= 0), strict=True):
                part = slice(c * n, (c + 1) * n + 1), slice(b * n, (b + 1) * n + 1)
                own = beam.space.refinement.nodes[beam.block(column)[c, b]]
                nodes[part] = own.reshape((n + 1,) * 3)[:, :, level]
                counts[side][part] += 1
        free = beam.free(counts.sum(axis=0), nodes)
        self.place = numbered(free)
        self.first, self.last = (beam.free(counts[side], nodes)[free] for side in (1, 0))
        self.count = int(free.sum())


class Slab:
    """A slab, with all but its two planes and its multipliers eliminated.

    The order of its unknowns: ``inner`` ones, those of its two planes, and two planes of (2 ell + 2)^2 multipliers.

    Attributes
    ----------
    factor, coupling, schur
        L of the inner block, the rest of its columns times L^-T, and what is left: its lower triangle.
    places
        For every element at ``[z, y]`` the places of its boundary nodes and multipliers, -1 where fixed.
    """

    def __init__(self, beam: Beam, x: int):
        self.beam, self.x, self.block = beam, x, beam.block(x)
        self.planes = beam.plane(x), beam.plane(x + 1)
        self._number()
        matrix = torch.zeros(1, self.size, self.size, dtype=torch.float64, device=beam.elements.device)
        for (c, b), places in self.places.items():
            held = torch.from_numpy(np.flatnonzero(places >= 0)).to(matrix.device)
            rows = torch.from_numpy(places[places >= 0]).to(matrix.device)
            source = beam.elements.schur(int(self.block[c, b]))[held][:, held]
            scatter_add(matrix, (rows[:, None] * self.size + rows).ravel(), source[None])
        i = self.inner
        self.factor = cholesky_in_place(matrix[:, :i, :i].contiguous())
        self.coupling = matrix[:, i:, :i].contiguous()
        divide(self.coupling, self.factor)
        self.schur = matrix[:, i:, i:].contiguous()
        subtract_lower(self.schur, self.coupling, [0, self.size - i])

    def _number(self) -> None:
        n, width = self.beam.n, self.beam.width
        size, line = width * n + 1, width + 1
        nodes, counts = np.full((size, size, n + 1), -1), np.zeros((size, size, n + 1), dtype=int)
        present = list(zip(*(axis.tolist() for axis in np.nonzero(self.block >= 0)), strict=True))
        cut = {(c, b): (slice(c * n, (c + 1) * n + 1), slice(b * n, (b + 1) * n + 1)) for c, b in present}
        for at, part in cut.items():
            nodes[part] = self.beam.space.refinement.nodes[self.block[at]].reshape((n + 1,) * 3)
            counts[part] += 1
        between = np.zeros_like(nodes, dtype=bool)
        between[::n], between[:, ::n] = True, True
        between[:, :, [0, -1]] = False
        place = numbered(between & self.beam.free(counts, nodes))
        self.inner, first = int(place.max(initial=-1)) + 1, 0
        first = self.inner
        for level, plane in zip((0, n), self.planes, strict=True):
            place[:, :, level] = np.where(plane.place >= 0, plane.place + first, -1)
            first += plane.count
        columns = first + np.arange(2 * line**2).reshape(2, line, line)  # [x, z, y]
        self.size, boundary = first + 2 * line**2, self.beam.elements.boundary
        self.places = {
            (c, b): np.concatenate(
                [place[part].ravel()[boundary], columns[:, c : c + 2, b : b + 2].transpose(1, 2, 0).ravel()]
            )
            for (c, b), part in cut.items()
        }

    @cached_property
    def sides(self) -> tuple[slice, slice, slice]:
        """Places in ``schur`` of its first and second plane, and of its multipliers."""
        ends = np.cumsum([0, self.planes[0].count, self.planes[1].count, self.size])
        return slice(ends[0], ends[1]), slice(ends[1], ends[2]), slice(ends[2], self.size - self.inner)

    @property
    def bytes(self) -> int:
        """What it takes to hold."""
        return 8 * sum(part.numel() for part in (self.factor, self.coupling, self.schur))

    def half(self, load: Tensor, at: tuple[int, int]) -> tuple[Tensor, Tensor]:
        """A load of the element at ``[z, y]`` ``(b + 8, v)``: L^-1 of it on the inner unknowns, the rest condensed."""
        places, i = self.places[at], self.inner
        held = torch.from_numpy(np.flatnonzero(places >= 0)).to(load.device)
        vector = load.new_zeros(self.size, load.shape[1])
        vector.index_add_(0, torch.from_numpy(places[places >= 0]).to(load.device), load[held])
        half = torch.linalg.solve_triangular(self.factor[0], vector[:i], upper=False)
        return half, vector[i:] - self.coupling[0] @ half

    def around(self, rest: Tensor, half: Tensor | None) -> list[tuple[tuple[int, int], int, Tensor]]:
        """Place ``[z, y]`` and number of its elements, and the solution around them ``(b + 8, v)``.

        ``rest`` is the solution on its planes, and its multipliers; ``half`` that of `half`, where it has a load.
        """
        right = -(self.coupling[0].T @ rest)
        inner = torch.linalg.solve_triangular(self.factor[0].T, right if half is None else right + half, upper=True)
        whole = torch.cat([inner, rest, rest.new_zeros(1, rest.shape[1])])  # fixed: the last one
        return [(at, int(self.block[at]), whole[torch.from_numpy(p).to(rest.device)]) for at, p in self.places.items()]


def numbered(free: ndarray) -> ndarray:
    """Numbers of the entries that are true, in their order; -1 for the others."""
    out = np.full(free.shape, -1)
    out[free] = np.arange(free.sum())
    return out
