"""Patches that are equal, as in periodic media: one of each is solved, and its local matrix serves them all.

The fast engine gives equal patches equal bits, whichever others are asked for: but where the rim of patches may be
free (natural conditions), a row of elements is treated as one, so there only whole rows are equal or not.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping

import numpy as np
from numpy import ndarray

from skfem_ml.lod.engine.elements import CondensedInteriors, ExtrapolatedInteriors
from skfem_ml.lod.engine.protocol import EngineFactory, condensation
from skfem_ml.lod.mesh.forms import FineForm
from skfem_ml.lod.mesh.windows import Window


def first_of_equals(window: Window, fine_form: FineForm, engine: EngineFactory) -> ndarray:
    """For each of a window's own elements ``(k,)`` the first one, by its number, with an equal patch.

    Equal: the coefficient in every cell of the patch, its shape, Gamma_D, and the weights of averages. Every element is
    its own where that does not decide: forms that ask for the place or have several coefficients, cells of unequal
    size, interiors that a user gives, and the reference engine.
    """
    own, known = window.own, (type(None), CondensedInteriors, ExtrapolatedInteriors)
    if engine is not condensation or type(window.interiors) not in known or fine_form.unit_matrix is None:
        return own
    patches = _patches(window, fine_form.coefficients)
    if not window.all_dirichlet:
        lines = window.grid.cells[-1, own]
        order = np.lexsort((window.grid.cells[0, own], lines))
        rows = np.split(order, np.flatnonzero(np.diff(lines[order])) + 1)
        whole = _numbered(np.append(patches[row], window.grid.cells[0, own[row]]).tobytes() for row in rows)
        row_of = np.empty(len(own), dtype=int)
        row_of[np.concatenate(rows)] = np.repeat(whole, [len(row) for row in rows])
        patches = _numbered(_bytes(np.stack([row_of, window.grid.cells[0, own]], axis=1)))
    _, first, number = np.unique(patches, return_index=True, return_inverse=True)
    return own[first[number]]


def _patches(window: Window, coefficients: Mapping[str, float | ndarray]) -> ndarray:
    """Numbers of the own elements, equal where their patches are, ``(k,)``."""
    cells, own, around = window.coefficient_refinement.cells, window.own, window.patches
    fields = [value[cells] for value in coefficients.values() if isinstance(value, ndarray)]
    elements = _numbered(_bytes(np.concatenate([*fields, window.dirichlet.sides, window.averages], axis=1)))
    inside = around.cells[own]
    reach = window.ell + 1
    beyond = window.grid.cell_windows(window.grid.cells[:, own] - reach, 2 * reach + 1) >= 0
    alone = np.where(around.regular & ~window.floating, -1, np.arange(len(around.regular)))[own]
    parts = np.where(inside >= 0, elements[inside], -1), beyond, window.dirichlet_of_patches()[own], alone[:, None]
    return _numbered(_bytes(np.concatenate(parts, axis=1)))


def _bytes(rows: ndarray) -> Iterable[bytes]:
    return (row.tobytes() for row in rows)


def _numbered(values: Iterable[bytes]) -> ndarray:
    """Numbers that are equal where values are, ``(k,)``; values are known by their hash."""
    numbers: dict[bytes, int] = {}
    return np.array([numbers.setdefault(hashlib.sha256(one).digest(), len(numbers)) for one in values], dtype=int)
