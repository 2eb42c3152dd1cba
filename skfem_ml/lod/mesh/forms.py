"""The user's forms on the fine mesh: element matrices in lexicographic order, and what is known of them beforehand."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property

import numpy as np
from numpy import ndarray
from numpy.typing import ArrayLike
from scipy.sparse import coo_matrix, csr_matrix
from skfem import Basis, BilinearForm, LinearForm
from skfem.assembly.form.form import FormExtraParams
from skfem.element import DiscreteField

from skfem_ml import checks
from skfem_ml.coefficients import validate
from skfem_ml.lod.mesh.discretisation import Discretisation
from skfem_ml.lod.mesh.grid import ELEMENTS, SUPPORTED, BoxGrid
from skfem_ml.meshes.cells import widths

CHUNK = 2**15  # fine cells evaluated at a time: bounds the memory of basis functions at quadrature points


def check_coefficients(
    coefficients: Mapping[str, ArrayLike], nelems: int, nodes: int = -1, dim: int | None = None
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
        return check_coefficients(coefficients, cells, space.fine_mesh.p.shape[1], space.grid.dim)
    return {
        name: real_values(name, value, cells) if isinstance(value, list | ndarray) else value  # type: ignore[misc]
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


def _checked(name: str, value: ArrayLike, nelems: int, nodes: int, dim: int | None) -> float | ndarray:
    values = real_values(name, value, nelems)
    if isinstance(values, float):
        if name == "a":
            checks.positive(values, name)
        return values
    wanted = f"{name}: expected one value per cell of lod.coefficient_mesh, ({nelems},) or (d, d, {nelems})"
    if values.shape == (nodes,) != (nelems,):
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


def real_values(name: str, value: ArrayLike, nelems: int) -> float | ndarray:
    """A number, or a fresh array of floats; a trailing axis of equal values per quadrature point is taken off.

    Raises TypeError for functions and what is no array of real numbers, ValueError for numbers that are not finite and
    for fields that vary within a cell.
    """
    if callable(value):
        raise TypeError(
            f"{name}: expected a number or one value per cell, got a function; choose where it is taken, for example "
            f"{name}=f(lod.coefficient_mesh.p[:, lod.coefficient_mesh.t].mean(axis=1)) at the midpoints of the cells"
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
        order = self.space.fine_grid.order[cells]
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
        """The matrix K with K_T = a_T K on every fine cell T, where there is one; else None.

        There is one if all cells are congruent, ``a`` is the only field, the form asks for nothing that depends on the
        place (it is watched while it is evaluated), and it proves homogeneous on a sample that spans the values of
        ``a``.
        """
        fields = {name for name, value in self.coefficients.items() if isinstance(value, ndarray)}
        a = self.coefficients.get("a", 1.0)
        size = widths(self.space.grid.mesh)
        if fields - {"a"} or np.ndim(a) > 1 or np.ptp(size, axis=1).max() > 1e-10 * size.min():
            return None
        sample = np.append(1.0, _spread(np.atleast_1d(a)))
        line = [
            np.arange(len(sample) + 1 if axis == 0 else 2) * size[axis, 0] / self.space.n
            for axis in range(self.space.grid.dim)
        ]
        probe = BoxGrid(SUPPORTED[len(line)].init_tensor(*line))
        watched = _Watched(self.form, set(self.coefficients))
        try:
            matrices = element_matrices(
                watched.form,
                Basis(probe.mesh, ELEMENTS[probe.dim]()),
                {**self.coefficients, "a": sample[probe.cells[0], None]},
                probe.order,
            )
        except (IndexError, ValueError):  # it closes over something of the size of the real mesh
            return None
        unit = matrices[probe.cells[0] == 0][0]
        scaled = sample[probe.cells[0], None, None] * unit
        if watched.asked_for_place or np.abs(matrices - scaled).max() > 1e-12 * np.abs(scaled).max():
            return None
        check_symmetric(unit[None])
        return unit


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


def check_symmetric(matrices: ndarray) -> None:
    """Raises ValueError if some matrix is not symmetric to rounding."""
    gap = np.abs(matrices - matrices.transpose(0, 2, 1)).max(initial=0.0)
    if not gap <= 1e-10 * np.abs(matrices).max(initial=0.0):
        raise ValueError(
            f"form: expected a symmetric bilinear form, got element matrices that differ from their transpose "
            f"by {gap:.1e} (or are not finite); LOD handles symmetric elliptic forms only, so treat other "
            "terms (convection) outside of it"
        )
