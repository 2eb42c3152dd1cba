"""The part of a field network that sees the whole field: convolutions that encode every coarse element once."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn
from torch.nn.functional import conv2d, interpolate, silu

from skfem_ml.lod.surrogate.networks.equivariant import LiftConv
from skfem_ml.lod.surrogate.networks.local_network import Certified

Gate = Callable[[Tensor], Tensor]
WIDTHS = (1, 2, 3, 6, 12)  # regular channels before each halving; the last ones where there are fewer halvings


class FieldEncoder(Certified):
    """Encodings of coarse elements of m x m cells, ``encoding`` regular channels each."""

    gate: Gate
    rounded: torch.dtype | None = None  # the type of all convolutions after the first, if not that of the weights
    _kept: tuple[Tensor, Tensor, Tensor] | None = None

    def build_encoder(self, m: int, encoding: int) -> None:
        """Add the layers: the first sees cells, every other one half as many."""
        strides = _strides(m)
        widths = [*WIDTHS[max(0, len(WIDTHS) - len(strides)) :], encoding]
        widths = [WIDTHS[0]] * (len(strides) + 1 - len(widths)) + widths
        self.first = LiftConv(1, widths[0], 3, scalar=True)
        self.inside = LiftConv(1, widths[0], 3, scalar=True)
        self.mixes = nn.ModuleList(LiftConv(w, 2 * w, 3) for w in widths[:-1])
        self.halve = nn.ModuleList(
            LiftConv(w, v, s, stride=s) for w, v, s in zip(widths[:-1], widths[1:], strides, strict=True)
        )

    def __getstate__(self) -> dict[str, object]:
        return {name: value for name, value in self.__dict__.items() if name != "_kept"}

    def encode(self, logs: Tensor, lattice: Tensor) -> Tensor:
        """One vector for every coarse element, as images ``(fields, 8 encoding, rows, columns)``, zero outside."""
        # Convolutions of few channels are up to three times as fast with the channels last.
        field, mask = (image.to(memory_format=torch.channels_last) for image in _laid_out(logs, lattice, self.m))
        sums, seen = self._at_boundary(mask)
        x = _silu(self.first(field).add_(seen).addcmul_(field, sums, value=-1)).to(self.rounded or field.dtype)
        whole, mask = bool(mask.all()), mask.to(x.dtype)
        for mix, halve in zip(self.mixes, self.halve, strict=True):
            x = x if whole else x.mul_(interpolate(mask, x.shape[2:]))
            x = _silu(halve(gated(mix(x), 1, self.gate).add_(x)))
        return x if whole else x * interpolate(mask, x.shape[2:])

    def _at_boundary(self, mask: Tensor) -> tuple[Tensor, ...]:
        """The two convolutions of the mask, kept from call to call while no gradient is wanted."""
        kernels = torch.cat([layer.kernels(mask.dtype) for layer in (self.first, self.inside)])
        if torch.is_grad_enabled():
            return conv2d(mask, kernels, padding=1).chunk(2, dim=1)
        kept = self._kept
        if kept is None or kept[0].device != mask.device or not (torch.equal(kept[0], mask) and kernels.equal(kept[1])):
            self._kept = kept = mask, kernels, conv2d(mask, kernels, padding=1)
        return kept[2].chunk(2, dim=1)


@contextmanager
def in_type(net: FieldEncoder, kind: torch.dtype | None) -> Iterator[None]:
    """Within, the convolutions of the network, but the first, are in another type; None: in that of its weights."""
    before, net.rounded = net.rounded, kind
    try:
        yield
    finally:
        net.rounded = before


def rounded(net: nn.Module, kind: torch.dtype) -> FieldEncoder:
    """A copy of the network with its convolutions, but the first, in another type; ValueError where there are none."""
    made = copy.deepcopy(net)
    if not isinstance(made, FieldEncoder):
        raise ValueError(f"net: expected a FieldNetwork, which convolves over fields, got {type(net).__name__}")
    made.rounded = kind
    return made


def gated(x: Tensor, dim: int, act: Gate) -> Tensor:
    gate, value = x.chunk(2, dim)
    # A half of channels that lie last is in pieces, of which functions are up to ten times as slow.
    gate = gate.contiguous(memory_format=torch.channels_last if x.ndim == 4 else torch.contiguous_format)
    return act(gate) * value if torch.is_grad_enabled() else act(gate).mul_(value)


def _silu(x: Tensor) -> Tensor:
    """silu of what nobody else needs: on the same memory where no gradient is wanted, as fresh pages cost time."""
    return silu(x, inplace=not torch.is_grad_enabled())


def _laid_out(logs: Tensor, lattice: Tensor, m: int) -> tuple[Tensor, Tensor]:
    """Images ``(fields, 1, rows, columns)`` of fields by element, zero outside the mesh, and the mask of its inside."""
    columns, rows = lattice.T
    shape = int(rows.max()) + 1, int(columns.max()) + 1
    blocks = logs.new_zeros(len(logs) + 1, *shape, m, m)
    blocks[:-1, rows, columns] = logs.unflatten(2, (m, m))
    blocks[-1, rows, columns] = 1
    images = blocks.transpose(2, 3).reshape(-1, 1, shape[0] * m, shape[1] * m)
    return images[:-1], images[-1:]


def _strides(m: int) -> list[int]:
    strides: list[int] = []
    while m % 2 == 0:
        strides, m = [*strides, 2], m // 2
    return strides if m == 1 and strides else [*strides, m]
