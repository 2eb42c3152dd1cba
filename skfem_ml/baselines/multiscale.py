"""Networks that FMMNet is compared with: the multiscale networks MNN-H2 of Fan et al., and plain convolutions.

Y. Fan, J. Feliu-Faba, L. Lin, L. Ying, L. Zepeda-Nunez, A multiscale neural network based on hierarchical nested bases,
Research in the Mathematical Sciences 6 (2019). Theirs stands on a banded H2-matrix: layers act on windows of boxes.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn.functional import pad, relu

KINDS = ("LC", "Mix")


class Window(nn.Module):
    """The affine layer ``y_i = sum_{|j| <= (w - 1)/2} W_ij x_{i+j} + b_i`` on boxes i; outside of them x is zero.

    ``x`` is ``(n, b, k)`` for n boxes and k samples, y ``(n, a, k)``. With ``shared`` (a convolution) W and b do not
    depend on i. Weights are uniform with Glorot's bound ``sqrt(6 / (w (a + b)))``, biases zero.
    """

    def __init__(self, n: int, a: int, b: int, window: int, shared: bool, *, generator: torch.Generator):
        super().__init__()
        self.window, count = window, 1 if shared else n
        bound = (6 / (window * (a + b))) ** 0.5
        self.weight = nn.Parameter((2 * torch.rand(count, a, window * b, generator=generator) - 1) * bound)
        self.bias = nn.Parameter(torch.zeros(count, a, 1))

    def forward(self, x: Tensor) -> Tensor:
        """Return ``(n, a, k)`` for ``(n, b, k)``."""
        if self.window > 1:
            n, half = len(x), self.window // 2
            wide = pad(x, (0, 0, 0, 0, half, half))
            x = torch.cat([wide[j : j + n] for j in range(self.window)], dim=1)
        return torch.matmul(self.weight, x) + self.bias


class MNNH2(nn.Module):
    """MNN-H2: restriction to ``channels`` numbers a box, ``depth`` window layers at each level, interpolation, sum.

    The ``2 ** levels`` boxes of the finest level hold m points each. Window layers have a ReLU each and reach two boxes
    at level 2 and three below it; beside them ``depth`` layers with window 3 act on the points of adjacent boxes, ReLU
    after all but the last. Restriction and interpolation are affine. ``kind="LC"`` has weights of their own for each
    box; in ``"Mix"`` window layers are convolutions. The settings are those that give the parameter counts of Fan et
    al.: LC 198,384 / 276,144 / 575,664 and Mix 20,754 / 26,064 / 38,934 at N = 320, 640, 1280.

    Raises ValueError for an unknown kind, sizes out of range and an N that the boxes do not divide.
    """

    def __init__(
        self,
        N: int,
        kind: str = "LC",
        *,
        levels: int = 6,
        channels: int = 6,
        depth: int = 5,
        generator: torch.Generator,
    ):
        super().__init__()
        if kind not in KINDS:
            raise ValueError(f"kind: expected one of {KINDS}, got {kind!r}")
        if levels < 2 or min(channels, depth) < 1:
            raise ValueError(f"levels, channels, depth: expected >= 2, 1, 1, got {levels}, {channels}, {depth}")
        if N % 2**levels or N < 1:
            raise ValueError(f"N: expected a multiple of 2^levels = {2**levels}, got {N}")
        self.N, self.m, self.levels = N, N // 2**levels, range(2, levels + 1)
        n, m, r, shared = 2**levels, self.m, channels, kind == "Mix"

        def layer(n: int, a: int, b: int, window: int = 1) -> Window:
            return Window(n, a, b, window, shared and window > 1, generator=generator)

        self.enter, self.leave = layer(n, r, m), layer(n, m, r)
        self.up = nn.ModuleList(layer(2**l, r, 2 * r) for l in self.levels[:-1])
        self.down = nn.ModuleList(layer(2**l, 2 * r, r) for l in self.levels[:-1])
        self.far = nn.ModuleList(
            nn.ModuleList(layer(2**l, r, r, 5 if l == 2 else 7) for _ in range(depth)) for l in self.levels
        )
        self.near = nn.ModuleList(layer(n, m, m, 3) for _ in range(depth))

    def forward(self, q: Tensor) -> Tensor:
        """Return ``(n, N)`` for ``q`` ``(n, N)``; ValueError for another N."""
        k = _samples(q, self.N)
        points = q.T.reshape(-1, self.m, k)
        moments = [self.enter(points)]
        for layer in reversed(list(self.up)):
            moments.insert(0, layer(moments[0].reshape(len(moments[0]) // 2, -1, k)))
        y: Tensor | None = None
        for level, (layers, x) in enumerate(zip(self.far, moments, strict=True)):
            for layer in layers:  # type: ignore[attr-defined]
                x = relu(layer(x))
            y = x if y is None else x + self.down[level - 1](y).reshape(x.shape)
        near = points
        for layer in self.near[:-1]:
            near = relu(layer(near))
        return (self.leave(y) + self.near[-1](near)).reshape(self.N, k).T


class ConvNet(nn.Module):
    """A plain convolutional network: ``len(channels) + 1`` layers of one window, zeros outside, ReLU between them.

    The paper gives no sizes of its "simple convolutional model"; these are ours. Raises ValueError for sizes below one
    and an even window.
    """

    def __init__(self, channels: Sequence[int] = (8, 8), window: int = 11, *, generator: torch.Generator):
        super().__init__()
        widths = (1, *channels, 1)
        if min(widths) < 1 or window < 1 or window % 2 == 0:
            raise ValueError(f"channels, window: expected positive sizes, an odd window, got {channels} and {window}")
        self.layers = nn.ModuleList(nn.Conv1d(b, a, window, padding="same") for b, a in pairwise(widths))
        for layer in self.layers:
            nn.init.xavier_uniform_(layer.weight, generator=generator)  # type: ignore[arg-type]
            nn.init.zeros_(layer.bias)  # type: ignore[arg-type]

    def forward(self, q: Tensor) -> Tensor:
        """Return ``(n, N)`` for ``q`` ``(n, N)``."""
        _samples(q, None)
        x = q[:, None, :]
        for layer in self.layers[:-1]:
            x = relu(layer(x))
        return self.layers[-1](x)[:, 0]


def _samples(q: Tensor, N: int | None) -> int:
    if q.ndim != 2 or (N is not None and q.shape[1] != N):
        raise ValueError(f"q: expected shape (n, {N or 'N'}), one row per sample, got {tuple(q.shape)}")
    return len(q)
