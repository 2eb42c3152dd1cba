"""A residual as a function of a network: its loss for gradients, and its Jacobian for Gauss-Newton methods."""

from __future__ import annotations

from typing import cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from skfem_ml.learning.nn import ACTIVATIONS, MLP
from skfem_ml.pinn.jets import Pairs
from skfem_ml.pinn.residuals import Block, Residual

Array = NDArray[np.float64]


class Learner(nn.Module):
    """A network N of the scaled variables, one output a component, and the unknown scalars, ``start`` at first."""

    def __init__(self, net: MLP, start: Array):
        super().__init__()
        self.net = net
        self.scalars = nn.Parameter(torch.as_tensor(start, dtype=torch.float64)) if len(start) else None

    def values(self) -> Tensor:
        """Return the scalars ``(S,)``."""
        return torch.zeros(0, dtype=torch.float64) if self.scalars is None else self.scalars


class _Pointwise(torch.autograd.Function):
    """Z = F(N, scalars) of a block, F being numpy and its derivative known."""

    @staticmethod
    def forward(ctx, N: Tensor, scalars: Tensor, block: Block) -> Tensor:
        jets, values = N.detach().numpy(), scalars.detach().numpy()
        if not any(ctx.needs_input_grad):
            return torch.as_tensor(block.values(jets, values))
        Z, slopes, others = block.linearised(jets, values)
        ctx.save_for_backward(torch.as_tensor(slopes), torch.as_tensor(others))
        return torch.as_tensor(Z)

    @staticmethod
    def backward(ctx, gradient: Tensor) -> tuple[Tensor, Tensor, None]:
        slopes, others = ctx.saved_tensors
        return (torch.einsum("kn,kcen->cen", gradient, slopes), torch.einsum("kn,ksn->s", gradient, others), None)


class NetworkBlock:
    """A `Block` on tensors."""

    def __init__(self, block: Block):
        self.block, self.pairs = block, block.layout.pairs
        self.s = torch.as_tensor(np.ascontiguousarray(block.s.T))
        self.tests = None if block.tests is None else tuple(torch.as_tensor(t) for t in block.tests)
        if block.affine:
            Z, slopes, _ = block.constant
            # (C, E, K, n): the order in which the jet's parts are stacked.
            self.fixed, self.slopes = torch.as_tensor(Z), torch.as_tensor(slopes.transpose(1, 2, 0, 3).copy())

    def values(self, N: Tensor, scalars: Tensor) -> Tensor:
        """Return Z ``(K, n)`` for the jet ``(C, E, n)``."""
        if self.block.affine:
            return self.fixed + (self.slopes * N[:, :, None]).sum(dim=(0, 1))
        return _Pointwise.apply(N, scalars, self.block)

    def rows(self, Z: Tensor) -> Tensor:
        """Return the rows of values ``(K, n)``."""
        if self.tests is None:
            return Z.reshape(-1)
        psi, phi = self.tests
        return (psi @ torch.bmm(Z.reshape(len(Z), psi.shape[1], phi.shape[1]), phi).sum(dim=0)).reshape(-1)

    def jacobian(self, learner: Learner) -> Tensor:
        """Return the derivative of the rows in all parameters, ``(rows, parameters)``."""
        tape: list[tuple[Tensor, Tensor]] = []
        N = taped_jet(learner.net, self.s, self.pairs, tape)
        scalars = learner.values().detach()
        with torch.no_grad():
            _, slopes, others = self.block.linearised(N.detach().numpy(), scalars.numpy())
        parts = []
        for slope in torch.as_tensor(slopes):
            # Values at one point depend on that point alone: one sweep gives the derivatives at all.
            gradients = torch.autograd.grad((slope * N).sum(), [out for _, out in tape], retain_graph=True)
            parts.append(torch.cat([part for (inputs, _), g in zip(tape, gradients, strict=True)
                                    for part in (torch.einsum("eno,eni->noi", g, inputs.detach()).flatten(1), g[0])],
                                   dim=1))  # fmt: skip
        J = torch.cat([torch.as_tensor(others).transpose(1, 2), torch.stack(parts)], dim=2)  # the parameters' order
        if self.tests is None:
            return J.flatten(0, 1)
        psi, phi = self.tests
        grid = J.reshape(len(J), psi.shape[1], phi.shape[1], J.shape[2])
        return torch.einsum("jt,ktqm,kqi->jim", psi, grid, phi).flatten(0, 1)


def taped_jet(net: MLP, s: Tensor, pairs: Pairs, tape: list[tuple[Tensor, Tensor]]) -> Tensor:
    """Return the jet ``(C, E, n)`` of a network as `MLP.jet` does; inputs and outputs ``(E, n, width)`` are kept.

    The last output's graph ends at the outputs that are kept, not at the weights.
    """
    act, (n, d) = ACTIVATIONS[net.activation], s.shape
    rows, columns = [1 + i for i, _ in pairs], [1 + j for _, j in pairs]
    inputs = torch.cat([s[None], torch.eye(d, dtype=s.dtype)[:, None].expand(d, n, d), s.new_zeros(len(pairs), n, d)])
    out = s.new_zeros(0)
    for k, layer in enumerate(cast(list[nn.Linear], net.layers)):
        if k:
            value, first, second = act(out[0])
            bent = second * out[rows] * out[columns] + first * out[1 + d :]
            inputs = torch.cat([value[None], first * out[1 : 1 + d], bent])
        weight, bias = layer.weight.detach(), layer.bias.detach()
        out = inputs @ weight.T + torch.cat([bias[None], bias.new_zeros(len(inputs) - 1, len(bias))])[:, None]
        if not out.requires_grad:
            out.requires_grad_()
        tape.append((inputs, out))
    return out.permute(2, 0, 1)


class NetworkResidual:
    """`Residual` as a function of a `Learner`: ``residual(learner) -> (rows,)``, loss, and Jacobian."""

    def __init__(self, residual: Residual):
        self.blocks = [NetworkBlock(block) for block in residual.blocks]

    def __call__(self, net: Learner) -> Tensor:
        """Return the residual vector."""
        parts = []
        for block in self.blocks:
            value, first, second = net.net.jet(block.s, block.pairs)
            N = torch.cat([value[None], first, second]).permute(2, 0, 1)
            parts.append(block.rows(block.values(N, net.values())))
        return torch.cat(parts)

    def jacobian(self, net: Learner) -> tuple[Tensor, Tensor]:
        """Return the residual and its derivative in all parameters, ``(rows, parameters)``."""
        J = torch.cat([block.jacobian(net) for block in self.blocks])
        with torch.no_grad():
            return self(net), J

    def loss(self, net: Learner, _: object = None) -> Tensor:
        """Return the sum of squares, the loss that `training.fit` takes."""
        return self(net).square().sum()
