"""Step (5): loads that are not constant on elements, their response, and what it leaves to the basis."""

from __future__ import annotations

import numpy as np
import torch
from numpy import ndarray
from torch import Tensor

from skfem_ml.lod.slod.matrices import unit_load
from skfem_ml.lod.slod.sweep import Sweep


def respond(sweep: Sweep, epsilon: ndarray, loads: ndarray) -> tuple[ndarray, ndarray]:
    """The response psi to the part of loads that is not constant on elements, and the loads d that are in it.

    On the patch of T the load F_T - F_T(1) 1_T / |T| has a response whose flux over the rim is cancelled, as far as it
    can be, by loads d_T on the elements of the patch. psi is the sum of these responses, d that of d_T: what is left of
    F for the basis is constant on elements, F(1_K) - d_K.

    Parameters
    ----------
    sweep, epsilon
        The patches, and the damping of each, ``(nelems,)``.
    loads
        Functionals on the elements, ``(nelems, (n + 1)**2, v)``.

    Returns
    -------
    psi ``(fine.N, v)`` and d ``(nelems, v)``.
    """
    space, ell = sweep.space, sweep.space.ell
    rest = loads - loads.sum(axis=1, keepdims=True) * unit_load(space.n)[:, None]
    (nx, ny), p, v = space.grid.shape, 2 * ell + 1, loads.shape[2]
    around = torch.zeros(ny + 2 * ell, nx + 2 * ell, 4 * space.n, v, dtype=torch.float64)
    d = torch.zeros(ny + 2 * ell, nx + 2 * ell, v, dtype=torch.float64)
    for y, patches in sweep:
        own = sweep.elements(y).boundary_load(patches.at, torch.from_numpy(rest[patches.elements]))
        cancelling, values = patches.corrected(own, torch.from_numpy(epsilon[patches.elements]))
        for number in range(p * p):
            column, row = divmod(number, p)
            at = torch.from_numpy(patches.at + column)
            around[y + row, at] += values[:, number]
            d[y + row, at] += cancelling[:, number]
    return _written(sweep, around[ell : ell + ny, ell : ell + nx], d[ell : ell + ny, ell : ell + nx], rest)


def _written(sweep: Sweep, around: Tensor, d: Tensor, rest: ndarray) -> tuple[ndarray, ndarray]:
    """Fine nodal values from those around the elements, and d by the elements' numbers."""
    space = sweep.space
    psi = np.zeros((space.fine_mesh.p.shape[1], d.shape[2]))
    out = np.zeros((len(rest), d.shape[2]))
    for y in range(len(d)):
        row = sweep.elements(y)
        if len(row.elements):
            at, load = torch.from_numpy(row.columns), torch.from_numpy(rest[row.elements])
            psi[space.refinement.nodes[row.elements]] = row.interior(around[y, at], d[y, at], load).numpy()
            out[row.elements] = d[y, at].numpy()
        sweep.forget(y)
    return psi, out
