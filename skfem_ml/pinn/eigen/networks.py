"""Eigenpairs of a symmetric matrix by networks: windowed Levenberg-Marquardt, and a network with orthonormal output.

For a small matrix all of this is pointless in practice, `numpy.linalg.eigh` takes microseconds; it is here to show what
it takes to make the idea of a report work, whose own network is `baselines.published.eig_published`.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
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
from skfem_ml.progress import Progress
from skfem_ml.solutions import Eigenpairs, Record

Array = NDArray[np.float64]


def eig_neural(
    k: int | None = None, method: str = "windowed", seed: int = 0, inverse: bool | None = None, **options: Any
) -> Callable[[Eigenproblem], Eigenpairs]:
    """Return ``solve(problem) -> Eigenpairs`` by networks; ``k`` is None for all pairs, ``options`` are the method's.

    - "windowed" (`windowed_pairs`): the flow (17) window after window, each by a small network and
      Levenberg-Marquardt, the largest eigenvalue first, found pairs projected out.
    - "orthonormal" (`orthonormal_pairs`): a network whose output is made orthonormal, Brockett's cost by L-BFGS, then
      the eigenvalue equation itself by Levenberg-Marquardt; the smallest eigenvalues.

    A problem with M is brought to standard form; with ``inverse`` (default: where there is an M) both methods work on
    the inverse, scaled to norm 1, and find the smallest eigenvalues (`Eigenproblem.standard`).

    Raises ValueError for more pairs than rows, more than 2000 rows, and an unknown method.
    """
    methods: dict[str, Callable[..., tuple[Array, Record]]] = {
        "windowed": windowed_pairs,
        "orthonormal": orthonormal_pairs,
    }
    checks.choice(method, tuple(methods), "method")

    def solve(problem: Eigenproblem) -> Eigenpairs:
        count = problem.require_pairs(problem.size if k is None else k)
        standard = problem.standard("eig_neural", inverse)
        C = -standard.matrix if method == "orthonormal" and standard.scale is None else standard.matrix
        return standard.pairs(*methods[method](C, count, seed=seed, **options))

    return solve


def torch_flow(A: Tensor, x: Tensor) -> Tensor:
    """Return (17)-(18), ``(x'x) A x - (x'A x) x``, for rows x ``(n, dim)``."""
    Ax = x @ A
    return (x * x).sum(1, keepdim=True) * Ax - (x * Ax).sum(1, keepdim=True) * x


class WeightsResidual:
    """A residual ``of(*weights)`` of a network's weights, with the derivative that Levenberg-Marquardt asks for."""

    net: MLP

    def of(self, *weights: Tensor) -> Tensor:
        """Return the residual ``(rows,)`` for explicit weights."""
        raise NotImplementedError

    def __call__(self) -> Tensor:
        """Return the residual with the network's own weights."""
        return self.of(*self.net.parameters())

    def jacobian(self, last: int = 0) -> tuple[Tensor, Tensor]:
        """Return the residual and its derivative ``(rows, parameters)``, of the ``last`` tensors alone if not 0."""
        weights = tuple(p.detach() for p in self.net.parameters())
        which = tuple(range(len(weights)))[-last:]
        parts = torch.func.jacrev(self.of, argnums=which)(*weights)
        return self.of(*weights), torch.cat([part.flatten(start_dim=1) for part in parts], dim=1)


class WindowResidual(WeightsResidual):
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


def windowed_pairs(
    C: Array, k: int, seed: int = 0, width: int = 8, window: float = 1.0, t_end: float = 120.0, tol: float = 1e-13,
    progress: Progress | None = None,
) -> tuple[Array, Record]:  # fmt: skip
    """Follow the flow (17) on windows of length ``window``; each is a network 1-width-n and a least-squares problem.

    The network goes on from its weights in the window before. Returns orthonormal eigenvectors ``(n, k)`` of the
    largest eigenvalues and a record. A pair is done where ``|C x - mu x| <= tol |C|``, or at ``t_end``; RuntimeError
    where it is not small (1e-4) by then.
    """
    rng, n = np.random.default_rng(seed), len(C)
    net = MLP((1, width, n), generator=torch.Generator().manual_seed(seed))
    residual = WindowResidual(net, torch.as_tensor(C), window, points=width + 1)
    found, size = np.zeros((n, 0)), np.linalg.norm(C, 2)
    windows = []
    for _ in range(k):
        projector = np.eye(n) - found @ found.T
        residual.projector = torch.as_tensor(projector)
        x = projector @ rng.standard_normal(n)
        x /= np.linalg.norm(x)
        for count in range(1, round(t_end / window) + 1):
            x = _one_window(net, residual, x, projector)
            gap = np.linalg.norm(projector @ (C @ x) - (x @ C @ x) * x)
            if progress is not None:
                progress(found.shape[1], k, f"window {count}, residual {gap / size:.1e}")
            if gap <= tol * size:
                break
        if gap > 1e-4 * size:
            raise RuntimeError(f"windowed: |C x - mu x| = {gap:.1e} at t = {t_end}; raise t_end, or change seed")
        windows.append(count)
        found = np.column_stack([found, x])
    return found, Record(parameters_in(net), notes={"windows": windows})


