"""State dicts of networks as tensors alone: what is copied, compared and written to files."""

from __future__ import annotations

import copy

import torch
from torch import Tensor, nn

EXTRA = "_extra_state"  # the end of the names under which torch keeps what `get_extra_state` gives


def tensors_of(net: nn.Module) -> dict[str, Tensor]:
    """Return the entries of ``net.state_dict()`` that ``net.load_state_dict`` takes back: tensors and extra state.

    Some libraries (neuraloperator: ``_metadata``, the arguments of a network) put other entries into a state dict.
    These are no state, may not be written, and torch refuses them when it loads a network that holds such a part.
    """
    state = net.state_dict()
    return {name: value for name, value in state.items() if isinstance(value, Tensor) or name.endswith(EXTRA)}


def copied(net: nn.Module) -> dict[str, Tensor]:
    """Return `tensors_of` a network as copies, detached."""
    return {
        name: value.detach().clone() if isinstance(value, Tensor) else copy.deepcopy(value)
        for name, value in tensors_of(net).items()
    }


def parameters_in(net: nn.Module) -> int:
    """Return how many real numbers the parameters hold; a complex one counts twice."""
    return sum(p.numel() * (2 if torch.is_complex(p) else 1) for p in net.parameters())
