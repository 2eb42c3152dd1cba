"""Eigenfunctions of the Dirichlet Laplacian in a space of network features: Rayleigh-Ritz on a scikit-fem basis."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import eigh, svd
from skfem import CellBasis

from skfem_ml.meshes.cells import bounding_box
from skfem_ml.pinn.distances import Smooth, box_distance, fe_distance, is_box
from skfem_ml.pinn.elm import RandomFeatures
from skfem_ml.problems import Eigenproblem
from skfem_ml.solutions import Eigenpairs, Record

Array = NDArray[np.float64]


def eig_subspace(
    k: int,
    features: int = 400,
    radius: float = 4.0,
    seed: int = 0,
    cutoff: float = 1e-11,
    distance: Smooth | None = None,
) -> Callable[[Eigenproblem], Eigenpairs]:
    """Return ``solve(problem) -> Eigenpairs``: the k smallest Ritz values of ``-laplace`` in ``span{d s_j}``.

    ``s_j`` are `RandomFeatures`, one hidden layer of tanh, on the bounding box, and d is a distance function (default:
    a product on boxes, else `fe_distance`), so ``u = 0`` on the boundary holds exactly. Mass and stiffness of the
    features are integrated by the quadrature of the problem's basis. Directions of the space whose singular value in
    L2 is below ``cutoff`` of the largest are dropped. Vectors are the values at the problem's free nodes. With an exact
    quadrature the values lie above the exact ones and, for smooth eigenfunctions, converge exponentially in the number
    of features; they are not the eigenvalues of the finite element matrices.

    Raises ValueError for a problem without a basis and for more pairs than the space has directions.
    """
    if features < 1 or not radius > 0:
        raise ValueError(f"features, radius: expected at least 1 and a positive number, got {features} and {radius}")

    def solve(problem: Eigenproblem) -> Eigenpairs:
        basis = problem.basis
        if basis is None or problem.free is None:
            raise ValueError("eig_subspace: expected a problem with a basis, from dirichlet_laplacian(basis), got none")
        problem.require_pairs(k)
        low, high = bounding_box(basis.mesh)
        drawn = RandomFeatures.draw(features, low, high, radius, np.random.default_rng(seed))
        d = distance
        if d is None:
            d = box_distance(low, high) if is_box(basis.mesh) else fe_distance(basis.mesh)
        values, y, directions = ritz(basis, drawn, d, k, cutoff)
        nodes = basis.doflocs[:, problem.free]
        vectors = d(nodes)[:, None] * (drawn.jet(nodes, first=False)[0] @ y)
        return Eigenpairs(values, vectors, Record(features, notes={"directions": directions}))

    return solve


def ritz(basis: CellBasis, drawn: RandomFeatures, d: Smooth, k: int, cutoff: float) -> tuple[Array, Array, int]:
    """Return the k least Ritz values of ``-laplace`` in ``span{d s_j}``, coefficients ``(m, k)``, number of directions.

    Raises ValueError where fewer than k directions have a singular value in L2 above ``cutoff`` of the largest.
    """
    x = np.asarray(basis.global_coordinates())
    x = x.reshape(len(x), -1)
    root = np.sqrt(basis.dx.ravel())[:, None]
    value, first, _ = drawn.jet(x)
    size, slope = d(x)[:, None], d.grad(x)
    # Whitened by singular values: a Gram matrix would square the condition number.
    _, sigma, Vt = svd(root * size * value, full_matrices=False, lapack_driver="gesdd")
    kept = sigma > cutoff * sigma[0]
    if k > kept.sum():
        raise ValueError(f"k: expected at most {kept.sum()} pairs in a space of {len(drawn.w)} features, got {k}")
    white = Vt[kept].T / sigma[kept]
    gradients = [root * ((slope[i][:, None] * value + size * first[i]) @ white) for i in range(len(x))]
    values, y = eigh(sum(g.T @ g for g in gradients), subset_by_index=[0, k - 1])
    return values, white @ y, int(kept.sum())
