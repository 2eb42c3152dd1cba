"""Residuals of linear equations in a trial function, strong and weak: one object for networks and random features.

With the trial function ``u = lift + zeta N`` every residual of a linear equation is linear in N and its derivatives:
``r = rows(alpha N + sum_i beta_i dN/dz_i + sum_p gamma_p d2N/dz_p) - rhs``, z being the coordinates, x
first, then t. The strong form takes the residual at points, times the root of the quadrature weight; the weak form
integrates it against test functions of scikit-fem.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from skfem import Basis, CellBasis, MeshHex, MeshLine, MeshQuad
from torch import Tensor

from skfem_ml.learning.nn import MLP, mlp_jet, to_torch
from skfem_ml.metrics import gauss_times
from skfem_ml.pinn.distances import require_laplacian
from skfem_ml.pinn.trial import Trial
from skfem_ml.problems import Diffusion, Heat, diffusion, evaluate, mass

Array = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class LinearResidual:
    """``r = rows(Z) - rhs``, ``Z_k = alpha_k N + sum_i beta_ki N_i + sum_p gamma_kp N_p`` at points z ``(D, n)``.

    ``alpha`` is ``(K, n)``, ``beta`` ``(K, D, n)``, ``gamma`` ``(K, P, n)`` for the second derivatives ``pairs``.
    ``rhs`` is ``(rows,)``. ``tests`` is None for the strong form, whose K is 1 and whose rows are the points; for the
    weak form it is ``(psi, phi)`` with psi ``(nt, Qt)`` and phi ``(K, Qx, nx)``: with Z as ``(K, Qt, Qx)`` the rows are
    ``sum_k psi Z_k phi_k``.
    """

    z: Array
    alpha: Array
    beta: Array
    gamma: Array
    pairs: tuple[tuple[int, int], ...]
    rhs: Array
    tests: tuple[Array, Array] | None = None

    def matrix(self, jet: tuple[Array, Array, Array]) -> Array:
        """Return the matrix ``(rows, m)`` of features with values ``(n, m)``, first and second derivatives."""
        value, first, second = jet
        Z = self.alpha[..., None] * value
        for i in range(self.beta.shape[1]):
            Z += self.beta[:, i, :, None] * first[i]
        for p in range(self.gamma.shape[1]):
            Z += self.gamma[:, p, :, None] * second[p]
        if self.tests is None:
            return Z[0]
        psi, phi = self.tests
        m = Z.shape[-1]
        total = np.zeros((psi.shape[0] * phi.shape[2], m))
        for k in range(len(Z)):
            inner = np.tensordot(psi, Z[k].reshape(psi.shape[1], phi.shape[1], m), axes=(1, 0))
            total += np.einsum("jqm,qi->jim", inner, phi[k], optimize=True).reshape(-1, m)
        return total

    def tensors(self) -> NetworkResidual:
        """Return the residual for networks, with all arrays as torch tensors."""
        return NetworkResidual(self)


class NetworkResidual:
    """`LinearResidual` as a function of a network: ``residual(net) -> (rows,)``, ``loss(net) -> scalar``."""

    def __init__(self, residual: LinearResidual):
        self.z, self.pairs = to_torch(residual.z), residual.pairs
        parts = [residual.alpha[:, None], residual.beta, residual.gamma]
        # (1 + D + P, K, n): the order in which the jet's parts are stacked.
        self.coefficients = torch.as_tensor(np.concatenate(parts, axis=1)).transpose(0, 1).contiguous()
        self.rhs = torch.as_tensor(residual.rhs)
        self.tests = None if residual.tests is None else tuple(torch.as_tensor(t) for t in residual.tests)

    def rows(self, Z: Tensor) -> Tensor:
        """Return the residual's rows from pointwise combinations ``(K, n)``, ``rhs`` not yet taken off."""
        if self.tests is None:
            return Z[0]
        psi, phi = self.tests
        return (psi @ torch.bmm(Z.reshape(len(Z), psi.shape[1], phi.shape[1]), phi).sum(dim=0)).reshape(-1)

    def __call__(self, net: MLP) -> Tensor:
        """Return the residual vector of the trial function with this network."""
        value, first, second = net.jet(self.z, self.pairs)
        parts = torch.cat([value[None], first, second])[..., 0]
        return self.rows((self.coefficients * parts[:, None]).sum(dim=0)) - self.rhs

    def jacobian(self, net: MLP) -> tuple[Tensor, Tensor]:
        """Return the residual and its derivative in all parameters, ``(rows, parameters)``.

        Z at one point depends on the parameters through that point alone: one small reverse sweep a point, batched.
        """
        weights = tuple(p.detach() for p in net.parameters())

        def at_point(weights: tuple[Tensor, ...], z: Tensor, c: Tensor) -> Tensor:
            layers = list(zip(weights[::2], weights[1::2], strict=True))
            value, first, second = mlp_jet(layers, z[None], self.pairs, net.activation)
            parts = torch.cat([value[None], first, second])[:, 0, 0]
            return parts @ c

        sweep = torch.func.vmap(torch.func.jacrev(at_point), in_dims=(None, 0, 2))
        parts = sweep(weights, self.z, self.coefficients)
        # (n, K, parameters) -> (K, n, parameters)
        J = torch.cat([part.flatten(start_dim=2) for part in parts], dim=2).transpose(0, 1)
        with torch.no_grad():
            r = self(net)
        if self.tests is None:
            return r, J[0]
        psi, phi = self.tests
        grid = J.reshape(len(J), psi.shape[1], phi.shape[1], J.shape[2])
        return r, torch.einsum("jt,ktqm,kqi->jim", psi, grid, phi).reshape(len(r), -1)

    def loss(self, net: MLP, _: object = None) -> Tensor:
        """Return the sum of squares, the loss that `training.fit` takes."""
        return self(net).square().sum()


