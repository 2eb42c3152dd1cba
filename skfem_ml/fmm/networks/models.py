"""A DeepFMMNet in a file: weights and a card from which skeleton and network are made again (needs torch)."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from skfem_ml.fmm.networks.deep import DeepFMMNet
from skfem_ml.fmm.skeleton import H2Skeleton
from skfem_ml.learning.storage import CorruptModelError, ModelMismatchError, load_model, save_model

KIND = "DeepFMMNet"
LIMITS = {"leaf": 1000, "rank": 1000, "hidden": 10_000, "products": 100}  # of a file that is not ours


def save_network(path: str | Path, net: DeepFMMNet, card: Mapping[str, Any] | None = None) -> None:
    """Write a network and a card of JSON values (who trained it on what, errors); the old file stays until it is whole.

    The file holds points, leaf size and sizes of the network as well. Raises as `storage.save_model`.
    """
    sizes = {"rank": net.rank, "hidden": net.hidden, "products": net.products}
    skeleton = {"leaf": net.skeleton.leaf, "eta": net.skeleton.eta}
    held = {**net.state_dict(), "points": torch.as_tensor(net.skeleton.points)}
    save_model(path, held, {**(card or {}), "kind": KIND, **sizes, **skeleton})


def load_network(path: str | Path, *, N: int | None = None) -> tuple[DeepFMMNet, dict[str, Any]]:
    """Return the network of a file of `save_network`, and its card.

    Raises FileNotFoundError, CorruptModelError for a file that is damaged or holds other tensors than its card says,
    ModelMismatchError for another kind of model or, where ``N`` is given, another number of points.
    """
    tensors, card = load_model(path)
    if card.get("kind") != KIND:
        raise ModelMismatchError(
            str(path), {"kind": KIND}, {"kind": card.get("kind")}, "train one with `skfem-ml train fmmnet`"
        )
    try:
        points = tensors.pop("points")
        if N is not None and points.shape[1] != N:
            raise ModelMismatchError(str(path), {"N": N}, {"N": points.shape[1]}, "train one for this N")
        if any(not isinstance(card[name], int) or card[name] > most for name, most in LIMITS.items()):
            raise ValueError(f"sizes {[card[name] for name in LIMITS]} in the card are out of range")
        sizes = {name: card[name] for name in ("rank", "hidden", "products")}
        skeleton = H2Skeleton(points.numpy(), card["leaf"], card["eta"])
        dtype = tensors["enter"].dtype
        net = DeepFMMNet(skeleton, **sizes, generator=torch.Generator().manual_seed(0), dtype=dtype)
        net.load_state_dict(tensors)
    except ModelMismatchError:
        raise
    except (KeyError, TypeError, ValueError, RuntimeError, IndexError) as error:
        raise CorruptModelError(f"{path}: the tensors do not fit the card ({type(error).__name__}: {error})") from error
    return net, card
