"""Lifts and distance functions: what makes boundary data hard, on boxes and on any scikit-fem mesh.

A distance vanishes on the boundary and is positive inside. Lifts and distances are callables of x ``(dim, ...)`` with
``grad(x)`` and, where the strong form is to be used, ``laplacian(x)``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Protocol, cast

import numpy as np
from numpy.typing import NDArray
from skfem import Basis, CellBasis, ElementLineP2, ElementQuad2, ElementTetP2, ElementTriP2, Mesh, condense, solve

from skfem_ml.meshes.cells import bounding_box
from skfem_ml.problems import Diffusion, Heat, diffusion, load
from skfem_ml.solutions import Analytic, FEFunction

Array = NDArray[np.float64]
QUADRATIC = {"MeshLine1": ElementLineP2, "MeshTri1": ElementTriP2, "MeshQuad1": ElementQuad2, "MeshTet1": ElementTetP2}
ZERO = Analytic(lambda x: 0 * x[0], lambda x: 0 * x, lambda x: 0 * x[0])


class Smooth(Protocol):
    """A function with its gradient: `solutions.Analytic`, `solutions.FEFunction`, or one's own."""

    def __call__(self, x: Array, /) -> Array:
        """Return the values ``(...)`` at ``x`` ``(dim, ...)``."""

    def grad(self, x: Array, /) -> Array:
        """Return the gradient ``(dim, ...)``."""


def box_distance(low: Array, high: Array) -> Analytic:
    """Return ``prod_i 4 (x_i - low_i) (high_i - x_i) / (high_i - low_i)^2``, largest value 1, with all derivatives."""
    low, high = np.asarray(low, dtype=float), np.asarray(high, dtype=float)
    dim, scale = len(low), 4 / (high - low) ** 2

    def factors(x: Array) -> tuple[Array, Array]:
        shape = (dim, *[1] * (x.ndim - 1))
        a, b, s = low.reshape(shape), high.reshape(shape), scale.reshape(shape)
        return s * (x - a) * (b - x), s * (a + b - 2 * x)

    def others(q: Array, i: int) -> Array:
        return np.delete(q, i, axis=0).prod(axis=0)

    def gradient(x: Array) -> Array:
        q, slope = factors(x)
        return np.stack([slope[i] * others(q, i) for i in range(dim)])

    def laplacian(x: Array) -> Array:
        q = factors(x)[0]
        return sum((-2 * scale[i] * others(q, i) for i in range(dim)), np.zeros(x.shape[1:]))

    return Analytic(lambda x: factors(x)[0].prod(axis=0), gradient, laplacian)


def fe_distance(mesh: Mesh, dirichlet: str | Iterable[str] | None = None) -> FEFunction:
    """Return the quadratic finite element solution of ``-laplace(d) = 1``, zero on the Dirichlet part, scaled to 1.

    It is continuous with kinks of the gradient at faces: good for weak forms. ``dirichlet`` names boundaries, None is
    the whole one. Raises TypeError for meshes without a quadratic element here (lines, triangles, quads, tetrahedra).
    """
    unit = Diffusion(mesh, np.ones(mesh.t.shape[1]), dirichlet=dirichlet)
    basis = quadratic_basis(mesh)
    A, b = diffusion.assemble(basis, a=unit.a[..., None]), load(1.0).assemble(basis)
    d = solve(*condense(A, b, D=unit.dirichlet_dofs(basis)))
    return FEFunction(basis, d / d.max())


def fe_lift(problem: Diffusion) -> FEFunction:
    """Return the quadratic finite element harmonic extension of a problem's boundary data."""
    basis = quadratic_basis(problem.mesh)
    A = diffusion.assemble(basis, a=np.ones((problem.mesh.t.shape[1], 1)))
    y = solve(*condense(A, x=problem.dirichlet_values(basis), D=problem.dirichlet_dofs(basis)))
    return FEFunction(basis, y)


def quadratic_basis(mesh: Mesh) -> CellBasis:
    """Return the second-order Lagrange basis on a mesh."""
    kind = type(mesh).__name__
    if kind not in QUADRATIC:
        raise TypeError(f"{kind}: expected one of {sorted(QUADRATIC)} for a distance function by finite elements")
    return Basis(mesh, QUADRATIC[kind]())


def is_box(mesh: Mesh) -> bool:
    """Whether a mesh fills its bounding box."""
    volume = float(Basis(mesh, mesh.elem(), intorder=2).dx.sum())
    low, high = bounding_box(mesh)
    return bool(np.isclose(volume, np.prod(high - low), rtol=1e-9))


def distance_of(problem: Heat | Diffusion) -> Smooth:
    """Return `box_distance` where the mesh fills a box that is Dirichlet all around, else `fe_distance`."""
    dirichlet = getattr(problem, "dirichlet", None)
    if dirichlet is None and is_box(problem.mesh):
        return box_distance(*bounding_box(problem.mesh))
    return fe_distance(problem.mesh, dirichlet)


def require_laplacian(function: object, label: str) -> Callable[[Array], Array]:
    """Return ``function.laplacian``; ValueError where there is none."""
    laplacian = getattr(function, "laplacian", None)
    if laplacian is None:
        raise ValueError(
            f"{label}: the strong form needs a Laplacian, expected solutions.Analytic(value, gradient, laplacian), got "
            f"{type(function).__name__}; give it, or use the weak form (form='weak')"
        )
    return cast(Callable[[Array], Array], laplacian)
