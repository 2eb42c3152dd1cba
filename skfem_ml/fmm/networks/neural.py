"""A neural operator whose integral operators are H2 products: pointwise maps and linear ones in turn (needs torch)."""

from __future__ import annotations

from itertools import pairwise
from typing import ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.functional import silu

from skfem_ml.fmm.networks.layers import BlockSparse, Pattern, far_part
from skfem_ml.fmm.networks.leaves import LeafModule
from skfem_ml.fmm.skeleton import H2Skeleton
from skfem_ml.learning.stored import Card

START = 2.0  # kinks of the first pointwise functions lie in [-START, START] deviations of the inputs


class ChannelProducts(nn.Module):
    """One H2 product a channel, ``y_c = A_c x_c``, ``x`` ``(channels * n_L, B, k)`` on the leaves, y as well.

    A_c is an `H2Operator` with r moments a cluster. The channels stand one after the other, so that they are one block
    diagonal matrix: with the parameters of ``channels`` products, drawn with the variance that keeps the size of x.
    """

    def __init__(
        self, skeleton: H2Skeleton, channels: int, rank: int, *, generator: torch.Generator, dtype: torch.dtype
    ):
        super().__init__()
        self.channels, self.rank = channels, rank
        levels, width = skeleton.levels[skeleton.first :], skeleton.width

        def blocks(pairs: NDArray[np.int64], n: int, size: int) -> BlockSparse:
            shifted = np.concatenate([pairs + c * n for c in range(channels)], axis=1)
            pattern = Pattern(shifted, channels * n)
            return BlockSparse(pattern, size, size, bias=False, generator=generator, dtype=dtype)

        self.close = blocks(skeleton.close, skeleton.levels[-1].n, width)
        self.far = nn.ModuleList(blocks(level.far, level.n, rank) for level in levels)
        self.up, self.down = nn.ParameterList(), nn.ParameterList()
        sizes = [below.children * rank for _, below in pairwise(levels)] + [width] * bool(levels)
        for level, size in zip(levels, sizes, strict=True):
            for bases, fan in ((self.up, size), (self.down, rank)):
                drawn = torch.randn(channels * level.n, size, rank, generator=generator, dtype=dtype)
                bases.append(nn.Parameter(drawn * fan**-0.5))

    def forward(self, x: Tensor) -> Tensor:
        """Return ``(channels * n_L, B, k)``, one pass up and one pass down."""
        y = self.close(x)
        return y + far_part(x, self.up, self.far, self.down) if len(self.far) else y


class Pointwise(nn.Module):
    """``W_2 f(W_1 x + b)``, SiLU, on the channels of every point alike: ``(a, points, k)`` to ``(b, points, k)``."""

    def __init__(self, a: int, hidden: int, b: int, *, generator: torch.Generator, dtype: torch.dtype):
        super().__init__()

        def drawn(*shape: int) -> Tensor:
            return torch.randn(*shape, generator=generator, dtype=dtype)

        self.inner = nn.Parameter(drawn(hidden, a) * a**-0.5)
        self.bias = nn.Parameter((2 * torch.rand(hidden, 1, generator=generator, dtype=dtype) - 1) * START)
        self.outer = nn.Parameter(drawn(b, hidden) * hidden**-0.5)

    def forward(self, x: Tensor) -> Tensor:
        """Return ``(b, points, k)``."""
        y = silu(torch.matmul(self.inner, x.reshape(x.shape[0], -1)) + self.bias)
        return torch.matmul(self.outer, y).reshape(-1, *x.shape[1:])


class H2NeuralOperator(LeafModule):
    """The neural operator ``v_0 = (q, P(q))``, ``v_k = v_{k-1} + F_k(v_{k-1}, A_k v_{k-1})``, ``w = sum_c (A v)_c``.

    P, F_k act on the ``channels`` numbers of every point alike (`Pointwise`, ``hidden`` units, SiLU); A_k and A are H2
    products of rank ``rank``, one a channel (`ChannelProducts`): the kernels of Li et al. (2020, multipole graph neural
    operator) on the tree of FMM-Net. With one layer it is ``w = A_0 q + sum_c A_c P_c(q)``: for operators that are
    linear after a map at every point, whatever the number of parameters in the inputs. `DeepFMMNet` keeps ``rank``
    moments of a leaf's points before its first non-linear map, this network all of them.

    Inputs and outputs are ``(n, N)``; `normalise` sets shifts and scales from data. Work and memory are O(N). Raises
    ValueError for sizes below one (channels: two).

    >>> skeleton = H2Skeleton(np.random.default_rng(0).random((2, 288)), leaf=18)
    >>> net = H2NeuralOperator(skeleton, rank=6, channels=4, generator=torch.Generator().manual_seed(0))
    >>> net
    H2NeuralOperator(288 points, rank 6, channels 4, hidden 32, layers 1, 177,568 parameters)
    >>> tuple(net(torch.zeros(2, 288)).shape)
    (2, 288)
    """

    LIMITS: ClassVar = {"leaf": 1000, "rank": 1000, "channels": 1000, "hidden": 10_000, "layers": 100}

    def __init__(
        self,
        skeleton: H2Skeleton,
        rank: int = 6,
        channels: int = 4,
        hidden: int = 32,
        layers: int = 1,
        *,
        generator: torch.Generator,
        dtype: torch.dtype = torch.float32,
    ):
        if min(rank, hidden, layers) < 1 or channels < 2:
            raise ValueError(
                f"rank, channels, hidden, layers: expected at least 1, 2, 1, 1, got {rank}, {channels}, {hidden}, "
                f"{layers}"
            )
        super().__init__(skeleton, dtype)
        self.rank, self.channels, self.hidden, self.layers = rank, channels, hidden, layers

        def product() -> ChannelProducts:
            return ChannelProducts(skeleton, channels, rank, generator=generator, dtype=dtype)

        def pointwise(a: int, b: int) -> Pointwise:
            return Pointwise(a, hidden, b, generator=generator, dtype=dtype)

        self.lift = pointwise(1, channels - 1)
        self.products = nn.ModuleList(product() for _ in range(layers))
        self.maps = nn.ModuleList(pointwise(2 * channels, channels) for _ in range(layers - 1))

    def own_sizes(self) -> Card:
        """Return rank, channels, hidden and layers."""
        return {"rank": self.rank, "channels": self.channels, "hidden": self.hidden, "layers": self.layers}

    @classmethod
    def made(cls, sizes: Card, tensors: dict[str, Tensor]) -> H2NeuralOperator:
        """Return a network of these sizes; see `StoredNetwork`."""
        skeleton = cls.skeleton_of(sizes, tensors)
        return cls(skeleton, **sizes, generator=torch.Generator().manual_seed(0))  # type: ignore[arg-type]

    def lifted(self, q: Tensor) -> Tensor:
        """Return the channels of samples ``(n, N)`` on the leaves, ``(channels, n_L * B, n)``."""
        x = self.gather(q)
        x = x.reshape(1, -1, x.shape[2])
        return torch.cat([x, self.lift(x)])

    def forward(self, q: Tensor) -> Tensor:
        """Return ``(n, N)`` for ``q`` ``(n, N)``; ValueError for another N."""
        v = self.lifted(q)
        shape = (-1, self.skeleton.width, v.shape[2])
        for product, pointwise in zip(self.products, self.maps, strict=False):
            y = product(v.reshape(shape)).reshape(v.shape)
            v = v + pointwise(torch.cat([v, y]))
        y = self.products[-1](v.reshape(shape)).reshape(v.shape).sum(dim=0)
        return self.scatter(y.reshape(shape))
