"""Levenberg-Marquardt for sums of squares."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import torch
from torch import Tensor

from skfem_ml.learning.optim.flat import Closure, FlatOptimizer


class LevenbergMarquardt(FlatOptimizer):
    """``min |r(x)|^2`` by steps ``d = argmin |J d + r|^2 + mu |d|^2``, as bold as the residual lets them be.

    Each step first tries ``mu * down`` and then raises it by ``up`` until ``|r|`` falls: J is factorised once, so a
    try costs a residual. Networks with more parameters than rows come to ``r = 0`` with mu far below what a ratio of
    actual to predicted decrease allows. The singular values of J are used, for the normal equations would square the
    condition number and stop at half the digits. ``residual()`` gives r ``(rows,)`` and ``jacobian()`` the pair r, J
    ``(rows, n)``, both at the current parameters. After ``tries`` failures nothing is changed (``.stalled``).

    >>> x = torch.nn.Parameter(torch.tensor([3.0, -2.0], dtype=torch.float64))
    >>> optimiser = LevenbergMarquardt([x], lambda: x - 1, lambda: ((x - 1).detach(), torch.eye(2).double()), mu=1e-3)
    >>> bool(min(optimiser.step() for _ in range(5)) < 1e-12)
    True
    """

    def __init__(
        self,
        params: Iterable[Tensor],
        residual: Callable[[], Tensor],
        jacobian: Callable[[], tuple[Tensor, Tensor]],
        mu: float = 1.0,
        down: float = 0.01,
        up: float = 2.0,
        tries: int = 150,
    ):
        if not (mu > 0 and 0 < down < 1 < up):
            raise ValueError(f"mu, down, up: expected mu > 0 and 0 < down < 1 < up, got {mu}, {down}, {up}")
        super().__init__(params, {"mu": mu, "down": down, "up": up, "tries": tries})
        self.residual, self.jacobian = residual, jacobian

    def step(self, closure: Closure | None = None) -> Tensor:  # type: ignore[override]
        """Do one accepted step and return ``|r|^2`` after it; ``closure`` is not called."""
        options, memory = self.param_groups[0], self.memory
        mu = max(float(memory.get("mu", options["mu"])) * options["down"], 1e-30)
        x = self.vector()
        r, J = self.jacobian()
        cost = r @ r
        step = damped_steps(J, r)
        for _ in range(options["tries"]):
            self.assign(x + step(mu))
            with torch.no_grad():
                new = self.residual().square().sum()
            if new < cost:
                memory.update(mu=mu, stalled=False)
                return new
            mu *= options["up"]
        self.assign(x)
        memory.update(mu=options["mu"], stalled=True)
        return cost

    @property
    def stalled(self) -> bool:
        """Whether the last step found no decrease."""
        return bool(self.memory.get("stalled", False))


def damped_steps(J: Tensor, r: Tensor) -> Callable[[float], Tensor]:
    """Return ``mu -> argmin |J d + r|^2 + mu |d|^2``, ``(n,)``; J ``(rows, n)`` is factorised once.

    Where mu is large enough for the digits that the squared condition number leaves, the smaller of ``J J'`` and
    ``J' J`` is factorised by Cholesky's method for each mu, at a fraction of the price; else singular values are used.
    """
    wide = J.shape[0] < J.shape[1]
    gram = J @ J.T if wide else J.T @ J
    right = r if wide else J.T @ r
    enough = 1e-13 * float(gram.diagonal().sum())
    singular: list[tuple[Tensor, Tensor, Tensor]] = []

    def step(mu: float) -> Tensor:
        if mu > enough and not singular:
            factor, failed = torch.linalg.cholesky_ex(gram + mu * torch.eye(len(gram), dtype=J.dtype))
            if not failed:
                d = torch.cholesky_solve(right[:, None], factor)[:, 0]
                return -(J.T @ d) if wide else -d
        if not singular:
            singular.append(_singular(J, r))
        part, S, Vh = singular[0]
        return -(Vh.T @ (S / (S * S + mu) * part))

    return step


def _singular(J: Tensor, r: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    if len(J) > 1.2 * J.shape[1]:
        Q, J = torch.linalg.qr(J)
        r = Q.T @ r
    U, S, Vh = torch.linalg.svd(J, full_matrices=False)
    return U.T @ r, S, Vh
