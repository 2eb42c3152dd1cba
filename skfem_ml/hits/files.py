"""Trained flow maps on disk, in hierarchies or alone: weights, normalisation and a card; models by name."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from skfem_ml.hits.box import Box
from skfem_ml.hits.flow_map import FlowMap
from skfem_ml.hits.skip_net import SkipNet
from skfem_ml.hits.splitting import SplittingNet
from skfem_ml.learning.models import find_model
from skfem_ml.learning.nn import MLP
from skfem_ml.learning.storage import fitting, load_model, require_entries, save_model
from skfem_ml.learning.stored import StoredNetwork, require_sizes
from skfem_ml.stepping.stepper import Stepper

KIND = "hits"
NETWORKS: dict[str, type[StoredNetwork]] = {kind.__name__: kind for kind in (MLP, SkipNet, SplittingNet)}
BUFFERS = "center", "scale", "drift", "increment"
OWN = ("kind", "maps", "selected", "box")  # entries that this file writes itself
Card = dict[str, Any]  # what JSON holds


@dataclass(frozen=True)
class Saved:
    """What a file holds: all maps, smallest and largest dt of those that were selected, the box, the user's card."""

    maps: list[FlowMap]
    selected: tuple[float, float]
    box: Box | None
    card: Card


def save_maps(
    path: str | Path,
    maps: Sequence[Stepper],
    card: Mapping[str, object],
    selected: tuple[float, float],
    box: Box | None,
) -> None:
    """Write maps and a card.

    Raises TypeError for maps other than a `FlowMap` of a network that files can hold (`NETWORKS`), ValueError for a
    card with entries of the file's own, else see `storage.save_model`.
    """
    require_free(card, OWN)
    tensors: dict[str, torch.Tensor] = {}
    described = []
    for k, flow_map in enumerate(maps):
        entry, of_map = described_map(flow_map)
        described.append(entry)
        tensors |= {f"{k}.{name}": tensor for name, tensor in of_map.items()}
    own: dict[str, object] = {"kind": KIND, "maps": described, "selected": list(selected)}
    if box is not None:
        own["box"] = {"low": box.low.tolist(), "high": box.high.tolist(), "t": [box.start, box.end]}
    save_model(path, tensors, {**card, **own})


def require_free(card: Mapping[str, object], own: Sequence[str]) -> None:
    """Raise ValueError for a card with entries that the file writes itself."""
    taken = [key for key in own if key in card]
    if taken:
        raise ValueError(f"card: expected other entries than {', '.join(own)}, which save writes, got {taken}; rename")


def load_maps(name_or_path: str | Path, wanted: Mapping[str, object]) -> Saved:
    """Return the maps in the precision they were saved in, and what is on the card.

    Raises FileNotFoundError with the names there are, CorruptModelError for what `save_maps` did not write, and
    ModelMismatchError where the card has other entries than ``wanted``.
    """
    path = find_model("hits", name_or_path)
    tensors, card = load_model(path)
    with fitting(path, "the maps and card of a hierarchy"):
        described = card.pop("maps")
        if card.pop("kind") != KIND:
            raise ValueError("another kind of model")
        maps = [built_map(entry, _part(k, tensors)) for k, entry in enumerate(described)]
        if sum(len(m.state_dict()) for m in maps) != len(tensors):
            raise ValueError("more tensors than the card describes")
        steps = [m.dt for m in maps]
        low, high = map(float, card.pop("selected", (min(steps), max(steps))))  # older files have none
        if not any(low * (1 - 1e-9) <= dt <= high * (1 + 1e-9) for dt in steps):
            raise ValueError(f"no map selected, from {low} to {high}")
        box = _box(card.pop("box", None))
        if box is not None and any(m.size not in (None, len(box.low)) for m in maps):
            raise ValueError(f"a box of {len(box.low)} unknowns")
    require_entries(str(path), card, wanted)
    return Saved(maps, (low, high), box, card)


def _box(entry: Mapping[str, Sequence[float]] | None) -> Box | None:
    if entry is None:
        return None
    low, high = (np.array(entry[key], dtype=float).reshape(-1) for key in ("low", "high"))
    start, end = map(float, entry["t"])
    return Box(low, high, start, end)


def _part(k: int, tensors: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    return {name.split(".", 1)[1]: tensor for name, tensor in tensors.items() if name.split(".", 1)[0] == str(k)}


def described_map(flow_map: Stepper) -> tuple[Card, dict[str, torch.Tensor]]:
    """What the card says of a map, and its tensors; TypeError unless it is a `FlowMap` of one of `NETWORKS`."""
    net = flow_map.net if isinstance(flow_map, FlowMap) else None
    if not isinstance(flow_map, FlowMap) or not isinstance(net, StoredNetwork) or type(net).__name__ not in NETWORKS:
        raise TypeError(f"maps: expected FlowMaps of {', '.join(NETWORKS)} to save, got {flow_map}")
    kind = {} if isinstance(net, MLP) else {"kind": type(net).__name__}  # as in files of 0.1
    return {"dt": flow_map.dt, **kind, **net.sizes()}, dict(flow_map.state_dict())


def built_map(entry: Mapping[str, Any], tensors: Mapping[str, torch.Tensor]) -> FlowMap:
    """The map that `described_map` told of; ValueError, TypeError, KeyError or RuntimeError where it cannot be."""
    sizes = dict(entry)
    dt, kind = sizes.pop("dt"), NETWORKS[sizes.pop("kind", "MLP")]
    require_sizes(sizes, kind.LIMITS)
    # Built without memory, so that sizes are compared with the tensors before anything is allocated.
    with torch.device("meta"):
        net = MLP(**sizes, generator=None) if kind is MLP else kind.made(sizes, {})  # type: ignore[arg-type]
    flow_map = FlowMap(net, dt)
    width = tensors["net.linear.0"].shape[0] if kind is SplittingNet else list(net.state_dict().values())[-1].shape[0]
    for name in BUFFERS:
        if tensors[name].shape not in ((), (width,)):
            raise ValueError(f"{name}: expected one number or {width}, got shape {tuple(tensors[name].shape)}")
        setattr(flow_map, name, tensors[name])
    flow_map.load_state_dict(tensors, assign=True)
    return flow_map
