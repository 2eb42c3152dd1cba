"""The eight symmetries of the square, acting on patches and local matrices; each maps local matrices exactly."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache

import torch
from torch import Tensor

from skfem_ml.lod.surrogate.networks.place import Inputs, Place

COUNT = 8


@cache
def permutation(number: int, size: int) -> Tensor:
    """p with (moved grid)[i] = grid[p[i]] for a ``size x size`` grid, x fastest; number 0 is the identity."""
    grid = torch.arange(size**2, device="cpu").reshape(size, size)  # also while a network is built on "meta"
    if number & 4:
        grid = grid.T
    if number & 2:
        grid = grid.flip(0)
    return (grid.flip(1) if number & 1 else grid).reshape(-1)


def move(number: int, a: Tensor, place: Place, base: Tensor | None = None) -> Inputs:
    """The patches moved about their middles, and the mesh as a whole: fields by element ``(fields, nelems, m**2)``,
    their places, and local matrices where there are any.
    """
    side = round(a.shape[2] ** 0.5)
    cells, nodes = (round(x.shape[1] ** 0.5) for x in (place.cells, place.nodes))
    within = permutation(number, side).to(a.device)
    blocks, corners = (permutation(number, size).to(a.device) for size in (cells, nodes))
    lattice = place.lattice.flip(1) if number & 4 else place.lattice
    mirrored = torch.tensor([number & 1, number & 2], device=a.device) > 0
    lattice = torch.where(mirrored, lattice.amax(dim=0) - lattice, lattice)
    cells, nodes, dirichlet = place.cells[:, blocks], place.nodes[:, corners], place.dirichlet[:, corners]
    moved = None if base is None else move_matrices(number, base)
    return Inputs(a[:, :, within], Place(cells, nodes, dirichlet, lattice), moved)


def move_matrices(number: int, local: Tensor, back: bool = False) -> Tensor:
    """Local matrices ``(..., rows, 4)`` of the moved patches; ``back`` undoes it."""
    rows = permutation(number, round(local.shape[-2] ** 0.5))
    columns = permutation(number, 2)
    if back:
        rows, columns = rows.argsort(), columns.argsort()
    return local[..., rows.to(local.device), :][..., columns.to(local.device)]


def images(net: Callable[..., Tensor], a: Tensor, place: Place, base: Tensor | None = None) -> Tensor:
    """What a network says of the eight moved patches, moved back: ``(8, fields, k, rows, 4)``; equal if exact.

    Their mean is equivariant under the eight symmetries; their spread is an error that needs no label.
    """
    return torch.stack([move_matrices(g, net(*move(g, a, place, base)), back=True) for g in range(COUNT)])
