"""SOAP: Adam in the eigenbasis of Shampoo's preconditioner (Vyas et al., arXiv:2409.11321, algorithm 3)."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor
from torch.optim import Optimizer

from skfem_ml.optim.flat import Closure


class SOAP(Optimizer):
    """For a matrix with gradient G: ``L = E[G G']``, ``R = E[G' G]`` with eigenvectors ``Q_L``, ``Q_R``.

    Adam's second moment is kept of the rotated gradient ``Q_L' G Q_R``, the first moment is rotated, and the step is
    rotated back. The bases are refreshed every ``frequency`` steps by one QR step of orthogonal iteration. Vectors
    (biases) take plain Adam; a side longer than ``largest`` is not rotated.
    """

    def __init__(
        self,
        params: Iterable[Tensor],
        lr: float = 3e-3,
        betas: tuple[float, float] = (0.95, 0.95),
        eps: float = 1e-8,
        frequency: int = 2,
        largest: int = 2048,
    ):
        if not (lr > 0 and all(0 <= b < 1 for b in betas) and frequency >= 1):
            raise ValueError(f"expected lr > 0, betas in [0, 1), frequency >= 1, got {lr}, {betas}, {frequency}")
        super().__init__(params, {"lr": lr, "betas": betas, "eps": eps, "frequency": frequency, "largest": largest})

    def step(self, closure: Closure) -> Tensor:  # type: ignore[override]
        """Do one step and return the loss before it."""
        with torch.enable_grad():
            value = closure()
        with torch.no_grad():
            for group in self.param_groups:
                for p in group["params"]:
                    if p.grad is not None:
                        _update(p, p.grad, self.state[p], group)
        return value.detach()


def _update(p: Tensor, g: Tensor, state: dict[str, Any], group: dict[str, Any]) -> None:
    b1, b2 = group["betas"]
    if not state:
        state.update(step=0, mean=torch.zeros_like(g), square=torch.zeros_like(g))
        if p.dim() == 2:
            _start_bases(g, state, group["largest"])
            return  # the first gradient only sets the bases
    state["step"] += 1
    rotated = _rotate(g, state)
    state["mean"].lerp_(g, 1 - b1)
    state["square"].lerp_(rotated.square(), 1 - b2)
    corrected = (1 - b2 ** state["step"]) ** 0.5 / (1 - b1 ** state["step"])
    change = _rotate(state["mean"], state) / (state["square"].sqrt() + group["eps"])
    p.sub_(group["lr"] * corrected * _rotate(change, state, back=True))
    for basis, moment, square in (("QL", "L", lambda: g @ g.T), ("QR", "R", lambda: g.T @ g)):
        if basis in state:
            state[moment].lerp_(square(), 1 - b2)
            if state["step"] % group["frequency"] == 0:
                state[basis] = torch.linalg.qr(state[moment] @ state[basis])[0]


def _start_bases(g: Tensor, state: dict[str, Any], largest: int) -> None:
    for basis, moment, side in (("QL", "L", g), ("QR", "R", g.T)):
        if len(side) <= largest:
            state[moment] = side @ side.T
            state[basis] = torch.linalg.eigh(state[moment])[1].flip(1)


def _rotate(g: Tensor, state: dict[str, Any], back: bool = False) -> Tensor:
    if "QL" in state:
        g = state["QL"] @ g if back else state["QL"].T @ g
    if "QR" in state:
        g = g @ state["QR"].T if back else g @ state["QR"]
    return g