def strong_heat(problem: Heat, trial: Trial, basis: CellBasis, times: int) -> LinearResidual:
    """Return ``u_t - a laplace(u) - f`` at the quadrature points of ``basis`` and ``times`` Gauss points in time.

    Each row is multiplied by the root of its weight, so ``|r|^2`` approximates the integral of the square.
    """
    x, weight = _points(basis)
    t, weight_t = gauss_times(problem.t_end, panels=1, order=times)
    X, T = np.tile(x, (1, times)), np.repeat(t, x.shape[1])
    root = np.sqrt(np.outer(weight_t, weight).ravel())
    dim, a = len(x), problem.a
    d, slope = trial.distance(X), trial.distance.grad(X)
    bend = require_laplacian(trial.distance, "distance")(X)
    curve = require_laplacian(trial.lift, "initial")(X)
    pairs = tuple((i, i) for i in range(dim))
    alpha = d - a * T * bend
    beta = np.concatenate([-2 * a * T * slope, (T * d)[None]])
    gamma = np.tile(-a * T * d, (len(pairs), 1))
    f = np.concatenate([problem.source(x, moment) for moment in t])
    rhs = f + a * curve
    z = np.concatenate([X, T[None]])
    return LinearResidual(z, (root * alpha)[None], (root * beta)[None], (root * gamma)[None], pairs, root * rhs)


def weak_heat(
    problem: Heat, trial: Trial, basis: CellBasis, time_basis: CellBasis, norm: str = "dual"
) -> LinearResidual:
    """Return ``int int (u_t - f) phi_i psi_j + a grad u . grad phi_i psi_j`` for free phi_i of ``basis``, all psi_j.

    ``norm`` is "dual", in which ``|r|^2`` is the square of the norm dual to ``L2(0, T; H1_0)`` on the test space, or
    "l2", the plain sum of squares.
    """
    x, weight = _points(basis)
    t, weight_t = _points(time_basis)
    t = t[0]
    X, T = np.tile(x, (1, len(t))), np.repeat(t, x.shape[1])
    dim = len(x)
    d, slope = trial.distance(X), trial.distance.grad(X)
    zero = np.zeros_like(T)
    alpha = np.concatenate([d[None], T * slope])
    beta = np.zeros((1 + dim, 1 + dim, len(T)))
    beta[0, dim] = T * d
    for i in range(dim):
        beta[1 + i, i] = T * d
    f = np.concatenate([problem.source(x, moment) for moment in t])
    fixed = np.concatenate([-f[None], trial.lift.grad(X)])
    free = basis.complement_dofs(basis.get_dofs())
    phi = _test_functions(basis, weight, free)
    phi[1:] *= problem.a
    psi = _test_functions(time_basis, weight_t, np.arange(time_basis.N))[0].T
    if norm == "dual":
        psi = np.linalg.solve(np.linalg.cholesky(_gram(time_basis, 0, np.arange(time_basis.N))), psi)
        phi = np.linalg.solve(np.linalg.cholesky(_gram(basis, 1, free)), phi.transpose(0, 2, 1)).transpose(0, 2, 1)
    Z = fixed.reshape(1 + dim, len(t), x.shape[1])
    rhs = -sum(psi @ Z[k] @ phi[k] for k in range(1 + dim)).ravel()
    gamma = np.zeros((1 + dim, 0, len(zero)))
    return LinearResidual(np.concatenate([X, T[None]]), alpha, beta, gamma, (), rhs, (psi, phi))


