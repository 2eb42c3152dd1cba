"""Quasi-interpolations onto Q1: their kernel is the fine-scale space of the LOD.

Each is given on one coarse cell by a matrix P, ``(2**dim, (n + 1)**dim)``, from fine nodal values to corner values, and
joined by an average over the cells around a node: (I_h w)(z) = sum over T around z of omega_T(z) (P_T w)(z).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import reduce

import numpy as np
from numpy import ndarray


@dataclass(frozen=True)
class Interpolation:
    """A quasi-interpolation: the cell matrix for n fine cells along an edge in ``dim`` dimensions, and the average.

    ``local(n, dim)`` returns P with corners and nodes in lexicographic order (x fastest); ``average`` is ``"count"``
    (the mean over the cells around a node) or ``"volume"`` (weighted by their volumes).

    >>> from skfem_ml.lod import NODAL, PROJECTION
    >>> NODAL.local(2, 1)  # the value at each end of an edge, of those at its three fine nodes
    array([[1., 0., 0.],
           [0., 0., 1.]])
    >>> PROJECTION.average
    'count'
    """

    local: Callable[[int, int], ndarray]
    average: str = "count"

    def __reduce__(self) -> tuple[Callable, tuple]:
        """One of those below is pickled by its name, so that another process has that very one."""
        name = name_of(self)
        return (find_interpolation, (name,)) if name in NAMED else (Interpolation, (self.local, self.average))


def tensor(matrix: ndarray, dim: int) -> ndarray:
    """The dim-fold Kronecker product of a matrix of one axis."""
    return reduce(np.kron, [matrix] * dim)


def hat_values(n: int) -> ndarray:
    """The two hat functions of an edge at its n + 1 fine nodes, ``(2, n + 1)``."""
    x = np.arange(n + 1) / n
    return np.stack([1 - x, x])


def hat_moments(n: int) -> ndarray:
    """Integrals over the unit edge of the two coarse hat functions times the n + 1 fine ones, ``(2, n + 1)``."""
    lumped = np.full(n + 1, 1 / n)  # a fine hat against a linear function: its value at the node ...
    moments = hat_values(n) * lumped
    ends = np.array([[1 / 2 - 1 / (6 * n), 1 / (6 * n)], [1 / (6 * n), 1 / 2 - 1 / (6 * n)]]) / n
    moments[:, [0, -1]] = ends  # ... and half a hat at the ends
    return moments


def _projection(n: int, dim: int) -> ndarray:
    mass = np.array([[2, 1], [1, 2]]) / 6
    return tensor(np.linalg.solve(mass, hat_moments(n)), dim)


def _moments(n: int, dim: int) -> ndarray:
    return tensor(hat_moments(n) * 2, dim)  # divided by the integral of a corner's hat function


def _nodal(n: int, dim: int) -> ndarray:
    corner = np.zeros((2, n + 1))
    corner[0, 0] = corner[1, -1] = 1
    return tensor(corner, dim)


PROJECTION = Interpolation(_projection)
"""I_h = E o Pi: the element-wise L2 projection onto Q1, averaged over the cells around a node (Engwer et al. 2019).
A projection: I_h v = v for coarse v."""

CLEMENT = Interpolation(_moments, average="volume")
"""Weighted means (I_h w)(z) = (w, lambda_z) / (1, lambda_z); its kernel is that of the L2 projection onto V_h
(Malqvist & Peterseim 2014). No projection itself."""

NODAL = Interpolation(_nodal)
"""Nodal interpolation. In one dimension the correctors then live in single cells and S is the harmonic mean; in more
dimensions it is unstable as the fine mesh is refined, and serves for comparison only."""

NAMED = {"projection": PROJECTION, "clement": CLEMENT, "nodal": NODAL}


def find_interpolation(choice: str | Interpolation) -> Interpolation:
    """The interpolation of that name, or the one given. Raises ValueError for an unknown name."""
    if isinstance(choice, Interpolation):
        return choice
    if choice not in NAMED:
        raise ValueError(f"interpolation: expected one of {', '.join(NAMED)} or an Interpolation, got {choice!r}")
    return NAMED[choice]


def name_of(interpolation: Interpolation) -> str:
    """The name of an interpolation, or "custom"."""
    return next((name for name, known in NAMED.items() if known is interpolation), "custom")
