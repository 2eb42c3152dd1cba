"""The paper's network from coefficients to local matrices, and what such networks share.

A network is a local map of torch in two dimensions: ``net(a, place)`` takes fields by coarse element ``(fields, nelems,
m**2)``, x fastest, double precision, and the place of k patches, and returns ``(fields, k, (2 ell + 2)**2, 4)`` in
double precision. Rows outside the domain are zero.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor, nn

from skfem_ml.lod.surrogate.networks.place import Place

LARGEST = 2**14  # width and depth come from files: no file may ask for more


class PatchMLP(nn.Module):
    """The fully connected network of Kropfl, Maier, Peterseim (2022), section 4: patch of coefficients to S_T.

    With m = 8 and ell = 2 its widths are 1600-1600-800-800-400-400-144-144-144, ReLU between, Glorot's uniform weights
    and zero biases: 5,063,504 parameters. The patch is extended by zero outside the domain; the columns of S_T are
    stacked in the output. Nothing is conserved by construction, and Gamma_D is not seen.

    ``generator`` draws the weights; None leaves them unset, for weights that are loaded. Raises ValueError for sizes
    out of range.
    """

    def __init__(
        self,
        m: int = 8,
        ell: int = 2,
        hidden: Sequence[int] = (1600, 800, 800, 400, 400, 144, 144),
        *,
        generator: torch.Generator | None,
    ):
        super().__init__()
        check_sizes(m=m, ell=ell, **{f"hidden[{i}]": width for i, width in enumerate(hidden)})
        self.config: dict[str, Any] = {"m": m, "ell": ell, "hidden": list(hidden)}
        self.m, self.ell = m, ell
        rows = (2 * ell + 2) ** 2
        widths = [((2 * ell + 1) * m) ** 2, *hidden, 4 * rows]
        self.layers = nn.ModuleList(nn.Linear(i, o) for i, o in pairwise(widths))
        if generator is not None:
            for name, parameter in self.named_parameters():
                if name.endswith("weight"):
                    nn.init.xavier_uniform_(parameter, generator=generator)
                else:
                    nn.init.zeros_(parameter)

    def forward(self, a: Tensor, place: Place) -> Tensor:
        width, m = 2 * self.ell + 1, self.m
        inside = (place.cells >= 0)[:, :, None]
        x = (a[:, place.cells.clamp(min=0)] * inside).reshape(len(a), len(place.cells), width, width, m, m)
        x = x.transpose(3, 4).reshape(len(a), len(place.cells), (width * m) ** 2).to(next(self.parameters()).dtype)
        for layer in self.layers[:-1]:
            x = torch.relu(layer(x))
        stacked = self.layers[-1](x).double()
        return stacked.reshape(len(a), len(place.cells), 4, -1).transpose(2, 3) * place.nodes[:, :, None]

    def extent(self, a: Tensor, place: Place) -> Tensor:
        """Smallest and largest input of every patch, ``(fields, k, 2)``: the coefficient itself."""
        return extremes(a, place)


def conserve(local: Tensor, nodes: Tensor) -> Tensor:
    """The nearest matrices ``(..., k, rows, 4)`` whose rows and columns sum to zero, with zero rows outside.

    S 1 = 0 and 1 S = 0 hold for exact local matrices of diffusion: constants have no corrector, and on the patch the
    hat functions sum to one.
    """
    mask = nodes[:, :, None].to(local.dtype)
    local = local * mask
    local = local - local.mean(dim=-1, keepdim=True)
    local = local * mask
    return local - mask * (local.sum(dim=-2, keepdim=True) / mask.sum(dim=-2, keepdim=True))


def stiffness(ell: int) -> Tensor:
    """The Q1 stiffness matrix of a square, in the rows of the corners of T, ``((2 ell + 2)**2, 4)``."""
    line = torch.tensor([[1.0, -1.0], [-1.0, 1.0]], dtype=torch.float64)
    mass = torch.tensor([[2.0, 1.0], [1.0, 2.0]], dtype=torch.float64) / 6
    side = 2 * ell + 2
    out = torch.zeros(side, side, 4, dtype=torch.float64)
    out[ell : ell + 2, ell : ell + 2] = (torch.kron(mass, line) + torch.kron(line, mass)).reshape(2, 2, 4)
    return out.reshape(-1, 4)


def extremes(values: Tensor, place: Place) -> Tensor:
    """Smallest and largest value of every patch, ``(fields, k, 2)``."""
    index, outside = place.cells.clamp(min=0), place.cells < 0
    low = values.amin(dim=2)[:, index].masked_fill(outside, torch.inf).amin(dim=2)
    high = values.amax(dim=2)[:, index].masked_fill(outside, -torch.inf).amax(dim=2)
    return torch.stack([low, high], dim=2)


def check_sizes(**sizes: Any) -> None:
    """Raise ValueError unless all are whole numbers from 1 to ``LARGEST``."""
    for name, size in sizes.items():
        if isinstance(size, bool) or not isinstance(size, int) or not 1 <= size <= LARGEST:
            raise ValueError(f"{name}: expected a whole number from 1 to {LARGEST}, got {size!r}")
