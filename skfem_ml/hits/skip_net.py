"""A network of features beside a linear map, whose outputs are solved for."""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Generator, Tensor, nn

from skfem_ml.learning.stored import Card, StoredNetwork


class SkipNet(StoredNetwork):
    """``net(z) = A z + b + C tanh(W z + d)``: one hidden layer beside a linear map, ``(rows, n)`` to ``(rows, n)``.

    W is drawn from the normal distribution with variance ``gain^2 / n``, d with variance ``gain^2 / 4``; A, b and C are
    zero until `solve_outputs`. Raises ValueError for sizes below one and a gain not positive.

    >>> import torch
    >>> from skfem_ml.hits import SkipNet
    >>> net = SkipNet(2, 8, generator=torch.Generator().manual_seed(0))
    >>> net, net(torch.ones(1, 2, dtype=torch.float64)).tolist()
    (SkipNet(2 unknowns, 8 features), [[0.0, 0.0]])
    """

    LIMITS: ClassVar = {"n": 100_000, "width": 100_000}

    def __init__(self, n: int, width: int, gain: float = 1.0, *, generator: Generator | None):
        super().__init__()
        if n < 1 or width < 1 or not gain > 0:
            raise ValueError(f"n, width, gain: expected >= 1, >= 1 and positive, got {n}, {width}, {gain}")
        self.hidden = nn.Linear(n, width, dtype=torch.float64)
        self.output = nn.Linear(width + n, n, dtype=torch.float64)
        nn.init.normal_(self.hidden.weight, std=gain / n**0.5, generator=generator)
        nn.init.normal_(self.hidden.bias, std=gain / 2, generator=generator)
        nn.init.zeros_(self.output.weight)
        nn.init.zeros_(self.output.bias)

    def __repr__(self) -> str:
        return f"SkipNet({self.output.out_features} unknowns, {self.hidden.out_features} features)"

    def sizes(self) -> Card:
        """Return unknowns and features."""
        return {"n": self.output.out_features, "width": self.hidden.out_features}

    @classmethod
    def made(cls, sizes: Card, tensors: dict[str, Tensor]) -> SkipNet:
        """Return a network of these sizes; see `StoredNetwork`."""
        return cls(**sizes, generator=None)  # type: ignore[arg-type]

    def features(self, z: Tensor) -> Tensor:
        """Return hidden layer and input side by side, ``(rows, width + n)``."""
        return torch.cat([torch.tanh(self.hidden(z)), z], dim=1)

    def forward(self, z: Tensor) -> Tensor:
        """Return the values ``(rows, n)``."""
        return self.output(self.features(z))


def solve_outputs(net: SkipNet, z: Tensor, values: Tensor, ridge: float) -> float:
    """Set the output layer to ``argmin |net(z) - values|^2 + mu |weights|^2`` and return the root mean square residual.

    ``mu = ridge`` times the largest eigenvalue of ``F F'``, F the features ``(rows, k)``. Solved by Cholesky in the
    smaller of rows and k. Raises ValueError for a ridge below 1e-15, which rounding would not let through.
    """
    if not ridge >= 1e-15:
        raise ValueError(f"ridge: expected at least 1e-15, got {ridge}")
    with torch.no_grad():
        F = torch.cat([net.features(z), z.new_ones(len(z), 1)], dim=1)
        wide = F.shape[0] < F.shape[1]
        G = F @ F.T if wide else F.T @ F
        mu = ridge * float(torch.linalg.matrix_norm(G, ord=2)) if len(G) <= 512 else ridge * float(G.diagonal().sum())
        factor = torch.linalg.cholesky(G + mu * torch.eye(len(G), dtype=G.dtype))
        weights = F.new_zeros(F.shape[1], values.shape[1])
        for _ in range(2):  # the second is iterative refinement
            gap = values - F @ weights
            if wide:
                weights += F.T @ torch.cholesky_solve(gap, factor)
            else:
                weights += torch.cholesky_solve(F.T @ gap, factor)
        net.output.weight.copy_(weights[:-1].T)
        net.output.bias.copy_(weights[-1])
        return float((F @ weights - values).square().mean().sqrt())
