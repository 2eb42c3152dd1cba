"""How the network of super-elements is trained, and how far its energies are from exact ones."""

from __future__ import annotations

import torch
from torch import Tensor

from skfem_ml.lod.engine.elements.energies import energies_of
from skfem_ml.lod.surrogate.elements.cells import CellEnergies
from skfem_ml.lod.surrogate.elements.labels import ElementLabels
from skfem_ml.lod.surrogate.elements.network import ElementNetwork

COARSE = 2.0  # weight of the long waves in the loss
LOGARITHM = 0.02  # weight of the logarithm of the error, which keeps easy elements in sight


def gaps(bordered: Tensor, labels: ElementLabels) -> tuple[Tensor, Tensor]:
    """R H^ R^T - 1 of the whole energies ``(k, 4 n + 3, .)`` and of the long waves ``(k, 7, 7)``: zero if exact."""
    rim = bordered.shape[1] - 4
    out = []
    for H, R in ((energies_of(bordered), labels.whole), (bordered[:, :rim, :rim], labels.coarse)):
        R = R.to(H.dtype)
        out.append(R @ H @ R.mT - torch.eye(R.shape[1], dtype=H.dtype, device=H.device))
    return out[0], out[1]


def predicted(net: ElementNetwork, cells: CellEnergies, values: Tensor) -> Tensor:
    """Bordered matrices of elements with these values of their cells ``(k, n n)``."""
    return cells.bordered(values, net(values.log().view(-1, net.n, net.n)).flatten(2))


def element_loss(net: ElementNetwork, cells: CellEnergies, labels: ElementLabels) -> Tensor:
    """Mean over elements of |R H^ R^T - 1|_F, of the same for long waves, and a little of the logarithm."""
    whole, coarse = (gap.square().sum(dim=(1, 2)) for gap in gaps(predicted(net, cells, labels.values), labels))
    logarithm = (whole + 1e-4).log().mean()
    return whole.add(1e-12).sqrt().mean() + COARSE * coarse.add(1e-12).sqrt().mean() + LOGARITHM * logarithm
