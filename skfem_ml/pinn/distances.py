"""Lifts and distance functions: what makes boundary data hard, on boxes and on any scikit-fem mesh.

A distance vanishes on the boundary and is positive inside. Lifts and distances are callables of x ``(dim, ...)`` with
``grad(x)`` and, where the strong form is to be used, ``laplacian(x)``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Protocol, cast

import numpy as np
from numpy.typing import NDArray
from skfem import Basis, CellBasis, ElementLineP2, ElementQuad2, ElementTetP2, ElementTriP2, Mesh, condense, solve

from skfem_ml.meshes.cells import bounding_box
from skfem_ml.problems import Diffusion, diffusion, evaluate, load
from skfem_ml.solutions import Analytic, FEFunction

Array = NDArray[np.float64]
QUADRATIC = {"MeshLine1": ElementLineP2, "MeshTri1": ElementTriP2, "MeshQuad1": ElementQuad2, "MeshTet1": ElementTetP2}


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
    names = (None,) if problem.dirichlet is None else tuple(problem.dirichlet)
    return fe_extension(problem.mesh, {name: lambda x: evaluate(problem.g, x) for name in names})


def fe_extension(mesh: Mesh, sides: Mapping[str | None, Callable[[Array], Array]]) -> FEFunction:
    """Return the quadratic finite element harmonic extension of data by side, callables of x ``(dim, n)``."""
    basis = quadratic_basis(mesh)
    A = diffusion.assemble(basis, a=np.ones((mesh.t.shape[1], 1)))
    values, fixed = np.zeros(basis.N), []
    for side, function in sides.items():
        dofs = np.asarray((basis.get_dofs() if side is None else basis.get_dofs(side)).flatten())
        values[dofs] = function(basis.doflocs[:, dofs])
        fixed.append(dofs)
    return FEFunction(basis, solve(*condense(A, x=values, D=np.unique(np.concatenate(fixed)))))


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


def require_laplacian(function: object, label: str) -> Callable[[Array], Array]:
    """Return ``function.laplacian``; ValueError where there is none."""
    laplacian = getattr(function, "laplacian", None)
    if laplacian is None:
        raise ValueError(
            f"{label}: the strong form needs a Laplacian or hess(x), expected solutions.Analytic(value, gradient, "
            f"laplacian), got {type(function).__name__}; give it, or use the weak form (form='weak')"
        )
    return cast(Callable[[Array], Array], laplacian)


def require_gradient(function: object, label: str) -> Smooth:
    """Return a lift; ValueError unless it has a gradient, which every form needs."""
    if not (callable(function) and hasattr(function, "grad")):
        raise ValueError(f"{label}: expected solutions.Analytic(value, gradient, ...), got {type(function).__name__}")
    return cast(Smooth, function)