def weak_diffusion(problem: Diffusion, trial: Trial, basis: CellBasis, norm: str = "dual") -> LinearResidual:
    """Return ``int a grad u . grad phi_i - f phi_i`` for all free phi_i of ``basis``, on the problem's mesh."""
    if basis.mesh is not problem.mesh or problem.a.ndim != 1:
        raise ValueError("basis: expected a basis of the problem's own mesh, and a coefficient of shape (nelems,)")
    x, weight = _points(basis)
    a = np.repeat(problem.a, basis.dx.shape[1])
    dim = len(x)
    d, slope = trial.distance(x), trial.distance.grad(x)
    free = basis.complement_dofs(problem.dirichlet_dofs(basis))
    phi = _test_functions(basis, weight, free)
    phi[1:] *= a[None, :, None]
    beta = np.zeros((1 + dim, dim, x.shape[1]))
    for i in range(dim):
        beta[1 + i, i] = d
    alpha = np.concatenate([0 * d[None], slope])
    if norm == "dual":
        phi = np.linalg.solve(np.linalg.cholesky(_gram(basis, 1, free)), phi.transpose(0, 2, 1)).transpose(0, 2, 1)
    fixed = np.concatenate([-evaluate(problem.f, x)[None], trial.lift.grad(x)])
    rhs = -np.einsum("kq,kqi->i", fixed, phi)
    return LinearResidual(x, alpha, beta, np.zeros((1 + dim, 0, x.shape[1])), (), rhs, (np.ones((1, 1)), phi))


def time_line(t_end: float, cells: int) -> MeshLine:
    """Return equal cells on ``(0, t_end)``, for the test functions in time."""
    return MeshLine(np.linspace(0, t_end, cells + 1))


def _points(basis: CellBasis) -> tuple[Array, Array]:
    x = np.asarray(basis.global_coordinates())
    return x.reshape(len(x), -1), basis.dx.ravel()


def _test_functions(basis: CellBasis, weight: Array, free: NDArray) -> Array:
    """Return weighted test functions and their derivatives at the quadrature points, ``(1 + dim, Q, len(free))``."""
    dim, (cells, nqp) = basis.mesh.dim(), basis.dx.shape
    table = np.zeros((1 + dim, cells * nqp, basis.N))
    rows = np.arange(cells * nqp).reshape(cells, nqp)
    for k in range(basis.Nbfun):
        field = basis.basis[k][0]
        columns = np.repeat(basis.element_dofs[k][:, None], nqp, axis=1)
        table[0, rows, columns] += np.broadcast_to(np.asarray(field), (cells, nqp))
        for i in range(dim):
            table[1 + i, rows, columns] += np.broadcast_to(field.grad[i], (cells, nqp))
    return (table * weight[:, None])[:, :, free]


def _gram(basis: CellBasis, order: int, free: NDArray) -> Array:
    """Return the Gram matrix of the test functions, L2 (order 0) or the gradients' (order 1), dense."""
    unit = np.ones((basis.mesh.t.shape[1], 1))
    matrix = mass.assemble(basis) if order == 0 else diffusion.assemble(basis, a=unit)
    return matrix[free][:, free].toarray()


def one_cell(low: Array, high: Array, points: int) -> CellBasis:
    """Return a basis on one cell, the box from ``low`` to ``high``, with ``points`` Gauss points an axis."""
    lines = [np.array([a, b]) for a, b in zip(low, high, strict=True)]
    kind = {1: MeshLine, 2: MeshQuad, 3: MeshHex}[len(lines)]
    mesh = MeshLine(lines[0]) if len(lines) == 1 else kind.init_tensor(*lines)
    return Basis(mesh, mesh.elem(), intorder=2 * points - 1)
