"""Networks and training options: ours, and those of the paper."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from numpy.typing import ArrayLike

from skfem_ml.hits.fitting import fit_map
from skfem_ml.hits.flow_map import FlowMap
from skfem_ml.learning.nn import MLP
from skfem_ml.learning.training import History

VARIANTS = ("ours", "published")


def new_maps(
    n: int, steps: Sequence[float], variant: str = "ours", seed: int = 0, dtype: torch.dtype = torch.float32
) -> list[FlowMap]:
    """Return untrained maps of n unknowns, one for each time step in ``steps``; the j-th has its weights from seed + j.

    "ours": tanh, three layers of 64. "published": ReLU, three layers of 128, to be trained without normalisation.
    Raises ValueError for an unknown variant.
    """
    if variant not in VARIANTS:
        raise ValueError(f"variant: expected one of {VARIANTS}, got {variant!r}")
    width, activation = (64, "tanh") if variant == "ours" else (128, "relu")
    generators = [torch.Generator().manual_seed(seed + j) for j in range(len(steps))]
    nets = [MLP((n, *[width] * 3, n), activation, generator=g, dtype=dtype) for g in generators]
    return [FlowMap(net, dt) for net, dt in zip(nets, steps, strict=True)]


def train_map(
    flow_map: FlowMap,
    train: tuple[ArrayLike, Any],
    val: tuple[ArrayLike, Any],
    variant: str = "ours",
    **options: Any,
) -> History:
    """Train a map of `new_maps` in place on trajectories ``(t, y)`` as its variant asks for, and return the history.

    "ours": windows of one step from any time, more of them from early ones, SOAP with a rate of 1e-2, batches of 1024.
    "published": windows of five steps from the start alone, Adam with 1e-3, batches of 320, plain increments; its rate
    falls like ours, which does it good. ``options`` replace any of these, see `fitting.fit_map`.
    """
    if variant == "ours":
        settings: dict[str, Any] = {"batch": 1024, "lr": 1e-2, "sampling": "log"}
        return fit_map(flow_map, *train, validation=val, **{**settings, **options})
    settings = {"batch": 320, "lr": 1e-3, "window": 5, "optimiser": "adam", "normalise": False, **options}
    first, checked = (_beginning(*data, settings["window"] * flow_map.dt) for data in (train, val))
    return fit_map(flow_map, *first, validation=checked, **settings)


def _beginning(t: Any, y: Any, length: float) -> tuple[Any, Any]:
    count = int((t <= t[0] + length * (1 + 1e-9)).sum())
    return t[:count], y[..., :count]
