"""Elements condensed on a finer mesh onto the boundary nodes of the fine mesh alone."""

from __future__ import annotations

import numpy as np
import torch
from numpy import ndarray
from torch import Tensor

from skfem_ml.lod.engine.elements.condenser import ElementCondenser
from skfem_ml.lod.engine.elements.layout import boundary_nodes
from skfem_ml.lod.mesh.discretisation import Discretisation
from skfem_ml.lod.mesh.forms import FineForm


class TraceCondenser:
    """Bordered matrices of elements on N x N cells, of functions that on their boundary are those of n x n cells.

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
        finer = space.with_fine(refine)
        self.condenser = ElementCondenser(finer, FineForm(finer, fine_form.form, fine_form.coefficients))
        self.traces = self.condenser.on_device(trace_values(space.n, refine))

    def bordered(self, elements: ndarray) -> Tensor:
        """As `ElementCondenser.bordered` on N x N cells, the boundary restricted, ``(k, 4 n + 4, 4 n + 4)``."""
        chunks = [self.traces.T @ self.condenser.bordered(part)[0] @ self.traces for part in (elements,)]
        return torch.cat(chunks)


def trace_values(n: int, refine: int) -> ndarray:
    """Values at the 4 N boundary nodes of the hats of n x n cells, and four ones for P: ``(4 N + 4, 4 n + 4)``."""
    at, of = boundary_nodes(refine) * n / refine, boundary_nodes(n)
    hats = [np.maximum(0, 1 - np.abs(at[axis][:, None] - of[axis])) for axis in (0, 1)]
    out = np.zeros((4 * refine + 4, 4 * n + 4))
    out[:-4, :-4] = hats[0] * hats[1]
    out[-4:, -4:] = np.eye(4)
    return out
