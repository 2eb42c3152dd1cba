"""Networks from coefficients to local matrices: the paper's, and one that encodes every coarse element once.

Both are local maps of torch in two dimensions: ``net(a, place)`` takes fields by coarse element ``(fields, nelems,
m**2)``, x fastest, double precision, and the place of k patches, and returns ``(fields, k, (2 ell + 2)**2, 4)`` in
double precision. Rows outside the domain are zero.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

LARGEST = 2**14  # width and depth come from files: no file may ask for more


class Place(NamedTuple):
    """Where patches lie: coarse cells ``(k, (2 ell + 1)**2)``, -1 outside; which of their nodes ``(k, (2 ell + 2)**2)``
    are inside, and which on Gamma_D.
    """

    cells: Tensor
    nodes: Tensor
    dirichlet: Tensor


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
        _check_sizes(m=m, ell=ell, **{f"hidden[{i}]": width for i, width in enumerate(hidden)})
        self.config: dict[str, Any] = {"m": m, "ell": ell, "hidden": list(hidden)}
        self.m, self.ell = m, ell
        rows = (2 * ell + 2) ** 2
        widths = [((2 * ell + 1) * m) ** 2, *hidden, 4 * rows]
        self.layers = nn.ModuleList(nn.Linear(i, o) for i, o in pairwise(widths))
        _initialise(self, generator, nn.init.xavier_uniform_)

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
        return _extent(a, place)


class FieldNetwork(nn.Module):
    r"""A scale-equivariant network that conserves constants and shares the encoding of coarse elements.

    S_T = exp(mean_T log a) Pi(K + N(z)), K the Q1 stiffness matrix of the unit coefficient on T, Pi the projection of
    `conserve`, z invariant under a -> c a: an encoding of log a - mean log a of each of the (2 ell + 1)^2 elements
    (convolutions within the element, so that nothing is seen beyond the patch), the differences of their means from
    that of T, which elements are inside and which nodes on Gamma_D. N is a residual network on the encodings of the
    patch, plus an affine map of log a - mean_T log a averaged to ``pooled**2`` values an element. N is zero at first:
    untrained, this is the coarse finite element method with the geometric mean on T. Squares of any size h.

    Parameters
    ----------
    m, ell
        Coefficient cells along a coarse edge, layers of the patch.
    channels, width, depth
        Length of an element's encoding; width and number of the residual blocks on the patch.
    pooled
        Values along an edge in the affine map; divides m.
    generator
        Draws the weights; None leaves them unset, for weights that are loaded.

    Raises ValueError for sizes out of range.
    """

    def __init__(
        self,
        m: int,
        ell: int = 2,
        channels: int = 48,
        width: int = 256,
        depth: int = 2,
        pooled: int = 1,
        *,
        generator: torch.Generator | None,
    ):
        super().__init__()
        _check_sizes(m=m, ell=ell, channels=channels, width=width, depth=depth, pooled=pooled)
        if m % pooled:
            raise ValueError(f"pooled: expected a divisor of m = {m}, got {pooled}")
        self.config: dict[str, Any] = {
            "m": m, "ell": ell, "channels": channels, "width": width, "depth": depth, "pooled": pooled
        }  # fmt: skip
        self.m, self.ell, self.pooled = m, ell, pooled
        self.encoder = _encoder(m, channels)
        cells, rows = (2 * ell + 1) ** 2, (2 * ell + 2) ** 2
        self.combine = nn.Linear(cells * (channels + 2) + rows, width)
        self.blocks = nn.ModuleList(
            nn.Sequential(nn.SiLU(), nn.Linear(width, width), nn.SiLU(), nn.Linear(width, width)) for _ in range(depth)
        )
        self.head = nn.Linear(width, 4 * rows)
        self.affine = nn.Linear(cells * pooled**2, 4 * rows, bias=False)
        _initialise(self, generator, nn.init.xavier_uniform_)
        if generator is not None:
            for last in (self.head, self.affine):
                nn.init.zeros_(last.weight)

    def forward(self, a: Tensor, place: Place) -> Tensor:
        logs = a.log()
        means = logs.mean(dim=2)
        relative = (logs - means[:, :, None]).to(self.head.weight.dtype)
        inside = place.cells >= 0
        index, own = place.cells.clamp(min=0), place.cells[:, place.cells.shape[1] // 2]
        steps = ((means[:, index] - means[:, own, None]) * inside).to(relative.dtype)
        fields, k = len(a), len(place.cells)
        images = relative.reshape(-1, 1, self.m, self.m)
        encoded = self.encoder(images).reshape(fields, a.shape[1], -1)
        seen = (encoded[:, index] * inside[:, :, None]).reshape(fields, k, -1)
        marks = torch.cat([inside, place.dirichlet], dim=1).to(relative.dtype).expand(fields, k, -1)
        x = self.combine(torch.cat([seen, steps, marks], dim=2))
        for block in self.blocks:
            x = x + block(x)
        coarse = nn.functional.avg_pool2d(images, self.m // self.pooled).reshape(fields, a.shape[1], -1)
        raw = (coarse[:, index] * inside[:, :, None] + steps[:, :, :, None]).reshape(fields, k, -1)
        change = (self.head(nn.functional.silu(x)) + self.affine(raw)).double().reshape(fields, k, -1, 4)
        return means[:, own].exp()[:, :, None, None] * conserve(_stiffness(self.ell).to(a.device) + change, place.nodes)

    def extent(self, a: Tensor, place: Place) -> Tensor:
        """Smallest and largest input of every patch, ``(fields, k, 2)``: log a - mean_T log a."""
        logs = a.log()
        own = place.cells[:, place.cells.shape[1] // 2]
        return _extent(logs, place) - logs.mean(dim=2)[:, own, None]


NETWORKS: dict[str, type[nn.Module]] = {"PatchMLP": PatchMLP, "FieldNetwork": FieldNetwork}


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


def _encoder(m: int, channels: int) -> nn.Sequential:
    """Convolutions within one element: one at full resolution, then halved while that goes, then a vector."""
    width = 16
    layers: list[nn.Module] = [nn.Conv2d(1, width, 3, padding=1), nn.SiLU()]
    while m % 2 == 0 and m > 2:
        layers += [nn.Conv2d(width, min(2 * width, 64), 2, stride=2), nn.SiLU()]
        m, width = m // 2, min(2 * width, 64)
    return nn.Sequential(*layers, nn.Flatten(), nn.Linear(width * m**2, channels))


def _stiffness(ell: int) -> Tensor:
    """The Q1 stiffness matrix of a square, in the rows of the corners of T, ``((2 ell + 2)**2, 4)``."""
    line = torch.tensor([[1.0, -1.0], [-1.0, 1.0]], dtype=torch.float64)
    mass = torch.tensor([[2.0, 1.0], [1.0, 2.0]], dtype=torch.float64) / 6
    side = 2 * ell + 2
    out = torch.zeros(side, side, 4, dtype=torch.float64)
    out[ell : ell + 2, ell : ell + 2] = (torch.kron(mass, line) + torch.kron(line, mass)).reshape(2, 2, 4)
    return out.reshape(-1, 4)


def _extent(values: Tensor, place: Place) -> Tensor:
    index, outside = place.cells.clamp(min=0), place.cells < 0
    low = values.amin(dim=2)[:, index].masked_fill(outside, torch.inf).amin(dim=2)
    high = values.amax(dim=2)[:, index].masked_fill(outside, -torch.inf).amax(dim=2)
    return torch.stack([low, high], dim=2)


def _initialise(net: nn.Module, generator: torch.Generator | None, draw: Any) -> None:
    if generator is None:
        return
    for module in net.modules():
        if isinstance(module, nn.Linear | nn.Conv2d):
            draw(module.weight, generator=generator)
            if module.bias is not None:
                nn.init.zeros_(module.bias)


def _check_sizes(**sizes: Any) -> None:
    for name, size in sizes.items():
        if isinstance(size, bool) or not isinstance(size, int) or not 1 <= size <= LARGEST:
            raise ValueError(f"{name}: expected a whole number from 1 to {LARGEST}, got {size!r}")
