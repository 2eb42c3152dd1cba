"""Responses of patches to loads on their elements, and the choice of the one that leaves least on the rim."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cached_property
from typing import NamedTuple

import numpy as np
import torch
from numpy import ndarray
from torch import Tensor

from skfem_ml.lod.engine.bordered import Eliminated, Workspace, cholesky, divide, fix_some
from skfem_ml.lod.slod.blocks import Blocks, Join, Lifted, lifted, spread


class Outlines(NamedTuple):
    """Unknowns on the outlines of patches, ``(B, outline)`` each: see `rims.Rims`.

    Attributes
    ----------
    rim, natural
        Which are on the rim, and which on a natural boundary; the others are fixed.
    robin
        The Robin term.
    """

    rim: ndarray
    natural: ndarray
    robin: ndarray


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
    outlines
        What the unknowns of their outlines are.

    Attributes
    ----------
    functionals
        W^T of (1): what the responses leave on the rim, in the norm of X^-1, ``(B, elements, outline)``.
    """

    def __init__(
        self,
        elements: ndarray,
        at: ndarray,
        join: Join,
        parts: tuple[Blocks, Blocks],
        offset: int,
        free: ndarray,
        outlines: Outlines,
        workspace: Workspace,
    ):
        self.elements, self.at, self.join = elements, at, join
        self.places, self.parts = (at, at + offset), (parts[0].light(), parts[1].light())
        first, second = (part.taken(places) for part, places in zip(parts, self.places, strict=True))
        count, rest = len(at), join.rest
        self.step = join.room(count, first)._replace(schur=first.new_empty(0, 0, 0))
        self.factor = first.new_empty(count, rest, rest).mT
        self.functionals = first.new_empty(count, sum(join.loads), rest)
        self._set_outlines(outlines, free, first)
        for part in join.chunks(count):
            schur = workspace.empty("schur", part.stop - part.start, *[join.size - join.line] * 2)
            out = Eliminated(schur, self.step.factor[part], self.step.coupling[part])
            join(first[part], second[part], free[part], workspace, out)
            self._eliminate_rim(schur, part, Outlines(*(values[part] for values in outlines)))

    def _set_outlines(self, outlines: Outlines, free: ndarray, like: Tensor) -> None:
        """Natural unknowns come first on an outline, if there are some."""
        rim, natural = outlines.rim, outlines.natural
        self.order: Tensor | None = None
        if natural.any():
            order = np.argsort(~natural, axis=1, kind="stable")
            self.order = torch.from_numpy(order)
            rim, natural = (np.take_along_axis(mask, order, axis=1) for mask in (rim, natural))
        self.line_free, self.rim, self.natural = (as_mask(mask, like) for mask in (free, rim, natural))

    def _eliminate_rim(self, schur: Tensor, part: slice, outlines: Outlines) -> None:
        """W by (1); natural unknowns come first, so that their rows of W bring them back."""
        rest = self.join.rest
        schur[:, :rest, :rest].diagonal(dim1=1, dim2=2).add_(torch.from_numpy(outlines.robin * outlines.rim))
        fix_some(schur, outlines.rim | outlines.natural)
        stiffness, loads = schur[:, :rest, :rest], schur[:, rest:, :rest]
        if self.order is not None:
            order = self.order[part]
            stiffness = stiffness.take_along_dim(order[:, :, None], 1).take_along_dim(order[:, None], 2)
            loads = loads.take_along_dim(order[:, None], 2)
        cholesky(stiffness, self.factor[part])
        functionals = self.functionals[part].copy_(loads)
        divide(functionals, self.factor[part])

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
        """g of (2), with g = 1 on the middle element, ``(B, elements)``.

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

        ``load`` is one on the middle element besides, with C^-1 of what it leaves on the outline in ``residual``.
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
        """What responses to the loads ``g`` ``(B, elements)`` leave on the outline, ``(B, outline)``: C W g."""
        left = (self.functionals.mT @ g[:, :, None]) * self.rim[:, :, None]
        ordered = (self.factor @ left)[:, :, 0] * self.rim
        return ordered if self.order is None else torch.zeros_like(ordered).scatter_(1, self.order, ordered)

    def leftovers(self, g: Tensor) -> Tensor:
        """|W g|, the norm of what responses to the loads ``g`` ``(B, elements)`` leave on the rim, ``(B,)``."""
        return (self._seen @ g[:, :, None]).norm(dim=(1, 2))

    def corrected(self, load: Tensor, epsilon: Tensor) -> tuple[Tensor, Tensor]:
        """For a load around T ``(B, 4 n, 1)``: the loads d on elements that cancel most of what it leaves on the rim,
        ``(B, elements, 1)``, and the response to both around the elements, ``(B, elements, 4 n, 1)``.

        By (5).
        """
        middle = self.functionals.shape[1] // 2
        part = int(middle >= self.join.loads[0])
        below = self.parts[part].lift(self.places[part], middle - part * self.join.loads[0], load)
        whole = lifted(self.join, part, below, self.step, self.line_free)
        ordered = whole.outline if self.order is None else whole.outline.take_along_dim(self.order[:, :, None], 1)
        left = ordered * (self.rim + self.natural)[:, :, None]
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
