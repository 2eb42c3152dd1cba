"""Muon and Adam as one optimiser: hidden matrices take orthogonalised steps, everything else Adam's."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor
from torch.optim import Optimizer

from skfem_ml.learning.optim.flat import Closure


class MuonAdam(Optimizer):
    """torch's Muon (Jordan et al. 2024) for ``matrices``, its steps of the root mean square of Adam's; Adam for others.

    ``others`` may hold groups with a ``"scale"``: their rate is the rate times it. Parameters that want no gradient are
    left out. Raises ValueError for matrices that are none.
    """

    def __init__(self, matrices: Iterable[Tensor], others: Iterable[Any], lr: float = 3e-3):
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
    def param_groups(self) -> list[dict[str, Any]]:  # type: ignore[override]
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

    def state_dict(self) -> dict[str, Any]:
        """The states of both."""
        return {"parts": [part.state_dict() for part in self.parts]}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take the states of both."""
        for part, state in zip(self.parts, state_dict["parts"], strict=True):
            part.load_state_dict(state)
