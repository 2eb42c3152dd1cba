"""What is given: loads on the fine mesh by element, one or a list of them, and boundary values."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from typing import TypeAlias

import numpy as np
from numpy import ndarray
from numpy.typing import ArrayLike
from skfem import LinearForm

from skfem_ml.lod.mesh.discretisation import Discretisation
from skfem_ml.lod.mesh.forms import FineForm
from skfem_ml.lod.mesh.loads import FineLoad
from skfem_ml.lod.slod.matrices import unit_load

ROUNDING = 1e-13

Load: TypeAlias = "LinearForm | FineLoad"


class Given:
    """Loads F - a(x, .), ``k`` of them.

    Parameters
    ----------
    space, fine_form
        The space, and the form a on it.
    f
        A load, or a list of loads.
    fields
        Their keyword arguments.
    x
        Boundary values: a function on the coarse mesh ``(coarse.N,)``, whose inner values are not looked at, or one on
        the fine mesh ``(fine.N,)``; None for zero.

    Attributes
    ----------
    split
        The loads against the fine hat functions, by element: ``(nelems, (n + 1)**2, k)``.
    lift
        x on the fine mesh, ``(fine.N, 1)``.

    Raises
    ------
    TypeError
        For what are no loads.
    ValueError
        For an empty list, and x of another length.
    """

    def __init__(
        self,
        space: Discretisation,
        fine_form: FineForm,
        f: Load | Sequence[Load],
        fields: dict[str, ArrayLike],
        x: ArrayLike | None,
    ):
        self.space, self.several = space, isinstance(f, list | tuple)
        forms = list(f) if isinstance(f, list | tuple) else [f]
        if not forms:
            raise ValueError("f: expected a load or some, got an empty list")
        split = np.stack([FineLoad.of(space, form, fields).split for form in forms], axis=2)
        self.lift = np.zeros((space.fine_mesh.p.shape[1], 1))
        if x is not None:
            self.lift = _on_fine(space, x)[:, None]
            split = split - _energy(space, fine_form, self.lift)
        self.split: ndarray = split

    @property
    def on_elements(self) -> ndarray:
        """F(1_K), ``(nelems, k)``."""
        return self.split.sum(axis=1)

    @property
    def by_element(self) -> bool:
        """Whether all loads are constant on elements, to rounding."""
        rest = self.split - self.on_elements[:, None] * unit_load(self.space.n)[:, None]
        return bool(np.abs(rest).max() <= ROUNDING * np.abs(self.split).max())

    @cached_property
    def on_fine(self) -> ndarray:
        """F on the fine mesh, ``(fine.N, k)``."""
        nodes, count = self.space.refinement.nodes.ravel(), len(self.lift)
        columns = self.split.reshape(-1, self.split.shape[2]).T
        return np.stack([np.bincount(nodes, column, minlength=count) for column in columns], axis=1)

    def shaped(self, values: ndarray) -> ndarray:
        """Results ``(., k)`` as ``(.,)`` where one load was given."""
        return values if self.several else values[:, 0]


def _on_fine(space: Discretisation, x: ArrayLike) -> ndarray:
    values = np.asarray(x)
    count, fine = space.coarse.N, space.fine_mesh.p.shape[1]
    if values.shape not in ((count,), (fine,)) or values.dtype.kind not in "fiu":
        raise ValueError(
            f"x: expected {count} values on the coarse mesh or {fine} on the fine one, got shape {values.shape} of "
            f"{values.dtype}"
        )
    if values.shape == (fine,):
        return values.astype(float)
    return space.prolongation @ np.where(space.fixed, values, 0.0)


def _energy(space: Discretisation, fine_form: FineForm, x: ndarray) -> ndarray:
    """a_T(x, .) against the fine hat functions, by element: ``(nelems, (n + 1)**2, 1)``."""
    cells, corners = space.refinement.cells, space.fine_corners_in_cell
    matrices = fine_form.matrices(cells.ravel()).reshape(*cells.shape, 4, 4)
    out = np.zeros((*space.refinement.nodes.shape, 1))
    local = matrices @ x[space.refinement.nodes[:, corners]]  # (nelems, cells, 4, 1)
    for place, values in zip(corners, local.transpose(1, 0, 2, 3), strict=True):
        out[:, place] += values
    if space.interiors is not None:
        from skfem_ml.lod.engine.elements import element_source  # here, since it loads torch

        out += element_source(space, fine_form).correction(space.all_elements) @ x[space.refinement.nodes]
    return out