def _one_window(net: MLP, residual: WindowResidual, x: Array, projector: Array, steps: int = 8) -> Array:
    residual.start = torch.as_tensor(x)[None]
    output = list(net.parameters())[-2:]
    # All weights for a few steps, then the output layer alone: with as many features as points its equations are
    # solved to rounding, where those of all weights have a singular derivative and creep.
    for parameters, last, mu in ((list(net.parameters()), 0, 1e-3), (output, len(output), 1e-24)):
        optimiser = LevenbergMarquardt(parameters, residual, partial(residual.jacobian, last), mu=mu)
        for _ in range(steps):
            if float(optimiser.step()) < 1e-30 or optimiser.stalled:
                break
    with torch.no_grad():
        end = x + net(torch.ones(1, 1, dtype=torch.float64))[0].numpy()
    end = projector @ end
    return end / np.linalg.norm(end)


class PairsResidual(WeightsResidual):
    """``C Q - Q diag(Q' C Q)`` for ``Q = qr(N(I))``: zero at k orthonormal eigenvectors, whichever they are."""

    def __init__(self, net: MLP, C: Tensor):
        self.net, self.C, self.unit = net, C, torch.eye(len(C), dtype=C.dtype)

    def Q(self, *weights: Tensor) -> Tensor:
        """Return orthonormal columns ``(n, k)`` for explicit weights."""
        named = dict(zip((name for name, _ in self.net.named_parameters()), weights, strict=True))
        return torch.linalg.qr(torch.func.functional_call(self.net, named, (self.unit,)))[0]

    def of(self, *weights: Tensor) -> Tensor:
        """Return the residual ``(n * k,)`` for explicit weights."""
        Q = self.Q(*weights)
        CQ = self.C @ Q
        return (CQ - Q * (Q * CQ).sum(0)).reshape(-1)


def orthonormal_pairs(
    C: Array, k: int, seed: int = 0, width: int = 20, steps: int = 60, polish: int = 20
) -> tuple[Array, Record]:
    """Maximise Brockett's sum ``sum_i (k + 1 - i) q_i' C q_i`` over ``Q = qr(net(I))`` by L-BFGS, then polish Q.

    Its only local maxima are orthonormal eigenvectors of the k largest eigenvalues in descending order. A sum known to
    rounding gives its maximiser to the root of that, 1e-8, so at most ``polish`` steps of Levenberg-Marquardt follow on
    the equation ``C Q = Q diag(Q' C Q)``, whose residual can be known to rounding. The network maps the n unit vectors
    to the rows of an n x k matrix: it reparametrises that matrix, no more.
    """
    net = MLP((len(C), width, k), generator=torch.Generator().manual_seed(seed))
    residual, weights = PairsResidual(net, torch.as_tensor(C)), torch.arange(k, 0, -1, dtype=torch.float64)

    def loss(net: MLP, _: object) -> Tensor:
        Q = residual.Q(*net.parameters())
        return -(weights * (Q * (residual.C @ Q)).sum(0)).sum()

    history = fit(net, loss, optimiser=lbfgs(20, history=50).start(net), steps=steps, every=1)
    optimiser = LevenbergMarquardt(net.parameters(), residual, residual.jacobian, mu=1e-3)
    for _ in range(polish):
        optimiser.step()
        if optimiser.stalled:
            break
    with torch.no_grad():
        Q = residual.Q(*net.parameters()).numpy()
    return Q, Record(parameters_in(net), history=(history,))
