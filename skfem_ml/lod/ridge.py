"""The affine part of a field network by ridge regression: a null model of local matrices, and a start for training."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor

from .field_network import FieldNetwork
from .place import Place


@torch.no_grad()
def fit_affine(net: FieldNetwork, samples: Iterable[tuple[Tensor, Tensor, Place]], penalty: float = 1e-3) -> None:
    """Add to ``net.affine`` the affine map of least squared error of (S_T - S^_T) / exp(mean_T log a).

    Added to the mean over patches is ``penalty`` times the mean square of an input times |W|^2, W its matrix.

    Inputs are `FieldNetwork.raw`. The normal equations are averaged over the eight symmetries: W commutes with them.
    A sample is one field by element ``(nelems, m**2)``, k of its local matrices ``(k, rows, 4)`` and their place. The
    rest of the network is left as it is. Raises ValueError for no samples.
    """
    squares = products = torch.zeros(())
    for a, local, place in samples:
        raw = net.raw(a[None], place)[0].double()
        scale = a.log().mean(dim=1).exp()[place.cells[:, place.cells.shape[1] // 2]]
        target = (local.double() - net(a[None], place)[0]) / scale[:, None, None]
        squares, products = squares + raw.T @ raw, products + raw.T @ target.flatten(1)
    if squares.dim() == 0:
        raise ValueError("samples: expected at least one field with its local matrices, got none")
    inputs, outputs = net.affine.actions, net.affine.rows
    squares = torch.stack([squares[g][:, g] for g in inputs]).mean(dim=0)
    products = torch.stack([products[g][:, r] for g, r in zip(inputs, outputs, strict=True)]).mean(dim=0)
    squares.diagonal().add_(penalty * squares.diagonal().mean())
    net.affine.weight.add_(torch.linalg.solve(squares, products).T)
