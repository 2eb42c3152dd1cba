"""Stationary diffusion: the statement, its forms and its boundary data."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from skfem import BilinearForm, CellBasis, LinearForm, Mesh
from skfem.helpers import dot, grad, mul

from skfem_ml.coefficients.validation import validate

Array = NDArray[np.float64]
Field = float | Callable[[Array], Array]


@BilinearForm
def diffusion(u, v, w):
    """Form ``int a grad u . grad v``: assemble with ``a=a[:, None]``, or ``a=a[..., None]`` for tensors ``(d, d, n)``.

    The trailing axis makes scikit-fem read the array as values per cell, not as nodal degrees of freedom.
    """
    if np.ndim(w.a) == 4:
        return dot(mul(w.a, grad(u)), grad(v))
    return w.a * dot(grad(u), grad(v))


@BilinearForm
def mass(u, v, w):
    """Form ``int u v``."""
    return u * v


def load(f: Field = 1.0) -> LinearForm:
    """Return the form ``int f v`` for a number or a callable ``f(x)`` with ``x`` of shape ``(dim, ...)``."""

    @LinearForm
    def form(v, w):
        return evaluate(f, w.x) * v

    return form


def gaussian_loads(number: int, width: float) -> list[LinearForm]:
    """Return the forms ``int exp(-|x - x_k|^2 / width^2) v``, x_k the midpoints of a unit square's cells, number^2."""

    def bump(centre: Array) -> LinearForm:
        return load(lambda x: np.exp(-((x[0] - centre[0]) ** 2 + (x[1] - centre[1]) ** 2) / width**2))

    line = (np.arange(number) + 0.5) / number
    return [bump(np.array([x, y])) for y in line for x in line]


def evaluate(f: Field, x: Array) -> Array:
    """Return a number or callable at points ``x`` of shape ``(dim, ...)``, broadcast to ``(...)``.

    Raises ValueError where a callable returns another shape or a value that is not finite.
    """
    x = np.asarray(x)
    values = np.asarray(f(x) if callable(f) else f, dtype=float)
    if values.ndim and values.shape != x.shape[1:]:
        raise ValueError(f"f(x): expected shape {x.shape[1:]} for x of shape {x.shape}, got {values.shape}")
    if not np.isfinite(values).all():
        raise ValueError("f(x): expected finite values, got nan or inf; check the function on the whole domain")
    return np.broadcast_to(values, x.shape[1:])


@dataclass(frozen=True, eq=False)
class Diffusion:
    """Stationary diffusion ``-div(a grad u) = f``, ``u = g`` on the Dirichlet part, ``a du/dn = 0`` elsewhere.

    ``a`` is a coefficient on ``mesh``, ``(nelems,)``, or tensors ``(d, d, nelems)``; ``f`` and ``g`` are numbers or
    callables of ``x`` ``(dim, ...)``. ``dirichlet`` is the name of a boundary of the mesh or several names; None means
    the whole boundary. ``exact`` is a solution ``u(x)``, with ``u.grad(x)`` for energy errors (`solutions.Analytic`).

    Raises ValueError for an invalid coefficient, an unknown boundary, and for no Dirichlet part at all, where the
    solution is not unique.

    >>> from skfem import Basis, ElementQuad1, MeshQuad
    >>> mesh = MeshQuad().refined(2).with_defaults()
    >>> problem = Diffusion(mesh, np.linspace(1, 5, 16), dirichlet="left")
    >>> problem, len(problem.dirichlet_dofs(Basis(mesh, ElementQuad1())))
    (Diffusion(16 quads, a from 1 to 5, u given on left), 5)
    """

    mesh: Mesh
    a: Array
    f: Field = 1.0
    dirichlet: str | Iterable[str] | None = None
    g: Field = 0.0
    exact: Callable[[Array], Array] | None = None
    name: str = "diffusion"

    def __post_init__(self) -> None:
        object.__setattr__(self, "a", validate(self.a, self.mesh.t.shape[1], dim=self.mesh.dim()))
        if self.dirichlet is not None:
            names = (self.dirichlet,) if isinstance(self.dirichlet, str) else tuple(self.dirichlet)
            object.__setattr__(self, "dirichlet", names)
            self.require_boundaries(self.mesh)
        for value, label in ((self.f, "f"), (self.g, "g")):
            if not callable(value) and not np.isfinite(value):
                raise ValueError(f"{label}: expected a finite number or a callable of x, got {value}")

    def __repr__(self) -> str:
        kind = type(self.mesh).__name__.removeprefix("Mesh").rstrip("12").lower()
        a = f"a from {self.a.min():.4g} to {self.a.max():.4g}" if self.a.ndim == 1 else "tensors a"
        part = "the whole boundary" if self.dirichlet is None else ", ".join(self.dirichlet)
        return f"Diffusion({self.mesh.t.shape[1]} {kind}s, {a}, u given on {part})"

    def require_boundaries(self, mesh: Mesh) -> None:
        """Raise ValueError unless ``mesh`` has every boundary that the problem names."""
        if self.dirichlet is None:
            return
        known = sorted(mesh.boundaries or {})
        missing = [name for name in self.dirichlet if name not in known]
        if missing or not self.dirichlet:
            raise ValueError(
                f"dirichlet: expected names of boundaries, got {list(self.dirichlet)}; the mesh has {known or 'none'}; "
                "define them with mesh.with_boundaries({...}), or leave dirichlet=None for the whole boundary"
            )

    def dirichlet_dofs(self, basis: CellBasis) -> NDArray[np.int64]:
        """Return the degrees of freedom of a basis on the Dirichlet part of the boundary."""
        self.require_boundaries(basis.mesh)
        dofs = basis.get_dofs() if self.dirichlet is None else basis.get_dofs(list(self.dirichlet))
        return np.asarray(dofs.flatten())

    def dirichlet_values(self, basis: CellBasis) -> Array:
        """Return g at the Dirichlet nodes of a Lagrange basis, zero elsewhere, ``(basis.N,)``: ``condense(x=...)``."""
        values = np.zeros(basis.N)
        dofs = self.dirichlet_dofs(basis)
        values[dofs] = evaluate(self.g, basis.doflocs[:, dofs])
        return values

    def stiffness(self, basis: CellBasis):
        """Return the matrix of `diffusion` on a basis of the problem's own mesh, with all boundary rows kept."""
        return diffusion.assemble(basis, a=self.a[..., None])

    def load(self, basis: CellBasis) -> Array:
        """Return the vector of ``int f v`` on a basis of any mesh of the domain."""
        return load(self.f).assemble(basis)
