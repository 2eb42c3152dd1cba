"""Self-scaled Broyden method with a strong Wolfe line search."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import torch
from torch import Tensor

from skfem_ml.learning.optim.flat import Closure, FlatOptimizer, State


class SSBroyden(FlatOptimizer):
    """Self-scaled Broyden method with a dense inverse Hessian H and a strong Wolfe line search.

    With ``s = x' - x``, ``y = g' - g``, ``v = (y'Hy)^(1/2) (s / y's - Hy / y'Hy)``:
    ``H' = (H - Hy (Hy)' / y'Hy + phi v v') / tau + s s' / y's``, where tau and phi are those of Al-Baali's
    self-scaling family as restated for physics-informed networks by Urban, Stefanou and Pons (arXiv:2405.04230,
    section 3). H becomes the identity again where ``y's`` is not positive, and where no step is found along a
    direction (twice in a row: the run is over, ``.stalled`` is True). For a loss
    that is the same function in every step (no mini-batches): value and gradient are kept. Memory: n^2 numbers.

    >>> x = torch.nn.Parameter(torch.tensor([3.0, -2.0], dtype=torch.float64))
    >>> optimiser = SSBroyden([x])
    >>> def loss():
    ...     optimiser.zero_grad()
    ...     value = (x - 1).square().sum()
    ...     value.backward()
    ...     return value
    >>> bool(min(optimiser.step(loss) for _ in range(9)) < 1e-12)
    True
    """

    def __init__(self, params: Iterable[Tensor], c1: float = 1e-4, c2: float = 0.9, max_evaluations: int = 25):
        if not 0 < c1 < c2 < 1:
            raise ValueError(f"c1, c2: expected 0 < c1 < c2 < 1, got {c1}, {c2}")
        super().__init__(params, {"c1": c1, "c2": c2, "max_evaluations": max_evaluations})

    @property
    def stalled(self) -> bool:
        """Whether no descent was found even along the gradient: rounding has the last word."""
        return bool(self.memory.get("stalled", False))

    def step(self, closure: Closure) -> Tensor:  # type: ignore[override]
        """Do one quasi-Newton step and return the loss after it."""
        memory, options = self.memory, self.param_groups[0]
        x = self.vector()
        if "H" not in memory:
            value, g = self.gradient(closure)
            memory.update(H=None, value=value, g=g, stalled=False)
        H, value, g = memory["H"], memory["value"], memory["g"]
        direction = -g if H is None else -(H @ g)
        slope = g @ direction
        if not slope < 0:
            H, direction, slope = None, -g, -(g @ g)
        # The first step along a bare gradient has no scale of its own.
        first = 1.0 if H is not None else min(1.0, 1.0 / max(float(g.abs().sum()), 1e-300))

        def along(alpha: float) -> tuple[float, Tensor, float]:
            self.assign(x + alpha * direction)
            f, gradient = self.gradient(closure)
            return float(f), gradient, float(gradient @ direction)

        found = strong_wolfe(along, float(value), float(slope), first, **_wolfe(options))
        if found is None:
            self.assign(x)
            memory["stalled"] = H is None
            memory["H"] = None
            return value
        alpha, f, new = found
        self.assign(x + alpha * direction)
        memory["H"] = broyden_update(H, alpha * direction, new - g, g, alpha)
        memory.update(value=torch.as_tensor(f, dtype=x.dtype), g=new, stalled=False)
        return memory["value"]


def _wolfe(options: State) -> State:
    return {key: options[key] for key in ("c1", "c2", "max_evaluations")}


def broyden_update(H: Tensor | None, s: Tensor, y: Tensor, g: Tensor, alpha: float) -> Tensor | None:
    """Return the next inverse Hessian of `SSBroyden`; None (the identity) where the curvature ``y's`` is not positive.

    ``g`` is the gradient before the step ``s = -alpha H g``; all vectors are ``(n,)``, H is ``(n, n)`` or None.
    """
    n, ys = len(s), float(y @ s)
    if not ys > 1e-16 * float(s.norm() * y.norm()):
        return None
    if H is None:
        H = torch.eye(n, dtype=s.dtype) * (ys / float(y @ y))
        Hy = H @ y
        b = float(s @ s) / ys * (float(y @ y) / ys)
    else:
        Hy = H @ y
        b = -alpha * float(s @ g) / ys
    yHy = float(y @ Hy)
    h = yHy / ys
    a = max(h * b - 1.0, 1e-14)
    rho = min(1.0, h * (1.0 - (a / (1.0 + a)) ** 0.5))
    theta = max((rho - 1.0) / a, min(1.0 / rho, (1.0 - b) / b))
    sigma = (1.0 + a * theta) ** (-1.0 / max(n - 1, 1))
    plus = min(1.0, 1.0 / b)
    tau = min(plus * sigma, 1.0 + a * theta) if theta <= 0 else plus * min(sigma, 1.0 / theta)
    phi = (1.0 - theta) / (1.0 + a * theta)
    v = yHy**0.5 * (s / ys - Hy / yHy)
    H = torch.addr(H, Hy, Hy, alpha=-1.0 / yHy)
    H = torch.addr(H, v, v, alpha=phi)
    return torch.addr(H / tau, s, s, alpha=1.0 / ys)


def strong_wolfe(
    along: Callable[[float], tuple[float, Tensor, float]],
    f0: float,
    slope0: float,
    alpha: float,
    c1: float,
    c2: float,
    max_evaluations: int,
) -> tuple[float, float, Tensor] | None:
    """Return a step ``(alpha, f, gradient)`` with ``f <= f0 + c1 alpha f0'`` and ``|f'| <= c2 |f0'|``.

    ``along(alpha)`` gives value, gradient and slope. Bracketing and cubic interpolation (Nocedal and Wright,
    algorithms 3.5 and 3.6). Where rounding or the budget ends the search, the best point with a sufficient decrease is
    returned, and None where there is none.
    """
    low, f_low, d_low = 0.0, f0, slope0
    high: float | None = None
    f_high = d_high = float("nan")
    best: tuple[float, float, Tensor] | None = None
    for _ in range(max_evaluations):
        f, gradient, slope = along(alpha)
        if not f <= f0 + c1 * alpha * slope0 or (low > 0 and f >= f_low):
            high, f_high, d_high = alpha, f, slope
        else:
            if best is None or f < best[1]:
                best = (alpha, f, gradient)
            if abs(slope) <= -c2 * slope0:
                return alpha, f, gradient
            if slope * (1.0 if high is None else high - low) >= 0:
                high, f_high, d_high = low, f_low, d_low
            low, f_low, d_low = alpha, f, slope
        alpha = 2.0 * alpha if high is None else _cubic(low, f_low, d_low, high, f_high, d_high)
        if high is not None and abs(high - low) <= 1e-14 * max(abs(high), abs(low)):
            break
    return best


def _cubic(a: float, fa: float, da: float, b: float, fb: float, db: float) -> float:
    """Return the minimiser of the cubic through two points with slopes, kept a tenth inside; else the midpoint."""
    middle, tenth = 0.5 * (a + b), 0.1 * abs(b - a)
    d1 = da + db - 3.0 * (fa - fb) / (a - b)
    inside = d1 * d1 - da * db
    if not 0 <= inside < float("inf"):
        return middle
    d2 = inside**0.5 if b > a else -(inside**0.5)
    bottom = db - da + 2.0 * d2
    if bottom == 0:
        return middle
    x = b - (b - a) * (db + d2 - d1) / bottom
    return min(max(x, min(a, b) + tenth), max(a, b) - tenth) if x == x else middle
