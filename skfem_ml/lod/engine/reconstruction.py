"""Correctors on the fine mesh, from their values on the lines between strips: step (9)."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import torch
from numpy import ndarray
from torch import Tensor

from skfem_ml.lod.engine.bordered import Eliminated, chosen, recover
from skfem_ml.lod.engine.elements import CORNERS, ElementCondenser
from skfem_ml.lod.engine.rows import Row
from skfem_ml.lod.engine.solved import Solved
from skfem_ml.lod.mesh.interpolation import hat_values, tensor


class StripValues:
    """Correctors in the j-th strip of every patch: on its element boundaries, and its multipliers.

    Attributes
    ----------
    lines
        Values on the left and the right line, ``(B, height n + 1, v)``.
    levels
        Values on the level edges, ``(B, height + 1, n - 1, v)``.
    mu
        Multipliers ``(B, left or right, node, v)``.
    """

    def __init__(self, solved: Solved, j: int):
        self.sweep, self.layout = solved.sweep, solved.sweep.layout
        strip, n = self.layout.strip, self.layout.n
        rest = solved.strip_values(j)
        inner = recover(self.sweep.strip_step(j), rest, solved.half if j == self.layout.ell else None)
        m, pad = strip.line, strip.cut  # the ends, where they are fixed
        self.lines = [torch.nn.functional.pad(line, (0, 0, pad, pad)) for line in (rest[:, :m], rest[:, m : 2 * m])]
        self.mu = rest[:, strip.constraints_at :].view(len(rest), 2, self.layout.nodes, solved.count)
        self.levels = rest.new_zeros(len(rest), self.layout.nodes, n - 1, solved.count)
        self.levels[:, list(strip.inner_levels)] = inner.view(len(rest), len(strip.inner_levels), n - 1, solved.count)
        for start, tower in zip((0, self.layout.ell + 1), self.sweep.strips.towers, strict=True):
            if tower is not None and tower.step is not None:
                self._fill_tower(start, tower.step, j)

    def _fill_tower(self, start: int, step: Eliminated, j: int) -> None:
        """Recover the level edges inside a tower; patches whose strip lies off the grid have none."""
        ell, n = self.layout.ell, self.layout.n
        columns = self.sweep.starts + j + self.sweep.box.origin[1]
        there = np.flatnonzero((columns >= 0) & (columns < len(step.schur)))
        everyone = len(there) == len(columns)
        at = slice(None) if everyone else torch.from_numpy(there).to(self.levels.device)
        line, node = slice(start * n, (start + ell) * n + 1), slice(start, start + ell + 1)
        ends = [self.levels[at, start], self.levels[at, start + ell]]
        sides = [*(values[at, line] for values in self.lines), *ends, *(self.mu[at, side, node] for side in (0, 1))]
        inner = recover(chosen(step, columns[there]), torch.cat(sides, dim=1))
        self.levels[at, start + 1 : start + ell] = inner.view(len(there), ell - 1, n - 1, inner.shape[2])

    def boundaries(self) -> Tensor:
        """Values on the boundaries of the strip's elements, ``(B, height, 4 n, v)``, in the order of boundary_nodes."""
        n = self.layout.n
        sides = [line.unfold(1, n + 1, n).transpose(2, 3) for line in self.lines]
        return torch.cat([*sides, self.levels[:, :-1], self.levels[:, 1:]], dim=2)

    def multipliers(self) -> Tensor:
        """Multipliers at the corners of the strip's elements, ``(B, height, 4, v)``."""
        left, right = (self.mu[:, side].unfold(1, 2, 1).transpose(2, 3) for side in (0, 1))
        return torch.cat([left, right], dim=2)


class Part(NamedTuple):
    """The j-th strips of patches: their elements ``(B, height)``, -1 outside, values there."""

    j: int
    elements: ndarray
    boundaries: Tensor
    multipliers: Tensor


def parts_of(solved: Solved) -> Iterator[Part]:
    """The strips of the patches, one column of the block after the other."""
    sweep, layout = solved.sweep, solved.sweep.layout
    block = sweep.space.patches.cells[sweep.elements].reshape(-1, layout.height, layout.height)
    for j in range(layout.height):
        strip = StripValues(solved, j)
        yield Part(j, block[:, :, j], strip.boundaries(), strip.multipliers())


