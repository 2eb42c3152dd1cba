"""Basis functions on the fine mesh, from their values around the elements: step (3) of `skfem_ml.lod.slod`."""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property
from typing import NamedTuple

import numpy as np
import torch
from numpy import ndarray
from scipy.sparse import coo_matrix, csr_matrix
from torch import Tensor

from skfem_ml.lod.slod.blocks import outline
from skfem_ml.lod.slod.responses import Responses
from skfem_ml.lod.slod.sweep import Sweep


class Entries:
    """Entries of a sparse matrix as they come, in little memory."""

    def __init__(self, shape: tuple[int, int]):
        self._shape = shape
        self._parts: tuple[list[ndarray], ...] = ([], [], [])

    def add(self, values: ndarray, rows: ndarray, columns: ndarray) -> None:
        """Take up some."""
        for parts, part in zip(self._parts, (values, rows.astype(np.int32), columns.astype(np.int32)), strict=True):
            parts.append(part)

    def matrix(self) -> csr_matrix:
        """The matrix; nothing is left of the entries."""
        joined = []
        for parts in self._parts:
            joined.append(np.concatenate(parts))
            parts.clear()
        return coo_matrix((joined[0], (joined[1], joined[2])), shape=self._shape).tocsr()


class Chosen(NamedTuple):
    """What has been chosen.

    Attributes
    ----------
    basis
        B, the basis functions on the fine mesh, ``(fine.N, nelems)``.
    loads
        Their loads g on the elements of patches, ``(nelems, (2 ell + 1)^2)``, column of elements by column.
    residuals
        What they leave on the rims, ``(fine.N, nelems)``: A B = L G - residuals, L the loads 1_K / |K|.
    leftovers
        |W g_T|, its size in the norm of the patch, ``(nelems,)``.
    """

    basis: csr_matrix
    loads: ndarray
    residuals: csr_matrix
    leftovers: ndarray


class Functions:
    """The basis functions of a sweep: collected around the elements of a few rows of the grid, then written down.

    An element has one of every patch it is in. These are numbered by the place of their middle element in the p x p
    block around it, column by column: if T' is number i in the patch around T, T is number p^2 - 1 - i around T'.

    Parameters
    ----------
    sweep
        The sweep.
    """

    def __init__(self, sweep: Sweep):
        self.sweep, self.ell = sweep, sweep.space.ell
        self.size, self.places = 2 * self.ell + 1, sweep.space.grid.shape[0] + 2 * self.ell
        self._around: dict[int, Tensor] = {}
        self._loads: dict[int, Tensor] = {}
        shape = (sweep.space.fine_mesh.p.shape[1], len(sweep.space.grid.corners))
        self.basis, self.residuals = Entries(shape), Entries(shape)
        self._outline = outline(self.size, self.size, sweep.space.n)

    def add(self, y: int, patches: Responses, g: Tensor) -> None:
        """Take up those of patches around elements in row ``y``, with their loads ``g`` ``(B, elements)``."""
        p, height = self.size, len(self.sweep.lattice.element)
        values = patches.values(g[:, :, None])[..., 0]  # (B, elements, 4 n)
        for number in range(p * p):
            column, row = divmod(number, p)
            row += y - self.ell
            if 0 <= row < height:
                at = torch.from_numpy(patches.at + column)
                _of(self._around, row, p * p, self.places, values.shape[2])[-1 - number, at] = values[:, number]
                _of(self._loads, row, p * p, self.places)[-1 - number, at] = g[:, number]
        self._add_residuals(y, patches, patches.residuals(g).numpy())

    def _add_residuals(self, y: int, patches: Responses, values: ndarray) -> None:
        patch, place = np.nonzero(values)
        n, node_at = self.sweep.space.n, self.sweep.space.fine_grid.node_at
        x, up = self._outline[:, place]
        nodes = node_at[(y - self.ell) * n + up, (patches.at[patch] - self.ell) * n + x]
        self.residuals.add(values[patch, place], nodes, patches.elements[patch])

    def finish(self, row: int) -> None:
        """Write down the functions on the elements of a row, all patches that reach there having been added."""
        there, nodes = self.sweep.elements(row), self.sweep.space.refinement.nodes
        if not len(there.elements):
            return
        at = torch.from_numpy(there.columns + self.ell)
        around, loads = self._around.pop(row)[:, at], self._loads.pop(row)[:, at]
        values = there.interior(around.permute(1, 2, 0), loads.T).numpy()
        self.sweep.forget(row)
        functions = self._functions(row, there.columns)
        used = self._own[there.elements][:, :, None] & (functions >= 0)[:, None, :] & (values != 0)
        rows, columns = np.broadcast_arrays(nodes[there.elements][:, :, None], functions[:, None, :])
        self.basis.add(values[used], rows[used], columns[used])

    @cached_property
    def _own(self) -> ndarray:
        """Which fine nodes an element is the first to hold, ``(nelems, (n + 1)**2)``: each is written once."""
        nodes = self.sweep.space.refinement.nodes
        own = np.zeros(nodes.size, dtype=bool)
        own[np.unique(nodes, return_index=True)[1]] = True
        return own.reshape(nodes.shape)

    def _functions(self, row: int, columns: ndarray) -> ndarray:
        """The middle elements of the patches that elements of a row are in, -1 for none, ``(k, p^2)``."""
        around = np.pad(self.sweep.lattice.element, self.ell, constant_values=-1)[row : row + self.size]
        blocks = np.lib.stride_tricks.sliding_window_view(around, self.size, axis=1)[:, columns]  # (dy, k, dx)
        return blocks.transpose(1, 2, 0).reshape(len(columns), -1)


def chosen_functions(sweep: Sweep, epsilon: ndarray, tell: Callable[[int], None] = lambda done: None) -> Chosen:
    """The basis functions of all patches, with the damping ``epsilon`` of each, ``(nelems,)``.

    ``tell`` is given the number of patches done.
    """
    ell, ny = sweep.space.ell, sweep.space.grid.shape[1]
    functions, loads = Functions(sweep), np.zeros((len(epsilon), (2 * ell + 1) ** 2))
    leftovers = np.zeros(len(epsilon))
    done, finished = 0, 0
    for y, patches in sweep:
        while finished < y - ell:
            functions.finish(finished)
            finished += 1
        g = patches.choose(torch.from_numpy(epsilon[patches.elements]))
        functions.add(y, patches, g)
        loads[patches.elements], leftovers[patches.elements] = g.numpy(), patches.leftovers(g).numpy()
        done += len(patches.elements)
        tell(done)
    for row in range(finished, ny):
        functions.finish(row)
    return Chosen(functions.basis.matrix(), loads, functions.residuals.matrix(), leftovers)


def _of(kept: dict[int, Tensor], row: int, *shape: int) -> Tensor:
    if row not in kept:
        kept[row] = torch.zeros(*shape, dtype=torch.float64)
    return kept[row]
