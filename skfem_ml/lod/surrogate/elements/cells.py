r"""Energies of the cells of a coarse square from numbers a cell, condensed exactly onto its boundary and moments.

With B_c the three gradient modes of the Q1 functions of cell c (B_c^T B_c is its stiffness of value one), and Z numbers
``(n n, 5, 3, 3)`` that couple a cell with itself and its four neighbours e,

    V_c = sqrt(1 - delta) sqrt(a_c) B_c + sum_e Z_ce sqrt(a_e) B_e,      K^ = V^T V + delta sum_c a_c B_c^T B_c.    (1)

K^ is positive semidefinite, its kernel are the constants, K^(c a) = c K^(a), and it is at least delta times the
stiffness of the n x n cells, which Z = 0 gives. With t ``(n n, 3)`` the moments of what these cells do not resolve,

    P^ = P + sum_c p(x_c) t_c^T B_c,     p the dual functions whose integrals P are,                                 (2)

and the interior is eliminated under P^ v = m: the bordered matrix [[S, C], [C^T, -G]] of `ElementCondenser.bordered`.
"""

from __future__ import annotations

import numpy as np
import torch
from numpy import ndarray
from torch import Tensor

from skfem_ml.lod.engine.elements.layout import CORNERS, boundary_nodes
from skfem_ml.lod.mesh.interpolation import PROJECTION

SHIFTS = ((0, 0), (-1, 0), (1, 0), (0, -1), (0, 1))  # a cell, and its neighbours to the west, east, south and north
COUPLINGS = 9 * len(SHIFTS)  # numbers of Z a cell
NUMBERS = COUPLINGS + 3  # and of Z and t
DELTA = 1e-3


def gradient_modes() -> ndarray:
    """Three functionals of the corners of a square, x fastest, ``(3, 4)``, whose squares add up to |grad v|^2."""
    x, y, xy = np.array([[-1, 1, -1, 1], [-1, -1, 1, 1], [1, -1, -1, 1]])
    return np.stack([x / 2, y / 2, xy / 6**0.5])