class Sums:
    """Boundary values and multipliers of correctors, added up over patches, ``(nelems, 4 n, v)`` and ``(., 4, v)``.

    The interior of an element is then recovered once, whatever the number of patches over it.
    """

    def __init__(self, condenser: ElementCondenser, count: int):
        nelems = len(condenser.space.grid.corners)
        self.boundary = np.zeros((nelems, 4 * condenser.space.n, count))
        self.multipliers = np.zeros((nelems, 4, count))

    def add(self, parts: list[tuple[ndarray, ndarray, ndarray]]) -> None:
        """Add what `listed` gives; the elements of a strip are distinct."""
        for at, boundary, multipliers in parts:
            self.boundary[at] += boundary
            self.multipliers[at] += multipliers


def listed(solved: Solved) -> list[tuple[ndarray, ndarray, ndarray]]:
    """Elements, boundary values and multipliers of all strips, on the CPU."""
    out = []
    for part in parts_of(solved):
        there = part.elements >= 0
        values = part.boundaries.cpu().numpy(), part.multipliers.cpu().numpy()
        inside = values if there.all() else tuple(array[there] for array in values)
        boundary, mu = (array.reshape(-1, *array.shape[-2:]) for array in inside)
        out.append((part.elements[there], boundary, mu))
    return out


def interior_values(
    condenser: ElementCondenser, row: Row, elements: ndarray, boundary: Tensor, multipliers: Tensor, weights: Tensor,
    loads: Tensor | None = None,
) -> Tensor:  # fmt: skip
    """Nodal values ``(k, (n + 1)**2, v)`` on elements of a row, from those around them and the multipliers.

    The load in each element is sum_j weights[j] a_T(lambda_j, .), weights ``(k, 4, v)``, plus ``loads``
    ``(k, (n + 1)**2, v)``. Of the former w - sum_j weights[j] lambda_j sees nothing inside T, and is what is recovered.
    """
    hats = torch.from_numpy(tensor(hat_values(condenser.space.n), 2).T).to(boundary)
    steps = row.steps_of(elements)
    halves = None if loads is None else condenser.load(elements, steps, loads)[1]
    below = boundary - condenser.hats @ weights[:, CORNERS]
    return condenser.interior(elements, steps, below, multipliers, halves) + hats @ weights


def explicit_correctors(
    solved: Solved, rows: dict[int, Row], condenser: ElementCondenser
) -> tuple[ndarray, ndarray, ndarray]:
    """Elements of a sweep, the fine nodes of their patches ``(B, nodes)`` (-1 outside) and the correctors there.

    For the four loads a_T(lambda_j, .).
    """
    sweep, layout = solved.sweep, solved.sweep.layout
    n, width, count = layout.n, layout.height * layout.n + 1, len(sweep.elements)
    identity = torch.eye(4, dtype=torch.float64, device=sweep.device).expand(count, -1, -1)
    nodes = np.full((count, width, width), -1)
    values = np.zeros((count, width, width, 4))
    for part in parts_of(solved):
        for e in range(layout.height):
            there = np.flatnonzero(part.elements[:, e] >= 0)
            if not len(there):
                continue
            at, present = part.elements[there, e], torch.from_numpy(there).to(sweep.device)
            own = identity if (part.j, e) == (layout.ell, layout.ell) else torch.zeros_like(identity)
            boundary, mu = part.boundaries[present, e], part.multipliers[present, e]
            inside = interior_values(condenser, rows[sweep.box.origin[0] + e], at, boundary, mu, own[: len(there)])
            y, x = (grid[None] for grid in np.mgrid[e * n : (e + 1) * n + 1, part.j * n : (part.j + 1) * n + 1])
            patch = there[:, None, None]
            nodes[patch, y, x] = sweep.space.refinement.nodes[at].reshape(-1, n + 1, n + 1)
            values[patch, y, x] = inside.cpu().numpy().reshape(-1, n + 1, n + 1, 4)
    return sweep.elements, nodes.reshape(count, -1), values.reshape(count, -1, 4)
