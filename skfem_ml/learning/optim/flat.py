"""One vector of all parameters: what quasi-Newton and least-squares methods work on."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor
from torch.nn.utils import parameters_to_vector, vector_to_parameters
from torch.optim import Optimizer

Closure = Callable[[], Tensor]
State = dict[str, Any]  # what torch keeps by name: options of a group, the state of a parameter


class FlatOptimizer(Optimizer):
    """One vector of all parameters, with the state of the method under the first of them; abstract.

    A method writes ``step``; it has `vector`, `assign`, `memory` and `gradient` to work with.
    """

    def __init__(self, params: Iterable[Tensor], defaults: State):
        super().__init__(params, defaults)
        if len(self.param_groups) != 1:
            raise ValueError(f"{type(self).__name__}: expected one parameter group, got {len(self.param_groups)}")
        self.params: list[Tensor] = self.param_groups[0]["params"]

    @property
    def memory(self) -> State:
        """The state of the method, part of ``state_dict()``."""
        return self.state[self.params[0]]

    def vector(self) -> Tensor:
        """Return a copy of all parameters as one vector."""
        return parameters_to_vector(self.params).detach().clone()

    def assign(self, vector: Tensor) -> None:
        """Write a vector into the parameters."""
        with torch.no_grad():
            vector_to_parameters(vector, self.params)

    def gradient(self, closure: Closure) -> tuple[Tensor, Tensor]:
        """Return loss and gradient ``(n,)`` at the current parameters."""
        with torch.enable_grad():
            value = closure()
        parts = [torch.zeros_like(p) if p.grad is None else p.grad for p in self.params]
        return value.detach(), torch.cat([g.reshape(-1) for g in parts])
