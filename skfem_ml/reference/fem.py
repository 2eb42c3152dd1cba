"""Finite elements on the problem's mesh or a coarser one, and the null models of numerical homogenisation."""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property, partial
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_matrix
from skfem import Basis, CellBasis, Element, Mesh

from skfem_ml import checks
from skfem_ml.coefficients.validation import validate
from skfem_ml.meshes.cells import cell_finder, midpoints
from skfem_ml.problems import Diffusion, Field, Heat, Staged, diffusion, load
from skfem_ml.reference.fem_heat import solver_fem_heat
from skfem_ml.solutions import FEFunction, Record, probes
from skfem_ml.solutions.record import NOTHING
from skfem_ml.solvers import Solver, solver_direct
from skfem_ml.solvers.linear import prepared

Array = NDArray[np.float64]


def _inverse(tensors: Array) -> Array:
    return np.linalg.inv(tensors).astype(np.float64)


# On stacks of 1 x 1 or d x d tensors; a mean is the backward transform of the arithmetic mean of the forward one.
TRANSFORMS: dict[str, tuple[Callable[[Array], Array], Callable[[Array], Array]]] = {
    "arithmetic": (np.asarray, np.asarray),
    "harmonic": (_inverse, _inverse),
    "geometric": (np.log, np.exp),
}
MEANS = ("exact", *TRANSFORMS)


def solver_fem(
    mesh: Mesh | None = None,
    element: Element | None = None,
    mean: str = "exact",
    solver: Solver | None = None,
    scheme: str | None = None,
    steps: int = 100,
) -> Callable[[Any], Any]:
    """Return ``solve(problem) -> FEFunction``, the Galerkin method on the problem's mesh or on a coarser ``mesh``.

    With a time scheme, ``scheme="cn"`` or ``"gauss4"`` and ``steps``, it solves `Heat` problems: see `solver_fem_heat`.

    On a coarser mesh, of which the problem's mesh is a refinement, ``mean`` says what becomes of the coefficient:
    "exact" keeps it (``P^T A P`` with the fine stiffness matrix A and the nodal prolongation P: classical coarse FEM);
    "arithmetic", "harmonic" and "geometric" replace it by that mean over each coarse cell, the null models that any
    numerical homogenisation has to beat. ``element`` is a Lagrange element (default: first order), ``solver`` a linear
    solver (default: `solver_direct`).

    Raises ValueError for an unknown mean, a mean without a coarse mesh, and a mesh that is not nested.
    """
    checks.choice(mean, MEANS, "mean")
    if scheme is not None:
        if mean != "exact" or solver is not None:
            raise ValueError("scheme: the heat equation takes neither mean nor solver; leave them out")
        return solver_fem_heat(mesh, element, scheme, steps)
    if mesh is None and mean != "exact":
        raise ValueError(f"mean={mean!r} needs a coarse mesh; pass solver_fem(mesh, mean={mean!r})")
    return Staged(partial(_building, mesh, element, mean, solver or solver_direct()))


def _building(
    mesh: Mesh | None, element: Element | None, mean: str, solver: Solver, problem: Diffusion
) -> Callable[[Array], _Answer]:
    if isinstance(problem, Heat):
        raise ValueError("scheme: Heat needs a time scheme; expected scheme='cn' or 'gauss4', got None")
    own = problem.mesh if mesh is None else mesh
    stages = _OnMesh(problem, Basis(own, problem.mesh.elem() if element is None else element), mean)
    return lambda a: _Answer(stages, stages.matrix(a), solver)


class _OnMesh:
    """What depends on the meshes: bases, boundary data, and where the problem's mesh is finer, the way between them."""

    def __init__(self, problem: Diffusion, basis: CellBasis, mean: str):
        self.problem, self.basis, self.mean = problem, basis, mean
        self.values, self.fixed = problem.dirichlet_values(basis), problem.dirichlet_dofs(basis)
        self.coarser = basis.mesh is not problem.mesh
        if self.coarser and mean == "exact":
            parents(problem.mesh, basis.mesh)
        self.fine = Basis(problem.mesh, basis.elem) if self.coarser else basis

    @cached_property
    def prolongation(self) -> csr_matrix:
        """P: nodal prolongation to the problem's mesh."""
        return probes(self.basis, self.fine.doflocs)

    def matrix(self, a: Array) -> csr_matrix:
        """The stiffness matrix on the basis."""
        if not self.coarser:
            return diffusion.assemble(self.basis, a=a[..., None])
        if self.mean == "exact":
            P = self.prolongation
            return csr_matrix(P.T @ diffusion.assemble(self.fine, a=a[..., None]) @ P)
        means = coarse_coefficient(a, self.problem.mesh, self.basis.mesh, self.mean)
        return diffusion.assemble(self.basis, a=means[..., None])

    def load(self, f: Field | Array) -> Array:
        """The load vector on the basis: of a number or a callable, or from its vector on the problem's mesh."""
        if isinstance(f, np.ndarray):
            if len(f) != self.fine.N:
                raise ValueError(f"f: expected a vector on the problem's mesh, ({self.fine.N},), got {f.shape}")
            return self.prolongation.T @ f if self.coarser else f
        if self.coarser and self.mean == "exact":
            return self.prolongation.T @ load(f).assemble(self.fine)
        return load(f).assemble(self.basis)


