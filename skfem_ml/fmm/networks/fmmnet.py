"""FMMNet: the graph of an H2-matrix product with small networks in place of its blocks (needs torch)."""

from __future__ import annotations

from collections.abc import Callable
from typing import ClassVar

import numpy as np
import torch
from numpy.typing import ArrayLike
from torch import Tensor, nn
from torch.nn.functional import relu, silu

from skfem_ml.fmm.networks.layers import Block, Pattern, far_part
from skfem_ml.fmm.networks.leaves import LeafModule
from skfem_ml.fmm.operator import H2Operator
from skfem_ml.fmm.skeleton import H2Skeleton, Index
from skfem_ml.learning.stored import Card

VARIANTS = ("paper", "linear")


class FMMNet(LeafModule):
    """The map ``w = G_0[q] + sum_l (U_L ... U_l) G_l[(V_l ... V_L) q]`` on the points of a skeleton (FMM-Net, (2)).

    U and V are block-diagonal and learned; G_0 acts on the close pairs, G_l on the admissible pairs of level l:

    - ``variant="paper"``: G is ``depth`` block-sparse layers without biases, ReLU after each (equation (4));
    - ``variant="linear"``: ``G[x] = M x + W_d f(... f(W_1 x + b_1))`` with f = SiLU and W_d = 0 at the start, so the
      network starts as the linear H2 product of `linear` (an `H2Operator`, or random). ``depth=0`` keeps M alone.

    Inputs and outputs are ``(n, N)``. `normalise` sets ``w = mean + scale * net((q - mean) / scale)`` from data.
    In 1D with L levels, n_l = 2^l clusters, leaves of B points, rank r, the paper's variant has ::

        depth ((3 n_L - 2) B^2 + sum_{l>=2} (3 n_l - 6) r^2) + 2 (n_L B r + sum_{l>=3} n_l r^2)

    parameters. ``rank`` is one number, or a (row, column) pair for each level from the first with admissible pairs;
    ``activation`` replaces f. Raises ValueError for an unknown variant, rank or depth out of range, and a linear
    operator on another skeleton.

    >>> skeleton = H2Skeleton(torch.linspace(0, 1, 80)[None].numpy(), leaf=10)
    >>> net = FMMNet(skeleton, 4, depth=1, generator=torch.Generator().manual_seed(0))
    >>> net
    FMMNet(80 points, ranks [[4, 4], [4, 4]], depth 1, variant paper, 3,480 parameters)
    >>> tuple(net(torch.zeros(2, 80)).shape)
    (2, 80)
    """

    LIMITS: ClassVar = {"leaf": 1000, "ranks": 1000, "depth": 100}

    def __init__(
        self,
        skeleton: H2Skeleton,
        rank: int | list[tuple[int, int]] | None = None,
        depth: int = 3,
        *,
        variant: str = "paper",
        linear: H2Operator | None = None,
        activation: Callable[[Tensor], Tensor] | None = None,
        generator: torch.Generator,
        dtype: torch.dtype = torch.float32,
    ):
        super().__init__(skeleton, dtype, activation is None)
        count = len(skeleton.levels) - skeleton.first
        ranks = _ranks(skeleton, rank, depth, variant, linear, count)
        f = activation or (relu if variant == "paper" else silu)
        self.variant, self.depth, self.ranks = variant, depth, ranks
        width = skeleton.width

        def block(pairs: Index, n: int, a: int, b: int) -> Block:
            return Block(Pattern(pairs, n), a, b, depth, f, variant == "linear", generator=generator, dtype=dtype)

        self.close = block(skeleton.close, skeleton.levels[-1].n, width, width)
        levels = skeleton.levels[skeleton.first :]
        self.far = nn.ModuleList(block(level.far, level.n, a, b) for level, (a, b) in zip(levels, ranks, strict=True))
        self.up, self.down = nn.ParameterList(), nn.ParameterList()
        for k, (level, (a, b)) in enumerate(zip(levels, ranks, strict=True)):
            last = k == count - 1
            for bases, r, below in ((self.down, a, 0), (self.up, b, 1)):
                size = width if last else levels[k + 1].children * ranks[k + 1][below]
                std = (2.0 / (size + r)) ** 0.5
                drawn = torch.randn(level.n, size, r, generator=generator, dtype=dtype)
                bases.append(nn.Parameter(std * drawn))
        if linear is not None:
            self._load(linear)

    def own_sizes(self) -> Card:
        """Return ranks, depth and variant."""
        return {"ranks": [list(pair) for pair in self.ranks], "depth": self.depth, "variant": self.variant}

    @classmethod
    def made(cls, sizes: Card, tensors: dict[str, Tensor]) -> FMMNet:
        """Return a network of these sizes; see `StoredNetwork`."""
        skeleton = cls.skeleton_of(sizes, tensors)
        ranks = [(a, b) for a, b in sizes.pop("ranks")]  # type: ignore[attr-defined]
        generator = torch.Generator().manual_seed(0)
        return cls(skeleton, ranks, **sizes, generator=generator)  # type: ignore[arg-type]

    @classmethod
    def from_data(
        cls,
        skeleton: H2Skeleton,
        inputs: ArrayLike,
        outputs: ArrayLike,
        *,
        rank: int = 6,
        depth: int = 2,
        ridge: float = 1e-10,
        generator: torch.Generator,
        dtype: torch.dtype = torch.float32,
    ) -> FMMNet:
        """Return the variant "linear", normalised and started from the ridge regression of centred data ``(n, N)``.

        Raises ValueError as `H2Operator.from_data`.
        """
        q, w = np.asarray(inputs, dtype=float), np.asarray(outputs, dtype=float)
        op = H2Operator.from_data(skeleton, q - q.mean(axis=0), w - w.mean(axis=0), ridge=ridge, rank=rank)
        net = cls(skeleton, depth=depth, variant="linear", linear=op, generator=generator, dtype=dtype)
        net.normalise(q, w)
        ratio = net.scale_in / net.scale_out  # the operator is in units of the data, the network is not
        with torch.no_grad():
            for block in (net.close, *net.far):
                block.linear.weight *= ratio
        return net

    def _load(self, op: H2Operator) -> None:
        with torch.no_grad():
            for parameters, bases in ((self.up, op.columns), (self.down, op.rows)):
                for parameter, basis in zip(parameters, bases, strict=True):
                    parameter.copy_(torch.as_tensor(basis))
            for block, matrix in zip((self.close, *self.far), (op.close, *op.far), strict=True):
                block.linear.weight.copy_(torch.as_tensor(matrix.data))

    def forward(self, q: Tensor) -> Tensor:
        """Return ``(n, N)`` for ``q`` ``(n, N)``, one pass up and one pass down; ValueError for another N."""
        x = self.gather(q)
        y = self.close(x)
        if len(self.far):
            y = y + far_part(x, self.up, self.far, self.down)
        return self.scatter(y)


