"""Correctors on the fine mesh, from their values on the lines of a sweep."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy import ndarray
from torch import Tensor

from .bordered import Eliminated, recover
from .elements import ElementCondenser
from .interpolation import hat_values, tensor
from .sweep import Sweep

if TYPE_CHECKING:
    from .condensation import CondensationEngine, Row


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
        self.sweep, self.layout, self.weights = sweep, sweep.layout, weights
        rest = sweep.strip_values(j) @ weights
        whole = torch.nn.functional.pad(rest, (0, 0, 0, 2 * self.layout.nodes))     # functionals carry no solution
        step = Eliminated(*(sweep.strip(j, part) for part in sweep.strips))
        self.levels = self._levels(recover(step, whole))
        m = self.layout.line
        self.lines = [self._whole_line(rest[:, :m]), self._whole_line(rest[:, m:2 * m])]
        constraints = rest[:, self.layout.constraints_at:self.layout.loads_at]
        self.multipliers = constraints.view(len(rest), 2, self.layout.nodes, -1)   # [patch, left or right, node, v]

    def _whole_line(self, values: Tensor) -> Tensor:
        pad = self.layout.first                                                    # the rim, where it is fixed
        return torch.nn.functional.pad(values, (0, 0, pad, pad))

    def _levels(self, inner: Tensor) -> Tensor:
        pad, n = self.layout.first, self.layout.n
        levels = inner.view(len(inner), len(self.layout.levels), n - 1, -1)
        return torch.nn.functional.pad(levels, (0, 0, 0, 0, pad, pad))

    def boundary(self, e: int) -> Tensor:
        """Values on the boundary of the strip's element e, ``(B, 4 n, v)``, in the order of ``boundary_nodes``."""
        n = self.layout.n
        sides = [line[:, e * n:(e + 1) * n + 1] for line in self.lines]
        return torch.cat([*sides, self.levels[:, e], self.levels[:, e + 1]], dim=1)

    def border(self, e: int) -> Tensor:
        """Minus the multipliers at the corners of element e, ``(B, 4, v)``, x fastest."""
        left, right = self.multipliers[:, 0], self.multipliers[:, 1]
        return -torch.stack([left[:, e], right[:, e], left[:, e + 1], right[:, e + 1]], dim=1)


def sum_correctors(engine: CondensationEngine, elements: ndarray, loads: ndarray | None, weights: ndarray | None) -> ndarray:
    """The sum of correctors on the fine mesh, ``(fine.N,)``, each column weighted by ``(nelems, columns)``.

    Boundary values and multipliers are added up over all patches; the interior of an element is recovered once.
    """
    lod = engine.lod
    out = np.zeros(lod.fine_grid.mesh.p.shape[1])
    if not len(elements):
        return out
    count, v = len(lod.grid.corners), 1
    columns = 4 if loads is None else loads.shape[2]
    weights = np.ones((count, columns)) if weights is None else weights
    boundary, border = np.zeros((count, 4 * lod.n, v)), np.zeros((count, 4, v))

    def add(sweep: Sweep, *_: Any) -> list[tuple[ndarray, Tensor, Tensor]]:
        combination = torch.from_numpy(weights[sweep.elements])[:, :, None].to(sweep.device)
        return [(at, values[present], minus_mu[present]) for _, at, present, values, minus_mu in _parts(sweep, combination)]

    for parts in engine.sweeps(elements, loads, add):
        for at, values, minus_mu in parts:                                         # the elements of a part are distinct
            boundary[at] += values.cpu().numpy()
            border[at] += minus_mu.cpu().numpy()
    own = np.zeros(count, dtype=bool)
    own[elements] = True
    _recover_interiors(engine, loads, weights * own[:, None], boundary, border, out)
    return out


def _recover_interiors(engine: CondensationEngine, loads: ndarray | None, weights: ndarray, boundary: ndarray,
                       border: ndarray, out: ndarray) -> None:
    lod = engine.lod
    condenser = ElementCondenser(lod, engine.fine_form, loads)
    chunk = max(1, 2**22 // (condenser.columns + 4 * lod.n)**2)
    for start in range(0, len(boundary), chunk):
        at = np.arange(start, min(start + chunk, len(boundary)))
        values = interior_values(condenser, at, condenser.condense(at)[1], torch.from_numpy(boundary[at]),
                                 torch.from_numpy(border[at]), torch.from_numpy(weights[at])[:, :, None])
        out[lod.refinement.nodes[at]] = values[:, :, 0].cpu().numpy()


def interior_values(condenser: ElementCondenser, elements: ndarray, steps: list[Eliminated], boundary: Tensor,
                    border: Tensor, weights: Tensor) -> Tensor:
    """Nodal values ``(k, (n + 1)**2, v)`` on elements, from those around them and minus the multipliers at their corners.

    ``weights`` ``(k, loads, v)`` say how much of T's own load acts in each element. Without loads these are a_T(lambda_j, .);
    then w - lambda_j sees no load inside T, and is what is recovered.
    """
    boundary, border, weights = (part.to(condenser.device) for part in (boundary, border, weights))
    if not condenser.uniform:
        border = border * torch.from_numpy(condenser.lod.averages[elements]).to(border)[:, :, None]
    if condenser.columns > 4:
        return condenser.interior(elements, steps, boundary, torch.cat([border, weights], dim=1))
    hats = torch.from_numpy(tensor(hat_values(condenser.lod.n), 2).T).to(boundary)
    values = condenser.interior(elements, steps, boundary - condenser.hats @ weights, border)
    return values + hats @ weights


def _parts(sweep: Sweep, combination: Tensor) -> Any:
    """Every place (j, e) of the patches' block: the elements there, which patches have one, boundary values, and border."""
    lod, layout = sweep.lod, sweep.layout
    block = lod.patches.cells[sweep.elements].reshape(-1, layout.height, layout.height)
    for j in range(layout.height):
        strip = StripValues(sweep, j, combination)
        for e in range(layout.height):
            present = np.flatnonzero(block[:, e, j] >= 0)
            if len(present):
                yield (j, e), block[present, e, j], torch.from_numpy(present).to(sweep.device), strip.boundary(e), strip.border(e)


def explicit_correctors(sweep: Sweep, rows: dict[int, Row], condenser: ElementCondenser) -> tuple[ndarray, ndarray, ndarray]:
    """Elements of a sweep, the fine nodes of their patches ``(B, nodes)`` (-1 outside) and the correctors there."""
    lod, layout = sweep.lod, sweep.layout
    n, width, count = layout.n, layout.height * layout.n + 1, len(sweep.elements)
    identity = torch.eye(layout.loads, dtype=torch.float64, device=sweep.device).expand(count, -1, -1)
    nodes = np.full((count, width, width), -1)
    values = np.zeros((count, width, width, layout.loads))
    for (j, e), at, present, boundary, border in _parts(sweep, identity):
        own = identity if (j, e) == (layout.ell, layout.ell) else torch.zeros_like(identity)
        row = rows[sweep.box.origin[0] + e]
        inside = interior_values(condenser, at, row.steps_of(at), boundary[present], border[present], own[present])
        patch = present.cpu().numpy()[:, None, None]
        y, x = (part[None] for part in np.mgrid[e * n:(e + 1) * n + 1, j * n:(j + 1) * n + 1])
        nodes[patch, y, x] = lod.refinement.nodes[at].reshape(-1, n + 1, n + 1)
        values[patch, y, x] = inside.cpu().numpy().reshape(-1, n + 1, n + 1, layout.loads)
    return sweep.elements, nodes.reshape(count, -1), values.reshape(count, -1, layout.loads)
