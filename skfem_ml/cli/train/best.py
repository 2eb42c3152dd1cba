"""The best weights of a training that was stopped, from its checkpoint."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import nn


def restore_best(net: nn.Module, checkpoint: Path) -> bool:
    """Give a network the best weights so far of the run that saves there, and return whether there are any yet."""
    if not checkpoint.exists():
        return False
    from skfem_ml.learning import load_checkpoint

    net.load_state_dict(load_checkpoint(checkpoint)["best"])
    return True
