"""Correctors on the fine mesh, from their values on the lines of a sweep."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
import torch
from numpy import ndarray
from torch import Tensor

from skfem_ml.lod.engine.bordered import Eliminated, recover
from skfem_ml.lod.engine.elements import CORNERS, ElementCondenser
from skfem_ml.lod.engine.rows import Row
from skfem_ml.lod.engine.sweep import Sweep
from skfem_ml.lod.mesh.discretisation import Discretisation
from skfem_ml.lod.mesh.forms import FineForm
from skfem_ml.lod.mesh.interpolation import hat_values, tensor


class StripValues:
    """Correctors in the j-th strip of every patch: on its element boundaries, with the coefficients of the border.

    Parameters
    ----------
    sweep
        The solved patches.
    j
        The strip.
    weights
        Combination of columns for every patch, ``(B, loads, v)``.
    """

    def __init__(self, sweep: Sweep, j: int, weights: Tensor):
        self.sweep, self.layout = sweep, sweep.layout
        strip, n = self.layout.strip, self.layout.n
        rest = sweep.strip_values(j) @ weights
        inner = _inner(Eliminated(*(sweep.strip(j, part) for part in sweep.strips.step)), rest)
        m, pad = strip.line, strip.cut  # the ends, where they are fixed
        self.lines = [torch.nn.functional.pad(line, (0, 0, pad, pad)) for line in (rest[:, :m], rest[:, m : 2 * m])]
        constraints = rest[:, strip.constraints_at : strip.loads_at]
        self.multipliers = constraints.view(
            len(rest), 2, self.layout.nodes, rest.shape[2]
        )  # [patch, left or right, node, v]
        self.levels = rest.new_zeros(len(rest), self.layout.nodes, n - 1, rest.shape[2])
        self.levels[:, list(strip.inner_levels)] = inner.view(len(rest), len(strip.inner_levels), n - 1, rest.shape[2])
        for start, tower in zip((0, self.layout.ell + 1), sweep.strips.towers, strict=True):
            if tower is not None and tower.step is not None:
                self._fill_tower(start, tower.step, j)

    def _fill_tower(self, start: int, step: Eliminated, j: int) -> None:
        """Recover the level edges inside a tower; patches whose strip lies off the grid have none."""
        ell, n = self.layout.ell, self.layout.n
        columns = self.sweep.starts + j + self.sweep.box.origin[1]
        there = np.flatnonzero((columns >= 0) & (columns < len(step.schur)))
        at = torch.from_numpy(there).to(self.levels.device)
        line = slice(start * n, (start + ell) * n + 1)
        node = slice(start, start + ell + 1)
        rest = torch.cat(
            [
                self.lines[0][at, line],
                self.lines[1][at, line],
                self.levels[at, start],
                self.levels[at, start + ell],
                self.multipliers[at, 0, node],
                self.multipliers[at, 1, node],
            ],
            dim=1,
        )
        of = torch.from_numpy(columns[there]).to(self.levels.device)
        inner = _inner(Eliminated(*(part[of] for part in step)), rest)
        self.levels[at, start + 1 : start + ell] = inner.view(len(there), ell - 1, n - 1, rest.shape[2])

    def boundary(self, e: int) -> Tensor:
        """Values on the boundary of the strip's element e, ``(B, 4 n, v)``, in the order of ``boundary_nodes``."""
        n = self.layout.n
        sides = [line[:, e * n : (e + 1) * n + 1] for line in self.lines]
        return torch.cat([*sides, self.levels[:, e], self.levels[:, e + 1]], dim=1)

    def border(self, e: int) -> Tensor:
        """Minus the multipliers at the corners of element e, ``(B, 4, v)``."""
        return -self.multipliers[:, :, e : e + 2].flatten(1, 2)


def _inner(step: Eliminated, rest: Tensor) -> Tensor:
    """Eliminated unknowns, where the last columns of the rest (functionals) carry no part of the solution."""
    missing = step.coupling.shape[1] - rest.shape[1]
    return recover(step, torch.nn.functional.pad(rest, (0, 0, 0, missing)))


