"""Responses of patches to loads on their elements, and the choice of the one that leaves least on the rim."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cached_property

import numpy as np
import torch
from numpy import ndarray
from torch import Tensor

from skfem_ml.lod.engine.bordered import Workspace, cholesky, divide, fix_some
from skfem_ml.lod.slod.blocks import Blocks, Join, Lifted, lifted, spread


class Responses:
    """Patches ``(B,)`` of p x p elements in one row of the grid, their inner unknowns eliminated.

    Parameters
    ----------
    elements
        Their middle elements.
    at
        The columns of the grid in which these lie.
    join, parts, offset
        The blocks that are joined last: those at the places ``at`` and ``at + offset``.
    free
        Which unknowns of the line between them are free, ``(B, line)``.
    rim, natural
        Which unknowns of the outline are on the rim, and which on a natural boundary, ``(B, outline)``.
    robin
        The Robin term, ``(B, outline)``.

    Attributes
    ----------
    functionals
        W^T = R^T X^{-T/2}: what the responses leave on the rim, in the norm of X^-1, ``(B, elements, outline)``.
    """

    def __init__(
        self,
        elements: ndarray,
        at: ndarray,
        join: Join,
        parts: tuple[Blocks, Blocks],
        offset: int,
        free: ndarray,
        rim: ndarray,
        natural: ndarray,
        robin: ndarray,
        workspace: Workspace,
    ):
        self.elements, self.at, self.join = elements, at, join
        self.places = (at, at + offset)
        made = join(parts[0].taken(self.places[0]), parts[1].taken(self.places[1]), free, workspace)
        self.parts = (parts[0].light(), parts[1].light())
        self.step, self.line_free = made._replace(schur=made.schur.new_empty(0, 0, 0)), as_mask(free, made.schur)
        self._eliminate_rim(made.schur, rim, natural, robin)

    def _eliminate_rim(self, schur: Tensor, rim: ndarray, natural: ndarray, robin: ndarray) -> None:
        """X = S + Robin term, X = L L^T, W = L^-1 R; natural unknowns first, whose rows of W bring them back."""
        count = self.join.rest
        free = rim | natural
        schur[:, :count, :count].diagonal(dim1=1, dim2=2).add_(torch.from_numpy(robin * rim))
        fix_some(schur, free)
        stiffness, loads = schur[:, :count, :count], schur[:, count:, :count]
        self.order: Tensor | None = None
        if natural.any():
            order = np.argsort(~natural, axis=1, kind="stable")
            self.order = torch.from_numpy(order)
            stiffness, loads = self._ordered(self._ordered(stiffness, 1), 2), self._ordered(loads, 2)
            rim, natural, free = (np.take_along_axis(mask, order, axis=1) for mask in (rim, natural, free))
        self.rim, self.natural, self.free = (as_mask(mask, schur) for mask in (rim, natural, free))
        self.factor = cholesky(stiffness)
        self.functionals = loads.contiguous()
        divide(self.functionals, self.factor)

    def _ordered(self, values: Tensor, axis: int) -> Tensor:
        if self.order is None:
            return values
        shape = [len(values), 1, 1]
        shape[axis] = -1
        return values.take_along_dim(self.order.view(shape), axis)

    def tensors(self) -> Iterator[Tensor]:
        """What it holds; what neighbours share is among it."""
        yield from (self.step.factor, self.step.coupling, self.factor, self.functionals, self.triangle)
        yield from (tensor for part in self.parts for tensor in part.tensors())

    @cached_property
    def _seen(self) -> Tensor:
        """W with the rows of the rim alone, ``(B, outline, elements)``."""
        return (self.functionals * self.rim[:, None]).mT

    @cached_property
    def triangle(self) -> Tensor:
        """R of W = Q R with the middle element last, ``(B, ., elements)``."""
        return torch.linalg.qr(self._seen[:, :, middle_last(self._seen.shape[2])], mode="r")[1]

    @cached_property
    def size(self) -> Tensor:
        """The spectral norm of W; 1 where there is no rim, ``(B,)``."""
        norm = torch.linalg.svdvals(self.triangle)[:, 0]
        return torch.where(norm > 0, norm, torch.ones_like(norm))

    def choose(self, epsilon: Tensor) -> Tensor:
        """g that minimises |W g|^2 + (epsilon |W| |g|)^2 with g = 1 on the middle element, ``(B, elements)``.

        By orthogonal transformations alone: W^T W would lose the half of all digits.
        """
        count = self.functionals.shape[1]
        damped = torch.eye(count, dtype=epsilon.dtype) * (epsilon * self.size)[:, None, None]
        triangle = torch.linalg.qr(torch.cat([self.triangle, damped], 1), mode="r")[1]
        others = torch.linalg.solve_triangular(triangle[:, :-1, :-1], -triangle[:, :-1, -1:], upper=True)
        g = torch.ones(len(epsilon), count, dtype=epsilon.dtype)
        g[:, middle_last(count)[:-1]] = others[:, :, 0]
        return g

    def values(self, g: Tensor, load: Lifted | None = None, residual: Tensor | None = None) -> Tensor:
        """Responses to the loads ``g`` ``(B, elements, v)`` on the outlines of elements, ``(B, elements, 4 n, v)``.

        ``load`` is one on the middle element besides, with its rows ``residual`` of L^-1 on the outline.
        """
        around = g.new_zeros(len(g), self.join.rest, g.shape[2])
        if self.order is not None:
            half = self.functionals.mT @ g + (0 if residual is None else residual)
            solved = torch.linalg.solve_triangular(self.factor.mT, half * self.natural[:, :, None], upper=True)
            around.scatter_(1, self.order[:, :, None].expand_as(solved), solved)
        seen = self.step.coupling.mT @ torch.cat([around, -g], 1)
        half = -seen if load is None or load.half is None else load.half - seen
        inner = torch.linalg.solve_triangular(self.step.factor.mT, half, upper=True)
        return spread(self.join, self.parts, self.places, torch.cat([inner, around], 1), g, load)

    def residuals(self, g: Tensor) -> Tensor:
        """What responses to the loads ``g`` ``(B, elements)`` leave on the outline: L W g on the rim, ``(B, outline)``."""
        left = (self.functionals.mT @ g[:, :, None]) * self.rim[:, :, None]
        ordered = (self.factor.tril() @ left)[:, :, 0] * self.rim
        return ordered if self.order is None else torch.zeros_like(ordered).scatter_(1, self.order, ordered)

    def corrected(self, load: Tensor, epsilon: Tensor) -> tuple[Tensor, Tensor]:
        """For a load around T ``(B, 4 n, 1)``: the loads d on elements that cancel most of what it leaves on the rim,
        ``(B, elements, 1)``, and the response to both around the elements, ``(B, elements, 4 n, 1)``.

        d minimises |W_f + W d|^2 + (epsilon |W| |d|)^2, W_f what the response to the load leaves.
        """
        middle = self.functionals.shape[1] // 2
        part = int(middle >= self.join.loads[0])
        below = self.parts[part].lift(self.places[part], middle - part * self.join.loads[0], load)
        whole = lifted(self.join, part, below, self.step, self.line_free)
        left = self._ordered(whole.outline, 1) * self.free[:, :, None]
        residual = torch.linalg.solve_triangular(self.factor, left, upper=False)
        d = -self._cancelling(epsilon) @ (residual * self.rim[:, :, None])
        return d, self.values(d, whole, residual)

    def _cancelling(self, epsilon: Tensor) -> Tensor:
        """The pseudo-inverse of [W; epsilon |W| I] on what is left on the rim, ``(B, elements, outline)``."""
        count = self.functionals.shape[1]
        damped = torch.eye(count, dtype=epsilon.dtype) * (epsilon * self.size)[:, None, None]
        Q, R = torch.linalg.qr(torch.cat([self._seen, damped], 1))
        return torch.linalg.solve_triangular(R, Q[:, : self.join.rest].mT, upper=True)


def middle_last(count: int) -> Tensor:
    """The elements of a patch with the middle one last."""
    everyone = torch.arange(count)
    return torch.cat([everyone[everyone != count // 2], torch.tensor([count // 2])])


def as_mask(mask: ndarray, like: Tensor) -> Tensor:
    """A mask as numbers 0 and 1."""
    return torch.from_numpy(np.ascontiguousarray(mask)).to(like.dtype)
