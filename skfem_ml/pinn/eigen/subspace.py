"""Eigenfunctions in a space of network features: Rayleigh-Ritz with the forms of a problem from finite elements.

The space is ``span{d s_j, e_i}``: features s_j times a distance d, and functions of the user's own. It is

- "functions": d vanishes where ``u = 0``. By default it is a product on boxes, else `fe_distance`; for a part of the
  boundary the solution of ``-laplace(d) = 1`` on the basis; 1 where nothing is fixed. The forms are integrated by the
  quadrature of the problem's basis, a scalar one. With an exact quadrature the values lie above the exact ones and, for
  smooth eigenfunctions, converge exponentially in the number of features; they are not the eigenvalues of the finite
  element matrices. Vectors are the values at the free nodes.
- "elements": all is interpolated on the basis, any one, and d is by default the solution of ``A d = M 1``, scaled:
  pairs of ``A x = lambda M x`` itself, A positive definite. The Ritz vectors and some more then go through a number of
  products with ``A^-1 M``, and the span of all is the space: block Lanczos with a learned start.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache
from typing import Protocol

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import eigh, qr, svd
from scipy.sparse import csc_matrix
from skfem import CellBasis

from skfem_ml import checks
from skfem_ml.meshes.cells import bounding_box
from skfem_ml.pinn.distances import Smooth, box_distance, fe_distance, is_box
from skfem_ml.pinn.eigen.integration import pointwise, root, stacked
from skfem_ml.pinn.elm import RandomFeatures
from skfem_ml.problems import Eigenproblem, diffusion, load
from skfem_ml.problems.eigen import Matrix
from skfem_ml.solutions import Analytic, Eigenpairs, FEFunction, Record
from skfem_ml.solvers.direct import factorised

Array = NDArray[np.float64]


class Features(Protocol):
    """Functions of one's own: `Corner.features`, or one `solutions.Analytic`."""

    def __call__(self, x: Array, /) -> Array:
        """Return the values ``(n,)`` or ``(n, m)`` at ``x`` ``(dim, n)``."""

    def grad(self, x: Array, /) -> Array:
        """Return the gradients ``(dim, n)`` or ``(dim, n, m)``."""


def eig_subspace(
    k: int, features: int = 400, radius: float = 4.0, seed: int = 0, cutoff: float = 1e-11,
    distance: Smooth | None = None, *, space: str = "functions", extra: Sequence[Features] = (), steps: int = 0,
) -> Callable[[Eigenproblem], Eigenpairs]:  # fmt: skip
    """Return ``solve(problem) -> Eigenpairs``: the k smallest Ritz values in ``span{d s_j, e_i}``.

    ``s_j`` are `RandomFeatures`, one hidden layer of tanh, on the bounding box, d is the ``distance``, and ``e_i`` are
    the ``extra`` functions, taken as they are: singular ones of a corner (`Corner.features`), or one's own with
    ``grad``. ``space`` is "functions" or "elements" (with ``steps`` products): see the module. Directions whose
    singular value in the mass is below ``cutoff`` of the largest are dropped. Of functions, ``record["functions"](x)``
    are the values ``(n, k)`` at any points ``(dim, n)``, ``record["residuals"]`` those of the equations in the space.

    Raises ValueError for a problem without a basis and for more pairs than the space has directions, TypeError for
    other elements where functions are integrated.
    """
    checks.choice(space, ("functions", "elements"), "space")
    checks.whole(steps, "steps")
    if features < (0 if extra else 1) or not radius > 0:
        raise ValueError(f"features, radius: expected at least 1 and a positive number, got {features} and {radius}")

    def solve(problem: Eigenproblem) -> Eigenpairs:
        if problem.basis is None or problem.free is None or problem.forms is None:
            raise ValueError(
                "eig_subspace: expected a problem with a basis, from Eigenproblem.of_forms(stiffness, mass, basis) or "
                "dirichlet_laplacian(basis), got none"
            )
        problem.require_pairs(k)
        low, high = bounding_box(problem.basis.mesh)
        drawn = RandomFeatures.draw(features, low, high, radius, np.random.default_rng(seed))
        if space == "functions":
            return _functions(problem, k, drawn, distance, extra, cutoff)
        return _elements(problem, k, drawn, distance, extra, cutoff, steps)

    return solve


def _functions(
    problem: Eigenproblem, k: int, drawn: RandomFeatures, distance: Smooth | None, extra: Sequence[Features],
    cutoff: float,
) -> Eigenpairs:  # fmt: skip
    assert problem.basis is not None and problem.forms is not None  # eig_subspace looked
    basis, (stiffness, mass) = problem.basis, problem.forms
    d = distance if distance is not None else _distance(problem)
    x = np.asarray(basis.global_coordinates()).reshape(basis.mesh.dim(), -1)
    jets = _jets(x, drawn, d, extra)
    weights = basis.dx.ravel()
    K = pointwise(stiffness, basis, problem.coefficients) * weights
    whole = stacked(root(pointwise(mass, basis, problem.coefficients) * weights), jets)
    white = _white(whole, k, cutoff)
    slopes = [jet @ white for jet in jets]
    matrix = sum((slopes[i].T @ (K[i, j][:, None] * slopes[j]) for i, j in zip(*np.nonzero(K.any(2)), strict=True)))
    values, y, residuals = _ritz(np.asarray(matrix), k)
    coefficients = white @ y

    def functions(x: Array) -> Array:
        return _values(np.asarray(x, dtype=float), drawn, d, extra) @ coefficients

    notes = {"directions": white.shape[1], "residuals": residuals, "functions": functions}
    return Eigenpairs(values, functions(basis.doflocs[:, problem.free]), Record(len(white), notes=notes))


