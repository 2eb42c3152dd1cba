"""Patches of hexes: planes between slabs, eliminated one after the other, and the multipliers."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
from numpy import ndarray
from torch import Tensor

from skfem_ml.lod.engine.bordered import cholesky_in_place, divide, subtract_lower
from skfem_ml.lod.engine.hexes.slabs import Beam, Plane
from skfem_ml.lod.engine.sweep import Multipliers

Around = tuple[tuple[int, int, int], int, Tensor]  # place [x, z, y] in the patch, number of the element, values


class HexPatch:
    """The factorised patch of an element: steps (6) and (7) of `skfem_ml.lod.engine` over planes.

    Parameters
    ----------
    beam, T
        The elements around the row of T, and T.
    """

    def __init__(self, beam: Beam, T: int):
        self.beam, self.T, self.space, width = beam, T, beam.space, beam.width
        start = int(self.space.grid.cells[0, T]) - self.space.ell
        self.slabs = [beam.slab(start + j) if (beam.block(start + j) >= 0).any() else None for j in range(width)]
        self.line = (width + 1) ** 2  # multipliers of a plane of coarse nodes
        planes = [beam.plane(start + i) for i in range(width + 1)]
        self.unknowns = [self._unknowns(i, plane) for i, plane in enumerate(planes)]
        self.lines = [i for i, unknowns in enumerate(self.unknowns) if len(unknowns)]
        self.multipliers = Multipliers(self._eliminate()[None], self._constrained()[None])

    def _unknowns(self, i: int, plane: Plane) -> Tensor:
        """Which unknowns of the i-th plane are free."""
        free = plane.first if i == 0 else plane.last if i == self.beam.width else np.ones(plane.count, dtype=bool)
        return torch.from_numpy(np.flatnonzero(free)).to(self.beam.elements.device)

    def _met(self, i: int) -> int:
        """How many multipliers are met where the i-th plane is eliminated."""
        return (min(i + 1, self.beam.width) + 1) * self.line

    def _columns(self, j: int) -> slice:
        return slice(j * self.line, (j + 2) * self.line)

    def _eliminate(self) -> Tensor:
        """Forward sweep, and sum of H over slabs less sum_i Z_i^T Z_i."""
        device = self.beam.elements.device
        gram = torch.zeros(2 * (self._met(self.beam.width),), dtype=torch.float64, device=device)
        for j, slab in enumerate(self.slabs):
            if slab is not None:
                lower = slab.schur[0, slab.sides[2], slab.sides[2]].tril()
                gram[self._columns(j), self._columns(j)] += lower + lower.tril(-1).T
        self.steps: dict[int, tuple[Tensor, Tensor]] = {}
        before = None
        for i in self.lines:
            met, m = self._met(i), len(self.unknowns[i])
            diagonal, rest = self._plane_rows(i)
            if before is not None:
                columns, coupling = before[:, :-m], before[:, -m:]
                subtract_lower(diagonal, coupling, [0, m])
                rest[:, : columns.shape[1]] -= columns @ coupling.mT
            factor = cholesky_in_place(diagonal)
            divide(rest, factor)
            self.steps[i] = factor, rest
            before = rest if i + 1 in self.lines else None
            gram[:met, :met] -= rest[0, :met] @ rest[0, :met].T
        return gram

    def _plane_rows(self, i: int) -> tuple[Tensor, Tensor]:
        """D ``(1, m, m)``, its lower triangle, and [Y | E]^T ``(1, columns + m', m)`` of the i-th plane."""
        own, met = self.unknowns[i], self._met(i)
        following = self.unknowns[i + 1] if i + 1 in self.lines else own[:0]
        diagonal = torch.zeros(1, len(own), len(own), dtype=torch.float64, device=own.device)
        rest = torch.zeros(1, met + len(following), len(own), dtype=torch.float64, device=own.device)
        for j, side in ((i - 1, 1), (i, 0)):
            slab = self.slabs[j] if 0 <= j < self.beam.width else None
            if slab is None:
                continue
            mine = slab.schur[0][:, slab.sides[side]]
            whole = len(own) == mine.shape[1]
            mine = mine if whole else mine[:, own]
            block = mine[slab.sides[side]]
            diagonal[0] += block if whole else block[own]
            rest[0, self._columns(j)] += mine[slab.sides[2]]
            if side == 0 and len(following):
                rest[0, met:] = mine[slab.sides[1]][following]
        return diagonal, rest

    def _constrained(self) -> Tensor:
        """Which constraints are there: those at coarse nodes inside the domain, off Gamma_D, in the order [x, z, y]."""
        nodes = self.space.patches.nodes[self.T].reshape((self.beam.width + 1,) * 3).transpose(2, 0, 1).ravel()
        return torch.from_numpy((nodes >= 0) & ~self.space.dirichlet.nodes[nodes]).to(self.beam.elements.device)

    @property
    def bytes(self) -> int:
        """What it takes to hold, a slab being shared by 2 ell + 1 patches."""
        planes = 8 * sum(part.numel() for step in self.steps.values() for part in step)
        return planes + sum(slab.bytes for slab in self.slabs if slab is not None) // self.beam.width

    def solve(self, load: Tensor) -> Iterator[Around]:
        """The solutions for loads on T of `HexElements.load`, ``(b + 8, v)``, around every element of the patch."""
        ell, middle = self.space.ell, self.slabs[self.space.ell]
        assert middle is not None
        half, rest = middle.half(load, (ell, ell))
        right = load.new_zeros(self._met(self.beam.width), load.shape[1])
        right[self._columns(ell)] -= rest[middle.sides[2]]
        sides = {ell: rest[middle.sides[0]], ell + 1: rest[middle.sides[1]]}
        halves: dict[int, Tensor] = {}
        for i in self.lines:
            if i < ell:
                continue
            own, (factor, coupling) = self.unknowns[i], self.steps[i]
            y = sides[i][own] if i in sides else load.new_zeros(len(own), load.shape[1])
            if i - 1 in halves:
                y = y - self.steps[i - 1][1][0, -len(own) :] @ halves[i - 1]
            halves[i] = torch.linalg.solve_triangular(factor[0], y, upper=False)
            right[: self._met(i)] += coupling[0, : self._met(i)] @ halves[i]
        mu = self.multipliers.solve(right[None])[0]
        yield from self._around(self._planes(halves, mu), mu, half)

    def _planes(self, halves: dict[int, Tensor], mu: Tensor) -> dict[int, Tensor]:
        """Substitution backwards over planes."""
        out: dict[int, Tensor] = {}
        for i in reversed(self.lines):
            (factor, rest), met = self.steps[i], self._met(i)
            right = -(rest[0, :met].T @ mu[:met])
            if i in halves:
                right += halves[i]
            if i + 1 in out:
                right -= rest[0, met:].T @ out[i + 1]
            out[i] = torch.linalg.solve_triangular(factor[0].T, right, upper=True)
        return out

    def _around(self, planes: dict[int, Tensor], mu: Tensor, half: Tensor) -> Iterator[Around]:
        for j, slab in enumerate(self.slabs):
            if slab is None:
                continue
            rest = mu.new_zeros(slab.size - slab.inner, mu.shape[1])
            for i, side in ((j, slab.sides[0]), (j + 1, slab.sides[1])):
                if i in planes:
                    rest[side][self.unknowns[i]] = planes[i]
            rest[slab.sides[2]] = mu[self._columns(j)]
            for (c, b), T, values in slab.around(rest, half if j == self.space.ell else None):
                yield (j, c, b), T, values


def in_rows(rows: ndarray, width: int) -> ndarray:
    """Rows at coarse nodes ``[x, z, y]`` in the order of patches, x fastest: ``(width**3, v)``."""
    return rows.reshape(width, width, width, -1).transpose(1, 2, 0, 3).reshape(width**3, -1)
