"""Batches of block-tridiagonal matrices in torch: what a stencil is on a grid whose rows are the blocks."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy import ndarray

from skfem_ml.solvers.multigrid.elements import offsets

if TYPE_CHECKING:
    from torch import Tensor


class BlockCholesky:
    """Cholesky factors of matrices A given by stencils ``(3**d, k, *nodes)``, rows and columns off ``free`` left out.

    With the rows of the grid along its first axis as blocks, D_i on the diagonal and E_i from row i to row i + 1:
    W_i = L_i^-1 E_i, L_i L_i^T = D_i - W_{i-1}^T W_{i-1}. Memory: nodes times twice the width of a row, for each of k.
    """

    def __init__(self, stencil: Tensor, free: ndarray):
        import torch

        self.rows = free.shape[0]
        inside = torch.as_tensor(free.reshape(self.rows, -1), device=stencil.device)
        diagonal, right = _blocks(stencil, 0), _blocks(stencil, 1)
        self.lower: list[Tensor] = []
        self.coupling: list[Tensor] = []
        for i in range(self.rows):
            both = inside[i][:, None] & inside[i]
            block = torch.where(both, diagonal[:, i], 0.0) + torch.diag(1.0 * ~inside[i])
            if i:
                block = block - self.coupling[-1].mT @ self.coupling[-1]
            self.lower.append(torch.linalg.cholesky(block))
            if i + 1 < self.rows:
                across = torch.where(inside[i][:, None] & inside[i + 1], right[:, i], 0.0)
                self.coupling.append(torch.linalg.solve_triangular(self.lower[i], across, upper=False))
        self.inside = inside

    def __call__(self, b: Tensor) -> Tensor:
        """A^-1 b at free nodes, zero elsewhere; b is ``(k, *nodes)``."""
        import torch

        right = torch.where(self.inside, b.reshape(len(b), self.rows, -1), 0.0)[..., None]
        known: list[Tensor] = []
        for i, lower in enumerate(self.lower):
            rest = right[:, i] - (self.coupling[i - 1].mT @ known[-1] if i else 0.0)
            known.append(torch.linalg.solve_triangular(lower, rest, upper=False))
        out: list[Tensor] = []
        for i in reversed(range(self.rows)):
            rest = known[i] - (self.coupling[i] @ out[-1] if out else 0.0)
            out.append(torch.linalg.solve_triangular(self.lower[i].mT, rest, upper=True))
        return torch.stack(out[::-1], dim=1)[..., 0].reshape(b.shape)


def _blocks(stencil: Tensor, step: int) -> Tensor:
    """Dense blocks from every row of the grid to the one ``step`` ahead, ``(k, rows, w, w)``."""
    nodes = stencil.shape[2:]
    plane, width = tuple(nodes[1:]), int(np.prod(nodes[1:]))
    rows = stencil.reshape(len(stencil), stencil.shape[1], nodes[0], width)
    out = stencil.new_zeros((stencil.shape[1], nodes[0], width, width))
    place = np.indices(plane).reshape(len(plane), width)
    for number, offset in enumerate(offsets(len(nodes))):
        if offset[0] == step:
            beside = place + np.array(offset[1:], dtype=int).reshape(-1, 1)
            there = ((beside >= 0) & (beside < np.array(plane, dtype=int).reshape(-1, 1))).all(axis=0)
            p = np.flatnonzero(there)
            q = np.ravel_multi_index(tuple(beside[:, there]), plane) if plane else p
            out[:, :, p, q] = rows[number][:, :, p]
    return out
