"""The patches of a run of elements in one row, solved together by a sweep over the lines between their strips."""

from __future__ import annotations

from functools import cached_property

import numpy as np
import torch
from numpy import ndarray
from torch import Tensor

from skfem_ml.lod.engine.bordered import (
    LARGE,
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
    """Patches ``(B,)`` side by side: block-tridiagonal elimination over lines, multipliers, and correctors on the
    lines.

    With x_i the unknowns on line i, D_i their block and E_i the coupling to the next line,
    L_i L_i^T = D_i - W_{i-1}^T W_{i-1},  W_i = L_i^-1 E_i,  Z_i = L_i^-1 (Y_i - W_{i-1}^T Z_{i-1}),
    and the bordered block H - sum_i Z_i^T Z_i of constraints and loads gives the multipliers.

    Attributes
    ----------
    coefficients
        What multiplies the columns of a patch, ``(B, columns, loads)``: minus the multipliers, and ones for the loads.
    lines
        Correctors on the lines 0, ..., 2 ell + 1 of the patches, ``(B, line, loads)``; None where the line is fixed.
    """

    def __init__(self, space: Discretisation, strips: Strips, elements: ndarray, starts: ndarray, workspace: Workspace):
        self.space, self.strips, self.layout, self.box = space, strips, strips.layout, strips.box
        self.elements, self.starts, self.workspace = elements, starts, workspace
        self.device = strips.schur.device
        self._contiguous = len(starts) == starts[-1] - starts[0] + 1
        self._eliminate()
        self._solve_multipliers()
        self._substitute_back()

    def strip(self, i: int, of: Tensor) -> Tensor:
        """The i-th strip of every patch, ``(B, ...)``."""
        if self._contiguous:
            return of[self.starts[0] + i : self.starts[-1] + i + 1]
        return of[torch.from_numpy(self.starts + i).to(of.device)]

    @cached_property
    def _free(self) -> dict[int, ndarray]:
        """Which unknowns of a line are free in every patch, ``(B, line)``."""
        layout, last = self.layout, self.layout.nodes - 1
        cut = slice(layout.strip.cut, layout.height * layout.n + 1 - layout.strip.cut)
        masks = {rim: self.box.line_unknowns(layout.n, rim)[:, cut] for rim in ("", "left", "right")}
        return {
            i: masks["left" if i == 0 else "right" if i == last else ""][self.starts + i] for i in self.layout.lines
        }

    def _eliminate(self) -> None:
        """Forward sweep. Of D only the lower triangle is kept up to date; [Y | E] is stored transposed."""
        layout, m = self.layout, self.layout.strip.line
        self.gram = self._strip_grams()
        self.steps: dict[int, tuple[Tensor, Tensor]] = {}
        cuts = [0, m // 2, m] if m >= LARGE else [0, m]
        before = None
        for i in self.layout.lines:
            met, following = layout.columns_met(i), i + 1 in self.layout.lines
            diagonal, rest = self._line_rows(i, met, following)
            if before is not None:
                columns, coupling = before[:, :-m], before[:, -m:]
                subtract_lower(diagonal, coupling, cuts)
                subtract_product(rest[:, : columns.shape[1]], columns, coupling)
            self._fix_line(diagonal, rest, i, met, following)
            factor = cholesky_in_place(diagonal)
            divide(rest, factor)
            self.steps[i], before = (factor, rest), rest
            subtract_product(self.gram[:, :met, :met], rest[:, :met], rest[:, :met])

    def _line_rows(self, i: int, met: int, following: bool) -> tuple[Tensor, Tensor]:
        """Rows of line i from the strips on both sides: D ``(B, m, m)`` and [Y | E]^T ``(B, columns + m, m)``."""
        layout, m, count = self.layout, self.layout.strip.line, len(self.elements)
        diagonal = self.workspace.empty(f"line diagonal {i}", count, m, m)
        rest = self.workspace.empty(f"line coupling {i}", count, met + (m if following else 0), m)
        rest[:, :met] = 0
        sides = [(j, side) for j, side in ((i - 1, slice(m, 2 * m)), (i, slice(0, m))) if 0 <= j < layout.height]
        strips = [self.strip(j, self.strips.schur)[:, :, side] for j, side in sides]
        blocks = [schur[:, side] for schur, (_, side) in zip(strips, sides, strict=True)]
        torch.add(blocks[0], blocks[1], out=diagonal) if len(blocks) == 2 else diagonal.copy_(blocks[0])
        for schur, (j, _) in zip(strips, sides, strict=True):
            for column, place in layout.columns_of_strip(j):
                rest[:, column] += schur[:, place]
        if following:
            rest[:, met:] = strips[-1][:, m : 2 * m]
        return diagonal, rest

    def _strip_grams(self) -> Tensor:
        columns = self.layout.columns
        gram = torch.zeros(len(self.elements), columns, columns, dtype=torch.float64, device=self.device)
        for j in range(self.layout.height):
            schur = self.strip(j, self.strips.schur)
            for row, row_place in self.layout.columns_of_strip(j):
                for column, place in self.layout.columns_of_strip(j):
                    gram[:, row, column] += schur[:, row_place, place]
        return gram

    def _fix_line(self, diagonal: Tensor, rest: Tensor, i: int, met: int, following: bool) -> None:
        fix_some(diagonal, self._free[i])
        _clear(rest, self._free[i][:, None])
        if following:
            _clear(rest[:, met:], self._free[i + 1][:, :, None])

    def _solve_multipliers(self) -> None:
        layout, space = self.layout, self.space
        nodes, count = layout.nodes, len(self.elements)
        where = space.patches.nodes[self.elements].reshape(count, nodes, nodes).transpose(0, 2, 1).reshape(count, -1)
        active = torch.from_numpy((where >= 0) & ~space.dirichlet.nodes[where]).to(self.device)
        load = layout.constraints_of_line(layout.ell + 1) + nodes
        gap = slice(load, load + layout.loads)
        constraints = _without(self.gram, 1, gap)
        gram, right = -_without(constraints, 2, gap), -constraints[:, :, gap]
        active &= gram.diagonal(dim1=1, dim2=2) > 0  # a row with no free node says nothing
        fix(gram, active.to(gram))
        right *= active[:, :, None]
        mu = _solve_spd(gram, right) * active[:, :, None]
        ones = torch.eye(layout.loads, dtype=mu.dtype, device=self.device).expand(count, -1, -1)
        self.coefficients = torch.cat([-mu[:, :load], ones, -mu[:, load:]], dim=1)

    def _substitute_back(self) -> None:
        self.lines: list[Tensor | None] = [None] * self.layout.nodes
        following = None
        for i in reversed(self.layout.lines):
            factor, solved = self.steps[i]
            met = self.layout.columns_met(i)
            right = self.coefficients[:, :met].mT @ solved[:, :met]  # transposed: (B, loads, m) reads memory in order
            if following is not None:
                right -= following.mT @ solved[:, met:]
            following = torch.linalg.solve_triangular(factor.mT, right.mT, upper=True)
            self.lines[i] = following

    def strip_values(self, j: int) -> Tensor:
        """For the j-th strip: correctors on its two lines, then minus the coefficients of its columns (functionals left
        out).
        """
        layout = self.layout
        out = self.coefficients.new_zeros(len(self.elements), layout.strip.functionals_at, layout.loads)
        for side, values in enumerate((self.lines[j], self.lines[j + 1])):
            if values is not None:
                out[:, side * layout.strip.line : (side + 1) * layout.strip.line] = values
        for column, place in self.layout.columns_of_strip(j):
            out[:, place] = -self.coefficients[:, column]
        return out

    def rows(self) -> Tensor:
        """Rows g_T(lambda_i) - a(w_T, lambda_i) at the nodes of patches, x fastest: ``(B, (2 ell + 2)**2, loads)``."""
        layout, nodes = self.layout, self.layout.nodes
        out = self.coefficients.new_zeros(len(self.elements), nodes, nodes, layout.loads)  # [x, y]
        for j in range(layout.height):
            functionals = self.strip(j, self.strips.schur)[:, layout.strip.functionals_at :]
            values = functionals[:, :, : layout.strip.functionals_at] @ self.strip_values(j)
            out[:, j : j + 2] -= values.view(-1, 2, nodes, layout.loads)
        return out.transpose(1, 2).reshape(len(self.elements), -1, layout.loads)


def _clear(block: Tensor, free: ndarray) -> None:
    """Set to zero what belongs to fixed unknowns, in those of a batch that have some; ``free`` broadcasts to it."""
    held = np.flatnonzero(~free.all(axis=(1, 2)))
    if len(held):
        at = torch.from_numpy(held).to(block.device)
        block[at] *= torch.from_numpy(free[held]).to(block)


def _without(tensor: Tensor, axis: int, gap: slice) -> Tensor:
    """A tensor without some of its entries along an axis."""
    return torch.cat(
        [tensor.narrow(axis, 0, gap.start), tensor.narrow(axis, gap.stop, tensor.shape[axis] - gap.stop)], axis
    )


def _solve_spd(gram: Tensor, right: Tensor) -> Tensor:
    """Solve with the Gram matrices of the constraints; where some are redundant (very coarse fine meshes), any
    solution.
    """
    factor, info = torch.linalg.cholesky_ex(gram)
    solution = torch.cholesky_solve(right, factor)
    for b in torch.nonzero(info).ravel().tolist():
        solution[b] = torch.linalg.pinv(gram[b], rtol=1e-13, hermitian=True) @ right[b]
    return solution
