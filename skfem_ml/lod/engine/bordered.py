"""Bordered matrices and their partial elimination, batched in torch: (1), (2) and (3) of `skfem_ml.lod.engine`.

A bordered matrix [[K, Y], [Y^T, H]] carries right-hand sides and functionals Y along with a stiffness K. Eliminating
some unknowns of K gives a smaller one of the same kind; eliminating all leaves H - Y^T K^-1 Y. So constraints, loads
and functionals need no treatment of their own.
"""

from __future__ import annotations

import itertools
import threading
from math import prod
from typing import NamedTuple

import numpy as np
import torch
from numpy import ndarray
from scipy.linalg.blas import dsyrk, dtrsm
from scipy.linalg.lapack import dpotrf
from torch import Tensor

from skfem_ml.lod.engine.reference import not_elliptic

LARGE = 64  # unknowns from which on symmetric updates leave out what is above the diagonal, and scipy's LAPACK is used


class Eliminated(NamedTuple):
    """What is left after an elimination, and what brings the eliminated unknowns back."""

    schur: Tensor
    factor: Tensor  # lower Cholesky factor L of the eliminated block
    coupling: Tensor  # the rest of its columns times L^-T, (..., rest, count)


def chosen(step: Eliminated, at: ndarray) -> Eliminated:
    """What brings unknowns back in some of a batch ``(k,)``; without a copy where they follow one another."""
    run = len(at) > 0 and len(at) == at[-1] - at[0] + 1 and bool((np.diff(at) == 1).all())
    which = slice(at[0], at[-1] + 1) if run else torch.from_numpy(at).to(step.factor.device)
    return Eliminated(step.schur[:0], step.factor[which], step.coupling[which])


class Workspace(threading.local):
    """Buffers that are used again, one set a thread: fresh pages for large arrays cost as much as the arithmetic on
    them.
    """

    def __init__(self, device: torch.device):
        self.device = device
        self._buffers: dict[str, Tensor] = {}

    def empty(self, name: str, *shape: int) -> Tensor:
        """An array with any content; the one last taken under that name is overwritten."""
        size = prod(shape)
        if name not in self._buffers or self._buffers[name].numel() < size:
            self._buffers[name] = torch.empty(size, dtype=torch.float64, device=self.device)
        return self._buffers[name][:size].view(shape)


class Fresh(Workspace):
    """Memory of its own for everything: for what is to be held."""

    def empty(self, name: str, *shape: int) -> Tensor:
        """An array with any content."""
        return torch.empty(shape, dtype=torch.float64, device=self.device)


def cholesky(matrix: Tensor, out: Tensor | None = None) -> Tensor:
    """Lower Cholesky factors of a batch. Raises ValueError where one is not positive definite (no elliptic form)."""
    if out is None:
        factor, info = torch.linalg.cholesky_ex(matrix)
    else:
        info = torch.empty(matrix.shape[:-2], dtype=torch.int32, device=matrix.device)
        factor, _ = torch.linalg.cholesky_ex(matrix, out=(out, info))
    if bool(info.any()):
        raise not_elliptic()
    return factor


def cholesky_in_place(matrix: Tensor) -> Tensor:
    """Factors in the lower triangles, which are all that is read and may be overwritten; what is above is undefined."""
    if not _for_scipy(matrix):
        return cholesky(matrix)
    for item in matrix.numpy():
        if dpotrf(item.T, lower=0, clean=0, overwrite_a=1)[1]:  # its transpose, stored by columns, is upper
            raise not_elliptic()
    return matrix


def divide(coupling: Tensor, factor: Tensor) -> None:
    """``coupling`` times L^-T in place, ``(..., rest, count)``: its transpose is what LAPACK solves by columns."""
    if _for_scipy(factor) and _for_scipy(coupling):
        for item, of in zip(coupling.numpy(), factor.numpy(), strict=True):
            dtrsm(1.0, of.T, item.T, lower=0, trans_a=1, overwrite_b=1)
    else:
        torch.linalg.solve_triangular(factor, coupling.mT, upper=False, out=coupling.mT)


