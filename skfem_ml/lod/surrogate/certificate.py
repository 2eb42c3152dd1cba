"""How far a field network is likely to be off, learned from matrices that it was not trained on."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from skfem_ml.lod.surrogate.networks.field_network import FieldNetwork


def relative_errors(got: Tensor, exact: Tensor) -> Tensor:
    """|S^_T - S_T|_F / |S_T|_F of every patch, ``(fields, k)``."""
    return (got - exact).square().sum(dim=(2, 3)).sqrt() / exact.double().square().sum(dim=(2, 3)).sqrt()


def feature_range(net: FieldNetwork, fields: Iterable[Sequence[Any]]) -> dict[str, list[float]]:
    """Smallest and largest value of each of `FieldNetwork.invariants` on some fields: a card's "features".

    Fields are ``(count, nelems, m**2)`` with their place, and the matrices of a coarser fine mesh where the network
    corrects those. Raises ValueError for none.
    """
    lows, highs = [], []
    for a, place, *base in fields:
        for one, *more in zip(a, *base, strict=True):
            with torch.no_grad():
                features = net.invariants(net.look(one[None], place, *(matrices[None] for matrices in more)))[0]
            lows.append(features.amin(dim=0))
            highs.append(features.amax(dim=0))
    if not lows:
        raise ValueError("fields: expected at least one, got none")
    return {"low": torch.stack(lows).amin(dim=0).tolist(), "high": torch.stack(highs).amax(dim=0).tolist()}


def beyond(features: Tensor, seen: Mapping[str, list[float]]) -> Tensor:
    """How far features ``(..., count)`` lie outside their range on the fields of training, ``(...)``.

    The largest over the features of max(low - x, x - high, 0) / (high - low), for what `feature_range` gives.
    """
    low, high = (torch.tensor(seen[side], dtype=torch.float64, device=features.device) for side in ("low", "high"))
    gap = torch.maximum(low - features, features - high).clamp(min=0)
    return (gap / (high - low).clamp(min=torch.finfo(torch.float32).tiny)).amax(dim=-1)


def fit_doubt(
    net: FieldNetwork,
    samples: Iterable[Sequence[Any]],
    quantile: float = 0.9,
    steps: int = 500,
    rate: float = 1e-2,
    seed: int = 0,
) -> float:
    """Train ``net.doubt`` to predict a quantile of the relative error of a patch, and return the share it covers.

    The rest of the network is left as it is. The loss is the pinball loss of log |S^_T - S_T|_F / |S_T|_F; a sample is
    one field by element ``(nelems, m**2)``, k of its local matrices ``(k, rows, 4)``, their place and, where the
    network corrects others, those. It should be new to the network. Raises ValueError for no samples or a quantile
    outside (0, 1).
    """
    if not 0 < quantile < 1:
        raise ValueError(f"quantile: expected a number between 0 and 1, got {quantile}")
    features, targets = [], []
    for a, local, place, *base in samples:
        with torch.no_grad():
            view = net.look(a[None], place, *(matrices[None] for matrices in base))
            features.append(net.invariants(view)[0])
            targets.append(relative_errors(net.matrices(view, place), local[None])[0].clamp(min=1e-12).log())
    if not features:
        raise ValueError("samples: expected at least one field with its local matrices, got none")
    x, y = torch.cat(features), torch.cat(targets).to(features[0].dtype)
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        torch.nn.init.constant_(net.doubt.get_parameter("2.bias"), float(y.sort().values[int(quantile * (len(y) - 1))]))
    optimiser = torch.optim.Adam(net.doubt.parameters(), lr=rate)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, steps)
    for _ in range(steps):
        rows = torch.randint(len(x), (min(len(x), 4096),), generator=generator)
        optimiser.zero_grad()
        gap = y[rows] - net.doubt(x[rows])[:, 0]
        torch.maximum(quantile * gap, (quantile - 1) * gap).mean().backward()
        optimiser.step()
        schedule.step()
    with torch.no_grad():
        return float((y <= net.doubt(x)[:, 0]).double().mean())