def _elements(
    problem: Eigenproblem, k: int, drawn: RandomFeatures, distance: Smooth | None, extra: Sequence[Features],
    cutoff: float, steps: int,
) -> Eigenpairs:  # fmt: skip
    assert problem.basis is not None and problem.free is not None and problem.M is not None
    A, M, nodes = problem.A, problem.M, problem.basis.doflocs[:, problem.free]
    factors = cache(lambda: factorised(csc_matrix(A)))
    d = np.asarray(distance(nodes)) if distance is not None else _scaled(factors().solve(M @ np.ones(problem.size)))
    V = d[:, None] * drawn.jet(nodes, first=False)[0]
    V = np.concatenate([V, *(_columns(e(nodes)) for e in extra)], axis=1)
    V = _orthonormal(V @ _white(V, k, cutoff), M)
    directions = V.shape[1]
    if steps:
        # Some vectors more than are wanted: the last of a block converge slowest.
        block = V @ _ritz(V.T @ (A @ V), min(directions, k + max(4, k // 2)))[1]
        V = block
        for _ in range(steps):
            block = factors().solve(M @ block)
            for _ in range(2):
                block = _orthonormal(block - V @ (V.T @ (M @ block)), M)
            V = np.concatenate([V, block], axis=1)
    values, y, _ = _ritz(V.T @ (A @ V), k)
    return Eigenpairs(values, V @ y, Record(len(drawn.w), notes={"directions": directions}))


def _orthonormal(V: Array, M: Matrix) -> Array:
    """The columns made orthonormal in M, which they nearly are or are well conditioned for."""
    sizes, turn = eigh(V.T @ (M @ V))
    return V @ (turn / np.sqrt(sizes))


def _scaled(d: Array) -> Array:
    return d / abs(d).max()


def _distance(problem: Eigenproblem) -> Smooth:
    """What vanishes where u does: a product on boxes, else the solution of ``-laplace(d) = 1``; 1 where nothing is."""
    assert problem.basis is not None and problem.free is not None
    basis, low, high = problem.basis, *bounding_box(problem.basis.mesh)
    fixed = np.setdiff1d(np.arange(basis.N), problem.free)
    if len(fixed) == 0:
        return Analytic(lambda x: np.ones(x.shape[1:]), np.zeros_like)
    if np.array_equal(fixed, np.unique(basis.get_dofs().flatten())):
        return box_distance(low, high) if is_box(basis.mesh) else fe_distance(basis.mesh)
    A = diffusion.assemble(basis, a=np.ones((basis.mesh.nelements, 1)))[problem.free][:, problem.free]
    return FEFunction(basis, problem.extend(_scaled(factorised(csc_matrix(A)).solve(_load(basis)[problem.free]))))


def _load(basis: CellBasis) -> Array:
    return np.asarray(load(1.0).assemble(basis))


def _jets(x: Array, drawn: RandomFeatures, d: Smooth, extra: Sequence[Features]) -> list[Array]:
    """Values and first derivatives ``(n, m)`` of all functions at points ``(dim, n)``."""
    s, first, _ = drawn.jet(x)
    size, slope = np.asarray(d(x))[:, None], np.asarray(d.grad(x))
    parts = [[size * s, *(slope[i][:, None] * s + size * first[i] for i in range(len(x)))]]
    parts += [[_columns(e(x)), *(_columns(g) for g in np.asarray(e.grad(x)))] for e in extra]
    return [np.concatenate(blocks, axis=1) for blocks in zip(*parts, strict=True)]


def _values(x: Array, drawn: RandomFeatures, d: Smooth, extra: Sequence[Features]) -> Array:
    own = np.asarray(d(x))[:, None] * drawn.jet(x, first=False)[0]
    return np.concatenate([own, *(_columns(e(x)) for e in extra)], axis=1)


def _columns(values: Array) -> Array:
    values = np.asarray(values)
    return values[:, None] if values.ndim == 1 else values


def _white(whole: Array, k: int, cutoff: float) -> Array:
    """Coefficients ``(m, directions)`` of functions that are orthonormal in the mass whose root is ``whole``.

    By singular values: a Gram matrix would square the condition number. Raises ValueError where fewer than k are left.
    """
    sizes = np.linalg.norm(whole, axis=0)
    scale = np.where(sizes > 0, sizes, 1.0)
    _, sigma, Vt = svd(qr(whole / scale, mode="r")[0][: len(scale)], full_matrices=False, lapack_driver="gesdd")
    kept = sigma > cutoff * sigma[0]
    if k > kept.sum():
        raise ValueError(f"k: expected at most {kept.sum()} pairs in a space of {len(scale)} features, got {k}")
    return (Vt[kept].T / sigma[kept]) / scale[:, None]


def _ritz(matrix: Array, k: int) -> tuple[Array, Array, Array]:
    """The k least pairs of a symmetric matrix, and their residuals over the values."""
    values, y = eigh(matrix, subset_by_index=[0, k - 1])
    residuals = np.linalg.norm((matrix + matrix.T) / 2 @ y - y * values, axis=0)
    return values, y, residuals / np.maximum(abs(values), 1e-12 * abs(values).max())
