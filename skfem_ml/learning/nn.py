"""Networks, their derivatives by forward propagation, and the one crossing between numpy and torch.

Numpy has one column per point, ``(dim, n)``, as scikit-fem has; torch has one row per point, ``(n, dim)``.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from skfem_ml.learning.states import parameters_in
from skfem_ml.learning.stored import Card, StoredNetwork

Array = NDArray[np.float64]
Pairs = Sequence[tuple[int, int]]


def _tanh(z: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    s = torch.tanh(z)
    first = 1 - s * s
    return s, first, -2 * s * first


def _sigmoid(z: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    s = torch.sigmoid(z)
    first = s * (1 - s)
    return s, first, first * (1 - 2 * s)


def _silu(z: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    s, first, second = _sigmoid(z)
    return z * s, s + z * first, 2 * first + z * second


# Value, first and second derivative of each activation.
ACTIVATIONS: dict[str, Callable[[Tensor], tuple[Tensor, Tensor, Tensor]]] = {
    "tanh": _tanh,
    "sigmoid": _sigmoid,
    "silu": _silu,
}
VALUES: dict[str, Callable[[Tensor], Tensor]] = {
    "tanh": torch.tanh,
    "sigmoid": torch.sigmoid,
    "silu": nn.functional.silu,
    "relu": torch.relu,
}


class MLP(StoredNetwork):
    """A fully connected network ``R^d -> R^k`` with derivatives in its inputs.

    ``widths`` is ``(d, hidden, ..., k)``. Weights are drawn from the normal distribution with Glorot's variance
    ``2 / (fan in + fan out)``, biases are zero. Raises ValueError for fewer than two widths, a width below one, and an
    unknown activation ("tanh", "sigmoid", "silu", or "relu", which has no `jet`).

    >>> net = MLP((2, 8, 1), generator=torch.Generator().manual_seed(0))
    >>> value, first, second = net.jet(torch.zeros(5, 2, dtype=torch.float64), [(0, 0), (0, 1)])
    >>> tuple(value.shape), tuple(first.shape), tuple(second.shape)
    ((5, 1), (2, 5, 1), (2, 5, 1))
    >>> net
    MLP(2-8-1, tanh, 33 parameters)
    """

    LIMITS: ClassVar = {"widths": 100_000}

    def __init__(
        self,
        widths: Sequence[int],
        activation: str = "tanh",
        *,
        generator: torch.Generator,
        dtype: torch.dtype = torch.float64,
    ):
        super().__init__()
        if len(widths) < 2 or min(widths) < 1:
            raise ValueError(f"widths: expected at least input and output, all positive, got {tuple(widths)}")
        if activation not in VALUES:
            raise ValueError(f"activation: expected one of {sorted(VALUES)}, got {activation!r}")
        self.widths, self.activation = tuple(widths), activation
        layers = [nn.Linear(m, n, dtype=dtype) for m, n in zip(self.widths, self.widths[1:], strict=False)]
        for layer in layers:
            nn.init.xavier_normal_(layer.weight, generator=generator)
            nn.init.zeros_(layer.bias)
        self.layers = nn.ModuleList(layers)

    def __repr__(self) -> str:
        return f"MLP({'-'.join(map(str, self.widths))}, {self.activation}, {parameters_in(self):,} parameters)"

    def sizes(self) -> Card:
        """Return what it was made with."""
        return {"widths": list(self.widths), "activation": self.activation}

    @classmethod
    def made(cls, sizes: Card, tensors: dict[str, Tensor]) -> MLP:
        """Return a network of these sizes; see `StoredNetwork`."""
        return cls(**sizes, generator=torch.Generator().manual_seed(0))  # type: ignore[arg-type]

    def forward(self, x: Tensor) -> Tensor:
        """Return the values ``(n, k)`` at points ``(n, d)``."""
        act = VALUES[self.activation]
        for layer in self.layers[:-1]:
            x = act(layer(x))
        return self.layers[-1](x)

    def jet(self, x: Tensor, pairs: Pairs = ()) -> tuple[Tensor, Tensor, Tensor]:
        """Return values ``(n, k)``, first derivatives ``(d, n, k)`` and second ones ``(len(pairs), n, k)`` at ``x``.

        ``pairs`` lists the second derivatives that are wanted, such as ``((0, 0), (0, 1))``. Derivatives run forward
        with the values (chain rule, the report's appendix A carried through layers):
        ``h_i = s'(z) z_i``, ``h_ij = s''(z) z_i z_j + s'(z) z_ij``.
        """
        weights = list(self.parameters())
        return mlp_jet(list(zip(weights[::2], weights[1::2], strict=True)), x, pairs, self.activation)


def mlp_jet(
    layers: Sequence[tuple[Tensor, Tensor]], x: Tensor, pairs: Pairs, activation: str
) -> tuple[Tensor, Tensor, Tensor]:
    """Return `MLP.jet` for explicit weights ``[(W, b), ...]``, W of shape ``(out, in)``."""
    n, d = x.shape
    if activation not in ACTIVATIONS:
        raise ValueError(
            f"activation: expected a smooth one of {sorted(ACTIVATIONS)} for derivatives, got {activation!r}"
        )
    act = ACTIVATIONS[activation]
    W, b = layers[0]
    value = x @ W.T + b
    first = W.T[:, None, :].expand(d, n, W.shape[0])
    second = value.new_zeros(len(pairs), n, W.shape[0])
    rows, columns = [i for i, _ in pairs], [j for _, j in pairs]
    for W, b in layers[1:]:
        s, s1, s2 = act(value)
        second = s2 * first[rows] * first[columns] + s1 * second
        stacked = torch.cat([s[None], s1 * first, second]) @ W.T
        value, first, second = stacked[0] + b, stacked[1 : d + 1], stacked[d + 1 :]
    return value, first, second


def to_torch(x: Array, dtype: torch.dtype = torch.float64) -> Tensor:
    """Return numpy points ``(dim, ...)`` as torch points ``(n, dim)``."""
    x = np.asarray(x)
    return torch.as_tensor(np.ascontiguousarray(x.reshape(x.shape[0], -1).T), dtype=dtype)


def to_numpy(values: Tensor) -> Array:
    """Return torch rows ``(n, k)`` as numpy columns ``(k, n)``, double precision."""
    return values.detach().double().numpy().T


def flat_parameters(net: nn.Module) -> Tensor:
    """Return all parameters as one vector, a copy."""
    return torch.cat([p.detach().reshape(-1) for p in net.parameters()])


def set_flat_parameters(net: nn.Module, vector: Tensor) -> None:
    """Write a vector of `flat_parameters` back into the network."""
    nn.utils.vector_to_parameters(vector, net.parameters())