class CellEnergies:
    """Index maps and constants of n x n cells, for formulas (1) and (2).

    Nodes are ordered as in an element that is condensed: the 4 n on the boundary, then the inner ones, x fastest.
    """

    def __init__(self, n: int):
        self.n, self.rim = n, 4 * n
        outer = boundary_nodes(n)
        outer = outer[0] + (n + 1) * outer[1]
        order = np.concatenate([outer, np.setdiff1d(np.arange((n + 1) ** 2), outer)])
        place = np.argsort(order)
        y, x = np.divmod(np.arange(n * n), n)
        corners = place[(x + (n + 1) * y)[:, None] + np.array([0, 1, n + 1, n + 2])]  # (cells, 4)
        sources = np.stack([np.where(_inside(x + dx, y + dy, n), x + dx + n * (y + dy), -1) for dx, dy in SHIFTS], 1)
        self.sources, self.there = torch.from_numpy(sources.clip(0)), torch.from_numpy(sources >= 0)
        self.modes, self.cell_nodes = torch.from_numpy(gradient_modes()), torch.from_numpy(corners)
        self.modes_around, nodes = self._around(x, y, place)
        self.stiffness_places = (nodes[:, :, None] * order.size + nodes[:, None, :]).reshape(-1)
        self.moment_places = (torch.arange(n * n)[:, None] * order.size + self.cell_nodes).reshape(-1)
        projector = PROJECTION.local(n, 2)[CORNERS]
        self.moments = torch.from_numpy(np.ascontiguousarray(projector[:, order]))  # (4, nodes)
        self.density = torch.from_numpy(_density(n))  # (4, cells)
        self.own = torch.zeros(len(SHIFTS), 3, 3, dtype=torch.float64)
        self.own[0] = (1 - DELTA) ** 0.5 * torch.eye(3, dtype=torch.float64)
        least = torch.zeros(n * n, order.size, order.size, dtype=torch.float64)  # of cells of value one
        for cell, own in enumerate(self.cell_nodes):
            least[cell, own[:, None], own] = DELTA * self.modes.T @ self.modes
        self.least = least.view(n * n, -1)

    def bordered(self, a: Tensor, numbers: Tensor) -> Tensor:
        """Bordered matrices ``(k, 4 n + 4, 4 n + 4)`` of values ``(k, n n)`` and numbers ``(k, NUMBERS, n n)``."""
        numbers = numbers.mT.to(a.dtype)
        K, P = self._stiffness(a, numbers[:, :, :COUPLINGS]), self._moments(numbers[:, :, COUPLINGS:])
        rim = self.rim
        factor = torch.linalg.cholesky_ex(K[:, rim:, rim:]).L  # what is not finite stays so
        sides = torch.cat([K[:, rim:, :rim], P[:, :, rim:].mT], 2)
        half = torch.linalg.solve_triangular(factor, sides, upper=False)
        whole = -(half.mT @ half)
        border = torch.nn.functional.pad(P[:, :, :rim], (0, 4))
        whole = whole + torch.nn.functional.pad(K[:, :rim, :rim], (0, 4, 0, 4))
        rows = torch.nn.functional.pad(border, (0, 0, rim, 0))
        return whole + rows + rows.mT

    def _stiffness(self, a: Tensor, numbers: Tensor) -> Tensor:
        """K^ of (1), ``(k, nodes, nodes)``."""
        count, cells = a.shape
        weight = a.sqrt()[:, self.sources] * self.there
        Z = (numbers.view(count, cells, len(SHIFTS), 3, 3) + self.own) * weight[..., None, None]
        V = Z.transpose(2, 3).reshape(count, cells, 3, -1) @ self.modes_around
        size, least = self.moments.shape[1], a @ self.least
        return least.index_add(1, self.stiffness_places, (V.mT @ V).reshape(count, -1)).view(count, size, size)

    def _moments(self, numbers: Tensor) -> Tensor:
        """P^ of (2), ``(k, 4, nodes)``."""
        count, cells, _ = numbers.shape
        detail = (numbers @ self.modes).reshape(count, -1)
        size = self.moments.shape[1]
        spread = numbers.new_zeros(count, cells * size).index_add(1, self.moment_places, detail)
        return self.moments + self.density @ spread.view(count, cells, size)

    def _around(self, x: ndarray, y: ndarray, place: ndarray) -> tuple[Tensor, Tensor]:
        """The modes of a cell and its neighbours on the twelve nodes around it ``(15, 12)``; these ``(cells, 12)``.

        Nodes outside the element get some place: what is added there is zero.
        """
        spots: dict[tuple[int, int], int] = {}
        corners = [(dx + px, dy + py) for dx, dy in SHIFTS for px, py in ((0, 0), (1, 0), (0, 1), (1, 1))]
        for corner in corners:
            spots.setdefault(corner, len(spots))
        which = torch.tensor([spots[corner] for corner in corners]).view(len(SHIFTS), 4)
        around = torch.zeros(len(SHIFTS), 3, len(spots), dtype=torch.float64)
        for shift, at in enumerate(which):
            around[shift][:, at] = self.modes
        n = self.n
        nodes = np.stack([np.where(_inside(x + i, y + j, n + 1), x + i + (n + 1) * (y + j), 0) for i, j in spots], 1)
        return around.view(-1, len(spots)), torch.from_numpy(place[nodes])


def _inside(x: ndarray, y: ndarray, size: int) -> ndarray:
    return (x >= 0) & (x < size) & (y >= 0) & (y < size)


def _density(n: int) -> ndarray:
    """Of the corners' dual functions (4 - 6 s and 6 s - 2 along an edge), the value in a cell times its area."""
    middle = (np.arange(n) + 0.5) / n
    dual = np.stack([4 - 6 * middle, 6 * middle - 2]) / n
    return np.stack([np.outer(dual[j], dual[i]).ravel() for i, j in ((0, 0), (0, 1), (1, 0), (1, 1))])
