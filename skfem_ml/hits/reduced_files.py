"""Files of maps of POD coefficients."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import torch

from skfem_ml.hits.files import built_map, described_map, require_free
from skfem_ml.hits.flow_map import FlowMap
from skfem_ml.learning.storage import ModelMismatchError, fitting, load_model, save_model
from skfem_ml.stepping.linear import Matrix
from skfem_ml.stepping.pod import POD
from skfem_ml.stepping.stepper import Stepper

FLOW = "flow."  # in front of the names of the tensors of the map
ORTHONORMAL = 1e-6  # of V' M V
OWN = "kind", "flow"


def save_reduced(path: str | Path, kind: str, flow: Stepper, pod: POD | None, card: Mapping[str, object]) -> None:
    """Write a map and the modes; TypeError for a map that files cannot hold, ValueError for entries of its own."""
    require_free(card, OWN)
    entry, own = described_map(flow)
    tensors = {FLOW + name: tensor for name, tensor in own.items()}
    if pod is not None:
        arrays = {"modes": pod.modes, "lift": pod.lift, "singular values": pod.singular_values}
        tensors |= {name: torch.from_numpy(array.copy()) for name, array in arrays.items()}
    save_model(path, tensors, {**card, "kind": kind, "flow": entry})


def load_reduced(path: str | Path, kind: str, M: Matrix | None) -> tuple[FlowMap, POD | None]:
    """Return what `save_reduced` wrote; see `ReducedMap.load` for what is raised."""
    tensors, card = load_model(path)
    if card.get("kind") != kind:
        advice = "take the class that it was saved by"
        raise ModelMismatchError(str(path), {"kind": kind}, {"kind": card.get("kind")}, advice)
    with fitting(path, f"a {kind} and its modes"):
        own = {name.removeprefix(FLOW): tensor for name, tensor in tensors.items() if name.startswith(FLOW)}
        flow = built_map(card["flow"], own)
        rest = {name: tensor.double().numpy() for name, tensor in tensors.items() if not name.startswith(FLOW)}
        if rest and not (rest["modes"].ndim == 2 and rest["lift"].shape == rest["modes"].shape[:1]):
            raise ValueError(f"modes and lift of shapes {rest['modes'].shape} and {rest['lift'].shape}")
    if not rest:
        return flow, None
    (n, r), advice = rest["modes"].shape, "give the mass matrix of the basis of training"
    size = None if M is None else M.shape[0]
    if M is None or size != n:
        raise ModelMismatchError(str(path), {"M": (n, n)}, {"M": size}, advice)
    pod = POD(M, r, rest["lift"])
    pod.modes, pod.singular_values = rest["modes"], rest["singular values"]
    gap = float(abs(pod.encode(pod.modes.T + pod.lift) - torch.eye(r).numpy()).max())
    if not gap <= ORTHONORMAL:
        raise ModelMismatchError(str(path), {"|V' M V - I|": 0.0}, {"|V' M V - I|": gap}, advice)
    return flow, pod
