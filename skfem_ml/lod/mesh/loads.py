"""Loads on the fine mesh: split by coarse cell, summed, and how much of them the coarse functions do not see."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property

import numpy as np
from numpy import ndarray
from numpy.typing import ArrayLike
from scipy.linalg import eigh
from skfem import BilinearForm, LinearForm
from skfem.helpers import dot, grad

from skfem_ml.lod.mesh.discretisation import Discretisation
from skfem_ml.lod.mesh.forms import CHUNK, MESH
from skfem_ml.lod.mesh.interpolation import hat_values
from skfem_ml.meshes.cells import bounding_box, widths
from skfem_ml.meshes.forms import real_values, refuse_complex
from skfem_ml.meshes.grid import corner_nodes
from skfem_ml.solvers.direct import factorised

OSCILLATES = 0.2  # |f - Pi_H f| / |f| from which it is looked at more closely


class FineLoad:
    """A load on the fine mesh of an LOD, integrated once by ``lod.fine_load(f)``, for every verb of every `System`.

    Parameters
    ----------
    space
        The space.
    form
        The user's ``LinearForm``; or its vector F(phi_i) on the fine mesh ``(fine.N,)``, whose entry at a node is then
        shared equally by the coarse cells around it.
    fields
        Keyword arguments of the form: numbers, one value per cell of the coefficient mesh ``(nelems,)``, or nodal
        values on the fine mesh ``(fine.N,)``.

    Raises
    ------
    TypeError
        For what is neither, for complex forms, and for fields of a load that is integrated already.
    ValueError
        For a load of another space, vectors and fields of another length, and values that are not finite.

    >>> from skfem import MeshQuad
    >>> from skfem_ml.lod import LOD
    >>> from skfem_ml.problems import load
    >>> f = LOD(MeshQuad().refined(2), refine=4).fine_load(load(1.0))
    >>> f, bool(abs(f.on_fine.sum() - 1) < 1e-12), len(f.on_coarse)
    (FineLoad(289 fine nodes, 16 coarse cells), True, 25)
    """

    def __init__(
        self, space: Discretisation, form: LinearForm | ndarray, fields: Mapping[str, ArrayLike] | None = None
    ):
        self.space = space
        if isinstance(form, ndarray):
            if fields:
                raise TypeError(f"f: expected a LinearForm for the fields {sorted(fields)}, got a vector")
            self.on_fine = _vector(space, form)
        else:
            if not isinstance(form, LinearForm):
                raise TypeError(f"f: expected a LinearForm, got {type(form).__name__}; for example problems.load(1.0)")
            refuse_complex(form, "f")
            arguments = {name: _field(space, name, value) for name, value in (fields or {}).items()}
            self.split = _split(space, form, arguments)
            if not np.isfinite(self.split).all():
                raise ValueError("f: expected finite integrals, got nan or inf; check the load on the whole domain")

    @cached_property
    def split(self) -> ndarray:
        """The load against the fine hat functions, by coarse cell: ``(nelems, (n + 1)**d)``."""
        return (self.on_fine / np.maximum(self.space.fine_node_cells, 1))[self.space.refinement.nodes]

    @classmethod
    def of(cls, space: Discretisation, f: LinearForm | ndarray | FineLoad, fields: Mapping[str, ArrayLike]) -> FineLoad:
        """The load on a space; one that is integrated there already is taken as it is."""
        if not isinstance(f, FineLoad):
            return cls(space, f, fields)
        if fields:
            raise TypeError(f"f: expected a LinearForm for the fields {sorted(fields)}, got a load integrated already")
        if f.space is not space:
            raise ValueError(f"f: expected a load of this LOD, got {f!r} of another one; make it by lod.fine_load(...)")
        return f

    def __repr__(self) -> str:
        return f"FineLoad({self.space.fine_mesh.p.shape[1]} fine nodes, {len(self.split)} coarse cells)"

    @cached_property
    def on_fine(self) -> ndarray:
        """F(phi_i) for the fine hat functions, ``(fine.N,)``."""
        nodes, count = self.space.refinement.nodes, self.space.fine_mesh.p.shape[1]
        return np.bincount(nodes.ravel(), self.split.ravel(), minlength=count)

    @cached_property
    def on_coarse(self) -> ndarray:
        """F(lambda_i) for the coarse hat functions, ``(coarse.N,)``."""
        return self.space.prolongation.T @ self.on_fine

    @cached_property
    def unseen(self) -> float:
        """The share of the load, in [0, 1], that coarse functions do not see: in the norm of its own solution.

        r / (r^2 + c^2)^(1/2), where c^2 = F(u_H) for the coarse solution u_H of -Laplace u = f, and r^2 the same for
        f - Pi_H f (Pi_H: the L2 projection onto Q1 of each coarse cell) with zero values around each coarse cell. It is
        zero where ``|f - Pi_H f| / |f| < 0.2`` already tells that f is smooth.
        """
        lost, rest = _parts(self.space, self.split)
        if lost <= OSCILLATES**2 * (lost + rest) or self.space.n < 2:
            return 0.0
        energy = _unresolved_energy(self.space, self.split)
        return float(np.sqrt(energy / (energy + _coarse_energy(self.space, self.on_coarse))))


def _vector(space: Discretisation, vector: ndarray) -> ndarray:
    """A vector on the fine mesh, ``(fine.N,)``. Raises ValueError for another length and values that are not finite."""
    count = space.fine_mesh.p.shape[1]
    if vector.shape != (count,) or vector.dtype.kind not in "fiu":
        raise ValueError(
            f"f: expected a vector on the fine mesh, {count} real numbers, got shape {vector.shape} of {vector.dtype}"
        )
    if not np.isfinite(vector).all():
        raise ValueError("f: expected finite integrals, got nan or inf; check the load on the whole domain")
    return np.array(vector, dtype=float)


def _field(space: Discretisation, name: str, value: ArrayLike) -> float | ndarray:
    """A field of the load over fine cells ``(fine nelems, 1)``, at fine nodes ``(fine.N,)``, or a number."""
    cells = space.coefficient_refinement.cells.size
    values = real_values(name, value, cells, MESH)
    if isinstance(values, float):
        return values
    if values.shape == (cells,):
        return values[space.coefficient_cell][:, None]
    if values.shape != (nodes := space.fine_mesh.p.shape[1],):
        raise ValueError(
            f"{name}: expected one value per cell of lod.coefficient_mesh ({cells},), or nodal values on lod.fine "
            f"({nodes},), got shape {values.shape}; interpolate it there, or write a function of w.x in the form"
        )
    return values


def _split(space: Discretisation, form: LinearForm, fields: dict[str, float | ndarray]) -> ndarray:
    dim, n = space.grid.dim, space.n
    cells = space.refinement.cells.ravel()
    local = np.empty((len(cells), 2**dim))
    for start in range(0, len(cells), CHUNK):
        part = cells[start : start + CHUNK]
        basis = space.fine_basis(part)
        arguments = {k: v[part] if np.ndim(v) == 2 else v for k, v in fields.items()}  # type: ignore[index]
        data = form.elemental(basis, **arguments).data.reshape(2**dim, -1).T
        local[start : start + CHUNK] = np.take_along_axis(data, space.fine_order(part), axis=1)
    local = local.reshape(len(space.refinement.cells), -1, 2**dim)
    out = np.zeros((len(local), (n + 1) ** dim))
    for corner, nodes in enumerate(corner_nodes(n, dim).T):
        out[:, nodes] += local[:, :, corner]
    return out


def _mass(n: int) -> ndarray:
    """The mass matrix of n cells on the unit edge, ``(n + 1, n + 1)``."""
    mass = np.zeros((n + 1, n + 1))
    for k in range(n):
        mass[k : k + 2, k : k + 2] += np.array([[2, 1], [1, 2]]) / (6 * n)
    return mass


def _along(matrix: ndarray, values: ndarray, dim: int) -> ndarray:
    """A matrix applied along each of the ``dim`` axes of values by cell, ``(nelems, (n + 1)**d)``."""
    out = values.reshape((len(values),) + (matrix.shape[1],) * dim)
    for axis in range(1, dim + 1):
        out = np.moveaxis(np.tensordot(matrix, out, axes=(1, axis)), 0, axis)
    return out.reshape(len(values), -1)


def _parts(space: Discretisation, split: ndarray) -> tuple[float, float]:
    """|f - Pi_H f|^2 and |Pi_H f|^2 in L2, f being the fine function with these moments on each coarse cell."""
    n, dim = space.n, space.grid.dim
    hats, volume = hat_values(n), widths(space.grid.mesh).prod(axis=0)
    mass = _mass(n)
    whole = (split * _along(np.linalg.inv(mass), split, dim)).sum(axis=1) / volume
    moments = _along(hats, split, dim)
    rest = (moments * _along(np.linalg.inv(hats @ mass @ hats.T), moments, dim)).sum(axis=1) / volume
    return max(float((whole - rest).sum()), 0.0), float(rest.sum())


def _unresolved_energy(space: Discretisation, split: ndarray) -> float:
    """sum_T |grad v_T|^2 for the fine v_T, zero around T, with -Laplace v_T = f - Pi_H f: by fast diagonalisation."""
    n, dim, sizes = space.n, space.grid.dim, widths(space.grid.mesh)
    mass, hats = _mass(n), hat_values(n)
    coarse = np.linalg.inv(hats @ mass @ hats.T)
    residual = split - _along(mass @ hats.T @ coarse @ hats, split, dim)
    stiffness = n * (2 * np.eye(n + 1) - np.eye(n + 1, k=1) - np.eye(n + 1, k=-1))
    inner = slice(1, n)
    values, vectors = eigh(stiffness[inner, inner], mass[inner, inner])
    inside = residual.reshape((len(split),) + (n + 1,) * dim)[(slice(None),) + (inner,) * dim]
    modes = _along(vectors.T, inside.reshape(len(split), -1), dim)
    along = values[np.indices((n - 1,) * dim).reshape(dim, -1)[::-1]]  # x fastest
    return float((modes**2 / ((1 / sizes**2).T @ along)).sum(axis=1) @ (1 / sizes.prod(axis=0)))


def _coarse_energy(space: Discretisation, b: ndarray) -> float:
    """b u for the coarse u of -Laplace u + u / L^2 = f with zero values on Gamma_D, L the extent of the domain."""
    low, high = bounding_box(space.grid.mesh)
    length = (high - low).max()
    laplace = BilinearForm(lambda u, v, w: dot(grad(u), grad(v)) + u * v / length**2)
    free = np.flatnonzero(~space.fixed)
    if not len(free):
        return 0.0
    matrix = laplace.assemble(space.coarse)[free][:, free].tocsc()
    return float(b[free] @ factorised(matrix).solve(b[free]))
