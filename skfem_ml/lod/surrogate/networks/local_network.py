"""The contract of networks from coefficients to local matrices, and what such networks share.

A network is a local map of torch in two dimensions: ``net(a, place)`` takes fields by coarse element ``(fields, nelems,
m**2)``, x fastest, double precision, and the place of k patches, and returns ``(fields, k, (2 ell + 2)**2, 4)`` in
double precision. Rows outside the domain are zero. A network of your own derives from `LocalNetwork`, or, where it can
estimate its own error, from `Certified`.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import NamedTuple

import torch
from torch import Tensor, nn

from skfem_ml import checks
from skfem_ml.lod.surrogate.networks.place import Place

LARGEST = 2**14  # width and depth come from files: no file may ask for more


class LocalNetwork(nn.Module, ABC):
    """A network from coefficients to local matrices.

    Attributes
    ----------
    m, ell
        Coefficient cells along a coarse edge, layers of the patch.
    base
        Not zero: the network corrects the exact matrices of a fine mesh with ``base`` cells along a coarse edge, which
        it is given as a third input.
    config
        Arguments from which the network is built again, JSON values.

    >>> import torch
    >>> from skfem_ml.lod.surrogate.networks import LocalNetwork, PatchMLP
    >>> net = PatchMLP(m=2, ell=1, hidden=[8], generator=torch.Generator().manual_seed(0))
    >>> isinstance(net, LocalNetwork), net.config
    (True, {'m': 2, 'ell': 1, 'hidden': [8]})
    """

    m: int
    ell: int
    base: int = 0
    config: dict[str, object]

    @abstractmethod
    def forward(self, a: Tensor, place: Place, base: Tensor | None = None) -> Tensor:
        """Local matrices ``(fields, k, (2 ell + 2)**2, 4)`` of fields by element ``(fields, nelems, m**2)``."""

    @abstractmethod
    def extent(self, a: Tensor, place: Place) -> Tensor:
        """Smallest and largest input of every patch, ``(fields, k, 2)``, as the network sees them."""


class View(NamedTuple):
    """What a network makes of patches: its affine part ``(fields, k, 4 rows)``, features ``(fields, k, 8 width)``, the
    scale that its answers are multiples of ``(fields, k)``, and the matrices that it corrects.
    """

    affine: Tensor
    hidden: Tensor
    scale: Tensor
    base: Tensor | None


class Certified(LocalNetwork):
    """A network in two steps, `look` and `matrices`, that can estimate its own error from what it saw.

    ``doubt`` is the part that `certificate.fit_doubt` trains, from `invariants` to the logarithm of an error.

    >>> import torch
    >>> from skfem_ml.lod.surrogate import Certified, FieldNetwork
    >>> isinstance(FieldNetwork(2, 1, generator=torch.Generator().manual_seed(0)), Certified)
    True
    """

    doubt: nn.Sequential

    @abstractmethod
    def look(self, a: Tensor, place: Place, base: Tensor | None = None) -> View:
        """All that the network makes of the patches before its last layers."""

    @abstractmethod
    def matrices(self, view: View, place: Place) -> Tensor:
        """Local matrices ``(fields, k, rows, 4)``."""

    @abstractmethod
    def invariants(self, view: View) -> Tensor:
        """Features of a patch that no symmetry changes, ``(fields, k, features)``."""

    def forward(self, a: Tensor, place: Place, base: Tensor | None = None) -> Tensor:
        return self.matrices(self.look(a, place, base), place)

    def error(self, invariants: Tensor) -> Tensor:
        """The relative error ``|S^_T - S_T|_F / |S_T|_F`` to be expected where there are such `invariants`,
        ``(fields, k)``.
        """
        return self.doubt(invariants)[..., 0].double().exp()


def conserve(local: Tensor, nodes: Tensor) -> Tensor:
    """The nearest matrices ``(..., k, rows, 4)`` whose rows and columns sum to zero, with zero rows outside.

    S 1 = 0 and 1 S = 0 hold for exact local matrices of diffusion: constants have no corrector, and on the patch the
    hat functions sum to one.
    """
    mask = nodes[:, :, None].to(local.dtype)
    local = local * mask
    local = local - local.mean(dim=-1, keepdim=True)
    local = local * mask
    return local - mask * (local.sum(dim=-2, keepdim=True) / mask.sum(dim=-2, keepdim=True))


def stiffness(ell: int) -> Tensor:
    """The Q1 stiffness matrix of a square, in the rows of the corners of T, ``((2 ell + 2)**2, 4)``."""
    line = torch.tensor([[1.0, -1.0], [-1.0, 1.0]], dtype=torch.float64)
    mass = torch.tensor([[2.0, 1.0], [1.0, 2.0]], dtype=torch.float64) / 6
    side = 2 * ell + 2
    out = torch.zeros(side, side, 4, dtype=torch.float64)
    out[ell : ell + 2, ell : ell + 2] = (torch.kron(mass, line) + torch.kron(line, mass)).reshape(2, 2, 4)
    return out.reshape(-1, 4)


def extremes(values: Tensor, place: Place) -> Tensor:
    """Smallest and largest value of every patch, ``(fields, k, 2)``."""
    index, outside = place.cells.clamp(min=0), place.cells < 0
    low = values.amin(dim=2)[:, index].masked_fill(outside, torch.inf).amin(dim=2)
    high = values.amax(dim=2)[:, index].masked_fill(outside, -torch.inf).amax(dim=2)
    return torch.stack([low, high], dim=2)


def check_sizes(**sizes: object) -> None:
    """Raise ValueError unless all are whole numbers from 1 to ``LARGEST``."""
    checks.sizes(LARGEST, **sizes)
