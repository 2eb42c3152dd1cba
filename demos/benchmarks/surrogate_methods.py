"""The local maps that ``surrogate.md`` compares."""

from __future__ import annotations

import warnings
from typing import Any

import torch
from numpy import ndarray
from skfem import MeshQuad

from demos.benchmarks.surrogate_tables import EXACT_8, EXACT_16, MODEL, NULL, OF_OTHER_MESHES, WIDE_MODEL
from skfem_ml.lod import LOD, Extrapolated, FieldNetwork, GeometricMean, SuperElements, Surrogate
from skfem_ml.problems import diffusion


def space(n: int) -> LOD:
    """32 x 32 coarse elements, the coefficient on 256 x 256 cells, n fine cells along a coarse edge."""
    return LOD(MeshQuad().refined(5), refine=n, cells=8, ell=2)


def affine_part(model: Surrogate) -> Surrogate:
    """The ridge regression alone: the model without its network."""
    net = FieldNetwork(**model.net.config, generator=None)  # type: ignore[arg-type]
    net.load_state_dict(model.net.state_dict())
    torch.nn.init.zeros_(net.head.weight)
    return Surrogate(net, model.card)


class ExactOn:
    """Exact matrices with another number of fine cells along a coarse edge, and interiors, as a local map."""

    def __init__(self, refine: int, interiors: int | None = None):
        self.refine, self.interiors = refine, interiors

    def local(self, lod: LOD, elements: ndarray, a: ndarray) -> ndarray:
        """Local matrices ``(k, rows, 4)``."""
        other = LOD(lod.coarse, self.refine, cells=lod.space.m, ell=lod.ell, interiors=self.interiors)
        return other.local(diffusion, elements, a=a)


OTHERS = Extrapolated(diffusion), ExactOn(8, interiors=32), SuperElements.load("diffusion")
CHEAPER = {EXACT_16: ExactOn(16), **dict(zip(OF_OTHER_MESHES, OTHERS, strict=True))}


def competitors(n: int, mlp: Surrogate | None) -> dict[str, Any]:
    """Local maps by name; the paper's network where it was trained."""
    model = Surrogate.load(MODEL[n])
    others: dict[str, Any] = {} if mlp is None else {"PatchMLP, trained here": mlp}
    if n > 8:
        others |= {"wide surrogate": Surrogate.load(WIDE_MODEL), EXACT_8: ExactOn(8)}
    return {
        "surrogate": model,
        **others,
        "null: affine ridge": affine_part(model),
        NULL: GeometricMean(),
    }


def quietly(lod: LOD, local_map: Any, a: ndarray) -> ndarray:
    """Local matrices without warnings of inputs out of range."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return local_map.local(lod, lod.space.all_elements, a=a)