def eliminate(matrix: Tensor, count: int) -> Eliminated:
    """Eliminate the first ``count`` unknowns of bordered matrices ``(..., N, N)`` by (1); their rows are not read."""
    lead, flat = matrix.shape[:-2], matrix.view(-1, *matrix.shape[-2:])
    factor = cholesky(flat[:, :count, :count])
    coupling = flat[:, count:, :count].contiguous()
    divide(coupling, factor)
    schur = torch.baddbmm(flat[:, count:, count:], coupling, coupling.mT, alpha=-1)
    return Eliminated(*(part.view(*lead, *part.shape[1:]) for part in (schur, factor, coupling)))


def recover(step: Eliminated, rest: Tensor, half: Tensor | None = None) -> Tensor:
    """Eliminated unknowns ``(..., count, v)`` by (2); ``rest`` holds the others and minus coefficients of columns.

    ``half`` is L^-1 of the load on them (of `half_load`), nothing where there is none.
    """
    seen = step.coupling[..., : rest.shape[-2], :].mT @ rest  # functionals, the last ones, carry no part of a solution
    return torch.linalg.solve_triangular(step.factor.mT, -seen if half is None else half - seen, upper=True)


def half_load(step: Eliminated, inner: Tensor, rest: Tensor) -> Tensor:
    """Move the load on eliminated unknowns ``(..., count, v)`` to ``rest``, in place, by (3); returns its L^-1."""
    half = torch.linalg.solve_triangular(step.factor, inner, upper=False)
    rest -= step.coupling[..., : rest.shape[-2], :] @ half
    return half


def subtract_product(matrix: Tensor, left: Tensor, right: Tensor) -> None:
    """``matrix -= left right^T`` in place, for batches ``(B, ., .)``."""
    matrix.baddbmm_(left, right.mT, alpha=-1)


def subtract_lower(matrix: Tensor, half: Tensor, cuts: list[int]) -> None:
    """``matrix -= half half^T`` in place, up to the diagonal or to that of blocks of rows; the rest is undefined."""
    if _for_scipy(matrix) and _for_scipy(half):
        for item, of in zip(matrix.numpy(), half.numpy(), strict=True):
            dsyrk(-1.0, of.T, 1.0, item.T, trans=1, lower=0, overwrite_c=1)
        return
    for start, stop in itertools.pairwise(cuts):
        subtract_product(matrix[:, start:stop, :stop], half[:, start:stop], half[:, :stop])


def _for_scipy(matrix: Tensor) -> bool:
    """Whether scipy's LAPACK takes over: large matrices on a CPU, each in one piece of memory, row after row.

    From about this size on its routines are faster than torch's on some processors (by a third on AMD's), and on none
    that we saw slower in sum; below, a call for every matrix of a batch costs more than that.
    """
    return (
        matrix.device.type == "cpu"
        and matrix.dim() == 3
        and matrix.shape[-1] >= LARGE
        and matrix.stride(2) == 1
        and matrix.stride(1) == matrix.shape[2]
    )


def fix(matrix: Tensor, free: Tensor) -> None:
    """Replace, in place, the columns and rows of fixed unknowns among the first by those of the identity.

    ``matrix`` is ``(..., N, N)``, ``free`` ``(..., count)`` of its dtype; only the first ``count`` columns are changed.
    """
    count = free.shape[-1]
    matrix[..., :count] *= free[..., None, :]
    matrix[..., :count, :count] *= free[..., :, None]
    matrix[..., :count, :count].diagonal(dim1=-2, dim2=-1).add_(1 - free)


def fix_some(matrix: Tensor, free: ndarray) -> None:
    """``fix`` for those of a batch ``(B, N, N)`` that have fixed unknowns, by the mask ``free`` ``(B, count)``."""
    held = torch.from_numpy(np.flatnonzero(~free.all(axis=1))).to(matrix.device)
    if len(held):
        count = free.shape[1]
        part = matrix[held, :, :count]
        fix(part, torch.from_numpy(free).to(matrix)[held])
        matrix[held, :, :count] = part


def scatter_add(target: Tensor, index: Tensor, source: Tensor) -> None:
    """Add blocks ``source`` to ``target``, both with the same leading batch axes, at flat places ``index`` of its last
    two.
    """
    lead = target.shape[:-2].numel()
    sizes = target.shape[-2:].numel(), source.shape[-2:].numel()
    target.view(lead, sizes[0]).index_add_(1, index, source.reshape(lead, sizes[1]))


def flat_index(rows: Tensor, cols: Tensor, width: int) -> Tensor:
    """Flat places of the block with these rows and columns in a matrix of the given width."""
    return (rows[:, None] * width + cols[None]).ravel()
