"""The paper's network from coefficients to local matrices."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn

from skfem_ml.lod.surrogate.networks.local_network import LocalNetwork, check_sizes, extremes
from skfem_ml.lod.surrogate.networks.place import Place


class PatchMLP(LocalNetwork):
    """The fully connected network of Kropfl, Maier, Peterseim (2022), section 4: patch of coefficients to S_T.

    With m = 8 and ell = 2 its widths are 1600-1600-800-800-400-400-144-144-144, ReLU between, Glorot's uniform weights
    and zero biases: 5,063,504 parameters. The patch is extended by zero outside the domain; the columns of S_T are
    stacked in the output. Nothing is conserved by construction, and Gamma_D is not seen.

    ``generator`` draws the weights; None leaves them unset, for weights that are loaded. Raises ValueError for sizes
    out of range.

    >>> import torch
    >>> from skfem_ml.lod import PatchMLP
    >>> net = PatchMLP(generator=torch.Generator().manual_seed(0))
    >>> sum(parameter.numel() for parameter in net.parameters())
    5063504
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
        self.config = {"m": m, "ell": ell, "hidden": list(hidden)}
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

    def forward(self, a: Tensor, place: Place, base: Tensor | None = None) -> Tensor:
        if base is not None:
            raise ValueError("base: expected none, since nothing is corrected here, got matrices")
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
