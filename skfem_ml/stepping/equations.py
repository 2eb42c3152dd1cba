"""Heat, reaction-diffusion, Allen-Cahn and Kuramoto-Sivashinsky on scikit-fem bases."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import ArrayLike, NDArray
from skfem import BilinearForm, CellBasis, ElementLineHermite
from skfem.helpers import dd, dot, grad

from skfem_ml.coefficients.validation import validate
from skfem_ml.problems import diffusion, mass
from skfem_ml.stepping.linear import Load, Matrix
from skfem_ml.stepping.semidiscrete import Dofs, Pointwise, SemiDiscrete, Term, periodic_line, reaction, semidiscrete

Array = NDArray[np.float64]


def heat(
    basis: CellBasis, a: ArrayLike = 1.0, *, D: Dofs | None = None, x: ArrayLike | None = None, load: Load | None = None
) -> SemiDiscrete:
    """Return ``u' = div(a grad u) + f``: M the mass matrix, K the form ``int a grad u . grad v``.

    ``a`` is a positive number or cellwise ``(nelems,)``, ``load(t)`` the vector ``int f(., t) v`` ``(basis.N,)``. D and
    x are Dirichlet data as in ``skfem.condense``, constant in time; natural conditions elsewhere. Raises ValueError for
    coefficients that are not positive and finite.
    """
    return _with_data(semidiscrete(mass.assemble(basis), _stiffness(basis, a), (), load), D, x)


def reaction_diffusion(
    basis: CellBasis,
    a: ArrayLike,
    f: Pointwise,
    df: Pointwise,
    *,
    D: Dofs | None = None,
    x: ArrayLike | None = None,
    load: Load | None = None,
) -> SemiDiscrete:
    """Return ``u' = div(a grad u) + f(u) + b``, with ``F(u) = int f(u) v`` by the quadrature of the basis.

    ``f`` and its derivative ``df`` take arrays of values; other arguments and errors as in `heat`.
    """
    return _with_data(semidiscrete(mass.assemble(basis), _stiffness(basis, a), (reaction(basis, f, df),), load), D, x)


def allen_cahn(
    basis: CellBasis, eps: float, *, D: Dofs | None = None, x: ArrayLike | None = None, load: Load | None = None
) -> SemiDiscrete:
    """Return the Allen-Cahn equation ``u' = eps^2 laplace(u) + u - u^3``; interfaces are about ``3 eps`` wide.

    Arguments and errors as in `heat`. It is the gradient flow in L2 of `allen_cahn_energy`.
    """
    if not (np.isfinite(eps) and eps > 0):
        raise ValueError(f"eps: expected a positive finite number, got {eps}")
    # Products, not powers: numpy's u**3 takes ten times as long.
    return reaction_diffusion(
        basis, eps**2, lambda u: u - u * u * u, lambda u: 1 - 3 * u * u, D=D, x=x, load=load
    )  # fmt: skip


def allen_cahn_energy(basis: CellBasis, eps: float) -> Callable[[Array], float]:
    """Return the functional ``int eps^2 |grad u|^2 / 2 + (u^2 - 1)^2 / 4`` of degrees of freedom ``(N,)``."""

    def energy(u: Array) -> float:
        field = basis.interpolate(u)
        density = eps**2 / 2 * dot(field.grad, field.grad) + (np.asarray(field) ** 2 - 1) ** 2 / 4
        return float((density * basis.dx).sum())

    return energy


def kuramoto_sivashinsky(basis: CellBasis) -> SemiDiscrete:
    """Return ``u' + u_xx + u_xxxx + u u_x = 0``, periodic on the interval of a basis of cubic Hermite elements.

    In weak form ``(u', v) + (u_xx, v_xx) - (u_x, v_x) = (u^2, v_x) / 2``: the fourth derivative needs functions with
    continuous derivatives. Unknowns are values and derivatives at the nodes, those of the last node left out. Raises
    TypeError for other elements.
    """
    if not isinstance(basis.elem, ElementLineHermite):
        raise TypeError(f"basis: expected ElementLineHermite (C1 in one dimension), got {type(basis.elem).__name__}")
    term: Term = reaction(basis, lambda u: u * u / 2, lambda u: u, derivative=True)
    K = _fourth.assemble(basis)
    return semidiscrete(mass.assemble(basis), K, (term,)).restrict(periodic_line(basis))


@BilinearForm
def _fourth(u, v, w):
    return dd(u)[0, 0] * dd(v)[0, 0] - dot(grad(u), grad(v))


def _stiffness(basis: CellBasis, a: ArrayLike) -> Matrix:
    cells = basis.mesh.t.shape[1]
    a = np.asarray(a, dtype=float)
    return diffusion.assemble(basis, a=validate(np.full(cells, a) if a.ndim == 0 else a, cells)[..., None])


def _with_data(semi: SemiDiscrete, D: Dofs | None, x: ArrayLike | None) -> SemiDiscrete:
    if D is None:
        if x is not None:
            raise ValueError("x: expected D with it, the degrees of freedom that it fixes, got None")
        return semi
    return semi.lifted(D, x)