class _Answer:
    """Solutions for any load, of one coefficient."""

    def __init__(self, stages: _OnMesh, A: csr_matrix, solver: Solver):
        self.stages, self.free = stages, np.setdiff1d(np.arange(stages.basis.N), stages.fixed)
        rows = A[self.free]
        self.lifted = rows @ stages.values
        self.solve = prepared(solver, rows[:, self.free])

    def __call__(self, f: Field | Array) -> FEFunction:
        y = self.stages.values.copy()
        y[self.free] = self.solve(self.stages.load(f)[self.free] - self.lifted)
        averaged = self.stages.mean != "exact"
        return FEFunction(self.stages.basis, y, Record(notes={"homogenised": True}) if averaged else NOTHING)


def coarse_coefficient(a: Array, fine: Mesh, coarse: Mesh, mean: str) -> Array:
    """Return the mean of a fine coefficient ``(nelems of fine,)`` over each coarse cell, ``(nelems of coarse,)``.

    With volumes ``|t|``: arithmetic ``sum |t| a_t / |T|``, harmonic ``|T| / sum |t| / a_t``, geometric
    ``exp(sum |t| log a_t / |T|)``. Always harmonic <= geometric <= arithmetic. Tensors ``(d, d, nelems)`` take the
    arithmetic and the harmonic mean as matrices. Raises ValueError where the meshes are not nested and
    for an invalid coefficient.
    """
    checks.choice(mean, MEANS[1:], "mean")
    a = validate(a, fine.t.shape[1], dim=fine.dim())
    parent = parents(fine, coarse)
    count = coarse.t.shape[1]
    if a.ndim == 3 and mean == "geometric":
        raise ValueError("mean: the geometric mean of tensors is not defined here; use 'arithmetic' or 'harmonic'")
    tensors = a.transpose(2, 0, 1) if a.ndim == 3 else a[:, None, None]
    forward, backward = TRANSFORMS[mean]
    total = np.zeros((count, *tensors.shape[1:]))
    weight = volumes(fine)
    np.add.at(total, parent, weight[:, None, None] * forward(tensors))
    result = backward(total / np.bincount(parent, weight, minlength=count)[:, None, None])
    return result.transpose(1, 2, 0) if a.ndim == 3 else result[:, 0, 0]


def parents(fine: Mesh, coarse: Mesh) -> NDArray[np.int64]:
    """Return the coarse cell that contains each fine cell, ``(nelems of fine,)``, found by position.

    Raises ValueError unless ``fine`` is a refinement of ``coarse``: every fine cell in one coarse cell, every coarse
    cell filled.
    """
    find = cell_finder(coarse)
    centre = midpoints(fine)
    parent = find(centre)
    inside = parent >= 0
    for corner in fine.t:
        # A hair inside the fine cell, where the containing coarse cell is unique.
        inside &= find(fine.p[:, corner] + 1e-3 * (centre - fine.p[:, corner])) == parent
    if inside.all():
        filled = np.bincount(parent, volumes(fine), minlength=coarse.t.shape[1])
        if np.allclose(filled, volumes(coarse), rtol=1e-6):
            return parent
        reason = "they do not fill every coarse cell"
    else:
        first = int((~inside).argmax())
        reason = f"{int((~inside).sum())} fine cells lie in no single coarse cell, the first is cell {first}"
    raise ValueError(
        f"the mesh of {fine.t.shape[1]} cells is not a refinement of the coarse mesh of {coarse.t.shape[1]} cells: "
        f"{reason}; make it by coarse.refined(k)"
    )


def volumes(mesh: Mesh) -> Array:
    """Return the volume (area, length) of each cell, ``(nelems,)``."""
    return Basis(mesh, mesh.elem(), intorder=2).dx.sum(axis=1)
