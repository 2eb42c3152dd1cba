"""A network on POD coefficients with the shape, and at the start the weights, of an operator splitting."""

from __future__ import annotations

from collections.abc import Callable
from typing import ClassVar

import numpy as np
import torch
from numpy.typing import ArrayLike
from torch import Tensor, nn

from skfem_ml.learning.stored import Card, StoredNetwork

ReactionFlow = Callable[[Tensor, float], Tensor]


class SplittingNet(StoredNetwork):
    """The increment of ``blocks`` substeps ``c -> L c + O (phi_h(I c + b) - I c - b)`` of coefficients ``(rows, r)``.

    ``phi_h(u)`` is the flow of the reaction ``u' = f(u)`` over ``h = dt / blocks``, taken at sample points: the
    activation. At the start the net is the Strang splitting of the projected equation ``c' + K c = V' M f(V c)``: with
    ``D = exp(-h K / 2)``, ``L = D D``, ``I = values D``, ``O = D values' weights``, b = 0. Its order is 2 in h up to
    what the modes cut off of f within a substep, which leaves an error of order 1 with a small constant. All matrices
    of all blocks are then free, so training repairs splitting, quadrature and closure at once.

    ``values`` ``(points, r)`` are the modes at the points, ``weights`` ``(points,)`` a quadrature there, ``K``
    ``(r, r)`` the symmetric projected stiffness, without lifted data. In files the flow is a word, one of ``FLOWS``, to
    which a flow of one's own is added before saving and before loading. Raises ValueError for other shapes, dt, blocks.

    >>> net = SplittingNet([[1.0]], [1.0], [[0.0]], 0.5, 2, allen_cahn_reaction)
    >>> exact = allen_cahn_reaction(torch.tensor([[0.3]]), 0.5) - 0.3
    >>> net, bool(torch.allclose(net(torch.tensor([[0.3]])), exact))
    (SplittingNet(1 coefficients, 1 points, 2 blocks of 0.25), True)
    """

    LIMITS: ClassVar = {"r": 100_000, "points": 10_000_000, "blocks": 1000}
    FLOWS: ClassVar[dict[str, ReactionFlow]] = {}
    linear: nn.ParameterList
    inner: nn.ParameterList
    outer: nn.ParameterList
    bias: nn.ParameterList

    def __init__(
        self,
        values: ArrayLike,
        weights: ArrayLike,
        K: ArrayLike,
        dt: float,
        blocks: int,
        flow: ReactionFlow,
        dtype: torch.dtype = torch.float32,
    ):
        super().__init__()
        values, weights, K = (np.asarray(array, dtype=float) for array in (values, weights, K))
        points, r = values.shape if values.ndim == 2 else (0, 0)
        if not points or weights.shape != (points,) or K.shape != (r, r):
            raise ValueError(
                f"values, weights, K: expected (points, r), (points,), (r, r), got {values.shape}, {weights.shape}, "
                f"{K.shape}"
            )
        if not (dt > 0 and blocks >= 1):
            raise ValueError(f"dt, blocks: expected dt > 0 and blocks >= 1, got {dt}, {blocks}")
        self.flow, self.h = flow, dt / blocks
        rates, vectors = np.linalg.eigh(K)
        half = (vectors * np.exp(-self.h / 2 * rates)) @ vectors.T
        start = {"linear": half @ half, "inner": values @ half, "outer": half @ (values.T * weights)}
        for name, matrix in {**start, "bias": np.zeros(points)}.items():
            copies = [nn.Parameter(torch.tensor(matrix, dtype=dtype)) for _ in range(blocks)]
            setattr(self, name, nn.ParameterList(copies))

    def __repr__(self) -> str:
        points, r = self.inner[0].shape
        return f"SplittingNet({r} coefficients, {points} points, {len(self.inner)} blocks of {self.h:g})"

    def sizes(self) -> Card:
        """Return coefficients, points, substeps, the step of one and the word of the flow; ValueError for none."""
        word = next((name for name, flow in self.FLOWS.items() if flow is self.flow), None)
        if word is None:
            raise ValueError(
                f"flow: expected one of SplittingNet.FLOWS ({', '.join(self.FLOWS)}), which a file can name, got "
                f'{self.flow}; put it there before: SplittingNet.FLOWS["mine"] = flow'
            )
        points, r = self.inner[0].shape
        return {"r": r, "points": points, "blocks": len(self.inner), "h": self.h, "flow": word}

    @classmethod
    def made(cls, sizes: Card, tensors: dict[str, Tensor]) -> SplittingNet:
        """Return a network of these sizes; see `StoredNetwork`."""
        net = cls.__new__(cls)
        nn.Module.__init__(net)
        r, points, blocks = (int(str(sizes[name])) for name in cls.LIMITS)
        if str(sizes["flow"]) not in cls.FLOWS:
            raise ValueError(f"flow: expected one of {', '.join(cls.FLOWS)}, got {sizes['flow']!r}")
        net.flow, net.h = cls.FLOWS[str(sizes["flow"])], float(str(sizes["h"]))
        for name, shape in {"linear": (r, r), "inner": (points, r), "outer": (r, points), "bias": (points,)}.items():
            setattr(net, name, nn.ParameterList(nn.Parameter(torch.empty(shape)) for _ in range(blocks)))
        return net

    def forward(self, c: Tensor) -> Tensor:
        """Return the increment ``(rows, r)`` of a `FlowMap`."""
        new = c
        for linear, inner, outer, bias in zip(self.linear, self.inner, self.outer, self.bias, strict=True):
            u = new @ inner.T + bias
            new = new @ linear.T + (self.flow(u, self.h) - u) @ outer.T
        return new - c


def allen_cahn_reaction(u: Tensor, h: float) -> Tensor:
    """Return the exact flow of ``u' = u - u^3`` over a time h, ``u e^h / (1 + u^2 (e^{2h} - 1))^{1/2}``."""
    return u * (np.exp(h) * torch.rsqrt(1 + np.expm1(2 * h) * u * u))


SplittingNet.FLOWS["allen-cahn"] = allen_cahn_reaction
