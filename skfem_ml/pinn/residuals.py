"""Residuals of an equation in a trial function: rows of blocks of points, for random features and for networks.

With ``u = lift + zeta N`` a block has the rows ``Z = F(jet of u, unknown scalars)`` at its points; those of the strong
form and of conditions are taken times the root of a quadrature weight, those of the weak form are integrated against
test functions of scikit-fem. For linear equations F is affine, and its derivative is computed once.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from skfem_ml.pinn.jets import Layout, Pointwise
from skfem_ml.pinn.trial import Trial

Array = NDArray[np.float64]
Linear = tuple[Array, Array, Array]  # rows (K, n), slopes (K, C, E, n) and (K, S, n)


@dataclass(frozen=True, eq=False)
class Block:
    """Points z ``(D, n)``, the equation there, and what makes rows of its values.

    ``weight`` ``(n,)`` multiplies the values. ``tests`` is None where every value is a row; for the weak form it is
    ``(psi, phi)`` with psi ``(nt, Qt)`` and phi ``(K, Qx, nx)``: with Z as ``(K, Qt, Qx)`` the rows are
    ``sum_k psi Z_k phi_k``.
    """

    z: Array
    s: Array
    function: Pointwise
    lift: Array
    factor: Array
    weight: Array
    affine: bool
    tests: tuple[Array, Array] | None = None

    @classmethod
    def of(cls, trial: Trial, z: Array, function: Pointwise, weight: Array, tests=None) -> Block:
        """Return the block of a user's function; only second derivatives that it uses are kept."""
        layout, affine = function.probed()
        function = Pointwise(function.call, layout, function.shape, function.given, function.label)
        parts = trial.lift(z, layout.pairs), trial.factor(z, layout.pairs)
        return cls(z, trial.scaled(z), function, *parts, weight, affine, tests)

    @property
    def layout(self) -> Layout:
        """What its jets hold."""
        return self.function.layout

    def values(self, N: Array, scalars: Array) -> Array:
        """Return Z ``(K, n)`` for the jet of N in s, ``(C, E, n)``."""
        if self.affine:
            Z, slopes, _ = self.constant
            return Z + np.einsum("kcen,cen->kn", slopes, N)
        return self.weight * np.real(self.function(self._u(N), scalars))

    def linearised(self, N: Array, scalars: Array) -> Linear:
        """Return Z and its derivatives in the jet of N and in the scalars."""
        if self.affine:
            Z, slopes, others = self.constant
            return Z + np.einsum("kcen,cen->kn", slopes, N), slopes, others
        return self._linearised(self._u(N), scalars)

    @cached_property
    def constant(self) -> Linear:
        """The linearisation of an affine equation, at N = 0."""
        return self._linearised(self.lift, np.zeros(0))

    def _u(self, N: Array) -> Array:
        return self.lift + np.einsum("cefn,cfn->cen", self.factor, N)

    def _linearised(self, U: Array, scalars: Array) -> Linear:
        Z, slopes, others = self.function.linearised(U, scalars)
        return (
            self.weight * Z,
            self.weight * np.einsum("kcen,cefn->kcfn", slopes, self.factor, optimize=True),
            self.weight * others,
        )

    def rows(self, Z: Array) -> Array:
        """Return the rows ``(rows, m)`` of values ``(K, n, m)``."""
        m = Z.shape[-1]
        if self.tests is None:
            return Z.reshape(-1, m)
        psi, phi = self.tests
        total = np.zeros((psi.shape[0] * phi.shape[2], m))
        for k in range(len(Z)):
            inner = np.tensordot(psi, Z[k].reshape(psi.shape[1], phi.shape[1], m), axes=(1, 0))
            total += np.einsum("jqm,qi->jim", inner, phi[k], optimize=True).reshape(-1, m)
        return total


@dataclass(frozen=True, eq=False)
class Residual:
    """All blocks of a problem, and the first guess of its unknown scalars."""

    blocks: tuple[Block, ...]
    trial: Trial
    start: Array

    @property
    def components(self) -> int:
        """The number of functions N."""
        return len(self.trial.zetas)

    @property
    def affine(self) -> bool:
        """Whether the whole residual is affine in N."""
        return all(block.affine for block in self.blocks)

    def rows(self, jets: list[Array], scalars: Array) -> Array:
        """Return the residual ``(rows,)`` for the jets of N, one ``(C, E, n)`` a block."""
        return np.concatenate([
            block.rows(block.values(N, scalars)[..., None])[:, 0] for block, N in zip(self.blocks, jets, strict=True)
        ])  # fmt: skip

    def linearised(self, features: list[Array], weights: Array, scalars: Array) -> tuple[Array, Array]:
        """Return residual and matrix ``(rows, C m + S)`` in the weights ``(C, m)`` of features and in the scalars.

        ``features`` has one array ``(E, n, m)`` a block.
        """
        parts = []
        for block, Phi in zip(self.blocks, features, strict=True):
            N = np.einsum("enm,cm->cen", Phi, weights)
            Z, slopes, others = block.linearised(N, scalars)
            columns = [np.einsum("ken,enm->knm", slopes[:, c], Phi, optimize=True) for c in range(len(weights))]
            matrix = np.concatenate([*columns, others.transpose(0, 2, 1)], axis=2)
            parts.append((block.rows(Z[..., None])[:, 0], block.rows(matrix)))
        return np.concatenate([r for r, _ in parts]), np.concatenate([J for _, J in parts])
