"""The patches of a run of elements in one row: factorised by a sweep over the lines between their strips, step (6)."""

from __future__ import annotations

from functools import cached_property

import numpy as np
import torch
from numpy import ndarray
from torch import Tensor

from skfem_ml.lod.engine.bordered import (
    LARGE,
    Eliminated,
    Workspace,
    cholesky_in_place,
    divide,
    fix,
    fix_some,
    subtract_lower,
    subtract_product,
)
from skfem_ml.lod.engine.rows import Strips
from skfem_ml.lod.mesh.discretisation import Discretisation


class Sweep:
    """Patches ``(B,)`` side by side, factorised: block-tridiagonal elimination over lines, and the multipliers' matrix.

    With x_i the unknowns on line i, D_i their block, E_i the coupling to the next line and Y_i the constraints there,
    L_i L_i^T = D_i - W_{i-1}^T W_{i-1},  W_i = L_i^-1 E_i,  Z_i = L_i^-1 (Y_i - W_{i-1}^T Z_{i-1}),        (6)
    and the multipliers' matrix is G = sum_i Z_i^T Z_i - H, H the constraints' own block in the strips.      (7)
    `solved.Solved` applies the factors to loads.

    Attributes
    ----------
    steps
        For every line L_i ``(B, m, m)`` and [Z_i | W_i]^T ``(B, columns + m, m)``.
    multipliers
        Factors of G.
    """

    def __init__(self, space: Discretisation, strips: Strips, elements: ndarray, starts: ndarray, workspace: Workspace):
        self.space, self.strips, self.layout, self.box = space, strips, strips.layout, strips.box
        self.elements, self.starts = elements, starts
        self.device = strips.schur.device
        self._contiguous = len(starts) == starts[-1] - starts[0] + 1
        gram = self._eliminate(workspace)
        self.multipliers = Multipliers(gram, self._constrained())

    def strip(self, i: int, of: Tensor) -> Tensor:
        """The i-th strip of every patch, ``(B, ...)``."""
        if self._contiguous:
            return of[self.starts[0] + i : self.starts[-1] + i + 1]
        return of[torch.from_numpy(self.starts + i).to(of.device)]

    def strip_step(self, i: int) -> Eliminated:
        """How the level edges in the i-th strip of every patch were eliminated."""
        return Eliminated(*(self.strip(i, part) for part in self.strips.step))

    @property
    def columns(self) -> ndarray:
        """The columns of the grid in which the elements lie, ``(B,)``."""
        return self.starts + self.box.origin[1] + self.layout.ell

    @cached_property
    def free(self) -> dict[int, ndarray]:
        """Which unknowns of a line are free in every patch, ``(B, line)``."""
        layout, last = self.layout, self.layout.nodes - 1
        cut = slice(layout.strip.cut, layout.height * layout.n + 1 - layout.strip.cut)
        masks = {rim: self.box.line_unknowns(layout.n, rim)[:, cut] for rim in ("", "left", "right")}
        return {
            i: masks["left" if i == 0 else "right" if i == last else ""][self.starts + i] for i in self.layout.lines
        }

    def _eliminate(self, workspace: Workspace) -> Tensor:
        """Forward sweep (6), and H - sum_i Z_i^T Z_i. Of D only the lower triangle is kept up to date."""
        layout, m = self.layout, self.layout.strip.line
        gram = self._strip_grams()
        self.steps: dict[int, tuple[Tensor, Tensor]] = {}
        cuts = [0, m // 2, m] if m >= LARGE else [0, m]
        before = None
        for i in layout.lines:
            met, following = layout.columns_met(i), i + 1 in layout.lines
            diagonal, rest = self._line_rows(workspace, i, met, following)
            if before is not None:
                columns, coupling = before[:, :-m], before[:, -m:]
                subtract_lower(diagonal, coupling, cuts)
                subtract_product(rest[:, : columns.shape[1]], columns, coupling)
            self._fix_line(diagonal, rest, i, met, following)
            factor = cholesky_in_place(diagonal)
            divide(rest, factor)
            self.steps[i], before = (factor, rest), rest
            subtract_product(gram[:, :met, :met], rest[:, :met], rest[:, :met])
        return gram

    def _line_rows(self, workspace: Workspace, i: int, met: int, following: bool) -> tuple[Tensor, Tensor]:
        """Rows of line i from the strips on both sides: D ``(B, m, m)`` and [Y | E]^T ``(B, columns + m, m)``."""
        layout, m, count = self.layout, self.layout.strip.line, len(self.elements)
        diagonal = workspace.empty(f"line diagonal {i}", count, m, m)
        rest = workspace.empty(f"line coupling {i}", count, met + (m if following else 0), m)
        rest[:, :met] = 0
        sides = [(j, side) for j, side in ((i - 1, slice(m, 2 * m)), (i, slice(0, m))) if 0 <= j < layout.height]
        strips = [self.strip(j, self.strips.schur)[:, :, side] for j, side in sides]
        blocks = [schur[:, side] for schur, (_, side) in zip(strips, sides, strict=True)]
        torch.add(blocks[0], blocks[1], out=diagonal) if len(blocks) == 2 else diagonal.copy_(blocks[0])
        for schur, (j, _) in zip(strips, sides, strict=True):
            column, place = layout.columns_of_strip(j)
            rest[:, column] += schur[:, place]
        if following:
            rest[:, met:] = strips[-1][:, m : 2 * m]
        return diagonal, rest

    def _strip_grams(self) -> Tensor:
        columns = self.layout.columns
        gram = torch.zeros(len(self.elements), columns, columns, dtype=torch.float64, device=self.device)
        for j in range(self.layout.height):
            column, place = self.layout.columns_of_strip(j)
            gram[:, column, column] += self.strip(j, self.strips.schur)[:, place, place]
        return gram

    def _fix_line(self, diagonal: Tensor, rest: Tensor, i: int, met: int, following: bool) -> None:
        fix_some(diagonal, self.free[i])
        _clear(rest, self.free[i][:, None])
        if following:
            _clear(rest[:, met:], self.free[i + 1][:, :, None])

    def _constrained(self) -> Tensor:
        """Which constraints of a patch are there: those at coarse nodes inside the domain, off Gamma_D."""
        space, nodes, count = self.space, self.layout.nodes, len(self.elements)
        where = space.patches.nodes[self.elements].reshape(count, nodes, nodes).transpose(0, 2, 1).reshape(count, -1)
        return torch.from_numpy((where >= 0) & ~space.dirichlet.nodes[where]).to(self.device)


class Multipliers:
    """Factors of G = -gram ``(B, columns, columns)`` for the multipliers, where constraints are there.

    Where some are redundant (very coarse fine meshes), any solution will do.
    """

    def __init__(self, gram: Tensor, there: Tensor):
        matrix = gram.neg_()
        self.active = there & (matrix.diagonal(dim1=1, dim2=2) > 0)  # a row with no free node says nothing
        fix(matrix, self.active.to(matrix))
        self.factor, info = torch.linalg.cholesky_ex(matrix)
        singular = torch.nonzero(info).ravel().tolist()
        self.inverses = {b: torch.linalg.pinv(matrix[b], rtol=1e-13, hermitian=True) for b in singular}

    def solve(self, right: Tensor) -> Tensor:
        """mu with G mu = right, ``(B, columns, v)``; zero where there is no constraint."""
        right = right * self.active[:, :, None]
        solution = torch.cholesky_solve(right, self.factor)
        for b, inverse in self.inverses.items():
            solution[b] = inverse @ right[b]
        return solution * self.active[:, :, None]


def _clear(block: Tensor, free: ndarray) -> None:
    """Set to zero what belongs to fixed unknowns, in those of a batch that have some; ``free`` broadcasts to it."""
    held = np.flatnonzero(~free.all(axis=(1, 2)))
    if len(held):
        at = torch.from_numpy(held).to(block.device)
        block[at] *= torch.from_numpy(free[held]).to(block)
