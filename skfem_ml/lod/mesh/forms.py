"""The user's forms on the fine mesh: element matrices in lexicographic order, and what is known of them beforehand."""

from __future__ import annotations

from functools import cached_property
from typing import Any

import numpy as np
from numpy import ndarray
from skfem import Basis, BilinearForm, LinearForm
from skfem.assembly.form.form import FormExtraParams

from skfem_ml.coefficients import validate
from skfem_ml.lod.mesh.discretisation import Discretisation
from skfem_ml.lod.mesh.grid import ELEMENTS, SUPPORTED, BoxGrid, corner_nodes
from skfem_ml.meshes.cells import widths

CHUNK = 2**15  # fine cells evaluated at a time: bounds the memory of basis functions at quadrature points


def check_coefficients(coefficients: dict[str, Any], nelems: int, nodes: int) -> dict[str, Any]:
    """Coefficients as floats or arrays over cells: ``(nelems,)``, or ``(d, d, nelems)`` for a tensor.

    ``a`` must be positive; other names may have any sign. Raises ValueError naming what was expected and what came.
    """
    return {
        name: value if np.isscalar(value) else _cellwise(name, value, nelems, nodes)
        for name, value in coefficients.items()
    }


def _cellwise(name: str, value: Any, nelems: int, nodes: int) -> ndarray:
    value = np.asarray(value)
    if name == "a" and value.shape != (nodes,):
        return validate(value, nelems, name)
    wanted = f"{name}: expected one value per cell of lod.coefficient_mesh, ({nelems},) or (d, d, {nelems})"
    if value.shape == (nodes,):
        raise ValueError(
            f"{wanted}, got {value.shape}, as many as the fine mesh has nodes; average nodal values over the "
            "corners of each cell first"
        )
    if value.ndim not in (1, 3) or value.shape[-1] != nelems:
        raise ValueError(f"{wanted}, got {value.shape}; values at quadrature points are not supported")
    if not np.isfinite(value).all():
        raise ValueError(f"{name}: expected finite values, got {np.count_nonzero(~np.isfinite(value))} that are not")
    return value.astype(float)


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

    def __init__(self, space: Discretisation, form: BilinearForm, coefficients: dict[str, Any]):
        self.space, self.form, self.coefficients = space, form, coefficients

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

    def _matrices(self, cells: ndarray) -> ndarray:
        grid = self.space.fine_grid
        basis = Basis(grid.mesh, ELEMENTS[grid.dim](), elements=cells, dofs=self.space.fine_dofs, disable_doflocs=True)
        return _ordered(self.form, basis, self._arguments(self.space.coefficient_cell[cells]), grid.order[cells])

    def _arguments(self, cells: ndarray) -> dict[str, Any]:
        """Coefficients as the host wants them: a trailing axis for the quadrature points."""
        return {
            name: value if np.isscalar(value) else value[..., cells, None] for name, value in self.coefficients.items()
        }

    @cached_property
    def unit_matrix(self) -> ndarray | None:
        """The matrix K with K_T = a_T K on every fine cell T, where there is one; else None.

        There is one if all cells are congruent, ``a`` is the only field, the form asks for nothing that depends on the
        place (it is watched while it is evaluated), and it proves homogeneous on a sample that spans the values of
        ``a``.
        """
        fields = {name for name, value in self.coefficients.items() if not np.isscalar(value)}
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
            matrices = _ordered(
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
            def __getitem__(self, key: str) -> Any:
                watcher.asked_for_place |= key not in known
                return super().__getitem__(key)

            def get(self, key: str, default: Any = None) -> Any:
                return self[key] if key in self else default  # noqa: SIM401 (dict.get would go unseen)

        self.form = BilinearForm(lambda u, v, w: form.form(u, v, Parameters(w)))


def _spread(values: ndarray, count: int = 15) -> ndarray:
    """A few of the values, the smallest and the largest among them."""
    picked = values[np.linspace(0, len(values) - 1, count).astype(int)]
    picked[:2] = values.min(), values.max()
    return picked


def _ordered(form: BilinearForm, basis: Basis, arguments: dict[str, Any], order: ndarray) -> ndarray:
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
    gap = np.abs(matrices - matrices.transpose(0, 2, 1)).max()
    if not gap <= 1e-10 * np.abs(matrices).max():
        raise ValueError(
            f"form: expected a symmetric bilinear form, got element matrices that differ from their transpose "
            f"by {gap:.1e} (or are not finite); LOD handles symmetric elliptic forms only, so treat other "
            "terms (convection) outside of it"
        )


def load_vectors(space: Discretisation, form: LinearForm, parameters: dict[str, Any]) -> ndarray:
    """The load against the fine hat functions, split by coarse cell: ``(nelems, (n + 1)**d)``."""
    grid, n = space.fine_grid, space.n
    cells = space.refinement.cells.ravel()
    local = np.empty((len(cells), 2**grid.dim))
    for start in range(0, len(cells), CHUNK):
        part = cells[start : start + CHUNK]
        basis = Basis(grid.mesh, ELEMENTS[grid.dim](), elements=part, dofs=space.fine_dofs, disable_doflocs=True)
        data = form.elemental(basis, **parameters).data.reshape(2**grid.dim, -1).T
        local[start : start + CHUNK] = np.take_along_axis(data, grid.order[part], axis=1)
    local = local.reshape(len(space.refinement.cells), -1, 2**grid.dim)
    out = np.zeros((len(local), (n + 1) ** grid.dim))
    for corner, nodes in enumerate(corner_nodes(n, grid.dim).T):
        out[:, nodes] += local[:, :, corner]
    return out
