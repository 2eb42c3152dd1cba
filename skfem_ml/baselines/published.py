"""Networks of a published report with its mistakes, made again to be compared with (needs torch).

Puleo, Svejda and Breitenstein (2022) solve the heat equation and eigenvalue problems by networks. Two slips:

- heat: the second derivative is taken as the gradient of the *summed* first gradient,
  ``d/dx (N_x + N_t) = N_xx + N_xt``, so the network solves another equation well, and the heat equation badly;
- eigenpairs: the cost (22)-(23) on the whole interval is small for any x that is soon constant at an eigenvector, or at
  zero: which one is chance, and the theorems on the flow do not apply.

What is right is in ``pinn``: `pinn.solver_pinn` and `pinn.eig_neural`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from skfem_ml.learning.nn import MLP, to_torch
from skfem_ml.learning.optim import adam, ssbroyden
from skfem_ml.learning.states import parameters_in
from skfem_ml.learning.training import fit
from skfem_ml.metrics import gauss_times
from skfem_ml.problems import Eigenproblem, Heat
from skfem_ml.solutions import NOTHING, Eigenpairs, Record

Array = NDArray[np.float64]


@dataclass(frozen=True, eq=False, repr=False)
class PublishedNetwork:
    """``u(x, t) = (1 - t) u0(x) + t d(x) N(x, t)`` on a segment, (13) of the report: right for g = 0 only.

    ``d`` is ``4 (x - a) (b - x) / (b - a)^2`` on (a, b). The ``history`` of ``record`` has one `History` a stage.

    >>> from skfem_ml.problems import heat_box
    >>> u = PublishedNetwork(heat_box(), MLP((2, 5, 1), generator=torch.Generator().manual_seed(0)))
    >>> u, bool(abs(u(np.array([[0.5]]), 0.0) - 1) < 1e-12)
    (PublishedNetwork(u(x, t), 21 unknowns), True)
    """

    problem: Heat
    net: MLP
    record: Record = NOTHING

    @property
    def unknowns(self) -> int:
        """The number of parameters."""
        return parameters_in(self.net)

    def __repr__(self) -> str:
        return f"PublishedNetwork(u(x, t), {self.unknowns:,} unknowns)"

    def __call__(self, x: ArrayLike, t: ArrayLike) -> Array:
        """Return the values ``(...)`` at ``x`` ``(1, ...)`` and times that broadcast to ``(...)``."""
        x = np.asarray(x, dtype=float)
        moment = np.broadcast_to(np.asarray(t, dtype=float), x.shape[1:]).ravel()
        flat = x.reshape(1, -1)
        with torch.no_grad():
            N = self.net(to_torch(np.concatenate([flat, moment[None]])))[:, 0].numpy()
        u = (1 - moment) * self.problem.initial(flat) + moment * distance(self.problem, flat[0])[0] * N
        return u.reshape(x.shape[1:])


def distance(problem: Heat, x: Array) -> tuple[Array, Array, float]:
    """Return ``4 (x - a) (b - x) / (b - a)^2`` and its first and second derivative on the segment (a, b)."""
    a, b = problem.mesh.p.min(), problem.mesh.p.max()
    scale = 4 / (b - a) ** 2
    return scale * (x - a) * (b - x), scale * (a + b - 2 * x), -2 * scale


def published_residual(problem: Heat, mixed: bool = True, points: int = 20) -> Callable[[MLP], Tensor]:
    """Return ``residual(net)`` ``(points^2,)`` of `PublishedNetwork`, at Gauss points times the roots of their weights.

    ``u_t - a (u_xx + t d N_xt) - f``: the last term is the report's, ``mixed=False`` leaves it out.
    """
    a, (low, high) = problem.a, (problem.mesh.p.min(), problem.mesh.p.max())
    nodes, weights = np.polynomial.legendre.leggauss(points)
    x, weight = low + (high - low) * (nodes + 1) / 2, (high - low) * weights / 2
    t, weight_t = gauss_times(problem.t_end, panels=1, order=points)
    X, T = np.tile(x, points), np.repeat(t, points)
    d, slope, bend = distance(problem, X)
    curve = getattr(problem.initial, "laplacian")(X[None])  # noqa: B009 - checked by the solver
    f = np.concatenate([problem.source(x[None], moment) for moment in t])
    rhs = f + problem.initial(X[None]) + a * (1 - T) * curve
    parts = [d - a * T * bend, -2 * a * T * slope, T * d, -a * T * d, -a * T * d * mixed]
    root = torch.as_tensor(np.sqrt(np.outer(weight_t, weight).ravel()))
    z, coefficients, right = to_torch(np.stack([X, T])), torch.as_tensor(np.stack(parts)), torch.as_tensor(rhs)

    def residual(net: MLP) -> Tensor:
        value, first, second = net.jet(z, ((0, 0), (0, 1)))
        jet = torch.cat([value[None], first, second])[..., 0]
        return root * ((coefficients * jet).sum(dim=0) - right)

    return residual


def solver_published(
    steps: int = 4000,
    warmup: int = 500,
    widths: Sequence[int] = (50, 20),
    activation: str = "sigmoid",
    rate: float = 5e-3,
    seed: int = 0,
) -> Callable[[Heat], PublishedNetwork]:
    """Return ``solve(problem) -> PublishedNetwork``: the report's network, its equation solved to the end.

    ``warmup`` steps of Adam, then ``steps`` of the self-scaled Broyden method, so that what is left is the slip and not
    the training. Raises ValueError for anything but Heat on a segment with g = 0 and an initial value with a Laplacian.
    """

    def solve(problem: Heat) -> PublishedNetwork:
        if not isinstance(problem, Heat) or problem.mesh.dim() != 1 or problem.g != 0:
            raise ValueError("problem: expected Heat on a segment with g = 0, which the report's trial function needs")
        if getattr(problem.initial, "laplacian", None) is None:
            raise ValueError("initial: expected solutions.Analytic(value, gradient, laplacian), got one without")
        residual = published_residual(problem)
        net = MLP((2, *widths, 1), activation, generator=torch.Generator().manual_seed(seed))
        histories = tuple(
            fit(net, lambda net, _: residual(net).square().sum(), optimiser=stage.start(net), steps=count)
            for stage, count in ((adam(rate), warmup), (ssbroyden(), steps))
        )
        return PublishedNetwork(problem, net, Record(parameters_in(net), history=histories, notes={"net": net}))

    return solve


def eig_published(
    k: int | None = None, seed: int = 0, start: Array | None = None, runs: int = 30, epochs: int = 100_000,
    width: int = 100, t_end: float = 2.0, points: int = 100, rate: float = 1e-3,
) -> Callable[[Eigenproblem], Eigenpairs]:  # fmt: skip
    """Return ``solve(problem) -> Eigenpairs``: the pairs that the report's network finds, fewer than ``k`` perhaps.

    ``runs`` trainings of a network 1-100-n, sigmoid, by Adam: ``x(t) = (1 - t) x0 + t N(t)`` on ``points`` times in
    [0, t_end], the mean of ``|x' + x - f(x)|^2``, ``epochs`` steps, (22)-(23). ``start`` is the first x0 (default:
    drawn, as all others are). The report does not state the learning rate; ``rate`` is Adam's usual one. Runs that end
    within 1e-2 of no eigenvector, or at one that was found before, add nothing.

    Raises ValueError for more pairs than rows and a problem with M.
    """

    def solve(problem: Eigenproblem) -> Eigenpairs:
        A = problem.require_matrix("eig_published")
        count = problem.require_pairs(len(A) if k is None else k)
        rng, n = np.random.default_rng(seed), len(A)
        found: list[Array] = []
        for run in range(runs):
            x0 = rng.standard_normal(n) if start is None or run else np.asarray(start, dtype=float)
            net = MLP((1, width, n), "sigmoid", generator=torch.Generator().manual_seed(seed + run))
            _keep(A, _one_run(A, x0, net, np.linspace(0, t_end, points), epochs, rate), found)
        vectors = np.array(found).T[:, :count] if found else np.zeros((n, 0))
        values = np.einsum("ij,ij->j", vectors, A @ vectors)
        record = Record(width * (n + 2) + n, notes={"found": len(found), "runs": runs})
        return Eigenpairs(values, vectors, record)

    return solve


def _one_run(A: Array, x0: Array, net: MLP, times: Array, epochs: int, rate: float) -> Array:
    """The state at the last of the times of the network's trajectory from x0."""
    t, matrix, first = torch.as_tensor(times)[:, None], torch.as_tensor(A), torch.as_tensor(x0)[None]

    def loss(net: MLP, _: object) -> Tensor:
        value, slope, _unused = net.jet(t)
        x = (1 - t) * first + t * value
        Ax = x @ matrix
        flow = (x * x).sum(1, keepdim=True) * Ax - (x * Ax).sum(1, keepdim=True) * x
        # The trial function's derivative is (24).
        return (value - first + t * slope[0] - flow).square().sum(1).mean()

    fit(net, loss, optimiser=adam(rate).start(net), steps=epochs, every=100)
    with torch.no_grad():
        return (1 - times[-1]) * x0 + times[-1] * net(t[-1:])[0].numpy()


def _keep(A: Array, x: Array, found: list[Array]) -> None:
    length = np.linalg.norm(x)
    if length < 1e-2:  # the zero vector solves (17) as well
        return
    x = x / length
    residual = np.linalg.norm(A @ x - (x @ A @ x) * x)
    if residual < 1e-2 * np.linalg.norm(A, 2) and all(abs(x @ y) < 0.9 for y in found):
        found.append(x)
