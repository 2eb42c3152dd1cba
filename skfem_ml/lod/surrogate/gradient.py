"""Local matrices of a surrogate in torch, differentiable in the coefficient."""

from __future__ import annotations

import torch
from torch import Tensor

from skfem_ml.lod.gradient import exact_matrices
from skfem_ml.lod.method import LOD
from skfem_ml.lod.surrogate.elements import SuperElements
from skfem_ml.lod.surrogate.elements.gradient import element_matrices
from skfem_ml.lod.surrogate.inputs import CoarserFine, place_of
from skfem_ml.lod.surrogate.model import Surrogate


def surrogate_matrices(surrogate: Surrogate | SuperElements, lod: LOD, a: Tensor) -> Tensor:
    """Local matrices of all elements ``(nelems, rows, 4)`` in torch, differentiable in ``a`` ``(cells,)``, double.

    Derivatives are those of the network (single precision unless ``surrogate.net`` was made double); they need not be
    close to those of exact LOD where its values are. Raises ModelMismatchError as `Surrogate.local`, and ValueError for
    another shape, type or sign. `SuperElements` are differentiated by `element_matrices`.
    """
    if not isinstance(surrogate, SuperElements):
        surrogate.check(lod)
    cells = lod.space.coefficient_refinement.cells
    if a.shape != (cells.size,) or a.dtype != torch.float64 or not bool((a > 0).all()):
        raise ValueError(
            f"a: expected {cells.size} positive values of torch.float64, one a cell, got {tuple(a.shape)} of {a.dtype}"
        )
    if isinstance(surrogate, SuperElements):
        return element_matrices(surrogate, lod, a)
    field, base = a[torch.from_numpy(cells)][None], None
    if surrogate.net.base:
        coarser = CoarserFine.of(lod, surrogate.net.base)
        base = exact_matrices(coarser.lod, coarser.field(field))[None].to(surrogate.device)
    place = place_of(lod, lod.space.all_elements, surrogate.device)
    return surrogate.predict(field.to(surrogate.device), place, base)[0].to(a.device)
