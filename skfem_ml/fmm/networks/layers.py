"""Block-sparse layers with weights on the pairs of an H2 skeleton, in O(number of blocks) time and memory."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

Activation = Callable[[Tensor], Tensor]
CHUNK = 1 << 20  # numbers that a gradient copies at a time: they stay in the cache, and memory is not asked for anew


class Pattern(nn.Module):
    """The rows and columns ``pairs`` ``(2, m)``, sorted by row, of a matrix of ``n`` by ``n`` blocks, and transposed.

    A module, so that the indices move to a device with the network; it has no parameters and is not saved.
    """

    rows: Tensor
    columns: Tensor
    bounds: Tensor
    order: Tensor
    bounds_t: Tensor

    def __init__(self, pairs: NDArray[np.int64], n: int):
        super().__init__()
        self.n, self.m = n, pairs.shape[1]
        order = np.lexsort((pairs[0], pairs[1]))
        steps = np.arange(n + 1)
        self._ends = np.searchsorted(pairs[1][order], steps)
        named = {
            "rows": pairs[0],
            "columns": pairs[1],
            "bounds": np.searchsorted(pairs[0], steps),
            "order": order,
            "bounds_t": self._ends,
        }
        for name, values in named.items():
            self.register_buffer(name, torch.as_tensor(np.ascontiguousarray(values)), persistent=False)

    def parts(self, size: int) -> list[tuple[slice, slice]]:
        """Return slices of rows, and of blocks, of the transposed matrix: CHUNK numbers each, ``size`` a block."""
        cuts = np.searchsorted(self._ends, np.arange(0, self.m, max(CHUNK // size, 1)))
        cuts = np.unique([0, *cuts, self.n]).tolist()
        ends = self._ends[cuts].tolist()
        return [(slice(*cuts[k : k + 2]), slice(*ends[k : k + 2])) for k in range(len(cuts) - 1)]


def _product(bounds: Tensor, columns: Tensor, weight: Tensor, x: Tensor) -> Tensor:
    """``y_i = sum_j W_ij x_j`` for ``weight`` ``(m, a, b)`` sorted by row, ``x`` ``(n, b, k)``; ``(n, a, k)``."""
    n, a, b = len(bounds) - 1, weight.shape[1], weight.shape[2]
    if x.device.type == "cpu" and a == b and torch.backends.mkl.is_available():  # what MKL has
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="Sparse BSR tensor support is in beta")
            matrix = torch.sparse_bsr_tensor(bounds, columns, weight, size=(n * a, len(x) * b), check_invariants=False)
        return (matrix @ x.reshape(-1, x.shape[2])).reshape(n, a, -1)
    return segmented(bounds, columns, weight, x)


def segmented(bounds: Tensor, columns: Tensor, weight: Tensor, x: Tensor) -> Tensor:
    """Return the same product by batched products and sums over segments, for any device and block.

    Segments are summed in order, without atomic additions: the same bits each time.
    """
    return torch.segment_reduce(torch.bmm(weight, x[columns]), "sum", offsets=bounds, axis=0, initial=0.0)


class _BlockProduct(torch.autograd.Function):
    """The product with a block-sparse matrix; its gradients need nothing denser than the pattern."""

    @staticmethod
    def forward(ctx: Any, weight: Tensor, x: Tensor, pattern: Pattern) -> Tensor:
        ctx.save_for_backward(weight, x)
        ctx.pattern = pattern
        return _product(pattern.bounds, pattern.columns, weight, x)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, Tensor | None, None]:
        weight, x = ctx.saved_tensors
        p: Pattern = ctx.pattern
        grad = grad.contiguous()
        for_weight = for_x = None
        if ctx.needs_input_grad[0]:
            for_weight = torch.empty_like(weight)
            step = max(CHUNK // weight[0].numel(), 1) if p.m else 1
            for start in range(0, p.m, step):
                part = slice(start, start + step)
                torch.bmm(grad[p.rows[part]], x[p.columns[part]].transpose(1, 2), out=for_weight[part])
        if ctx.needs_input_grad[1]:
            for_x = torch.empty_like(x)
            for rows, part in p.parts(weight[0].numel()) if p.m else ():
                order = p.order[part]
                turned = weight[order].transpose(1, 2).contiguous()
                bounds = p.bounds_t[rows.start : rows.stop + 1] - part.start
                for_x[rows] = _product(bounds, p.rows[order], turned, grad)
        return for_weight, for_x, None


class BlockSparse(nn.Module):
    """The layer ``y_i = sum_j W_ij x_j + b_i`` over the pairs of a pattern (FMM-Net, equation (4), before f).

    ``x`` is ``(n, b, k)`` for k samples and y ``(n, a, k)``. Weights ``(m, a, b)`` are drawn with Glorot's variance
    ``2 / (fan in + fan out)`` at the mean number of blocks a row; biases ``(n, a, 1)``, if any, are zero.
    """

    def __init__(
        self,
        pattern: Pattern,
        a: int,
        b: int,
        *,
        bias: bool,
        generator: torch.Generator,
        dtype: torch.dtype = torch.float32,
    ):
        super().__init__()
        self.pattern = pattern
        std = math.sqrt(2.0 / ((a + b) * max(pattern.m / pattern.n, 1.0)))
        self.weight = nn.Parameter(std * torch.randn(pattern.m, a, b, generator=generator, dtype=dtype))
        self.bias = nn.Parameter(torch.zeros(pattern.n, a, 1, dtype=dtype)) if bias else None

    def forward(self, x: Tensor) -> Tensor:
        """Return ``(n, a, k)`` for ``x`` ``(n, b, k)``."""
        y = _BlockProduct.apply(self.weight, x.contiguous(), self.pattern)
        return y if self.bias is None else y + self.bias


def far_part(x: Tensor, up: nn.ParameterList, far: nn.ModuleList, down: nn.ParameterList) -> Tensor:
    """``sum_l (U_L ... U_l) G_l[(V_l ... V_L) x]``, one pass up and one pass down (FMM-Net, equation (2)).

    V are the bases ``up``, U those ``down``, ``(n_l, size, rank)`` of each level from the first with admissible pairs;
    G are the maps ``far``. ``x`` is ``(n_L, B, k)``, as is the result.
    """
    k, moments = x.shape[2], list[Tensor]()
    for basis in reversed(list(up)):
        x = torch.bmm(basis.transpose(1, 2), x.reshape(basis.shape[0], basis.shape[1], k))
        moments.append(x)
    y: Tensor | None = None
    for basis, block, x in zip(down, far, reversed(moments), strict=True):
        here = block(x)
        y = torch.bmm(basis, here if y is None else here + y.reshape(here.shape))
    assert y is not None
    return y


class Block(nn.Module):
    """One map G of the network: ``depth`` block-sparse layers, the paper's or with a linear part beside them.

    Paper (``linear=False``): ``f(W_d f(... f(W_1 x)))``, no biases. With a linear part:
    ``M x + W_d f(... f(W_1 x + b_1))`` where W_d starts at zero and only the layers before it have biases.
    """

    def __init__(
        self, pattern: Pattern, a: int, b: int, depth: int, activation: Activation, linear: bool, *,
        generator: torch.Generator, dtype: torch.dtype = torch.float32,
    ):  # fmt: skip
        super().__init__()
        self.activation = activation

        def layer(b: int, bias: bool) -> BlockSparse:
            return BlockSparse(pattern, a, b, bias=bias, generator=generator, dtype=dtype)

        self.linear = layer(b, False) if linear else None
        self.layers = nn.ModuleList(layer(a if k else b, linear and k < depth - 1) for k in range(depth))
        if linear and depth:
            nn.init.zeros_(self.layers[-1].weight)  # type: ignore[arg-type]

    def forward(self, x: Tensor) -> Tensor:
        """Return ``(n, a, k)`` for ``x`` ``(n, b, k)``."""
        if self.linear is None:
            for layer in self.layers:
                x = self.activation(layer(x))
            return x
        y = self.linear(x)
        for k, layer in enumerate(self.layers):
            x = layer(x) if k == len(self.layers) - 1 else self.activation(layer(x))
        return y + x if len(self.layers) else y
