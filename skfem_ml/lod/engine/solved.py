"""Correctors of factorised patches for given loads, on the lines between their strips: step (8)."""

from __future__ import annotations

import torch
from torch import Tensor

from skfem_ml.lod.engine.bordered import half_load
from skfem_ml.lod.engine.sweep import Sweep


class Solved:
    """The solutions w in W(N^l(T)) of a(w, .) = g_T for the patches of a sweep, ``v`` loads each.

    With g_i the load on line i, condensed with its strip, and p the one on the constraints,
    z_i = L_i^-1 (g_i - W_{i-1}^T z_{i-1}),  G mu = p - sum_i Z_i^T z_i with the sign that C w = 0 asks for,
    x_i = L_i^-T (z_i - Z_i (-mu) - W_i x_{i+1}).                                                            (8)

    Parameters
    ----------
    sweep
        The factorised patches.
    loads
        Condensed loads on T, ``(B, 4 n + 8, v)``: on its boundary, against P and against R.

    Attributes
    ----------
    mu
        Multipliers, ``(B, columns, v)``.
    lines
        Solutions on the lines 0, ..., 2 ell + 1 of the patches, ``(B, line, v)``; None where the line is fixed.
    half
        Of the load on the level edges of the middle strip, for `bordered.recover`.
    """

    def __init__(self, sweep: Sweep, loads: Tensor):
        self.sweep, self.count = sweep, loads.shape[2]
        layout, m = sweep.layout, sweep.layout.strip.line
        self.half, middle = self._middle(loads)
        self.functionals = middle[:, layout.strip.functionals_at :]
        sides = {layout.ell: middle[:, :m], layout.ell + 1: middle[:, m : 2 * m]}
        column, place = layout.columns_of_strip(layout.ell)
        right = loads.new_zeros(len(loads), layout.columns, self.count)
        right[:, column] -= middle[:, place]
        halves: dict[int, Tensor] = {}
        for i in layout.lines:
            if i < layout.ell:
                continue
            y = sides[i] * _mask(sweep.free[i], loads) if i in sides else loads.new_zeros(len(loads), m, self.count)
            if i - 1 in halves:
                y = y - sweep.steps[i - 1][1][:, -m:] @ halves[i - 1]
            factor, rest = sweep.steps[i]
            halves[i] = torch.linalg.solve_triangular(factor, y, upper=False)
            met = layout.columns_met(i)
            right[:, :met] += rest[:, :met] @ halves[i]
        self.mu = sweep.multipliers.solve(right)
        self.lines = self._substitute_back(halves)

    def _middle(self, loads: Tensor) -> tuple[Tensor, Tensor]:
        """The load of the middle strip with its level edges eliminated by (3), ``(B, kept, v)``."""
        sweep, stack, ell = self.sweep, self.sweep.layout.strip, self.sweep.layout.ell
        vector = loads.new_zeros(len(loads), stack.size + 1, self.count)  # the last place takes what is left out
        vector.index_add_(1, stack.places(ell, 1)[0].to(loads.device), loads)
        free = sweep.strips.free[sweep.starts + ell]
        rest = vector[:, stack.inner : stack.size]
        whole = sweep.strip_step(ell)
        return half_load(whole, vector[:, : stack.inner] * _mask(free, loads), rest), rest

    def _substitute_back(self, halves: dict[int, Tensor]) -> list[Tensor | None]:
        sweep, layout = self.sweep, self.sweep.layout
        lines: list[Tensor | None] = [None] * layout.nodes
        following = None
        for i in reversed(layout.lines):
            factor, rest = sweep.steps[i]
            met = layout.columns_met(i)
            right = -(self.mu[:, :met].mT @ rest[:, :met])  # transposed: (B, v, m) reads memory in order
            if i in halves:
                right += halves[i].mT
            if following is not None:
                right -= following.mT @ rest[:, met:]
            following = torch.linalg.solve_triangular(factor.mT, right.mT, upper=True)
            lines[i] = following
        return lines

    def strip_values(self, j: int) -> Tensor:
        """For the j-th strip: correctors on its two lines, then the multipliers of its constraints."""
        layout = self.sweep.layout
        out = self.mu.new_zeros(len(self.mu), layout.strip.functionals_at, self.count)
        for side, values in enumerate((self.lines[j], self.lines[j + 1])):
            if values is not None:
                out[:, side * layout.strip.line : (side + 1) * layout.strip.line] = values
        column, place = layout.columns_of_strip(j)
        out[:, place] = self.mu[:, column]
        return out

    def rows(self) -> Tensor:
        """Rows g_T(lambda_i) - a(w_T, lambda_i) at the nodes of patches, x fastest: ``(B, (2 ell + 2)**2, v)``."""
        sweep, layout, nodes = self.sweep, self.sweep.layout, self.sweep.layout.nodes
        out = self.mu.new_zeros(len(self.mu), nodes, nodes, self.count)  # [x, y]
        out[:, layout.ell : layout.ell + 2] += self.functionals.view(-1, 2, nodes, self.count)
        at = layout.strip.functionals_at
        for j in range(layout.height):
            functionals = sweep.strip(j, sweep.strips.schur)[:, at:, :at]
            out[:, j : j + 2] -= (functionals @ self.strip_values(j)).view(-1, 2, nodes, self.count)
        return out.transpose(1, 2).reshape(len(self.mu), -1, self.count)


def _mask(free, like: Tensor) -> Tensor:
    return torch.from_numpy(free).to(like)[:, :, None]
