r"""Derivatives: of the coarse solution in the local matrices by one adjoint solve, and of exact local matrices in the
coefficient by one adjoint corrector problem a patch.

Let w_j = Q_T lambda_j, and for a functional J of the local matrices let G_T[i, j] = dJ/dS_T[i, j] and Lambda_j = sum_i
G_T[i, j] lambda_i. With the adjoint correctors z_j in W(N^l(T)), a(v, z_j) = a(v, Lambda_j) for all v there, a change
da of the coefficient changes J by

    dJ = sum_T sum_j da(chi_T lambda_j - w_j, Lambda_j - z_j),

because a(dw_j, Lambda_j) = a(dw_j, z_j) = da_T(lambda_j, z_j) - da(w_j, z_j) (the spaces do not depend on a). Every
cell gets the product of two local vectors with the derivative of its element matrix.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from numpy import ndarray
from numpy.typing import ArrayLike
from scipy.sparse.linalg import SuperLU, splu
from skfem import BilinearForm
from torch import Tensor

from skfem_ml.lod.engine.reference import ReferenceEngine
from skfem_ml.lod.mesh.forms import FineForm, check_coefficients
from skfem_ml.lod.mesh.interpolation import hat_values, tensor
from skfem_ml.lod.method import LOD
from skfem_ml.problems import diffusion


def exact_matrices(lod: LOD, a: Tensor, form: BilinearForm = diffusion, **coefficients: ArrayLike) -> Tensor:
    """Local matrices ``lod.local(form, a=a)``, ``(nelems, (2 ell + 2)**d, 2**d)``, differentiable once in ``a``.

    ``a`` is ``(cells,)``, torch.float64, one positive value a cell of ``lod.coefficient_mesh``. With
    `coarse_solution` any functional of the coarse solution has its gradient. Forward runs the engine of
    ``lod``, backward the reference engine, a patch at a time (`matrix_gradient`). Raises ValueError for another shape
    or type, an LOD with interiors, and what ``lod.local`` raises.
    """
    _refuse_interiors(lod)
    cells = lod.space.coefficient_refinement.cells.size
    if tuple(a.shape) != (cells,) or a.dtype != torch.float64:
        raise ValueError(f"a: expected {cells} values of torch.float64, one a cell, got {tuple(a.shape)} of {a.dtype}")
    return _Local.apply(a, lod, form, coefficients)


def matrix_gradient(lod: LOD, form: BilinearForm, gradients: ndarray, **coefficients: ArrayLike) -> ndarray:
    """The gradient sum_T sum_ij G_T[i, j] dS_T[i, j] / da in every cell of ``lod.coefficient_mesh``, ``(cells,)``.

    ``gradients`` G has the shape of the local matrices, ``(nelems, (2 ell + 2)**d, 2**d)``; entries of rows outside the
    domain count for nothing, as elements whose entries all vanish do. Any dimension, boundary and form that is affine
    in ``a``. Raises ValueError for another shape, a form that is not affine, a coefficient ``a`` that is no field and
    an LOD with interiors.
    """
    _refuse_interiors(lod)
    space = lod.space
    wanted = (len(space.grid.corners), lod.patches.nodes.shape[1], lod.patches.corners.shape[1])
    if np.shape(gradients) != wanted:
        raise ValueError(f"gradients: expected the shape of the local matrices {wanted}, got {np.shape(gradients)}")
    if np.ndim(coefficients.get("a", 1.0)) != 1:
        raise ValueError("a: expected one value a cell, (nelems,), got a number, a tensor or nothing")
    checked = check_coefficients(coefficients, space.coefficient_refinement.cells.size, -1)
    slopes = _slopes(lod, form, checked)
    hats = tensor(hat_values(space.n), space.grid.dim)[:, space.fine_corners_in_cell].transpose(1, 2, 0)
    elements = np.flatnonzero((gradients != 0).any(axis=(1, 2)))
    on_fine = np.zeros(space.refinement.cells.size)
    for T, patch, w, tested, z in ReferenceEngine(space, FineForm(space, form, checked)).with_adjoints(
        space.in_rows(elements), np.asarray(gradients, dtype=float)
    ):
        trial = -w[patch.corners]  # (cells, 2**d, columns): chi_T lambda_j - w_j jumps, so cell by cell
        trial[np.isin(patch.cells, space.refinement.cells[T])] += hats
        on_fine[patch.cells] += np.einsum(
            "cij,cjk,cik->c", slopes[patch.cells], trial, (tested - z)[patch.corners], optimize=True
        )
    return np.bincount(space.coefficient_cell, on_fine, minlength=space.coefficient_refinement.cells.size)


def _refuse_interiors(lod: LOD) -> None:
    """Raise ValueError for interiors that are not those of the fine mesh: their derivatives are not known."""
    if lod.space.interiors is not None:
        raise ValueError(
            f"lod: expected one with the interiors of its fine mesh, got {lod.space.interiors!r}; differentiate "
            f"lod.with_fine({lod.space.n})"
        )


def _slopes(lod: LOD, form: BilinearForm, coefficients: Mapping[str, float | ndarray]) -> ndarray:
    """The derivative of every fine element matrix in the coefficient of its cell, ``(fine cells, 2**d, 2**d)``."""
    cells, count = np.arange(lod.space.refinement.cells.size), np.size(coefficients["a"])
    unit = FineForm(lod.space, form, coefficients).unit_matrix
    if unit is not None:
        return np.broadcast_to(unit, (len(cells), *unit.shape))
    one, two, three = (
        FineForm(lod.space, form, {**coefficients, "a": np.full(count, value)}).matrices(cells)
        for value in (1.0, 2.0, 3.0)
    )
    slope = two - one
    if np.abs(three - two - slope).max() > 1e-10 * np.abs(slope).max():
        raise ValueError("form: expected one that is affine in a, got one that is not; differentiate by differences")
    return slope


class _Local(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, a: Tensor, lod: LOD, form: BilinearForm, coefficients: dict[str, ArrayLike]) -> Tensor:
        field = a.detach().cpu().numpy().copy()
        ctx.call = lod, form, {**coefficients, "a": field}
        return torch.from_numpy(lod.local(form, **ctx.call[2])).to(a.device)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        lod, form, coefficients = ctx.call
        on_cells = matrix_gradient(lod, form, gradient.cpu().numpy(), **coefficients)
        return torch.from_numpy(on_cells).to(gradient.device), None, None, None


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
        S = lod.sum(local.detach().cpu().numpy()).tocsr()
        ctx.free, ctx.lod, ctx.device = np.flatnonzero(~lod.space.fixed), lod, local.device
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
