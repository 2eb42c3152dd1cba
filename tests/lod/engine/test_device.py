"""The engines on an accelerator that is simulated: what was not moved there may not meet what was, as on CUDA."""

from contextlib import nullcontext

import numpy as np
import pytest
import torch
from skfem import MeshHex, MeshQuad
from torch.overrides import TorchFunctionMode
from torch.utils._pytree import tree_flatten

from skfem_ml.lod import LOD
from skfem_ml.lod.engine import bordered
from skfem_ml.lod.engine.elements import traces
from skfem_ml.problems import diffusion, load

F = load(lambda x: np.sin(9 * x[0]) * x[1])
INDEXED = {"__getitem__", "__setitem__", "index_select"}
MOVES = {"to", "cpu", "copy_", "numpy", "device", "__get__"}


class There(torch.Tensor):
    """A tensor on the accelerator."""


class Accelerator(TorchFunctionMode):
    """What is made for, or moved to, a device by name is there; nothing else is, and only moves bring it back."""

    def __torch_function__(self, func, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        name = getattr(func, "__name__", str(func))
        tensors = [x for x in tree_flatten((args, kwargs))[0] if isinstance(x, torch.Tensor)]
        there = [isinstance(x, There) for x in tensors]
        if name == "numpy" and any(there):
            raise TypeError("can't convert a tensor of the accelerator to numpy: use .cpu() first")
        if name not in MOVES:
            mixed = tensors[:1] if name in INDEXED else [x for x in tensors if x.ndim]
            if any(there) and not all(isinstance(x, There) for x in mixed):
                raise RuntimeError(f"{name}: expected all tensors on the accelerator, got one that is not")
        with torch._C.DisableTorchFunctionSubclass():
            result = func(*args, **kwargs)
        goes = "device" in kwargs or (name == "to" and _to_device(args[1:])) or (any(there) and name != "cpu")
        return _tagged(result, goes)


def _to_device(args):
    return any(isinstance(x, (torch.device, There)) or x == "cpu" for x in args if not isinstance(x, torch.dtype))


def _tagged(result, there):
    if isinstance(result, torch.Tensor):
        return result.as_subclass(There if there else torch.Tensor)
    if isinstance(result, torch.Size):
        return result
    if isinstance(result, (list, tuple)):
        return type(result)([_tagged(x, there) for x in result])
    return result


@pytest.fixture
def accelerator(monkeypatch):
    """The mode, with the paths that CUDA takes."""
    monkeypatch.setattr(bordered, "_for_scipy", lambda matrix: False)
    monkeypatch.setattr(traces, "_KNOWN", {})  # known by device, of which the simulation has the name of another
    return Accelerator()


KINDS = {
    "quads": (lambda: MeshQuad().refined(2), {"refine": 8}),
    "quads, leaves": (lambda: MeshQuad().refined(2), {"refine": 8, "cells": 2, "ell": 1}),
    "quads, natural": (lambda: MeshQuad().refined(2), {"refine": 6, "dirichlet": lambda x: x[0] == 0}),
    "quads, uneven": (
        lambda: MeshQuad.init_tensor(*[np.array([0, 0.2, 0.5, 1])] * 2),
        {"refine": 4, "interpolation": "clement"},
    ),
    "L": (lambda: MeshQuad().refined(2).restrict(lambda x: (x[0] < 0.5) | (x[1] < 0.5)), {"refine": 4}),
    "extrapolated": (lambda: MeshQuad().refined(2), {"refine": 4, "cells": 4, "interiors": 16}),
    "hexes": (lambda: MeshHex.init_tensor(*[np.linspace(0, 1, k) for k in (4, 3, 3)]), {"refine": 3, "ell": 1}),
}


@pytest.mark.parametrize("kind", KINDS)
def test_all_that_is_computed_is_computed_there(kind, accelerator):
    mesh, options = KINDS[kind]
    a = np.random.default_rng(0).uniform(1, 9, LOD(mesh(), **options).coefficient_mesh.t.shape[1])
    found = []
    for mode in (accelerator, nullcontext()):
        traces._KNOWN.clear()
        system = LOD(mesh(), **options).system(diffusion, a=a)
        u = np.random.default_rng(1).normal(size=(system.lod.coarse.N, 2))
        with mode:
            sums = system.prolong(u), system.prolong(u[:, 0], load=F)
            found.append([*sums, system.local(), system.basis().toarray(), system.load(F, corrected=True)])
    for there, plain in zip(*found, strict=True):
        assert abs(plain - there).max() <= 1e-11 * abs(plain).max()


def test_the_simulation_refuses_what_cuda_refuses():
    host = torch.arange(3.0)
    with Accelerator():
        there = host.to(torch.device("cpu"))
        assert isinstance(there, There) and isinstance(there + 1, There) and isinstance(there[host.long()], There)
        assert isinstance(torch.zeros(3, device="cpu") + there, There) and not isinstance(there.cpu(), There)
        assert not isinstance(torch.zeros(3), There) and isinstance(there.new_zeros(2), There)
        for wrong in (lambda: there + host, lambda: torch.cat([there, torch.zeros(2)]), lambda: host.add_(there)):
            with pytest.raises(RuntimeError, match="expected all tensors on the accelerator"):
                wrong()
        with pytest.raises(TypeError, match=r"use \.cpu"):
            there.numpy()
