"""Eigenpairs of a symmetric matrix by networks: windowed Levenberg-Marquardt, and a network with orthonormal output.

For a small matrix all of this is pointless in practice, `numpy.linalg.eigh` takes microseconds; it is here to show what
it takes to make the idea of a report work, whose own network is `baselines.published.eig_published`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from skfem_ml import checks
from skfem_ml.learning.nn import MLP, mlp_jet
from skfem_ml.learning.optim import LevenbergMarquardt, lbfgs
from skfem_ml.learning.states import parameters_in
from skfem_ml.learning.training import fit
from skfem_ml.problems import Eigenproblem
from skfem_ml.solutions import Eigenpairs, Record

Array = NDArray[np.float64]


def eig_neural(
    k: int | None = None, method: str = "windowed", seed: int = 0, **options: Any
) -> Callable[[Eigenproblem], Eigenpairs]:
    """Return ``solve(problem) -> Eigenpairs`` by networks; ``k`` is None for all pairs, ``options`` are the method's.

    - "windowed" (`windowed_pairs`): the flow (17) window after window, each by a small network and
      Levenberg-Marquardt, the largest eigenvalue first, found pairs projected out.
    - "orthonormal" (`orthonormal_pairs`): a network whose output is made orthonormal, Brockett's cost, L-BFGS; the
      smallest eigenvalues.

    Raises ValueError for more pairs than rows, a problem with M, and an unknown method.
    """
    methods: dict[str, Callable[..., Eigenpairs]] = {
        "windowed": windowed_pairs,
        "orthonormal": orthonormal_pairs,
    }
    checks.choice(method, tuple(methods), "method")

    def solve(problem: Eigenproblem) -> Eigenpairs:
        A = problem.require_matrix("eig_neural")
        return methods[method](A, problem.require_pairs(len(A) if k is None else k), seed=seed, **options)

    return solve


def torch_flow(A: Tensor, x: Tensor) -> Tensor:
    """Return (17)-(18), ``(x'x) A x - (x'A x) x``, for rows x ``(n, dim)``."""
    Ax = x @ A
    return (x * x).sum(1, keepdim=True) * Ax - (x * Ax).sum(1, keepdim=True) * x


class WindowResidual:
    """``x' - h P F(P x)`` on a window for ``x(s) = start + s N(s)``, s in [0, 1], h the window's length."""

    def __init__(self, net: MLP, A: Tensor, window: float, points: int):
        nodes = (np.polynomial.legendre.leggauss(points)[0] + 1) / 2
        self.net, self.A, self.window = net, A, window
        self.s = torch.as_tensor(nodes)[:, None]
        self.start = self.projector = torch.empty(0)

    def of(self, *weights: Tensor) -> Tensor:
        """Return the residual ``(points * n,)`` for explicit weights."""
        layers = list(zip(weights[::2], weights[1::2], strict=True))
        value, first, _ = mlp_jet(layers, self.s, (), self.net.activation)
        x = self.start + self.s * value
        right = torch_flow(self.A, x @ self.projector) @ self.projector
        return (value + self.s * first[0] - self.window * right).reshape(-1)

    def __call__(self) -> Tensor:
        """Return the residual with the network's own weights."""
        return self.of(*self.net.parameters())

    def jacobian(self) -> tuple[Tensor, Tensor]:
        """Return the residual and its derivative ``(rows, parameters)``."""
        weights = tuple(p.detach() for p in self.net.parameters())
        parts = torch.func.jacrev(self.of, argnums=tuple(range(len(weights))))(*weights)
        return self.of(*weights), torch.cat([part.flatten(start_dim=1) for part in parts], dim=1)


def windowed_pairs(
    A: Array, k: int, seed: int = 0, width: int = 8, window: float = 1.0, t_end: float = 80.0, tol: float = 1e-10
) -> Eigenpairs:
    """Follow the flow (17) on windows of length ``window``; each is a network 1-width-n and a least-squares problem.

    The network goes on from its weights in the window before. A pair is done where ``|A x - lambda x| <= tol |A|``, or
    at ``t_end``; RuntimeError where it is not small (1e-4) by then.
    """
    rng, n = np.random.default_rng(seed), len(A)
    net = MLP((1, width, n), generator=torch.Generator().manual_seed(seed))
    residual = WindowResidual(net, torch.as_tensor(A), window, points=width + 4)
    found, size = np.zeros((n, 0)), np.linalg.norm(A, 2)
    windows = []
    for _ in range(k):
        projector = np.eye(n) - found @ found.T
        residual.projector = torch.as_tensor(projector)
        x = projector @ rng.standard_normal(n)
        x /= np.linalg.norm(x)
        for count in range(1, round(t_end / window) + 1):  # noqa: B007 - the count is the number of windows used
            x = _one_window(net, residual, x, projector)
            gap = np.linalg.norm(projector @ (A @ x) - (x @ A @ x) * x)
            if gap <= tol * size:
                break
        if gap > 1e-4 * size:
            raise RuntimeError(f"windowed: |A x - lambda x| = {gap:.1e} at t = {t_end}; raise t_end, or change seed")
        windows.append(count)
        found = np.column_stack([found, x])
    values = np.einsum("ij,ij->j", found, A @ found)
    return Eigenpairs(values, found, Record(parameters_in(net), notes={"windows": windows}))


def _one_window(net: MLP, residual: WindowResidual, x: Array, projector: Array, steps: int = 30) -> Array:
    residual.start = torch.as_tensor(x)[None]
    optimiser = LevenbergMarquardt(net.parameters(), residual, residual.jacobian, mu=1e-3)
    for _ in range(steps):
        # 1e-22 is far below the flow's own contraction over a window, which repairs what is left.
        if float(optimiser.step()) < 1e-22 or optimiser.stalled:
            break
    with torch.no_grad():
        end = x + net(torch.ones(1, 1, dtype=torch.float64))[0].numpy()
    end = projector @ end
    return end / np.linalg.norm(end)


def orthonormal_pairs(A: Array, k: int, seed: int = 0, width: int = 20, steps: int = 60) -> Eigenpairs:
    """Minimise Brockett's cost ``sum_i (k + 1 - i) q_i' A q_i`` over ``Q = qr(net(I))`` by L-BFGS.

    Its only local minima are orthonormal eigenvectors of the k smallest eigenvalues in ascending order. The network
    maps the n unit vectors to the rows of an n x k matrix: it reparametrises that matrix, no more.
    """
    n, matrix = len(A), torch.as_tensor(A)
    net = MLP((n, width, k), generator=torch.Generator().manual_seed(seed))
    unit, weights = torch.eye(n, dtype=torch.float64), torch.arange(k, 0, -1, dtype=torch.float64)

    def loss(net: MLP, _: object) -> Tensor:
        Q = torch.linalg.qr(net(unit))[0]
        return (weights * (Q * (matrix @ Q)).sum(0)).sum()

    history = fit(net, loss, optimiser=lbfgs(20, history=50).start(net), steps=steps, every=1)
    with torch.no_grad():
        Q = torch.linalg.qr(net(unit))[0].numpy()
    record = Record(parameters_in(net), history=(history,))
    return Eigenpairs(np.einsum("ij,ij->j", Q, A @ Q), Q, record)