def sum_correctors(
    space: Discretisation,
    fine_form: FineForm,
    sweeps: Callable[..., Iterable[Any]],
    elements: ndarray,
    loads: ndarray | None,
    weights: ndarray | None,
) -> ndarray:
    """The sum of correctors on the fine mesh, ``(fine.N,)``, each column weighted by ``(nelems, columns)``.

    ``sweeps`` solves patches and applies a function to each sweep (of the engine). Boundary values and multipliers are
    added up over all patches; the interior of an element is recovered once.
    """
    out = np.zeros(space.fine_grid.mesh.p.shape[1])
    if not len(elements):
        return out
    count, v = len(space.grid.corners), 1
    columns = 4 if loads is None else loads.shape[2]
    weights = np.ones((count, columns)) if weights is None else weights
    boundary, border = np.zeros((count, 4 * space.n, v)), np.zeros((count, 4, v))

    def add(sweep: Sweep, *_: Any) -> list[tuple[ndarray, Tensor, Tensor]]:
        combination = torch.from_numpy(weights[sweep.elements])[:, :, None].to(sweep.device)
        return [
            (at, values[present], minus_mu[present]) for _, at, present, values, minus_mu in _parts(sweep, combination)
        ]

    for parts in sweeps(elements, loads, add):
        for at, values, minus_mu in parts:  # the elements of a part are distinct
            boundary[at] += values.cpu().numpy()
            border[at] += minus_mu.cpu().numpy()
    own = np.zeros(count, dtype=bool)
    own[elements] = True
    _recover_interiors(ElementCondenser(space, fine_form, loads), weights * own[:, None], boundary, border, out)
    return out


def _recover_interiors(
    condenser: ElementCondenser, weights: ndarray, boundary: ndarray, border: ndarray, out: ndarray
) -> None:
    space = condenser.space
    chunk = max(1, 2**22 // (condenser.columns + 4 * space.n) ** 2)
    for start in range(0, len(boundary), chunk):
        at = np.arange(start, min(start + chunk, len(boundary)))
        values = interior_values(
            condenser,
            at,
            condenser.condense(at, keep=True)[1],
            torch.from_numpy(boundary[at]),
            torch.from_numpy(border[at]),
            torch.from_numpy(weights[at])[:, :, None],
        )
        out[space.refinement.nodes[at]] = values[:, :, 0].cpu().numpy()


def interior_values(
    condenser: ElementCondenser,
    elements: ndarray,
    steps: list[Eliminated],
    boundary: Tensor,
    border: Tensor,
    weights: Tensor,
) -> Tensor:
    """Nodal values ``(k, (n + 1)**2, v)`` on elements, from those around them and minus the multipliers at their
    corners.

    ``weights`` ``(k, loads, v)`` say how much of T's own load acts in each element. Without loads these are
    a_T(lambda_j, .); then w - lambda_j sees no load inside T, and is what is recovered.
    """
    boundary, border, weights = (part.to(condenser.device) for part in (boundary, border, weights))
    if not condenser.uniform:
        border = border * torch.from_numpy(condenser.space.averages[elements][:, CORNERS]).to(border)[:, :, None]
    if condenser.columns > 4:
        return condenser.interior(elements, steps, boundary, torch.cat([border, weights], dim=1))
    hats = torch.from_numpy(tensor(hat_values(condenser.space.n), 2).T).to(boundary)
    values = condenser.interior(elements, steps, boundary - condenser.hats @ weights[:, CORNERS], border)
    return values + hats @ weights


def _parts(sweep: Sweep, combination: Tensor) -> Any:
    """Every place (j, e) of the patches' block: the elements there, which patches have one, boundary values, and
    border.
    """
    space, layout = sweep.space, sweep.layout
    block = space.patches.cells[sweep.elements].reshape(-1, layout.height, layout.height)
    for j in range(layout.height):
        strip = StripValues(sweep, j, combination)
        for e in range(layout.height):
            present = np.flatnonzero(block[:, e, j] >= 0)
            if len(present):
                yield (
                    (j, e),
                    block[present, e, j],
                    torch.from_numpy(present).to(sweep.device),
                    strip.boundary(e),
                    strip.border(e),
                )


def explicit_correctors(
    sweep: Sweep, rows: dict[int, Row], condenser: ElementCondenser
) -> tuple[ndarray, ndarray, ndarray]:
    """Elements of a sweep, the fine nodes of their patches ``(B, nodes)`` (-1 outside) and the correctors there."""
    space, layout = sweep.space, sweep.layout
    n, width, count = layout.n, layout.height * layout.n + 1, len(sweep.elements)
    identity = torch.eye(layout.loads, dtype=torch.float64, device=sweep.device).expand(count, -1, -1)
    nodes = np.full((count, width, width), -1)
    values = np.zeros((count, width, width, layout.loads))
    for (j, e), at, present, boundary, border in _parts(sweep, identity):
        own = identity if (j, e) == (layout.ell, layout.ell) else torch.zeros_like(identity)
        row = rows[sweep.box.origin[0] + e]
        inside = interior_values(condenser, at, row.steps_of(at), boundary[present], border[present], own[present])
        patch = present.cpu().numpy()[:, None, None]
        y, x = (part[None] for part in np.mgrid[e * n : (e + 1) * n + 1, j * n : (j + 1) * n + 1])
        nodes[patch, y, x] = space.refinement.nodes[at].reshape(-1, n + 1, n + 1)
        values[patch, y, x] = inside.cpu().numpy().reshape(-1, n + 1, n + 1, layout.loads)
    return sweep.elements, nodes.reshape(count, -1), values.reshape(count, -1, layout.loads)
