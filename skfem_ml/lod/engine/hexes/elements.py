"""Condensed hexes: step (1) of the page `skfem_ml.lod.engine.hexes`."""

from __future__ import annotations

import threading
from collections import OrderedDict
from typing import NamedTuple

import numpy as np
import torch
from numpy import ndarray
from torch import Tensor

from skfem_ml.lod.engine.bordered import cholesky_in_place, divide
from skfem_ml.lod.mesh.discretisation import Discretisation
from skfem_ml.lod.mesh.forms import FineForm
from skfem_ml.lod.mesh.interpolation import hat_values, tensor

HELD_BYTES = 2**30  # of condensed elements


class Condensed(NamedTuple):
    """A hex: H on its b boundary nodes and 8 multipliers, ``(b + 8, b + 8)``, and what brings its inside back."""

    schur: Tensor
    factor: Tensor  # lower Cholesky factor L of K_II, (1, i, i)
    coupling: Tensor  # [K_BI; P_I] L^-T, (1, b + 8, i)

    @property
    def bytes(self) -> int:
        """What it takes to hold."""
        return sum(8 * part.numel() for part in self)


class HexElements:
    """The condensed elements of a form with its coefficients, the last ones of which are held.

    Loads and solutions on an element are ``((n + 1)**3, v)``, x fastest; "around" are values at its boundary nodes and
    its 8 multipliers, ``(b + 8, v)``.
    """

    def __init__(self, space: Discretisation, fine_form: FineForm):
        self.space, self.fine_form, n = space, fine_form, space.n
        self.device = torch.device(space.device)
        at = np.indices((n + 1,) * 3).reshape(3, -1)
        outer = ((at == 0) | (at == n)).any(axis=0)
        self.boundary, self.inside = np.flatnonzero(outer), np.flatnonzero(~outer)
        self.projector = space.interpolation.local(n, 3)
        self.hats = self.on_device(tensor(hat_values(n), 3).T)  # ((n + 1)**3, 8)
        self.hats_around = self.hats[self.boundary]
        self.moments = self.on_device(self.projector) @ self.hats  # P of the hats, not averaged
        self._held: OrderedDict[int, Condensed] = OrderedDict()
        self._bytes, self._lock = 0, threading.Lock()

    def on_device(self, array: ndarray) -> Tensor:
        """The array as a tensor where the engine computes."""
        return torch.from_numpy(np.ascontiguousarray(array)).to(self.device)

    def __getitem__(self, T: int) -> Condensed:
        with self._lock:
            if T in self._held:
                self._held.move_to_end(T)
                return self._held[T]
        made = self._condensed(T)
        with self._lock:
            if T not in self._held:
                self._held[T] = made
                self._bytes += made.bytes
            while self._bytes > HELD_BYTES and len(self._held) > 1:
                self._bytes -= self._held.popitem(last=False)[1].bytes
        return made

    def averages(self, T: int) -> Tensor:
        """What multiplies the constraints at the corners of T, ``(8, 1)``."""
        return self.on_device(self.space.averages[T])[:, None]

    def _condensed(self, T: int) -> Condensed:
        K = self.on_device(self._stiffness(T))
        P = self.averages(T) * self.on_device(self.projector)
        B, I, b = self.boundary, self.inside, len(self.boundary)
        schur = torch.zeros(b + 8, b + 8, dtype=torch.float64, device=self.device)
        schur[:b, :b], schur[b:, :b], schur[:b, b:] = K[B][:, B], P[:, B], P[:, B].T
        factor = cholesky_in_place(K[I][:, I][None].contiguous())
        coupling = torch.cat([K[B][:, I], P[:, I]])[None].contiguous()
        divide(coupling, factor)
        return Condensed(schur - coupling[0] @ coupling[0].T, factor, coupling)

    def _stiffness(self, T: int) -> ndarray:
        """K of an element, ``((n + 1)**3, (n + 1)**3)``."""
        size, corners = (self.space.n + 1) ** 3, self.space.fine_corners_in_cell
        cells, unit = self.space.refinement.cells[T], self.fine_form.unit_matrix
        if unit is None:
            matrices = self.fine_form.matrices(cells)
        else:
            a = self.fine_form.coefficients.get("a", 1.0)
            values = a[self.space.coefficient_cell[cells]] if isinstance(a, ndarray) else np.full(len(cells), a)
            matrices = values[:, None, None] * unit
        places = corners[:, :, None] * size + corners[:, None, :]
        return np.bincount(places.ravel(), matrices.ravel(), size**2).reshape(size, size)

    def load(self, T: int, weights: Tensor | None, loads: Tensor | None) -> Tensor:
        """The right-hand side of (1), ``(b + 8, v)``, for sum_j weights[j] a_T(lambda_j, .) + loads.

        ``weights`` are ``(8, v)``, ``loads`` ``((n + 1)**3, v)``.
        """
        element, b, parts = self[T], len(self.boundary), []
        if weights is not None:  # K lambda condenses to H lambda_B, less P lambda for the constraints
            own = element.schur[:, :b] @ (self.hats_around @ weights)
            own[b:] -= self.averages(T) * (self.moments @ weights)
            parts.append(own)
        if loads is not None:
            given = torch.cat([loads[self.boundary], loads.new_zeros(8, loads.shape[1])])
            parts.append(given - element.coupling[0] @ self._half(element, loads))
        return parts[0] if len(parts) == 1 else parts[0] + parts[1]

    def rows(self, T: int, load: Tensor | None, around: Tensor) -> Tensor:
        """The part of T in the rows of its corners by (2), ``(8, v)``, for a load of `load` and a solution around."""
        b = len(self.boundary)
        left = -(self[T].schur[:b] @ around)
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
