"""How the network of super-elements is trained, and how far its energies are from exact ones."""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor

from skfem_ml.learning.optim import MuonAdam
from skfem_ml.learning.schedules import cosine
from skfem_ml.learning.training import History, fit
from skfem_ml.lod.engine.elements.energies import energies_of
from skfem_ml.lod.surrogate.elements.cells import CellEnergies
from skfem_ml.lod.surrogate.elements.labels import ElementLabels
from skfem_ml.lod.surrogate.elements.network import ElementNetwork, predicted
from skfem_ml.lod.surrogate.elements.symmetries import COUNT, moved

COARSE = 2.0  # weight of the long waves in the loss
RATE, FINE_TUNING = 7e-3, 2e-3  # largest learning rates: from the first weights, and from trained ones
CHUNK = 256  # held elements judged at a time
BATCH = 96  # elements a step
WARM = 200  # steps over which the rate rises, at most
LOGARITHM = 0.02  # weight of the logarithm of the error, which keeps easy elements in sight


def gaps(bordered: Tensor, labels: ElementLabels) -> tuple[Tensor, Tensor]:
    """R H^ R^T - 1 of the whole energies ``(k, 4 n + 3, .)`` and of the long waves ``(k, 7, 7)``: zero if exact."""
    rim = bordered.shape[1] - 4
    out = []
    for H, R in ((energies_of(bordered), labels.whole), (bordered[:, :rim, :rim], labels.coarse)):
        R = R.to(H.dtype)
        out.append(R @ H @ R.mT - torch.eye(R.shape[1], dtype=H.dtype, device=H.device))
    return out[0], out[1]


def element_loss(bordered: Tensor, labels: ElementLabels) -> Tensor:
    """Mean over elements of |R H^ R^T - 1|_F, of the same for long waves, and a little of the logarithm."""
    whole, coarse = (gap.square().sum(dim=(1, 2)) for gap in gaps(bordered, labels))
    logarithm = (whole + 1e-4).log().mean()
    return whole.add(1e-12).sqrt().mean() + COARSE * coarse.add(1e-12).sqrt().mean() + LOGARITHM * logarithm


@torch.no_grad()
def held_loss(net: ElementNetwork, cells: CellEnergies, held: ElementLabels) -> float:
    """The mean of `element_loss` over labelled elements."""
    parts = [held.rows(rows) for rows in torch.arange(len(held.values)).split(CHUNK)]
    losses = [float(element_loss(predicted(net, cells, part.values), part)) * len(part.values) for part in parts]
    return sum(losses) / len(held.values)


def fit_elements(
    net: ElementNetwork,
    labels: ElementLabels,
    held: ElementLabels,
    *,
    steps: int,
    rate: float = RATE,
    batch: int = BATCH,
    seed: int = 0,
    **options: Any,
) -> History:
    """Train the network on labelled elements, each step in one of the eight symmetric positions; return the history.

    A step draws ``batch`` of the ``labels``; the loss of those that are ``held`` (`held_loss`) chooses the weights.
    Muon for the inner layers, Adam for the rest, cosine schedule, averaged weights.
    ``options``: those of `learning.fit`. Errors as those.
    """
    cells = CellEnergies(net.n)

    def drawn(step: int) -> tuple[int, ElementLabels]:
        rng = np.random.default_rng([seed, step])
        return step % COUNT, labels.rows(torch.from_numpy(rng.integers(0, len(labels.values), batch)))

    def loss(net: ElementNetwork, seen: tuple[int, ElementLabels]) -> Tensor:
        turn, some = seen
        bordered = moved(turn, some.values, lambda values: predicted(net, cells, values))
        return element_loss(bordered, some)

    options.setdefault("schedule", cosine(rate, steps, min(WARM, steps // 10 + 1)))
    options.setdefault("average", 0.998)
    options.setdefault("every", max(1, steps // 20))
    validate = partial(held_loss, cells=cells, held=held)
    return fit(net, loss, drawn, optimiser=muon(net, rate), steps=steps, validate=validate, **options)


def muon(net: ElementNetwork, rate: float) -> torch.optim.Optimizer:
    """Muon for the inner layers, Adam for the others."""
    first, *inner = net.layers
    return MuonAdam(inner, [{"params": [first, *net.shifts, net.last, net.offset, net.scale]}], lr=rate)
