"""Condensed hexes: step (1) of the page `skfem_ml.lod.engine.hexes`."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from numpy import ndarray
from torch import Tensor

from skfem_ml.lod.engine.bordered import cholesky_in_place, divide
from skfem_ml.lod.engine.hexes.recent import Recent
from skfem_ml.lod.mesh.discretisation import Discretisation
from skfem_ml.lod.mesh.forms import FineForm
from skfem_ml.lod.mesh.interpolation import hat_values, tensor

HELD_BYTES = 2**30  # of H, and half as many of all that is condensed


class Condensed(NamedTuple):
    """A hex: H on its b boundary nodes and 8 multipliers, ``(b + 8, b + 8)``, and what brings its inside back."""

    schur: Tensor
    factor: Tensor  # lower Cholesky factor L of K_II, (1, i, i)
    coupling: Tensor  # [K_BI; P_I] L^-T, (1, b + 8, i)


def cell_matrices(fine_form: FineForm, cells: ndarray) -> ndarray:
    """Element matrices of fine cells ``(k, 2**d, 2**d)``; where they are one times the cell's value, by that."""
    unit = fine_form.unit_matrix
    if unit is None:
        return fine_form.matrices(cells)
    a = fine_form.coefficients.get("a", 1.0)
    values = a[fine_form.space.coefficient_cell[cells]] if isinstance(a, ndarray) else np.full(len(cells), a)
    return values[:, None, None] * unit


class HexElements:
    """The condensed elements of a form with its coefficients: ``elements[T]``; the last ones are held.

    Loads and solutions on an element are ``((n + 1)**3, v)``, x fastest; "around" are values at its boundary nodes and
    its 8 multipliers, ``(b + 8, v)``.
    """

    def __init__(self, space: Discretisation, fine_form: FineForm):
        self.space, self.fine_form, n = space, fine_form, space.n
        self.device = torch.device(space.device)
        at = np.indices((n + 1,) * 3).reshape(3, -1)
        outer = ((at == 0) | (at == n)).any(axis=0)
        self.boundary, self.inside = np.flatnonzero(outer), np.flatnonzero(~outer)
        self.order = np.concatenate([self.inside, self.boundary])
        corners = np.argsort(self.order)[space.fine_corners_in_cell]
        self._places = (corners[:, :, None] * len(self.order) + corners[:, None, :]).ravel()
        self.projector = space.interpolation.local(n, 3)
        self.hats = self.on_device(tensor(hat_values(n), 3).T)  # ((n + 1)**3, 8)
        self.hats_around = self.hats[self.boundary]
        self.moments = self.on_device(self.projector) @ self.hats  # P of the hats, not averaged
        self._held, self._schurs = Recent[Condensed](HELD_BYTES // 2), Recent[tuple[Tensor]](HELD_BYTES)

    def on_device(self, array: ndarray) -> Tensor:
        """The array as a tensor where the engine computes."""
        return torch.from_numpy(np.ascontiguousarray(array)).to(self.device)

    def __getitem__(self, T: int) -> Condensed:
        return self._held.get(T, lambda: self._condensed(T))

    def schur(self, T: int) -> Tensor:
        """H of T: of these, which are all that local matrices need, more are held."""
        return self._schurs.get(T, lambda: (self._condensed(T).schur,))[0]

    def averages(self, T: int) -> Tensor:
        """What multiplies the constraints at the corners of T, ``(8, 1)``."""
        return self.on_device(self.space.averages[T])[:, None]

    def _condensed(self, T: int) -> Condensed:
        i, whole = len(self.inside), len(self.hats)
        matrix = np.zeros((whole + 8, whole + 8))  # inside, boundary, multipliers
        matrix[:whole, :whole] = self._stiffness(T)
        matrix[whole:, :whole] = self.space.averages[T][:, None] * self.projector[:, self.order]
        matrix[:whole, whole:] = matrix[whole:, :whole].T
        there = torch.from_numpy(matrix).to(self.device)[None]
        factor, coupling = cholesky_in_place(there[:, :i, :i].contiguous()), there[:, i:, :i].contiguous()
        divide(coupling, factor)
        return Condensed(torch.addmm(there[0, i:, i:], coupling[0], coupling[0].T, alpha=-1), factor, coupling)

    def _stiffness(self, T: int) -> ndarray:
        """K of an element, inside before boundary, ``((n + 1)**3, (n + 1)**3)``."""
        size = (self.space.n + 1) ** 3
        matrices = cell_matrices(self.fine_form, self.space.refinement.cells[T])
        return np.bincount(self._places, matrices.ravel(), size**2).reshape(size, size)

    def load(self, T: int, weights: Tensor | None, loads: Tensor | None) -> Tensor:
        """The right-hand side of (1), ``(b + 8, v)``, for sum_j weights[j] a_T(lambda_j, .) + loads.

        ``weights`` are ``(8, v)``, ``loads`` ``((n + 1)**3, v)``.
        """
        b, parts = len(self.boundary), []
        if weights is not None:  # K lambda condenses to H lambda_B, less P lambda for the constraints
            own = self.schur(T)[:, :b] @ (self.hats_around @ weights)
            own[b:] -= self.averages(T) * (self.moments @ weights)
            parts.append(own)
        if loads is not None:
            element, given = self[T], torch.cat([loads[self.boundary], loads.new_zeros(8, loads.shape[1])])
            parts.append(given - element.coupling[0] @ self._half(element, loads))
        return parts[0] if len(parts) == 1 else parts[0] + parts[1]

    def rows(self, T: int, load: Tensor | None, around: Tensor) -> Tensor:
        """The part of T in the rows of its corners by (2), ``(8, v)``, for a load of `load` and a solution around."""
        b = len(self.boundary)
        left = -(self.schur(T)[:b] @ around)
        if load is not None:
            left += load[:b]
        return self.hats_around.T @ left + (self.averages(T) * self.moments).T @ around[b:]

    def interior(self, T: int, around: Tensor, weights: Tensor | None, loads: Tensor | None) -> Tensor:
        """The solution on T, ``((n + 1)**3, v)``, from that around; loads as for `load`."""
        element, b = self[T], len(self.boundary)
        out = around.new_zeros(len(self.hats), around.shape[1])
        out[self.boundary] = around[:b]
        below = around
        if weights is not None:  # w less sum_j weights[j] lambda_j sees nothing of these loads inside
            hats = self.hats @ weights
            below = torch.cat([around[:b] - hats[self.boundary], around[b:]])
        half = -(element.coupling[0].T @ below)
        if loads is not None:
            half += self._half(element, loads)
        inner = torch.linalg.solve_triangular(element.factor[0].T, half, upper=True)
        out[self.inside] = inner if weights is None else inner + hats[self.inside]
        return out

    def _half(self, element: Condensed, loads: Tensor) -> Tensor:
        """L^-1 g_I, ``(i, v)``."""
        return torch.linalg.solve_triangular(element.factor[0], loads[self.inside], upper=False)
