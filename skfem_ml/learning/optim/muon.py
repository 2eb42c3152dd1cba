"""Muon and Adam as one optimiser: hidden matrices take orthogonalised steps, everything else Adam's."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor
from torch.optim import Optimizer

from skfem_ml.learning.optim.flat import Closure, State


class MuonAdam(Optimizer):
    """torch's Muon (Jordan et al. 2024) for ``matrices``, its steps of the root mean square of Adam's; Adam for others.

    ``others`` may hold groups with a ``"scale"``: their rate is the rate times it. Parameters that want no gradient are
    left out. Raises ValueError for matrices that are none, ImportError where torch is older than 2.9.

    >>> net = torch.nn.Linear(3, 2)
    >>> optimiser = MuonAdam([net.weight], [net.bias], lr=0.1)
    >>> loss = optimiser.step(lambda: net(torch.ones(1, 3)).square().sum())
    >>> [type(part).__name__ for part in optimiser.parts]
    ['Muon', 'Adam']
    """

    def __init__(self, matrices: Iterable[Tensor], others: Iterable[Tensor] | Iterable[State], lr: float = 3e-3):
        if not hasattr(torch.optim, "Muon"):
            raise ImportError(
                f"MuonAdam: expected torch.optim.Muon, which torch has from 2.9 on, got torch {torch.__version__}; "
                "pip install 'torch>=2.9', or take another optimiser"
            )
        wanted = [p for p in matrices if p.requires_grad]
        if any(p.dim() != 2 for p in wanted):
            raise ValueError(
                f"matrices: expected two dimensions, got {[tuple(p.shape) for p in wanted if p.dim() != 2]}"
            )
        self.parts: list[Optimizer] = [
            torch.optim.Muon(wanted, lr=lr, weight_decay=0.0, adjust_lr_fn="match_rms_adamw"),
            torch.optim.Adam(others, lr=lr, betas=(0.9, 0.99)),
        ]
        self.defaults = {"lr": lr}

    @property
    def param_groups(self) -> list[State]:  # type: ignore[override]
        """The groups of both, Muon's first."""
        return [group for part in self.parts for group in part.param_groups]

    def step(self, closure: Closure) -> Tensor:  # type: ignore[override]
        """Do one step and return the loss before it."""
        with torch.enable_grad():
            value = closure()
        for part in self.parts:
            for group in part.param_groups:
                group["lr"] *= group.get("scale", 1.0)
            part.step()
            for group in part.param_groups:
                group["lr"] /= group.get("scale", 1.0)
        return value.detach()

    def zero_grad(self, set_to_none: bool = True) -> None:
        """Forget the gradients of both."""
        for part in self.parts:
            part.zero_grad(set_to_none)

    def state_dict(self) -> State:
        """The states of both."""
        return {"parts": [part.state_dict() for part in self.parts]}

    def load_state_dict(self, state_dict: State) -> None:
        """Take the states of both."""
        for part, state in zip(self.parts, state_dict["parts"], strict=True):
            part.load_state_dict(state)
