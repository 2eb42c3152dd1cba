"""The user's forms on the fine mesh: element matrices in lexicographic order, and what is known of them beforehand."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import cached_property
from typing import TypeAlias

import numpy as np
from numpy import ndarray
from numpy.typing import ArrayLike
from scipy.sparse import coo_matrix, csr_matrix
from skfem import BilinearForm

from skfem_ml import checks
from skfem_ml.coefficients import validate
from skfem_ml.lod.mesh.discretisation import Discretisation
from skfem_ml.meshes.forms import check_symmetric, element_matrices, real_values, refuse_complex, unit_matrix

CHUNK = 2**15  # fine cells evaluated at a time: bounds the memory of basis functions at quadrature points
MESH = "lod.coefficient_mesh"  # what messages call it
Count: TypeAlias = "int | Callable[[], int]"  # the latter where it costs a mesh to say


def check_coefficients(
    coefficients: Mapping[str, ArrayLike], nelems: int, nodes: Count = -1, dim: int | None = None
) -> dict[str, float | ndarray]:
    """Coefficients as floats or fresh arrays over cells: ``(nelems,)``, or ``(d, d, nelems)`` for a tensor.

    Values per cell may also come as the host has them: ``a[:, None]``, ``a[..., None]`` or
    ``basis0.interpolate(a)`` with a piecewise constant basis on the coefficient mesh. ``a`` must be positive; whether
    other names must is told by the form (`ellipticity`). Raises ValueError naming what was expected and what came, and
    TypeError for what is no array.
    """
    return {name: _checked(name, value, nelems, nodes, dim) for name, value in coefficients.items()}


def coefficients_on(
    space: Discretisation, coefficients: Mapping[str, ArrayLike], of_form: bool
) -> dict[str, float | ndarray]:
    """Copies of the coefficients on the cells of a space: checked for a form, as they are for a local map, which checks
    them itself.
    """
    cells = space.coefficient_refinement.cells.size
    if of_form:
        return check_coefficients(coefficients, cells, lambda: space.fine_mesh.p.shape[1], space.grid.dim)
    return {
        name: real_values(name, value, cells, MESH) if isinstance(value, list | ndarray) else value  # type: ignore[misc]
        for name, value in coefficients.items()
    }


def changed_patches(
    space: Discretisation, old: Mapping[str, float | ndarray], new: Mapping[str, float | ndarray]
) -> ndarray:
    """The elements whose patches see a difference between two sets of coefficients."""
    cells, around = space.coefficient_refinement.cells, space.patches.cells
    differs = np.zeros(cells.size, dtype=bool)
    for name, value in old.items():
        before, after = np.broadcast_arrays(value, new[name])
        differs |= (before != after).reshape(-1, before.shape[-1] if before.ndim else 1).any(axis=0)
    within = differs[cells].any(axis=1)
    return np.flatnonzero((within[around] & (around >= 0)).any(axis=1))


def described(name: str, value: float | ndarray) -> str:
    """A coefficient in a few words."""
    if not isinstance(value, ndarray):
        return f"{name}={value}"
    if value.ndim == 3:
        return f"{name}: {value.shape[2]} tensors"
    return f"{name} in [{value.min():.4g}, {value.max():.4g}]"


def _checked(name: str, value: ArrayLike, nelems: int, nodes: Count, dim: int | None) -> float | ndarray:
    values = real_values(name, value, nelems, MESH)
    if isinstance(values, float):
        if name == "a":
            checks.positive(values, name)
        return values
    wanted = f"{name}: expected one value per cell of lod.coefficient_mesh, ({nelems},) or (d, d, {nelems})"
    if values.ndim == 1 and len(values) != nelems and len(values) == (nodes() if callable(nodes) else nodes):
        raise ValueError(
            f"{wanted}, got {values.shape}, as many as the fine mesh has nodes; average nodal values over the "
            "corners of each cell first"
        )
    if values.ndim == 3 and dim is not None and values.shape[:2] != (dim, dim):
        raise ValueError(f"{wanted} with d = {dim}, got {values.shape}; scalar coefficients are ({nelems},)")
    if name == "a":
        return np.array(validate(values, nelems, name))
    if values.ndim not in (1, 3) or values.shape[-1] != nelems:
        raise ValueError(f"{wanted}, got {values.shape}; values at quadrature points are not supported")
    if not np.isfinite(values).all():
        bad = np.flatnonzero(~np.isfinite(values.reshape(-1, nelems)).all(axis=0))
        raise ValueError(
            f"{name}: {len(bad)} of {nelems} values are not finite, the first is {values[..., bad[0]]} in cell "
            f"{bad[0]}; expected finite values"
        )
    return values


class FineForm:
    """A symmetric elliptic ``BilinearForm`` with its coefficients, on the cells of the fine mesh.

    Parameters
    ----------
    space
        The space: gives the fine mesh and says which coefficient cell a fine cell lies in.
    form
        The user's form.
    coefficients
        Its keyword arguments, already checked.
    """

    def __init__(self, space: Discretisation, form: BilinearForm, coefficients: Mapping[str, float | ndarray]):
        if not isinstance(form, BilinearForm):
            raise TypeError(f"form: expected a BilinearForm, got {type(form).__name__}")
        refuse_complex(form)
        self.space, self.form, self.coefficients = space, form, dict(coefficients)

    def matrices(self, cells: ndarray) -> ndarray:
        """Element matrices ``(len(cells), 2**d, 2**d)``: rows test, columns trial functions.

        Raises ValueError if they are not symmetric.
        """
        size = 2**self.space.grid.dim
        out = np.empty((len(cells), size, size))
        for start in range(0, len(cells), CHUNK):
            out[start : start + CHUNK] = self._matrices(cells[start : start + CHUNK])
        check_symmetric(out)
        return out

    def assembled(self) -> csr_matrix:
        """The matrix of the form on the fine mesh, ``(fine.N, fine.N)``, with what the space's interiors add to it."""
        corners = self.space.fine_grid.corners
        rows, cols = np.broadcast_arrays(corners[:, :, None], corners[:, None, :])
        blocks = self.matrices(np.arange(len(corners)))
        matrix = coo_matrix((blocks.ravel(), (rows.ravel(), cols.ravel()))).tocsr()
        interiors = self.space.interiors
        return matrix if interiors is None else matrix + interiors.stiffness(self)

    def _matrices(self, cells: ndarray) -> ndarray:
        order = self.space.fine_order(cells)
        return element_matrices(self.form, self.space.fine_basis(cells), self.arguments(cells), order)

    def arguments(self, cells: ndarray) -> dict[str, float | ndarray]:
        """Coefficients on fine cells as the host wants them: a trailing axis for the quadrature points."""
        at = self.space.coefficient_cell[cells]
        return {
            name: value[..., at, None] if isinstance(value, ndarray) else value
            for name, value in self.coefficients.items()
        }

    @cached_property
    def unit_matrix(self) -> ndarray | None:
        """The matrix K with K_T = a_T K on every fine cell T, where there is one (`meshes.forms`); else None."""
        size = self.space.cell_size
        return None if size is None else unit_matrix(self.form, self.coefficients, size / self.space.n)
