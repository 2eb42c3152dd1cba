"""Networks that files can hold: a card of sizes from which the network is made again, and its tensors."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from pathlib import Path
from typing import ClassVar, TypeVar

import torch
from torch import Tensor, nn

from skfem_ml.learning.states import tensors_of
from skfem_ml.learning.storage import MISFITS, CorruptModelError, ModelMismatchError, load_model, save_model

Card = dict[str, object]  # JSON values
N = TypeVar("N", bound="StoredNetwork")
OWN = "made of: "  # in front of the names of the tensors that a network is made from


class StoredNetwork(nn.Module, ABC):
    """A network that `save_network` writes and `load_network` makes again; the name of its class goes on the card.

    ``LIMITS`` holds the sizes that a file may ask for, and the largest value of each: a file that is not ours must not
    take all memory.

    >>> import torch
    >>> from skfem_ml.learning import MLP, StoredNetwork
    >>> isinstance(MLP((1, 2, 1), generator=torch.Generator().manual_seed(0)), StoredNetwork)
    True
    """

    LIMITS: ClassVar[Mapping[str, int]]

    @abstractmethod
    def sizes(self) -> Card:
        """Return the sizes to make the network from, JSON values; ValueError for one that no card can describe."""

    def made_of(self) -> dict[str, Tensor]:
        """Return the tensors, besides its state, to make the network from (points, say)."""
        return {}

    @classmethod
    @abstractmethod
    def made(cls: type[N], sizes: Card, tensors: dict[str, Tensor]) -> N:
        """Return a network of these sizes; ValueError, TypeError or KeyError where that cannot be."""


def save_network(path: str | Path, net: nn.Module, card: Mapping[str, object] | None = None) -> None:
    """Write a `StoredNetwork` and a card of JSON values (who trained it on what, errors).

    The old file stays until the new one is whole. Raises TypeError for another kind of network, and what `save_model`
    raises.
    """
    if not isinstance(net, StoredNetwork):
        raise TypeError(
            f"net: expected a network with sizes, made_of and made (learning.stored.StoredNetwork), got "
            f"{type(net).__name__}; keep its weights by learning.save_model(path, net.state_dict(), card)"
        )
    own = {OWN + name: tensor for name, tensor in net.made_of().items()}
    sizes = {"kind": type(net).__name__, "sizes": net.sizes()}
    save_model(path, {**tensors_of(net), **own}, {**(card or {}), **sizes})


def load_network(path: str | Path, kinds: tuple[type[N], ...]) -> tuple[N, Card]:
    """Return the network of a file of `save_network`, which must be of one of ``kinds``, and its card.

    Raises FileNotFoundError, CorruptModelError for a file that is damaged or holds other tensors than its card says,
    ModelMismatchError for another kind.
    """
    tensors, card = load_model(path)
    found = {kind.__name__: kind for kind in kinds}.get(str(card.get("kind")))
    if found is None:
        wanted = " or ".join(kind.__name__ for kind in kinds)
        raise ModelMismatchError(
            str(path), {"kind": wanted}, {"kind": card.get("kind")}, "name the class that the file has"
        )
    own = {name.removeprefix(OWN): tensors.pop(name) for name in list(tensors) if name.startswith(OWN)}
    try:
        sizes = dict(card["sizes"])
        require_sizes(sizes, found.LIMITS)
        net = found.made(sizes, own)
        dtypes = {tensor.dtype for tensor in tensors.values()}
        net = net.double() if torch.float64 in dtypes else net.float()  # complex parameters stay what they are
        net.load_state_dict(tensors)
    except MISFITS as error:
        raise CorruptModelError(f"{path}: the tensors do not fit the card ({type(error).__name__}: {error})") from error
    return net, card


def require_sizes(sizes: Card, limits: Mapping[str, int]) -> None:
    """Raise ValueError unless sizes of a file are whole numbers, or lists of them, within the limits."""
    for name, most in limits.items():
        value = sizes[name]
        numbers = value if isinstance(value, list) else [value]
        flat = [n for one in numbers for n in (one if isinstance(one, list) else [one])]
        if len(flat) > 1000 or any(isinstance(n, bool) or not isinstance(n, int) or not 0 <= n <= most for n in flat):
            raise ValueError(f"{name}: expected whole numbers up to {most}, got {str(value)[:80]}, out of range")
