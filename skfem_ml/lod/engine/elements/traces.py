"""Elements condensed on a finer mesh onto the boundary nodes of the fine mesh alone."""

from __future__ import annotations

import torch
from numpy import ndarray
from torch import Tensor

from skfem_ml.lod.engine.elements.condenser import ElementCondenser
from skfem_ml.lod.engine.elements.layout import boundary_nodes, merge_factors
from skfem_ml.lod.engine.elements.levels import FirstLevel, Level, trace_values
from skfem_ml.lod.mesh.discretisation import Discretisation
from skfem_ml.lod.mesh.forms import FineForm

CHUNK_BYTES = 2**23  # matrices of elements merged at a time


class TraceCondenser:
    """Bordered matrices of elements on N x N cells, of functions that on their boundary are those of n x n cells.

    Where a form is one matrix times the value of the cell, blocks of cells on the boundary of an element lose the nodes
    that follow from others before anything is merged (`levels`): less than half of the work. Else it is done last.

    Parameters
    ----------
    space
        The space with n fine cells along a coarse edge.
    fine_form
        The form with its coefficients.
    refine
        N, a multiple of n.
    """

    def __init__(self, space: Discretisation, fine_form: FineForm, refine: int):
        finer, step = space.with_fine(refine), refine // space.n
        self.condenser = ElementCondenser(finer, FineForm(finer, fine_form.form, fine_form.coefficients))
        nodes = boundary_nodes(refine), step * boundary_nodes(space.n)
        self.traces = self.condenser.on_device(trace_values(*nodes, step))
        self.border = self.traces.T @ self.condenser.border[self.condenser.outer]
        self.first: FirstLevel | None = None
        self.others: list[Level] = []
        if self.condenser.unit is not None:
            self.first, *self.others = _levels(self.condenser, step)

    def bordered(self, elements: ndarray) -> Tensor:
        """As `ElementCondenser.bordered` on N x N cells, the boundary restricted, ``(k, 4 n + 4, 4 n + 4)``."""
        if self.first is None:
            F = torch.block_diag(self.traces, torch.eye(4).to(self.traces))
            return F.T @ self.condenser.bordered(elements)[0] @ F
        chunk = max(1, CHUNK_BYTES // max(level.bytes for level in [self.first, *self.others]))
        starts = range(0, max(len(elements), 1), chunk)
        return torch.cat([self._merged(self.first, elements[start : start + chunk]) for start in starts])

    def _merged(self, first: FirstLevel, elements: ndarray) -> Tensor:
        blocks = first.blocks(self.condenser.values(elements))
        for level in self.others:
            blocks = level.merged(blocks)
        (whole,), nb = blocks.values(), len(self.border)
        out = whole[0]
        out[:, :nb, nb:] += self.border
        out[:, nb:, :nb] += self.border.mT
        return out


_KNOWN: dict[tuple[object, ...], tuple] = {}  # levels by all that determines them; a coefficient does not
MOST_KNOWN = 16


def _levels(condenser: ElementCondenser, step: int) -> tuple:
    """The `FirstLevel` and the levels above it, which are made once for meshes of these sizes."""
    space, unit = condenser.space, condenser.unit
    assert unit is not None
    border = condenser.border.cpu().numpy().tobytes()
    key = space.n, space.m, step, str(condenser.device), unit.tobytes(), border
    known = _KNOWN.get(key)  # read once: another thread may clear it
    if known is None:
        q, *factors = merge_factors(space.m) or [1]
        levels: list[Level] = [FirstLevel(condenser, q, step)]
        for q in factors:
            levels.append(Level(condenser, levels[-1].size, q, step))
        if len(_KNOWN) >= MOST_KNOWN:
            _KNOWN.clear()
        known = _KNOWN[key] = tuple(levels)
    return known
