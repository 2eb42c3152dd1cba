"""A deep FMMNet: H2 products on the moments of the leaves, in turn with a small network on every leaf (needs torch)."""

from __future__ import annotations

from itertools import pairwise
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn.functional import silu

from skfem_ml.fmm.networks.layers import Activation, BlockSparse, Pattern
from skfem_ml.fmm.networks.leaves import LeafModule
from skfem_ml.fmm.skeleton import H2Skeleton
from skfem_ml.learning.stored import Card


class MomentProduct(nn.Module):
    """The H2 product ``y = C x + sum_l (U_{L-1} ... U_l) M_l (V_l ... V_{L-1}) x`` on vectors of the leaves.

    ``x`` is ``(n_L, r, k)`` for n_L leaves and k samples, y as well: r moments on a leaf take the place of its points,
    so close and admissible blocks alike are r by r. In 1D with n_l = 2^l clusters it has ::

        (3 n_L - 2) r^2 + sum_{l>=2} (3 n_l - 6) r^2 + 2 sum_{l>=3} n_l r^2

    parameters, drawn with the variance that keeps the size of x in every sum.
    """

    def __init__(self, skeleton: H2Skeleton, rank: int, *, generator: torch.Generator, dtype: torch.dtype):
        super().__init__()
        levels = skeleton.levels[skeleton.first :]

        def blocks(pairs, n: int) -> BlockSparse:
            return BlockSparse(Pattern(pairs, n), rank, rank, bias=False, generator=generator, dtype=dtype)

        self.close = blocks(skeleton.close, skeleton.levels[-1].n)
        self.far = nn.ModuleList(blocks(level.far, level.n) for level in levels)
        self.up, self.down = nn.ParameterList(), nn.ParameterList()
        for level, below in pairwise(levels):
            width = below.children * rank
            for bases, fan in ((self.up, width), (self.down, rank)):
                drawn = torch.randn(level.n, width, rank, generator=generator, dtype=dtype)
                bases.append(nn.Parameter(drawn * fan**-0.5))

    def forward(self, x: Tensor) -> Tensor:
        """Return ``(n_L, r, k)``, one pass up and one pass down."""
        y = self.close(x)
        return y + self._far_part(x) if len(self.far) else y

    def _far_part(self, x: Tensor) -> Tensor:
        moments = [x]
        for basis in reversed(list(self.up)):
            x = torch.bmm(basis.transpose(1, 2), x.reshape(basis.shape[0], basis.shape[1], -1))
            moments.insert(0, x)
        y = self.far[0](moments[0])
        for basis, block, x in zip(self.down, list(self.far)[1:], moments[1:], strict=True):
            y = block(x) + torch.bmm(basis, y).reshape(x.shape)
        return y


class LeafNetwork(nn.Module):
    """``x + W_2 f(W_1 x + b)`` on every leaf by itself: ``x`` ``(n_L, r, k)``, ``hidden`` units a leaf."""

    def __init__(
        self, n: int, rank: int, hidden: int, activation: Activation, *, generator: torch.Generator, dtype: torch.dtype
    ):
        super().__init__()
        self.activation = activation

        def drawn(*shape: int) -> Tensor:
            return torch.randn(n, *shape, generator=generator, dtype=dtype)

        self.inner = nn.Parameter(drawn(hidden, rank) * rank**-0.5)
        self.bias = nn.Parameter(drawn(hidden, 1) * 0.3)
        self.outer = nn.Parameter(drawn(rank, hidden) * hidden**-0.5)

    def forward(self, x: Tensor) -> Tensor:
        """Return ``(n_L, r, k)``."""
        return x + torch.bmm(self.outer, self.activation(torch.bmm(self.inner, x) + self.bias))


class DeepFMMNet(LeafModule):
    """The map ``w = U (I + A_p) F_{p-1} (I + A_{p-1}) ... F_1 (I + A_1) V q`` on the points of a skeleton.

    V takes the points of every leaf (at most B) to ``rank`` moments and U takes moments to points; every A is an H2
    product on moments (`MomentProduct`) and every F a residual network with ``hidden`` units on each leaf
    (`LeafNetwork`). FMMNet (FMM-Net, equation (2)) has non-linear maps within one H2 product and so sees far samples
    through one non-linearity of few moments; here every leaf has the whole vector, by way of A, before each F.
    ``products`` is p; with one product the map is linear. ``activation`` is f, SiLU unless given.

    Inputs and outputs are ``(n, N)``; `normalise` sets shifts and scales from data. In 1D with n_L leaves it has ::

        2 n_L B rank + p (parameters of a product) + (p - 1) n_L hidden (2 rank + 1)

    parameters: 33,760 / 69,824 / 142,240 at N = 320, 640, 1280 with leaves of 10, where FMMNet of the paper has
    52,920 / 110,256 / 225,576. Work and memory are O(N). Raises ValueError for rank, hidden or products below one.

    >>> skeleton = H2Skeleton(torch.linspace(0, 1, 80)[None].numpy(), leaf=10)
    >>> net = DeepFMMNet(skeleton, rank=3, generator=torch.Generator().manual_seed(0))
    >>> net
    DeepFMMNet(80 points, rank 3, hidden 24, products 3, 4,842 parameters)
    >>> tuple(net(torch.zeros(2, 80)).shape)
    (2, 80)
    """

    LIMITS: ClassVar = {"leaf": 1000, "rank": 1000, "hidden": 10_000, "products": 100}

    def __init__(
        self,
        skeleton: H2Skeleton,
        rank: int = 4,
        hidden: int = 24,
        products: int = 3,
        *,
        activation: Activation = silu,
        generator: torch.Generator,
        dtype: torch.dtype = torch.float32,
    ):
        if min(rank, hidden, products) < 1:
            raise ValueError(f"rank, hidden, products: expected at least 1 each, got {rank}, {hidden} and {products}")
        super().__init__(skeleton, dtype, activation is silu)
        self.rank, self.hidden, self.products = rank, hidden, products
        n, width = skeleton.levels[-1].n, skeleton.width
        self.enter = nn.Parameter(torch.randn(n, rank, width, generator=generator, dtype=dtype) * width**-0.5)
        self.leave = nn.Parameter(torch.randn(n, width, rank, generator=generator, dtype=dtype) * rank**-0.5)
        self.mixers = nn.ModuleList(
            MomentProduct(skeleton, rank, generator=generator, dtype=dtype) for _ in range(products)
        )
        self.networks = nn.ModuleList(
            LeafNetwork(n, rank, hidden, activation, generator=generator, dtype=dtype) for _ in range(products - 1)
        )

    def own_sizes(self) -> Card:
        """Return rank, hidden and products."""
        return {"rank": self.rank, "hidden": self.hidden, "products": self.products}

    @classmethod
    def made(cls, sizes: Card, tensors: dict[str, Tensor]) -> DeepFMMNet:
        """Return a network of these sizes; see `StoredNetwork`."""
        skeleton = cls.skeleton_of(sizes, tensors)
        return cls(skeleton, **sizes, generator=torch.Generator().manual_seed(0))  # type: ignore[arg-type]

    def forward(self, q: Tensor) -> Tensor:
        """Return ``(n, N)`` for ``q`` ``(n, N)``; ValueError for another N."""
        x = torch.bmm(self.enter, self.gather(q))
        for k, product in enumerate(self.mixers):
            x = x + product(x)
            if k < self.products - 1:
                x = self.networks[k](x)
        return self.scatter(torch.bmm(self.leave, x))
