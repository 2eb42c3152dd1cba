"""The weak form: a user's form tested with the functions of a scikit-fem basis, and with second order in time."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import solve_triangular
from skfem import Basis, BilinearForm, CellBasis, MeshLine
from skfem.assembly.form.form import FormExtraParams
from skfem.element import DiscreteField
from skfem.helpers import inner

from skfem_ml.pinn.distances import quadratic_basis
from skfem_ml.pinn.jets import Jet, Layout, Pointwise
from skfem_ml.pinn.residuals import Block
from skfem_ml.pinn.trial import Trial
from skfem_ml.problems import PDE

Array = NDArray[np.float64]


def weak_block(pde: PDE, trial: Trial, basis: CellBasis, times: int, layout: Layout, norm: str) -> Block:
    """Return ``form(u, phi_i psi_j) - load(phi_i psi_j)``, integrated, for free phi_i of ``basis`` and all psi_j.

    ``norm`` is "dual", in which ``|r|^2`` is the square of the norm dual to ``L2(0, T; H1_0)`` on the test space, or
    "l2", the plain sum of squares. A strong residual is tested as it is.
    """
    x = np.asarray(basis.global_coordinates())
    flat = x.reshape(len(x), -1)
    psi, t = _in_time(pde, times, norm)
    count = len(t)
    shape = (count * x.shape[1], x.shape[2])
    given: dict[str, object] = {"x": np.tile(x, (1, count, 1)), **_coefficients(pde, basis, count)}
    z = np.tile(flat, (1, count))
    if pde.time is not None:
        moments = np.repeat(t, flat.shape[1])
        given["t"], z = moments.reshape(shape), np.concatenate([z, moments[None]])
    slots = test_slots(basis, shape)
    call = _tested(pde, slots) if pde.weak else lambda fields, w: pde.residual(*fields, w)
    free = basis.complement_dofs(_dirichlet(pde, basis))
    phi = _test_functions(basis, free)
    if not pde.weak:
        phi = phi[: max(pde.fields)]
    if norm == "dual":
        factor = np.linalg.cholesky(_gram(basis, free, bool(pde.sides())))
        rows = phi.reshape(-1, phi.shape[2])
        phi = solve_triangular(factor, rows.T, lower=True).T.reshape(phi.shape)
    function = Pointwise(call, layout, shape, given)
    return Block.of(trial, z, function, np.ones(z.shape[1]), (psi, phi))


def test_slots(basis: CellBasis, shape: tuple[int, int]) -> list[DiscreteField]:
    """Return fields of which one entry, a value or a derivative, is 1, values first; TypeError for other elements.

    A form is linear in its test function v: ``form(u, v) = sum_k Z_k v_k``, and Z_k is the form at the k-th of these.
    """
    first = basis.basis[0]
    dim, (cells, nqp) = basis.mesh.dim(), basis.dx.shape
    if len(first) != 1 or np.shape(first[0])[-2:] != (cells, nqp) or first[0].grad is None or np.ndim(first[0]) > 3:
        raise TypeError(
            f"{type(basis.elem).__name__}: expected a scalar element or ElementVector as test functions; a system of "
            "several fields takes the strong form"
        )
    size = () if np.ndim(first[0]) == 2 else (len(first[0]),)
    slots = []
    for place in np.ndindex(size):
        value = np.zeros((*size, *shape))
        value[place] = 1.0
        slots.append(DiscreteField(value, grad=np.zeros((*size, dim, *shape))))
    for place in np.ndindex((*size, dim)):
        slope = np.zeros((*size, dim, *shape))
        slope[place] = 1.0
        slots.append(DiscreteField(np.zeros((*size, *shape)), grad=slope))
    return slots


def _tested(pde: PDE, slots: list[DiscreteField]) -> Callable[[list[Jet], FormExtraParams], object]:
    form, load = pde.function, None if pde.load is None else pde.load.form

    def call(fields: list[Jet], w: FormExtraParams) -> list[object]:
        rows: list[object] = []
        for v in slots:
            row = np.asarray(form(*fields, v, w))
            whole = row if load is None else row - np.asarray(load(v, w))
            rows.append(np.broadcast_to(whole, np.broadcast_shapes(whole.shape, v.shape[-2:])))
        return rows

    return call


def _in_time(pde: PDE, times: int, norm: str) -> tuple[Array, Array]:
    """Return the weighted test functions in time ``(nt, Qt)``, orthonormal for the dual norm, and the points."""
    if pde.time is None:
        return np.ones((1, 1)), np.zeros(1)
    mesh = MeshLine(np.linspace(*pde.time, times + 1))
    # The trial function is smooth and far from a polynomial: a few points more than the mass matrix needs.
    basis = Basis(mesh, quadratic_basis(mesh).elem, intorder=8)
    psi = _test_functions(basis, np.arange(basis.N))[0].T
    if norm == "dual":
        mass = BilinearForm(lambda u, v, w: u * v).assemble(basis).toarray()
        psi = np.linalg.solve(np.linalg.cholesky(mass), psi)
    return psi, np.asarray(basis.global_coordinates()).ravel()


def _coefficients(pde: PDE, basis: CellBasis, count: int) -> dict[str, object]:
    """Return coefficients as scikit-fem hands them to forms: numbers, and values a cell ``(..., count nelems, 1)``."""
    found: dict[str, object] = {}
    for name, value in pde.coefficients.items():
        array = np.asarray(value, dtype=float)
        cells = basis.mesh.t.shape[1]
        if array.ndim and (basis.mesh is not pde.domain or array.shape[-1] != cells):
            raise ValueError(
                f"coefficients[{name!r}]: expected a number, or one value a cell on the mesh that is the domain and "
                f"that of the basis, shape (..., {cells}), got {array.shape}; give domain=mesh and a basis on it"
            )
        found[name] = float(array) if array.ndim == 0 else np.tile(array, count)[..., None]
    return found


def _dirichlet(pde: PDE, basis: CellBasis) -> NDArray[np.int64]:
    sides = pde.sides()
    if not sides:
        return np.zeros(0, dtype=np.int64)
    if None in sides:
        return np.asarray(basis.get_dofs().flatten())
    mesh = basis.mesh
    missing = [side for side in sides if side not in (mesh.boundaries or {})]
    if missing:
        raise ValueError(
            f"points: expected a basis on a mesh with the boundaries {missing}; use mesh.with_defaults(), or "
            "mesh.with_boundaries({...})"
        )
    return np.asarray(basis.get_dofs([str(side) for side in sides]).flatten())


def _test_functions(basis: CellBasis, free: NDArray) -> Array:
    """Return weighted test functions and derivatives at quadrature points, in the slots' order, ``(K, Q, free)``."""
    (cells, nqp), dim = basis.dx.shape, basis.mesh.dim()
    components = int(np.prod(np.shape(basis.basis[0][0])[:-2], dtype=int))
    table = np.zeros((components * (1 + dim), cells * nqp, basis.N))
    rows = np.arange(cells * nqp).reshape(cells, nqp)
    for k in range(basis.Nbfun):
        field = basis.basis[k][0]
        columns = np.repeat(basis.element_dofs[k][:, None], nqp, axis=1)
        value = np.asarray(field).reshape(components, *field.shape[-2:])
        slope = np.asarray(field.grad).reshape(components * dim, *field.shape[-2:])
        for entry, part in enumerate([*value, *slope]):
            table[entry, rows, columns] += np.broadcast_to(part, (cells, nqp))
    return (table * basis.dx.ravel()[:, None])[:, :, free]


def _gram(basis: CellBasis, free: NDArray, seminorm: bool) -> Array:
    """Return the Gram matrix of the gradients of the test functions, with the functions where nothing holds them."""
    matrix = BilinearForm(lambda u, v, w: inner(u.grad, v.grad) + (0.0 if seminorm else inner(u, v))).assemble(basis)
    return matrix[free][:, free].toarray()
