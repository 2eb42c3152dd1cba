"""Levenberg-Marquardt for sums of squares."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import torch
from torch import Tensor

from skfem_ml.learning.optim.flat import Closure, FlatOptimizer


class LevenbergMarquardt(FlatOptimizer):
    """``min |r(x)|^2`` by steps ``d = argmin |J d + r|^2 + mu |d|^2``, solved by QR of ``[J; sqrt(mu) I]``.

    The normal equations would square the condition number and stop at half the digits. ``residual()`` gives r
    ``(rows,)`` and ``jacobian()`` the pair r, J ``(rows, n)``, both at the current parameters. mu shrinks by ``down``
    where the step gives at least a quarter of the predicted decrease, and grows by ``up`` where it fails; a step of the
    optimiser ends with the first decrease, or after ``tries`` failures with no change (``.stalled``).

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
        down: float = 0.2,
        up: float = 3.0,
        tries: int = 30,
    ):
        if not (mu > 0 and 0 < down < 1 < up):
            raise ValueError(f"mu, down, up: expected mu > 0 and 0 < down < 1 < up, got {mu}, {down}, {up}")
        super().__init__(params, {"mu": mu, "down": down, "up": up, "tries": tries})
        self.residual, self.jacobian = residual, jacobian

    def step(self, closure: Closure | None = None) -> Tensor:  # type: ignore[override]
        """Do one accepted step and return ``|r|^2`` after it; ``closure`` is not called."""
        options, memory = self.param_groups[0], self.memory
        mu = float(memory.get("mu", options["mu"]))
        x = self.vector()
        r, J = self.jacobian()
        cost = r @ r
        for _ in range(options["tries"]):
            d = damped_step(J, r, mu)
            self.assign(x + d)
            with torch.no_grad():
                new = self.residual().square().sum()
            if new < cost:
                predicted = cost - (J @ d + r).square().sum()
                mu = mu * options["down"] if cost - new > 0.25 * predicted else mu
                memory.update(mu=max(mu, 1e-30), stalled=False)
                return new
            mu *= options["up"]
        self.assign(x)
        memory.update(mu=options["mu"], stalled=True)
        return cost

    @property
    def stalled(self) -> bool:
        """Whether the last step found no decrease."""
        return bool(self.memory.get("stalled", False))


def damped_step(J: Tensor, r: Tensor, mu: float) -> Tensor:
    """Return ``argmin |J d + r|^2 + mu |d|^2``, ``(n,)``."""
    n = J.shape[1]
    stacked = torch.cat([J, mu**0.5 * torch.eye(n, dtype=J.dtype)])
    Q, R = torch.linalg.qr(stacked)
    return torch.linalg.solve_triangular(R, -(Q[: len(r)].T @ r)[:, None], upper=True)[:, 0]
