"""Samples of the solution operators of ``-div(a grad u) = f`` on any mesh: loads to solutions, coefficients to them."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csc_matrix
from skfem import Basis

from skfem_ml.problems import OperatorSamples
from skfem_ml.problems.diffusion import diffusion, load, mass
from skfem_ml.solvers.direct import factorised

Array = NDArray[np.float64]
FEATURES = 128  # waves that make up one random field


def gaussian_fields(points: Array, n: int, length: float, rng: np.random.Generator) -> Array:
    """Return ``n`` random fields at ``points`` ``(dim, N)``, ``(n, N)``, covariance ``exp(-|x - y|^2 / 2 length^2)``.

    ``Z(x) = sqrt(2 / m) sum_k cos(w_k . x + b_k)`` with m = 128 waves, w normal of deviation ``1 / length``, b uniform
    on the circle: the covariance is exact, the law nearly normal (Rahimi and Recht, 2007).
    Raises ValueError for n below 1 and a length that is not positive.
    """
    if n < 1 or not 0 < length < np.inf:
        raise ValueError(f"n, length: expected at least one field and a positive length, got {n} and {length!r}")
    fields = np.empty((n, points.shape[1]))
    for field in fields:
        waves = rng.standard_normal((FEATURES, len(points))) / length
        field[:] = np.cos(waves @ points + rng.uniform(0, 2 * np.pi, (FEATURES, 1))).sum(axis=0)
    return np.sqrt(2 / FEATURES) * fields


def load_samples(
    basis: Basis,
    n: int,
    rng: np.random.Generator,
    *,
    validation: int,
    test: int,
    length: float = 0.2,
    a: float | Array = 1.0,
) -> OperatorSamples:
    """Return samples of ``f -> u``: f a Gaussian field of correlation ``length``, u = 0 on the whole boundary.

    Both are values at the free degrees of freedom of a Lagrange basis; f is the finite element function of its values
    at all of them. ``a`` is a number or one value a cell ``(nelems,)``.

    Raises ValueError as `gaussian_fields`, and for a basis that is not Lagrange or has no free degree of freedom.
    """
    free = free_dofs(basis)
    f = gaussian_fields(basis.doflocs, n, length, rng)
    cells = np.broadcast_to(np.asarray(a, dtype=float), (basis.nelems,))
    A = diffusion.assemble(basis, a=cells[:, None])
    u = factor(A, free).solve(np.ascontiguousarray((mass.assemble(basis) @ f.T)[free]))
    return OperatorSamples(basis.doflocs[:, free], f[:, free], u.T, validation, test, "load to solution")


def coefficient_samples(
    basis: Basis,
    n: int,
    rng: np.random.Generator,
    *,
    validation: int,
    test: int,
    length: float = 0.3,
    sigma: float = 0.7,
    phases: tuple[float, float] | None = None,
    boundary: bool = False,
    f: float = 1.0,
) -> OperatorSamples:
    """Return samples of ``log a -> u``: ``a = exp(sigma Z)``, Z a Gaussian field of correlation ``length``, load f.

    With ``phases`` (low, high) a has two values, high where Z > 0 (the Darcy flow of Li et al., 2021: 3 and 12).

    u = 0 on the whole boundary. Both are values at the free degrees of freedom of a Lagrange basis; a is the finite
    element function of its values at all of them, so a on the boundary is not in the inputs. With ``boundary`` inputs
    and outputs are values at all degrees of freedom.

    Raises ValueError as `load_samples`, and where the finite element function a is not positive (higher order, few
    cells a length).
    """
    free = free_dofs(basis)
    z = sigma * gaussian_fields(basis.doflocs, n, length, rng)
    if phases is not None:
        z = np.log(np.where(z > 0, max(phases), min(phases)))
    b = load(f).assemble(basis)[free]
    u = np.zeros((n, basis.N))
    for values, solution in zip(z, u, strict=True):
        field = np.asarray(basis.interpolate(np.exp(values)))
        if not (field > 0).all():
            raise ValueError(
                f"length: the finite element function of a is {field.min():.2g} somewhere, expected positive values; "
                "take a longer correlation length, a finer mesh or linear elements"
            )
        solution[free] = factor(diffusion.assemble(basis, a=field), free).solve(b)
    kept = slice(None) if boundary else free
    return OperatorSamples(basis.doflocs[:, kept], z[:, kept], u[:, kept], validation, test, "coefficient to solution")


def free_dofs(basis: Basis) -> NDArray[np.int64]:
    """Return the degrees of freedom off the boundary, ``(N,)``.

    Raises ValueError where there is none, and for a basis whose degrees of freedom are not values at points (vector
    elements, bubbles, curved cells under linear elements).
    """
    x = basis.global_coordinates().sum(axis=0)
    values = np.asarray(basis.interpolate(basis.doflocs.sum(axis=0)))
    if values.shape != x.shape or not np.allclose(values, x):
        raise ValueError(
            f"basis: expected a scalar Lagrange element, with values at points as degrees of freedom, got "
            f"{type(basis.elem).__name__}"
        )
    free = basis.complement_dofs(basis.get_dofs())
    if not len(free):
        raise ValueError(f"basis: expected a degree of freedom off the boundary, all {basis.N} are on it; refine")
    return free


def factor(A: csc_matrix, free: NDArray[np.int64]):
    """Return scipy's factorisation of the block of ``free`` of a symmetric positive definite matrix."""
    block = csc_matrix(A)[free][:, free]
    return factorised(block)
