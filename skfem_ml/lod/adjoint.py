"""From local matrices to the coarse solution in torch, differentiable by one adjoint solve."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy import ndarray
from scipy.sparse.linalg import SuperLU, splu
from torch import Tensor

from skfem_ml.lod.method import LOD


def coarse_solution(lod: LOD, local: Tensor, b: ndarray) -> Tensor:
    """The solution u_h of S u_h = b with zero values on Gamma_D, ``(coarse.N,)``, differentiable in the local matrices.

    ``local`` is ``(nelems, (2 ell + 2)**d, 2**d)``, double precision, and S its sum through the local-to-global maps.
    For a functional J(u) the adjoint p solves S^T p = dJ/du on the free nodes, and dJ/dS_T[i, j] = -p_i u_j with i and
    j the global numbers of its row and column. Raises ValueError for another shape or type, and where nothing is fixed.
    """
    wanted = (len(lod.space.grid.corners), lod.patches.nodes.shape[1], lod.patches.corners.shape[1])
    if tuple(local.shape) != wanted or local.dtype != torch.float64:
        raise ValueError(f"local: expected {wanted} of torch.float64, got {tuple(local.shape)} of {local.dtype}")
    if np.shape(b) != (lod.coarse.N,):
        raise ValueError(f"b: expected one value per coarse degree of freedom, ({lod.coarse.N},), got {np.shape(b)}")
    if not lod.space.dirichlet.nodes.any():
        raise ValueError("dirichlet: expected a part of the boundary where u is fixed, got none: S is singular")
    return _Solve.apply(local, lod, np.asarray(b, dtype=float))


class _Solve(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, local: Tensor, lod: LOD, b: ndarray) -> Tensor:
        S = lod._coo(local.detach().cpu().numpy()).tocsr()
        vertices = lod.coarse.nodal_dofs[0]
        fixed = np.zeros(lod.coarse.N, dtype=bool)
        fixed[vertices[lod.space.dirichlet.nodes]] = True
        ctx.free, ctx.lod, ctx.device = np.flatnonzero(~fixed), lod, local.device
        ctx.factors = splu(S[ctx.free][:, ctx.free].tocsc()) if len(ctx.free) else None
        ctx.u = np.zeros(lod.coarse.N)
        ctx.u[ctx.free] = _solve(ctx.factors, b[ctx.free], "N")
        return torch.from_numpy(ctx.u.copy()).to(local.device)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None]:
        p = np.zeros_like(ctx.u)
        p[ctx.free] = _solve(ctx.factors, gradient.cpu().numpy()[ctx.free], "T")
        rows, columns = ctx.lod.patches.scatter()
        # Rows outside the domain point at T's own corners as well: what stands there counts in forward, and here.
        return torch.from_numpy(-p[rows] * ctx.u[columns]).to(ctx.device), None, None


def _solve(factors: SuperLU | None, b: ndarray, transposed: str) -> ndarray:
    return b if factors is None else factors.solve(b, transposed)
