"""What networks take: fields by coarse element, where patches lie, and matrices that are corrected."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from torch import Tensor


class Place(NamedTuple):
    """Where patches lie: coarse cells ``(k, (2 ell + 1)**2)``, -1 outside; which of their nodes ``(k, (2 ell + 2)**2)``
    are inside, and which on Gamma_D; columns and rows of all coarse cells of the mesh, ``(nelems, 2)``.
    """

    cells: Tensor
    nodes: Tensor
    dirichlet: Tensor
    lattice: Tensor


class Inputs(NamedTuple):
    """What a network takes: fields by coarse element ``(fields, nelems, m**2)``, the place of k patches and, where the
    network corrects them, exact matrices of a coarser fine mesh ``(fields, k, rows, 4)``.
    """

    a: Tensor
    place: Place
    base: Tensor | None = None

    def split(self, size: int) -> Iterator[Inputs]:
        """So many fields at a time."""
        parts = self.a.split(size)
        for a, base in zip(parts, [None] * len(parts) if self.base is None else self.base.split(size), strict=True):
            yield Inputs(a, self.place, base)


class Sample(NamedTuple):
    """One field by coarse element ``(nelems, m**2)``, exact matrices of k patches ``(k, rows, 4)``, their place and,
    where the network corrects them, the matrices of a coarser fine mesh ``(k, rows, 4)``.
    """

    a: Tensor
    exact: Tensor
    place: Place
    base: Tensor | None = None

    @property
    def inputs(self) -> Inputs:
        """As a batch of one field."""
        return Inputs(self.a[None], self.place, None if self.base is None else self.base[None])
