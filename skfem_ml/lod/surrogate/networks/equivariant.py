r"""Layers that commute with the eight symmetries of the square.

A symmetry g moves a grid by (moved)[i] = grid[p_g[i]] (`symmetries.permutation`). A *regular* channel has eight values,
one for every h, and moves by (moved)[h] = value[r_g(h)], r_g(h) the number of p_h p_g^{-1}. A layer into regular
channels has one free row w a channel, and the eight rows w[p_h[.]]: moving its input moves its output. See Cohen,
Welling, Group equivariant convolutional networks (2016).

Inputs are described by a table of actions ``(8, length)``: (moved)[j] = input[actions[g, j]].
"""

from __future__ import annotations

import math
from functools import cache
from itertools import accumulate

import torch
from torch import Tensor, nn

from skfem_ml.lod.surrogate.networks.symmetries import COUNT, permutation


@cache
def products() -> Tensor:
    """r ``(8, 8)``: r[g, h] is the number of p_h p_g^{-1}."""
    grids = torch.stack([permutation(g, 2) for g in range(COUNT)])
    back = grids.argsort(dim=1)
    return torch.stack(
        [
            torch.stack([(grids == grids[h][back[g]]).all(dim=1).nonzero()[0, 0] for h in range(COUNT)])
            for g in range(COUNT)
        ]
    )


def grid_actions(size: int) -> Tensor:
    """The actions on one scalar a cell of a ``size x size`` grid, ``(8, size**2)``."""
    return torch.stack([permutation(g, size) for g in range(COUNT)])


def times(*actions: Tensor) -> Tensor:
    """The actions on an outer product of inputs, the first index slowest."""
    out, *others = actions
    for other in others:
        out = (out[:, :, None] * other.shape[1] + other[:, None, :]).flatten(1)
    return out


def joined(*actions: Tensor) -> Tensor:
    """The actions on inputs one after the other."""
    starts = accumulate((table.shape[1] for table in actions[:-1]), initial=0)
    return torch.cat([table + start for table, start in zip(actions, starts, strict=True)], dim=1)


def plain(count: int) -> Tensor:
    """The actions on ``count`` numbers that no symmetry moves, ``(8, count)``."""
    return torch.arange(count, device="cpu").expand(COUNT, -1)


def channels(count: int) -> Tensor:
    """The actions on ``count`` regular channels, ``(8, 8 count)``."""
    return times(plain(count), products())


class Expanded(nn.Module):
    """A linear map whose matrix is made of fewer weights; kept from call to call while no gradient is wanted."""

    weight: nn.Parameter
    _kept: tuple[Tensor, int, Tensor] | None = None  # weight, its version, matrix

    def expanded(self) -> Tensor:
        """The matrix, ``(out, in)``."""
        raise NotImplementedError

    def __getstate__(self) -> dict[str, object]:
        # A copy counts the changes of its weights anew: what is kept would pass for theirs.
        return {name: value for name, value in self.__dict__.items() if name != "_kept"}

    def matrix(self, kind: torch.dtype | None = None) -> Tensor:
        """`expanded` in a type (default: that of the weights), made anew where the weights have changed."""
        weight, kind = self.weight, kind or self.weight.dtype
        if torch.is_grad_enabled() and weight.requires_grad:
            return self.expanded().to(kind)
        kept = self._kept
        if kept is None or kept[0] is not weight or kept[1] != weight._version or kept[2].dtype != kind:
            with torch.no_grad():
                self._kept = kept = (weight, weight._version, self.expanded().to(kind))
        return kept[2]


class Lift(Expanded):
    """A linear map from any input into regular channels: ``(..., in)`` to ``(..., 8 out)``."""

    actions: Tensor

    def __init__(self, actions: Tensor, out: int):
        super().__init__()
        self.register_buffer("actions", actions, persistent=False)
        self.weight = nn.Parameter(torch.empty(out, actions.shape[1]))
        self.bias = nn.Parameter(torch.empty(out))

    def expanded(self) -> Tensor:
        """All rows, ``(8 out, in)``."""
        return self.weight[:, self.actions].flatten(0, 1)

    def forward(self, x: Tensor) -> Tensor:
        return nn.functional.linear(x, self.matrix(), self.bias.repeat_interleave(COUNT))


class LiftConv(Lift):
    """A convolution from ``inputs`` regular channels (or, with ``scalar``, plain ones) into ``out`` regular ones, in
    the type of its input.
    """

    def __init__(self, inputs: int, out: int, kernel: int, stride: int = 1, scalar: bool = False):
        super().__init__(times((plain if scalar else channels)(inputs), grid_actions(kernel)), out)
        self.kernel, self.stride = kernel, stride

    def kernels(self, kind: torch.dtype) -> Tensor:
        return self.matrix(kind).reshape(8 * len(self.weight), -1, self.kernel, self.kernel)

    def forward(self, x: Tensor) -> Tensor:
        bias = self.bias.repeat_interleave(COUNT).to(x.dtype)
        padding = self.kernel // 2 if self.stride == 1 else 0
        return nn.functional.conv2d(x, self.kernels(x.dtype), bias, self.stride, padding)


class Average(Expanded):
    """A linear map without bias between any two actions: the mean of a free matrix over the group."""

    actions: Tensor
    rows: Tensor

    def __init__(self, actions: Tensor, rows: Tensor):
        super().__init__()
        self.register_buffer("actions", actions, persistent=False)
        self.register_buffer("rows", rows, persistent=False)
        self.weight = nn.Parameter(torch.empty(rows.shape[1], actions.shape[1]))

    def expanded(self) -> Tensor:
        """The map, ``(out, in)``."""
        moved = [self.weight[rows][:, columns] for rows, columns in zip(self.rows, self.actions, strict=True)]
        return torch.stack(moved).mean(dim=0)

    def forward(self, x: Tensor) -> Tensor:
        return nn.functional.linear(x, self.matrix())


def initialise(net: nn.Module, generator: torch.Generator) -> None:
    """Draw the rows of `Lift` uniformly with variance 2 / (8 out + in); zero for biases and `Average`."""
    for module in net.modules():
        if isinstance(module, Lift):
            inputs = module.weight.shape[1]
            bound = math.sqrt(6 / (inputs + COUNT * len(module.weight)))
            nn.init.uniform_(module.weight, -bound, bound, generator=generator)
            nn.init.zeros_(module.bias)
        elif isinstance(module, Average):
            nn.init.zeros_(module.weight)
