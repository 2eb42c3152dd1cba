"""Bilinear forms of scikit-fem on functions that are no finite elements: their coefficients at quadrature points.

A form is linear in value and gradient of u and of v: ``form(u, v) = sum_kl C_kl D_k v D_l u``, ``D_0 u = u``, ``D_i u =
du/dx_i``. Its coefficients C are what it returns for fields of which one entry is 1.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray
from skfem import BilinearForm, CellBasis
from skfem.assembly.form.form import FormExtraParams
from skfem.element import DiscreteField

from skfem_ml.pinn.weak import test_slots as unit_fields

Array = NDArray[np.float64]


def pointwise(form: BilinearForm, basis: CellBasis, coefficients: Mapping[str, float | Array | DiscreteField]) -> Array:
    """Return C ``(1 + dim, 1 + dim, n)`` at the n quadrature points of a scalar basis, row v, column u.

    Raises TypeError for elements that are not scalar, ValueError for forms that are not symmetric at every point.
    """
    slots = unit_fields(basis, basis.dx.shape)
    if np.ndim(slots[0]) != 2:
        raise TypeError(f"{type(basis.elem).__name__}: expected a scalar element, got a vector; use space='elements'")
    fields = {name: DiscreteField(c) if isinstance(c, np.ndarray) else c for name, c in coefficients.items()}
    w = FormExtraParams({**basis.default_parameters(), **fields})
    C = np.array([[np.broadcast_to(form.form(u, v, w), basis.dx.shape).ravel() for u in slots] for v in slots])
    gap = abs(C - C.transpose(1, 0, 2)).max()
    if not gap <= 1e-10 * abs(C).max():
        raise ValueError(f"form: expected one that is symmetric at every point, got a difference of {gap:.1e}")
    return C


def root(C: Array) -> Array:
    """Return R ``(rows, 1 + dim, n)`` with ``C = R' R`` at every point; rows that vanish everywhere are left out.

    Raises ValueError where C is not positive semidefinite.
    """
    values, vectors = np.linalg.eigh(C.transpose(2, 0, 1))
    if values.min() < -1e-12 * abs(values).max():
        raise ValueError(f"mass: expected a form with mass(u, u) >= 0 at every point, got {values.min():.1e}")
    R = np.sqrt(np.maximum(values, 0))[:, :, None] * vectors.transpose(0, 2, 1)
    R = R.transpose(1, 2, 0)
    return R[(values > 1e-15 * values.max()).any(axis=0)]


def stacked(R: Array, jets: Sequence[Array]) -> Array:
    """Return ``sum_k R_k D_k u`` of functions ``(rows * n, m)``, whose products are the integrals of the form."""
    parts = [sum(row[k][:, None] * jets[k] for k in range(len(jets)) if row[k].any()) for row in R]
    return np.concatenate([np.asarray(part) for part in parts])
