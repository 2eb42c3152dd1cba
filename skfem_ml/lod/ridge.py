"""The affine part of a field network by ridge regression: a null model of local matrices, and a start for training."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import torch

from .field_network import FieldNetwork


@torch.no_grad()
def fit_affine(
    net: FieldNetwork,
    samples: Iterable[Sequence[Any]],
    penalty: float = 1e-3,
    relative: bool = False,
) -> None:
    """Add to ``net.affine`` the affine map of least squared error of (S_T - S^_T) / s, s the network's scale.

    With ``relative`` a patch counts s^2 / |S_T|^2. Where the network corrects matrices of a coarser fine mesh, a field
    counts in inverse proportion to the square that is missing there: rough ones would rule all others. Added to the
    mean over patches is ``penalty`` times the mean square of an input times |W|^2, W its matrix.

    Inputs are `field_network.View.raw`. The normal equations are averaged over the eight symmetries: W commutes with
    them. A sample is one field by element ``(nelems, m**2)``, k of its local matrices ``(k, rows, 4)``, their place
    and, where the network corrects others, those. The rest of the network is left as it is. Raises ValueError for no
    samples.
    """
    squares = products = torch.zeros(())
    for a, local, place, *base in samples:
        view = net.look(a[None], place, *(part[None] for part in base))
        raw, scale = view.raw[0].double(), view.scale[0]
        target = ((local.double() - net.matrices(view, place)[0]) / scale[:, None, None]).flatten(1)
        size = local.double().flatten(1).norm(dim=1)
        weights = scale / size if relative else torch.ones_like(scale)
        if view.base is not None:
            weights = weights / (weights * target.norm(dim=1)).square().mean().sqrt()
        raw, target = raw * weights[:, None], target * weights[:, None]
        squares, products = squares + raw.T @ raw, products + raw.T @ target
    if squares.dim() == 0:
        raise ValueError("samples: expected at least one field with its local matrices, got none")
    inputs, outputs = net.affine.actions, net.affine.rows
    squares = torch.stack([squares[g][:, g] for g in inputs]).mean(dim=0)
    products = torch.stack([products[g][:, r] for g, r in zip(inputs, outputs, strict=True)]).mean(dim=0)
    squares.diagonal().add_(penalty * squares.diagonal().mean())
    net.affine.weight.add_(torch.linalg.solve(squares, products).T)
