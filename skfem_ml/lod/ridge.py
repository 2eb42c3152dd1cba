"""The affine part of a field network by ridge regression: a null model of local matrices, and a start for training."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor

from .field_network import FieldNetwork
from .place import Place


@torch.no_grad()
def fit_affine(
    net: FieldNetwork,
    samples: Iterable[tuple[Tensor, Tensor, Place]],
    penalty: float = 1e-3,
    relative: bool = False,
) -> None:
    """Add to ``net.affine`` the affine map of least squared error of (S_T - S^_T) / s, s the network's `scale`.

    With ``relative`` a patch counts s^2 / |S_T|^2. Added to the mean over patches is ``penalty`` times the mean square
    of an input times |W|^2, W its matrix.

    Inputs are `FieldNetwork.raw`. The normal equations are averaged over the eight symmetries: W commutes with them.
    A sample is one field by element ``(nelems, m**2)``, k of its local matrices ``(k, rows, 4)`` and their place. The
    rest of the network is left as it is. Raises ValueError for no samples.
    """
    squares = products = torch.zeros(())
    for a, local, place in samples:
        raw, scale = net.raw(a[None], place)[0].double(), net.scale(a[None], place)[0]
        target = ((local.double() - net(a[None], place)[0]) / scale[:, None, None]).flatten(1)
        weights = scale / local.double().flatten(1).norm(dim=1) if relative else torch.ones_like(scale)
        raw, target = raw * weights[:, None], target * weights[:, None]
        squares, products = squares + raw.T @ raw, products + raw.T @ target
    if squares.dim() == 0:
        raise ValueError("samples: expected at least one field with its local matrices, got none")
    inputs, outputs = net.affine.actions, net.affine.rows
    squares = torch.stack([squares[g][:, g] for g in inputs]).mean(dim=0)
    products = torch.stack([products[g][:, r] for g, r in zip(inputs, outputs, strict=True)]).mean(dim=0)
    squares.diagonal().add_(penalty * squares.diagonal().mean())
    net.affine.weight.add_(torch.linalg.solve(squares, products).T)
