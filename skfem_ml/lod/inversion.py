r"""Coefficients from measurements: local averages of fine solutions with their adjoint, and regularised least squares.

With the fine matrix A(a), loads F^k and the quasi-interpolation I_h, the averages are m^k = I_h u^k, A(a) u^k = F^k.
For a functional J of them the adjoint A p^k = I_h^T dJ/dm^k gives the derivative in the value of a on the cell K,

    dJ/da_K = - sum_k (grad u^k, grad p^k)_K:

one factorisation, then two substitutions a load.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from numpy import ndarray
from skfem import BilinearForm
from torch import Tensor

from skfem_ml.lod.method import LOD
from skfem_ml.problems import diffusion
from skfem_ml.solvers import Elimination


def on_cells(lod: LOD, values: Tensor) -> Tensor:
    """One value a coarse element, ``(nelems,)``, on the cells of ``lod.coefficient_mesh`` that lie in it, ``(cells,)``.

    Raises ValueError for another shape.
    """
    refinement = lod.space.coefficient_refinement
    count = len(refinement.cells)
    if tuple(values.shape) != (count,):
        raise ValueError(f"values: expected {count}, one a coarse element, got shape {tuple(values.shape)}")
    return values[torch.from_numpy(refinement.parent)]


def fine_averages(lod: LOD, a: Tensor, loads: ndarray, form: BilinearForm = diffusion) -> Tensor:
    """Local averages I_h u of fine solutions, ``(k, coarse.N)``, zero on Gamma_D, differentiable once in ``a``.

    ``a`` is ``(cells,)``, torch.float64, one positive value a cell of ``lod.coefficient_mesh``, which has to be the
    fine mesh; ``loads`` are ``(fine.N, k)``. ``form`` is linear in ``a``. Raises ValueError for other shapes or meshes.
    """
    if lod.space.coefficient_refinement.cells.size != lod.fine.nelems:
        raise ValueError(
            "lod: expected one fine cell a cell of the coefficient; leave out cells=, or take LOD.with_fine"
        )
    if tuple(a.shape) != (lod.fine.nelems,) or loads.ndim != 2 or len(loads) != lod.fine.N:
        wanted = f"a of ({lod.fine.nelems},) and loads of ({lod.fine.N}, k)"
        raise ValueError(f"expected {wanted}, got {tuple(a.shape)} and {loads.shape}")
    return _Averages.apply(a, lod, loads, form)


def recover(
    model: Callable[[Tensor], Tensor], measured: ndarray, noise: float, count: int, alpha: float = 1.0, steps: int = 25
) -> ndarray:
    """The minimiser ``(count,)`` of ``|model(theta) - measured|^2 / noise^2 + alpha |theta|^2``, by L-BFGS from 0.

    ``model`` maps ``(count,)``, torch.float64, to the shape of ``measured`` and is differentiated by torch.
    """
    theta, wanted = torch.zeros(count, dtype=torch.float64, requires_grad=True), torch.from_numpy(measured)
    optimiser = torch.optim.LBFGS([theta], max_iter=steps, history_size=20, line_search_fn="strong_wolfe")

    def objective() -> Tensor:
        optimiser.zero_grad()
        value = ((model(theta) - wanted) / noise).square().sum() + alpha * theta.square().sum()
        value.backward()
        return value

    optimiser.step(objective)
    return theta.detach().numpy()


class _Averages(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, a: Tensor, lod: LOD, loads: ndarray, form: BilinearForm) -> Tensor:
        free = np.flatnonzero(~lod.space.fine_dirichlet)
        A = form.assemble(lod.fine, a=a.detach().numpy()[:, None])[free][:, free]
        solve, u = Elimination(A), np.zeros_like(loads, dtype=float)
        u[free] = solve(loads[free])
        ctx.held = lod, free, solve, u, form
        return torch.from_numpy((lod.quasi_interpolation @ u).T * ~lod.space.dirichlet.nodes)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, dJ: Tensor) -> tuple[Tensor, None, None, None]:
        lod, free, solve, u, form = ctx.held
        p = np.zeros_like(u)
        p[free] = solve((lod.quasi_interpolation.T @ (dJ.numpy() * ~lod.space.dirichlet.nodes).T)[free])
        unit = form.elemental(lod.fine, a=1.0).tolocal()  # [cell, trial, test]
        u, p = (values[lod.fine.element_dofs] for values in (u, p))  # (4, cells, k)
        return torch.from_numpy(-np.einsum("ick,cij,jck->c", u, unit, p, optimize=True)), None, None, None
