"""Where patches lie, as networks take it."""

from __future__ import annotations

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
