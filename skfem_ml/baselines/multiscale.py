"""Networks that FMMNet is compared with: the multiscale networks MNN-H2 of Fan et al., and plain convolutions.

Y. Fan, J. Feliu-Faba, L. Lin, L. Ying, L. Zepeda-Nunez, A multiscale neural network based on hierarchical nested bases,
Research in the Mathematical Sciences 6 (2019). Theirs stands on a banded H2-matrix: layers act on windows of boxes.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import pad, relu

from skfem_ml.learning.samples import PUBLISHED, Learned, Recipe, learn
from skfem_ml.learning.states import parameters_in
from skfem_ml.learning.stored import Card, StoredNetwork
from skfem_ml.problems import OperatorSamples
from skfem_ml.problems.operators import regular_grid

KINDS = ("LC", "Mix")
Solver = Callable[[OperatorSamples], Learned]


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


class MNNH2(StoredNetwork):
    """MNN-H2: restriction to ``channels`` numbers a box, ``depth`` window layers at each level, interpolation, sum.

    The ``2 ** levels`` boxes of the finest level hold m points each. Window layers have a ReLU each and reach two boxes
    at level 2 and three below it; beside them ``depth`` layers with window 3 act on the points of adjacent boxes, ReLU
    after all but the last. Restriction and interpolation are affine. ``kind="LC"`` has weights of their own for each
    box; in ``"Mix"`` window layers are convolutions. The settings are those that give the parameter counts of Fan et
    al.: LC 198,384 / 276,144 / 575,664 and Mix 20,754 / 26,064 / 38,934 at N = 320, 640, 1280.

    Raises ValueError for an unknown kind, sizes out of range and an N that the boxes do not divide.

    >>> import torch
    >>> from skfem_ml.baselines import MNNH2
    >>> net = MNNH2(64, "Mix", levels=3, generator=torch.Generator().manual_seed(0))
    >>> tuple(net(torch.zeros(2, 64)).shape), net
    ((2, 64), MNNH2(64 points, Mix, 8 boxes, 4,748 parameters))
    """

    LIMITS: ClassVar = {"N": 10**6, "levels": 20, "channels": 1000, "depth": 100}

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
        self.kind, self.channels, self.depth = kind, channels, depth
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

    def __repr__(self) -> str:
        return f"MNNH2({self.N} points, {self.kind}, {self.N // self.m} boxes, {parameters_in(self):,} parameters)"

    def sizes(self) -> Card:
        """Return what it was made with."""
        return {"N": self.N, "kind": self.kind, "levels": self.levels[-1], "channels": self.channels,
                "depth": self.depth}  # fmt: skip

    @classmethod
    def made(cls, sizes: Card, tensors: dict[str, Tensor]) -> MNNH2:
        """Return a network of these sizes; see `StoredNetwork`."""
        return cls(**sizes, generator=torch.Generator().manual_seed(0))  # type: ignore[arg-type]

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


class ConvNet(StoredNetwork):
    """A plain convolutional network: ``len(channels) + 1`` layers of one window, zeros outside, ReLU between them.

    The paper gives no sizes of its "simple convolutional model"; these are ours. Raises ValueError for sizes below one
    and an even window.

    >>> import torch
    >>> from skfem_ml.baselines import ConvNet
    >>> net = ConvNet(generator=torch.Generator().manual_seed(0))
    >>> tuple(net(torch.zeros(2, 40)).shape), net
    ((2, 40), ConvNet(channels 8-8, window 11, 897 parameters))
    """

    LIMITS: ClassVar = {"channels": 10_000, "window": 10_001}

    def __init__(self, channels: Sequence[int] = (8, 8), window: int = 11, *, generator: torch.Generator):
        super().__init__()
        widths, self.channels, self.window = (1, *channels, 1), tuple(channels), window
        if min(widths) < 1 or window < 1 or window % 2 == 0:
            raise ValueError(f"channels, window: expected positive sizes, an odd window, got {channels} and {window}")
        self.layers = nn.ModuleList(nn.Conv1d(b, a, window, padding="same") for b, a in pairwise(widths))
        for layer in self.layers:
            nn.init.xavier_uniform_(layer.weight, generator=generator)  # type: ignore[arg-type]
            nn.init.zeros_(layer.bias)  # type: ignore[arg-type]

    def __repr__(self) -> str:
        channels = "-".join(map(str, self.channels))
        return f"ConvNet(channels {channels}, window {self.window}, {parameters_in(self):,} parameters)"

    def sizes(self) -> Card:
        """Return what it was made with."""
        return {"channels": list(self.channels), "window": self.window}

    @classmethod
    def made(cls, sizes: Card, tensors: dict[str, Tensor]) -> ConvNet:
        """Return a network of these sizes; see `StoredNetwork`."""
        return cls(**sizes, generator=torch.Generator().manual_seed(0))  # type: ignore[arg-type]

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


def solver_mnn(recipe: Recipe = PUBLISHED, *, kind: str = "LC", levels: int = 6, seed: int = 0) -> Solver:
    """Return the training of MNN-H2-LC or ("Mix") MNN-H2-Mix, ``2 ** levels`` boxes.

    The solver raises ValueError for points that are not equidistant in 1D, and an N that the boxes do not divide.
    """

    def solver(problem: OperatorSamples) -> Learned:
        _require_line(problem)
        generator = torch.Generator().manual_seed(seed)
        net = MNNH2(problem.points.shape[1], kind, levels=levels, generator=generator)
        return learn(net, problem, recipe, seed=seed, scaled=True)

    return solver


def solver_conv(recipe: Recipe = PUBLISHED, *, seed: int = 0) -> Solver:
    """Return the training of a plain convolutional network.

    The solver raises ValueError for points that are not equidistant in 1D.
    """

    def solver(problem: OperatorSamples) -> Learned:
        _require_line(problem)
        net = ConvNet(generator=torch.Generator().manual_seed(seed))
        return learn(net, problem, recipe, seed=seed, scaled=True)

    return solver


def _require_line(problem: OperatorSamples) -> None:
    """Windows go from a point to the next one: ValueError for points that do not stand so."""
    shape, order = regular_grid(problem.points)
    if len(shape) > 1 or not (np.diff(order) == 1).all():
        raise ValueError(
            f"points: expected equidistant points of an interval in ascending order, got others in {len(shape)}D; "
            "take solver_deep or solver_h2no, which stand on any points"
        )
