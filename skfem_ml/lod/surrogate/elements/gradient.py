r"""Derivatives of local matrices of super-elements in the coefficient, through the energies of elements.

With w_j = Q_T lambda_j, Lambda_j and z_j as in `lod.gradient`, both lambda_j - w_j and Lambda_j - z_j are, inside of
every element T', the functions of least energy for their values b on its boundary and their moments m. So a change dH
of energies changes a functional J of the local matrices by

    dJ = sum_T sum_j sum_T' (b, m)_T'(chi_T lambda_j - w_j) . dH_T' (b, m)_T'(Lambda_j - z_j),

and the rest is the chain rule through the network.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy import ndarray
from torch import Tensor

from skfem_ml.lod.engine.elements import CORNERS, boundary_nodes, element_source
from skfem_ml.lod.engine.elements.energies import energies_of
from skfem_ml.lod.engine.reference import ReferenceEngine
from skfem_ml.lod.mesh.discretisation import Discretisation
from skfem_ml.lod.mesh.forms import FineForm
from skfem_ml.lod.mesh.interpolation import hat_values, tensor
from skfem_ml.lod.method import LOD
from skfem_ml.lod.surrogate.elements.labels import cells_of
from skfem_ml.problems import diffusion

if TYPE_CHECKING:
    from skfem_ml.lod.surrogate.elements.model import SuperElements

CHUNK = 64


def element_matrices(model: SuperElements, lod: LOD, a: Tensor) -> Tensor:
    """Local matrices of all elements ``(nelems, rows, 4)``, differentiable once in ``a`` ``(cells,)``, double.

    Forward runs the engine of ``lod`` with the model's energies, without those that ``tol`` would make exact; backward
    the reference engine, a patch at a time, and the network. `surrogate_matrices` checks ``a``.
    """
    return _Local.apply(a, model, model.without_exact().on(lod))


def energy_gradient(lod: LOD, a: ndarray, gradients: ndarray) -> ndarray:
    """dJ/dH of every element ``(nelems, 4 n + 4, 4 n + 4)``, for dJ/dS_T ``(nelems, (2 ell + 2)**2, 4)``."""
    space = lod.space
    D, hats = traces_and_moments(space), tensor(hat_values(space.n), 2).T
    out = np.zeros((len(space.all_elements), len(D), len(D)))
    chosen = np.flatnonzero((gradients != 0).any(axis=(1, 2)))
    fine_form = FineForm(space, diffusion, {"a": a})
    engine = ReferenceEngine(space, fine_form, correction=element_source(space, fine_form).correction)
    for T, patch, w, tested, z in engine.with_adjoints(space.in_rows(chosen), gradients):
        coarse = space.patches.cells[T][space.patches.cells[T] >= 0]
        position = np.searchsorted(patch.nodes, space.refinement.nodes[coarse])
        trial = -w[position]
        trial[coarse == T] += hats
        out[coarse] += (D @ trial) @ (D @ (tested - z)[position]).transpose(0, 2, 1)
    return out


def traces_and_moments(space: Discretisation) -> ndarray:
    """D: values on an element, x fastest, to those on its boundary and its moments, ``(4 n + 4, (n + 1)**2)``."""
    n = space.n
    outer = boundary_nodes(n)
    D = np.zeros((4 * n + 4, (n + 1) ** 2))
    D[np.arange(4 * n), outer[0] + (n + 1) * outer[1]] = 1.0
    D[4 * n :] = space.interpolation.local(n, 2)[CORNERS]
    return D


class _Local(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, a: Tensor, model: SuperElements, lod: LOD) -> Tensor:
        ctx.call = model, lod, a.detach().cpu().numpy().copy()
        return torch.from_numpy(lod.local(diffusion, a=ctx.call[2])).to(a.device)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None]:
        model, lod, a = ctx.call
        on_energies = torch.from_numpy(energy_gradient(lod, a, gradient.cpu().numpy()))
        cells = torch.from_numpy(cells_of(lod.space, lod.space.all_elements))
        on_cells = torch.zeros(len(a), dtype=torch.float64)
        for rows in torch.arange(len(cells)).split(CHUNK):
            values = torch.from_numpy(a)[cells[rows]].requires_grad_(True)
            with torch.enable_grad():
                energies = energies_of(model.answer(values))
            (found,) = torch.autograd.grad(energies, values, on_energies[rows])
            on_cells.index_add_(0, cells[rows].flatten(), found.flatten())
        return on_cells.to(gradient.device), None, None
