"""SOAP: Adam in the eigenbasis of Shampoo's preconditioner (Vyas et al., arXiv:2409.11321, algorithm 3)."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor
from torch.optim import Optimizer

from skfem_ml.learning.optim.flat import Closure, State


class SOAP(Optimizer):
    """For a matrix with gradient G: ``L = E[G G']``, ``R = E[G' G]`` with eigenvectors ``Q_L``, ``Q_R``.

    Adam's second moment is kept of the rotated gradient ``Q_L' G Q_R``, the first moment is rotated, and the step is
    rotated back. The bases are refreshed every ``frequency`` steps by one QR step of orthogonal iteration. A tensor
    ``(n, a, b)`` is a batch of n matrices, each with bases of its own. Vectors (biases, also ``(n, a, 1)``) and tensors
    of other dimensions take plain Adam. The first step sets the bases alone. Raises ValueError for options out of range
    and complex parameters.

    >>> net = torch.nn.Linear(3, 2)
    >>> optimiser = SOAP(net.parameters(), lr=0.1)
    >>> def loss():
    ...     optimiser.zero_grad()
    ...     value = net(torch.eye(3)).square().mean()
    ...     value.backward()
    ...     return value
    >>> bool(min(optimiser.step(loss) for _ in range(40)) < 1e-2)
    True
    """

    def __init__(
        self,
        params: Iterable[Tensor],
        lr: float = 3e-3,
        betas: tuple[float, float] = (0.95, 0.95),
        eps: float = 1e-8,
        frequency: int = 2,
    ):
        if not (lr > 0 and all(0 <= b < 1 for b in betas) and frequency >= 1):
            raise ValueError(f"expected lr > 0, betas in [0, 1), frequency >= 1, got {lr}, {betas}, {frequency}")
        super().__init__(params, {"lr": lr, "betas": betas, "eps": eps, "frequency": frequency})
        if any(p.is_complex() for group in self.param_groups for p in group["params"]):
            raise ValueError("params: expected real parameters, got complex ones (of an FNO); take Adam")

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


def _update(p: Tensor, g: Tensor, state: State, group: State) -> None:
    b1, b2 = group["betas"]
    if not state:
        state.update(step=0, mean=torch.zeros_like(g), square=torch.zeros_like(g))
        if _has_bases(p):
            _start_bases(g, state)
            return  # the first gradient only sets the bases
    state["step"] += 1
    rotated = _rotate(g, state)
    state["mean"].lerp_(g, 1 - b1)
    state["square"].lerp_(rotated.square(), 1 - b2)
    corrected = (1 - b2 ** state["step"]) ** 0.5 / (1 - b1 ** state["step"])
    change = _rotate(state["mean"], state) / (state["square"].sqrt() + group["eps"])
    p.sub_(group["lr"] * corrected * _rotate(change, state, back=True))
    if _has_bases(p):
        state["L"].lerp_(g @ g.mT, 1 - b2)
        state["R"].lerp_(g.mT @ g, 1 - b2)
        if state["step"] % group["frequency"] == 0:
            for basis, moment in (("QL", "L"), ("QR", "R")):
                state[basis] = torch.linalg.qr(state[moment] @ state[basis])[0]


def _has_bases(p: Tensor) -> bool:
    return p.dim() == 2 or (p.dim() == 3 and min(p.shape[1:]) > 1)


def _start_bases(g: Tensor, state: State) -> None:
    state.update(L=g @ g.mT, R=g.mT @ g)
    for basis, moment in (("QL", "L"), ("QR", "R")):
        state[basis] = torch.linalg.eigh(state[moment])[1].flip(-1)


def _rotate(g: Tensor, state: State, back: bool = False) -> Tensor:
    if "QL" not in state:
        return g
    left, right = state["QL"], state["QR"]
    return left @ g @ right.mT if back else left.mT @ g @ right
