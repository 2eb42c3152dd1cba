"""The matrices of basis functions: collocation and Galerkin, factorised once for many loads, and their condition."""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
from numpy import ndarray
from scipy.sparse import csr_matrix, diags
from scipy.sparse.linalg import splu
from skfem.assembly.form.coo_data import COOData

from skfem_ml.lod.coarse import backward_error
from skfem_ml.lod.mesh.discretisation import Discretisation

if TYPE_CHECKING:
    from skfem_ml.lod.slod.basis import Chosen

STEPS = 30  # of power iteration: enough for the size of a condition number
TOLERATED = 1e-10


class Factors:
    """A factorised matrix. Raises ValueError where it is singular."""

    def __init__(self, matrix: csr_matrix):
        self.matrix = matrix.tocsc()
        try:
            self._factors = splu(self.matrix)
        except RuntimeError as error:
            raise ValueError(
                "G: expected a regular matrix, got a singular one: basis functions coincide; take a larger epsilon"
            ) from error

    def solve(self, b: ndarray) -> ndarray:
        """The solution for right-hand sides ``(n,)`` or ``(n, k)``.

        Raises ValueError for a backward error above 1e-10.
        """
        x = self._factors.solve(b)
        for column, right in zip(np.atleast_2d(x.T), np.atleast_2d(b.T), strict=True):
            error = backward_error(self.matrix, column, right)
            if not error <= TOLERATED:
                raise ValueError(
                    f"G: expected a regular matrix, got a solution of backward error {error:.1e} (at most "
                    f"{TOLERATED:.0e}); take a larger epsilon, or a larger ell at a high contrast"
                )
        return x


class Matrices:
    """The matrices of chosen basis functions B: collocation G and Galerkin B^T A B, without a fine matrix.

    With L the loads 1_K / |K| and E what the functions leave on the rims of their patches, A B = L G - E wherever B is
    not zero; so B^T A B = (B^T L) G - B^T E.

    Parameters
    ----------
    space
        The space.
    chosen
        The basis functions.
    patches
        The elements of every patch, -1 outside, ``(nelems, (2 ell + 1)^2)``.

    Attributes
    ----------
    elemental
        The columns of G with their places: g_T on the elements of the patch of T.
    collocation, galerkin
        G and B^T A B, ``(nelems, nelems)``.
    """

    def __init__(self, space: Discretisation, chosen: Chosen, patches: ndarray):
        self.basis, self._residuals, self._leftovers = chosen.basis, chosen.residuals, chosen.leftovers
        own = np.broadcast_to(np.arange(len(patches))[:, None], patches.shape)
        rows = np.where(patches >= 0, patches, own)  # outside the domain they are zero
        values = np.where(patches >= 0, chosen.loads, 0.0)
        indices = np.stack([rows.T.ravel(), own.T.ravel()])
        self.elemental = COOData(indices, values.T.ravel(), (len(patches),) * 2, (patches.shape[1], 1))
        self.collocation = self.elemental.tocsr()
        self._means = element_means(space)

    @cached_property
    def galerkin(self) -> csr_matrix:
        """B^T A B, ``(nelems, nelems)``: symmetric, and definite at any contrast."""
        product = self.basis.T @ self._means.T @ self.collocation - self.basis.T @ self._residuals
        return ((product + product.T) / 2).tocsr()

    def tested(self, loads: ndarray) -> ndarray:
        """B^T F for a load that is ``loads[K] 1_K / |K|`` on every element K, ``(nelems,)``."""
        return self.basis.T @ (self._means.T @ loads)

    def energy(self, fine: ndarray) -> ndarray:
        """B^T A u for functions u on the fine mesh that are zero on Gamma_D: ``(fine.N, k)`` to ``(nelems, k)``."""
        return self.collocation.T @ (self._means @ fine) - self._residuals.T @ fine

    def estimate(self, c: ndarray) -> ndarray:
        """(sum_T |c_T W g_T|^2 / c^T B^T A B c)^(1/2) for columns ``(nelems, k)``, ``(k,)``; zero for c = 0."""
        left = np.linalg.norm(c * self._leftovers[:, None], axis=0)
        size = np.sqrt(np.maximum((c * (self.galerkin @ c)).sum(axis=0), 0))
        return np.divide(left, size, out=np.where(left > 0, np.inf, 0.0), where=size > 0)

    @cached_property
    def factors(self) -> dict[str, Factors]:
        """Those of both, made when first asked for."""
        return {}

    def solve(self, variant: str, b: ndarray) -> ndarray:
        """The solution with one of the two matrices, factorised once."""
        if variant not in self.factors:
            self.factors[variant] = Factors(self.galerkin if variant == "galerkin" else self.collocation)
        return self.factors[variant].solve(b)

    def __getstate__(self) -> dict[str, object]:
        return {name: value for name, value in self.__dict__.items() if name != "factors"}


def element_means(space: Discretisation) -> csr_matrix:
    """Means over elements of functions on the fine mesh, ``(nelems, fine.N)``; transposed, the loads 1_K / |K|."""
    nodes, weights = space.refinement.nodes, unit_load(space.n)
    indptr = nodes.shape[1] * np.arange(len(nodes) + 1)
    shape = (len(nodes), space.fine_mesh.p.shape[1])
    return csr_matrix((np.tile(weights, len(nodes)), nodes.ravel(), indptr), shape=shape)


def unit_load(n: int) -> ndarray:
    """The load 1_T / |T| against the fine hat functions of T, ``((n + 1)**2,)``; its sum is one."""
    line = np.ones(n + 1) / n
    line[[0, -1]] /= 2
    return np.kron(line, line)


def condition(matrix: csr_matrix) -> float:
    """An estimate from below of the spectral condition number of D^-1/2 M D^-1/2, D the diagonal; inf where singular.

    By power iteration with M^T M and its inverse from a fixed vector: the same on every call.
    """
    scaling = diags(1 / np.sqrt(np.abs(matrix.diagonal())))
    scaled = (scaling @ matrix @ scaling).tocsc()
    try:
        factors = splu(scaled)
    except RuntimeError:
        return np.inf
    largest = _norm(lambda x: scaled.T @ (scaled @ x), scaled.shape[0])
    inverse = _norm(lambda x: factors.solve(factors.solve(x, trans="T")), scaled.shape[0])
    return float(np.sqrt(largest * inverse))


def _norm(product: Callable[[ndarray], ndarray], size: int) -> float:
    x = np.random.default_rng(0).standard_normal(size)
    norm = 0.0
    for _ in range(STEPS):
        x = product(x / np.linalg.norm(x))
        norm = float(np.linalg.norm(x))
    return norm