def _ranks(
    skeleton: H2Skeleton,
    rank: int | list[tuple[int, int]] | None,
    depth: int,
    variant: str,
    linear: H2Operator | None,
    count: int,
) -> list[tuple[int, int]]:
    """The (row, column) ranks of the levels, from the first with admissible pairs."""
    if variant not in VARIANTS:
        raise ValueError(f"variant: expected one of {VARIANTS}, got {variant!r}")
    if depth < (variant == "paper"):
        raise ValueError(f"depth: expected at least {int(variant == 'paper')}, got {depth}")
    if linear is None:
        pairs = rank if isinstance(rank, list) else [(rank or 0, rank or 0)] * count
        least = min([r for pair in pairs for r in pair] if isinstance(rank, list) else [rank or 0], default=1)
        if least < 1 or len(pairs) != count:
            raise ValueError(
                f"rank: expected at least 1, or {count} pairs of such ranks, or a linear operator to take the ranks "
                f"from, got {rank}"
            )
        return pairs
    if variant != "linear":
        raise ValueError(f"linear: expected None for variant={variant!r}, which has no linear part; use 'linear'")
    if rank is not None:
        raise ValueError(f"rank: expected None with a linear operator, which has its own ranks, got {rank}")
    if linear.skeleton is not skeleton:
        raise ValueError("linear: expected an operator on the same skeleton, got one on another")
    return [(rows.shape[2], columns.shape[2]) for rows, columns in zip(linear.rows, linear.columns, strict=True)]
