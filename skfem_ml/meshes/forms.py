"""Forms of scikit-fem on the cells of a box grid: their numbers, and element matrices in lexicographic order."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy import ndarray
from numpy.typing import ArrayLike
from skfem import Basis, BilinearForm, LinearForm, Mesh
from skfem.assembly import Dofs
from skfem.assembly.form.form import FormExtraParams
from skfem.element import DiscreteField

from skfem_ml.meshes.grid import ELEMENTS, SUPPORTED, BoxGrid, BoxMapping


def cell_basis(mesh: Mesh, cells: ndarray, dofs: Dofs, quadrature: tuple[ndarray, ndarray] | None = None) -> Basis:
    """The Q1 basis of a mesh of boxes on some of its cells, with their affine maps."""
    element, mapping = ELEMENTS[mesh.dim()](), BoxMapping(mesh, cells)
    return Basis(mesh, element, mapping=mapping, elements=cells, dofs=dofs, quadrature=quadrature, disable_doflocs=True)


def element_matrices(
    form: BilinearForm, basis: Basis, arguments: Mapping[str, float | ndarray], order: ndarray
) -> ndarray:
    """Element matrices of a basis ``(k, 2**d, 2**d)``, corners in lexicographic order; the host stores [trial, test,
    cell].
    """
    coo = form.elemental(basis, **arguments)
    size = order.shape[1]
    matrices = coo.data.reshape(size, size, -1).transpose(2, 1, 0)
    matrices = np.take_along_axis(matrices, order[:, :, None], axis=1)
    return np.take_along_axis(matrices, order[:, None, :], axis=2)


def unit_matrix(
    form: BilinearForm, coefficients: Mapping[str, float | ndarray], size: ndarray, name: str | None = "a"
) -> ndarray | None:
    """The matrix K with K_T = a_T K on every cell T of the extents ``size`` ``(dim,)``, where there is one; else None.

    ``name`` is that of a (None: K_T = K). There is one if no other coefficient is a field, the form asks for nothing
    that depends on the place (it is watched while it is evaluated), and it proves homogeneous on a sample that spans
    the values of a.
    """
    fields = {key for key, value in coefficients.items() if isinstance(value, ndarray)}
    a = 1.0 if name is None else coefficients.get(name, 1.0)
    if fields - {name} or np.ndim(a) > 1:
        return None
    sample = np.append(1.0, _spread(np.atleast_1d(a)))
    line = [np.arange(len(sample) + 1 if axis == 0 else 2) * width for axis, width in enumerate(size)]
    probe = BoxGrid(SUPPORTED[len(line)].init_tensor(*line))
    values = {} if name is None else {name: sample[probe.cells[0], None]}
    watched = _Watched(form, set(coefficients))
    try:
        basis = Basis(probe.mesh, ELEMENTS[probe.dim]())
        matrices = element_matrices(watched.form, basis, {**coefficients, **values}, probe.order)
    except (IndexError, ValueError):  # it closes over something of the size of the real mesh
        return None
    unit = matrices[probe.cells[0] == 0][0]
    scaled = sample[probe.cells[0], None, None] * unit if name is not None else unit
    if watched.asked_for_place or np.abs(matrices - scaled).max() > 1e-12 * np.abs(scaled).max():
        return None
    check_symmetric(unit[None])
    return unit


def check_symmetric(matrices: ndarray) -> None:
    """Raises ValueError if some matrix is not symmetric to rounding."""
    gap = np.abs(matrices - matrices.transpose(0, 2, 1)).max(initial=0.0)
    if not gap <= 1e-10 * np.abs(matrices).max(initial=0.0):
        raise ValueError(
            f"form: expected a symmetric bilinear form, got element matrices that differ from their transpose "
            f"by {gap:.1e} (or are not finite); symmetric elliptic forms only are handled here, so treat "
            "other terms (convection) outside of it"
        )


class _Watched:
    """A form that notes whether it asks for anything but its own coefficients (coordinates, mesh size, normals...)."""

    def __init__(self, form: BilinearForm, known: set[str]):
        self.asked_for_place = False
        watcher = self

        class Parameters(FormExtraParams):
            def __getitem__(self, key: str) -> object:
                watcher.asked_for_place |= key not in known
                return super().__getitem__(key)

            def get(self, key: str, default: object = None) -> object:
                return self[key] if key in self else default  # noqa: SIM401 (dict.get would go unseen)

        self.form = BilinearForm(lambda u, v, w: form.form(u, v, Parameters(w)))


def _spread(values: ndarray, count: int = 15) -> ndarray:
    """A few of the values, the smallest and the largest among them."""
    picked = values[np.linspace(0, len(values) - 1, count).astype(int)]
    picked[:2] = values.min(), values.max()
    return picked


def real_values(name: str, value: ArrayLike, nelems: int, mesh: str = "mesh") -> float | ndarray:
    """A number, or a fresh array of floats; a trailing axis of equal values per quadrature point is taken off.

    Raises TypeError for functions and what is no array of real numbers, ValueError for numbers that are not finite and
    for fields that vary within a cell.
    """
    if callable(value):
        raise TypeError(
            f"{name}: expected a number or one value per cell, got a function; choose where it is taken, for example "
            f"{name}=f({mesh}.p[:, {mesh}.t].mean(axis=1)) at the midpoints of the cells"
        )
    field = isinstance(value, DiscreteField)
    values = np.asarray(value)
    if values.dtype.kind not in "fiu":
        raise TypeError(f"{name}: expected real numbers, got dtype {values.dtype}; convert them to float64")
    if values.ndim == 0:
        if not np.isfinite(values):
            raise ValueError(f"{name}: expected a positive, finite number, got {float(values)}")
        return float(values)
    values = np.array(values, dtype=float)
    if values.ndim in (2, 4) and values.shape[-2] == nelems and (values.shape[-1] == 1 or field):
        if not (values == values[..., :1]).all() and np.isfinite(values).all():
            raise ValueError(
                f"{name}: expected one value per cell, got a field that varies within cells; take its mean over the "
                "quadrature points, or interpolate with a basis of ElementQuad0"
            )
        return np.ascontiguousarray(values[..., 0])
    return values


def refuse_complex(form: BilinearForm | LinearForm, name: str = "form") -> None:
    """Raise TypeError for a form declared complex: the imaginary part would be lost."""
    if np.dtype(form.dtype).kind == "c":
        raise TypeError(
            f"{name}: expected a real form, got one with dtype={np.dtype(form.dtype)}; assemble its real and imaginary "
            "part on their own"
        )
