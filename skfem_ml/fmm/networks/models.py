"""Networks on skeletons in files: weights and a card from which skeleton and network are made again (needs torch)."""

from __future__ import annotations

from pathlib import Path

from torch import nn

from skfem_ml.fmm.networks.deep import DeepFMMNet
from skfem_ml.fmm.networks.fmmnet import FMMNet
from skfem_ml.fmm.networks.leaves import LeafModule
from skfem_ml.fmm.networks.neural import H2NeuralOperator
from skfem_ml.learning import stored
from skfem_ml.learning.samples import Learned
from skfem_ml.learning.storage import ModelMismatchError
from skfem_ml.learning.stored import Card, save_network

__all__ = ["KINDS", "load_learned", "load_network", "save_network"]
KINDS = (DeepFMMNet, FMMNet, H2NeuralOperator)


def load_network(path: str | Path, *, N: int | None = None) -> tuple[nn.Module, Card]:
    """Return the network on a skeleton in a file of `save_network` or `Learned.save`, and its card.

    Raises FileNotFoundError, CorruptModelError for a file that is damaged or holds other tensors than its card says,
    ModelMismatchError for another kind of model or, where ``N`` is given, another number of points.
    """
    net, card = stored.load_network(path, KINDS)
    assert isinstance(net, LeafModule)
    if N is not None and net.skeleton.N != N:
        raise ModelMismatchError(str(path), {"N": N}, {"N": net.skeleton.N}, "train one for this N")
    return net, card


def load_learned(path: str | Path, *, N: int | None = None) -> Learned:
    """Return the map of samples in a file of ``skfem-ml train fmmnet``, or of `Learned.save`; raises as `load_network`.

    ``w = load_learned("skfem_ml_output/fmmnet.safetensors")(q)`` with samples q, w ``(n, N)``; ``.card`` is its card.
    """
    net, card = load_network(path, N=N)
    return Learned.of(net, card, path)
