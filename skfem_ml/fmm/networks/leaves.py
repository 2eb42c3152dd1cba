"""What networks on a skeleton share: samples to leaves and back, and the normalisation of both sides."""

from __future__ import annotations

from abc import abstractmethod

import numpy as np
import torch
from numpy.typing import ArrayLike
from torch import Tensor

from skfem_ml.fmm.skeleton import H2Skeleton
from skfem_ml.learning.states import parameters_in
from skfem_ml.learning.stored import Card, StoredNetwork


class LeafModule(StoredNetwork):
    """A map of ``(n, N)`` on the points of a skeleton, between `gather` and `scatter`.

    ``usual`` says whether the network has its own activation, which a file cannot tell. `normalise` sets, from data,
    what both take off and put on: ``w = mean + scale * net((q - mean) / scale)``.
    """

    leaves: Tensor
    position: Tensor
    shift_in: Tensor
    shift_out: Tensor
    scale_in: Tensor
    scale_out: Tensor

    def __init__(self, skeleton: H2Skeleton, dtype: torch.dtype, usual: bool = True):
        super().__init__()
        self.skeleton, self.usual = skeleton, usual
        leaves = skeleton.leaf_index()
        position = np.empty(skeleton.N + 1, dtype=np.int64)
        position[leaves.ravel()] = np.arange(leaves.size)
        self.register_buffer("leaves", torch.as_tensor(leaves), persistent=False)
        self.register_buffer("position", torch.as_tensor(position[:-1]), persistent=False)
        for side in ("in", "out"):
            self.register_buffer(f"shift_{side}", torch.zeros(skeleton.N, dtype=dtype))
            self.register_buffer(f"scale_{side}", torch.ones((), dtype=dtype))

    def __repr__(self) -> str:
        sizes = ", ".join(f"{name} {value}" for name, value in self.own_sizes().items())
        return f"{type(self).__name__}({self.skeleton.N} points, {sizes}, {parameters_in(self):,} parameters)"

    @abstractmethod
    def own_sizes(self) -> Card:
        """Return the sizes of the network on its skeleton."""

    def sizes(self) -> Card:
        """Return all sizes, those of the skeleton too; ValueError for an activation of one's own."""
        if not self.usual:
            raise ValueError(
                f"{type(self).__name__}: expected its own activation, got another, which no file can hold; keep "
                "net.state_dict()"
            )
        return {**self.own_sizes(), "leaf": self.skeleton.leaf, "eta": self.skeleton.eta}

    def made_of(self) -> dict[str, Tensor]:
        """Return the points of the skeleton."""
        return {"points": torch.as_tensor(self.skeleton.points)}

    @staticmethod
    def skeleton_of(sizes: Card, tensors: dict[str, Tensor]) -> H2Skeleton:
        """Return the skeleton of `sizes`, which are taken out, and `made_of`."""
        leaf, eta = sizes.pop("leaf"), sizes.pop("eta")
        if not isinstance(leaf, int) or not isinstance(eta, float):
            raise ValueError(f"leaf, eta: expected an integer and a number, got {leaf!r} and {eta!r}")
        return H2Skeleton(tensors["points"].numpy(), leaf, eta)

    def normalise(self, inputs: ArrayLike, outputs: ArrayLike) -> None:
        """Take the mean at each point and one standard deviation from data ``(n, N)``, for inputs and outputs."""
        for side, data in (("in", inputs), ("out", outputs)):
            values = np.asarray(data, dtype=float)
            if values.ndim != 2 or values.shape[1] != self.skeleton.N:
                raise ValueError(f"{side}puts: expected shape (n, {self.skeleton.N}), got {values.shape}")
            mean = values.mean(axis=0)
            getattr(self, f"shift_{side}").copy_(torch.as_tensor(mean))
            getattr(self, f"scale_{side}").fill_(float((values - mean).std()) or 1.0)

    def gather(self, q: Tensor) -> Tensor:
        """Return normalised samples ``(n, N)`` by leaf, ``(leaves, width, n)``; ValueError for another N."""
        if q.ndim != 2 or q.shape[1] != self.skeleton.N:
            raise ValueError(f"q: expected shape (n, {self.skeleton.N}), one row per sample, got {tuple(q.shape)}")
        x = ((q - self.shift_in) / self.scale_in).T
        return torch.cat([x, x.new_zeros(1, x.shape[1])])[self.leaves]  # a smaller leaf is filled up with a zero

    def scatter(self, y: Tensor) -> Tensor:
        """Return ``(n, N)`` in the units of the outputs for ``(leaves, width, n)``."""
        return y.reshape(-1, y.shape[2])[self.position].T * self.scale_out + self.shift_out
