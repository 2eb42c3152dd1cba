"""The network of super-elements: from the values of an element's cells to the numbers of its energy."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from skfem_ml import checks
from skfem_ml.lod.surrogate.elements.cells import COUPLINGS, NUMBERS, CellEnergies

CHANNELS = 7  # the logarithm, where the element ends, and contrasts to the east, west, north and south
LARGEST = 1024  # of sizes: a file may lie
MOMENTS = 0.1  # how much smaller the numbers of moments are than the couplings


class ElementNetwork(nn.Module):
    """3 x 3 convolutions over the n x n cells of an element, residual: ``(k, n, n)`` -> ``(k, 48, n, n)``.

    It sees log a minus its mean on the element, the contrasts (b - a) / (b + a) with the four neighbours, and where the
    element ends; so its numbers are those of c a as well. Weights are single precision.

    Parameters
    ----------
    n
        Cells along an edge.
    width, depth
        Channels, and residual layers after the first one.
    generator
        Of the first weights; None leaves them as they are, to be loaded.

    Raises ValueError for sizes out of range.

    >>> import torch
    >>> from skfem_ml.lod.surrogate import ElementNetwork
    >>> net = ElementNetwork(4, width=8, depth=2, generator=torch.Generator().manual_seed(0))
    >>> net(torch.zeros(3, 4, 4)).shape
    torch.Size([3, 48, 4, 4])
    """

    def __init__(self, n: int = 8, width: int = 32, depth: int = 5, generator: torch.Generator | None = None):
        super().__init__()
        checks.sizes(LARGEST, n=n, width=width, depth=depth)
        self.n, self.config = n, {"n": n, "width": width, "depth": depth}
        sizes = [CHANNELS, *[width] * depth]
        self.layers = nn.ParameterList(nn.Parameter(torch.empty(width, 9 * size)) for size in sizes)
        self.shifts = nn.ParameterList(nn.Parameter(torch.zeros(width)) for _ in sizes)
        self.last, self.offset = nn.Parameter(torch.empty(NUMBERS, width)), nn.Parameter(torch.zeros(NUMBERS))
        scale = torch.full((NUMBERS,), 0.3)
        scale[COUPLINGS:] *= MOMENTS
        self.scale = nn.Parameter(scale)
        if generator is not None:
            for layer in [*self.layers, self.last]:
                bound = 1 / math.sqrt(layer.shape[1])
                nn.init.uniform_(layer, -bound, bound, generator=generator)
            with torch.no_grad():
                self.last.mul_(0.1)

    def forward(self, logs: Tensor) -> Tensor:
        """Numbers of `CellEnergies.bordered`, ``(k, 48, n, n)``, for log a of the cells ``(k, n, n)``, rows y."""
        x = self._conv(self.seen(logs), 0)
        for number in range(1, len(self.layers)):
            x = x + self._conv(F.silu(x), number)
        weight = (self.last * self.scale[:, None])[:, :, None, None]
        return F.conv2d(F.silu(x), weight, self.offset * self.scale)

    def seen(self, logs: Tensor) -> Tensor:
        """What the first layer sees, ``(k, 7, n, n)``."""
        logs = (logs - logs.mean(dim=(1, 2), keepdim=True)).to(self.last.dtype)
        ends = torch.linspace(-1, 1, self.n, dtype=logs.dtype, device=logs.device).expand_as(logs) ** 2
        across = torch.tanh(logs.diff(dim=2) / 2)
        along = torch.tanh(logs.diff(dim=1) / 2)
        beside = [
            F.pad(across, (0, 1)),
            F.pad(-across, (1, 0)),
            F.pad(along, (0, 0, 0, 1)),
            F.pad(-along, (0, 0, 1, 0)),
        ]
        return torch.stack([logs / 2, ends, ends.mT, *beside], dim=1)

    def _conv(self, x: Tensor, number: int) -> Tensor:
        weight = self.layers[number]
        return F.conv2d(x, weight.view(len(weight), -1, 3, 3), self.shifts[number], padding=1)


def predicted(net: ElementNetwork, cells: CellEnergies, values: Tensor) -> Tensor:
    """Bordered matrices of elements with these values of their cells ``(k, n n)``, x fastest; differentiable."""
    return cells.bordered(values, net(values.log().view(-1, net.n, net.n)).flatten(2))
