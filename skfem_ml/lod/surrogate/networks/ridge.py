"""The last layers of a field network by ridge regression: a null model of local matrices, and a start for training."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor

from skfem_ml.lod.surrogate.networks.equivariant import Average, joined
from skfem_ml.lod.surrogate.networks.field_network import FieldNetwork
from skfem_ml.lod.surrogate.networks.local_network import View
from skfem_ml.lod.surrogate.networks.place import Sample


@torch.no_grad()
def fit_affine(
    net: FieldNetwork,
    samples: Iterable[Sample],
    penalty: float = 1e-3,
    relative: bool = False,
    head: bool = False,
) -> None:
    """Add to ``net.affine`` the affine map of least squared error of (S_T - S^_T) / s, s the network's scale.

    With ``relative`` a patch counts ``s^2 / |S_T|^2``. Where the network corrects matrices of a coarser fine mesh, a
    field counts in inverse proportion to the square that is missing there: rough ones would rule all others. Added to
    the mean over patches is ``penalty`` times the mean square of an input times ``|W|^2``, W its matrix. With ``head``
    the last layer of the rest is fitted as well: of a trained network, for what its training left.

    Inputs are `FieldNetwork.raw` (and ``View.hidden``). The normal equations are averaged over the eight
    symmetries: W commutes with them. The other layers are left as they are. Raises ValueError for no samples.
    """
    layers: list[Average] = [net.head, net.affine] if head else [net.affine]
    squares = products = torch.zeros(())
    for sample in samples:
        view, raw, exact = net.look(*sample.inputs), net.raw(*sample.inputs), sample.exact.double()
        target = ((exact - net.matrices(view, sample.place)[0]) / view.scale[0][:, None, None]).flatten(1)
        weights = _weights(view, exact, target, relative)[:, None]
        inputs = torch.cat([view.hidden, raw] if head else [raw], dim=2)[0].double() * weights
        squares, products = squares + inputs.T @ inputs, products + inputs.T @ (target * weights)
    if squares.dim() == 0:
        raise ValueError("samples: expected at least one field with its local matrices, got none")
    actions, outputs = joined(*(layer.actions for layer in layers)), net.affine.rows
    squares = torch.stack([squares[g][:, g] for g in actions]).mean(dim=0)
    products = torch.stack([products[g][:, r] for g, r in zip(actions, outputs, strict=True)]).mean(dim=0)
    squares.diagonal().add_(penalty * squares.diagonal().mean())
    found = torch.linalg.solve(squares, products).T
    for layer, part in zip(layers, found.split([layer.actions.shape[1] for layer in layers], dim=1), strict=True):
        layer.weight.add_(part)


def _weights(view: View, local: Tensor, target: Tensor, relative: bool) -> Tensor:
    """What the patches of a field count, ``(k,)``."""
    scale = view.scale[0]
    weights = scale / local.flatten(1).norm(dim=1) if relative else torch.ones_like(scale)
    return weights if view.base is None else weights / (weights * target.norm(dim=1)).square().mean().sqrt()
