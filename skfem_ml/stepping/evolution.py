"""Time loops: a stepper from a start to an end, and what it returns."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from skfem_ml.stepping.stepper import EitherStepper, is_timed

Array = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class OdeResult:
    """Times ``t`` ``(k,)``, states ``y`` ``(n, k)``, ``status`` 0 (reached the end) or -1, ``message``, ``steps``.

    A batch of starts ``(batch, n)`` has states ``(batch, n, k)``. ``steps`` counts steps one after the other, ``nfev``
    the states that were stepped (or calls of the right-hand side) in all of them; ``sol(t)`` is the dense output, of
    shape ``(n, ...)`` or ``(batch, n, ...)``, where the method has one.

    >>> import numpy as np
    >>> from skfem_ml.stepping import OdeResult
    >>> OdeResult(np.linspace(0, 1, 3), np.zeros((2, 3)), 0, "reached t_end", 2)
    OdeResult(2 unknowns, 3 times from 0 to 1, 2 steps: reached t_end)
    """

    t: Array
    y: Array
    status: int
    message: str
    steps: int
    sol: Callable[[ArrayLike], Array] | None = None
    nfev: int = 0

    def __repr__(self) -> str:
        batch = f"{self.y.shape[0]} starts, " if self.y.ndim == 3 else ""
        span = f"{len(self.t)} times from {self.t[0]:g} to {self.t[-1]:g}"
        return f"{type(self).__name__}({batch}{self.y.shape[-2]} unknowns, {span}, {self.steps} steps: {self.message})"

    @property
    def success(self) -> bool:
        """Whether the end was reached."""
        return self.status == 0


def evolve(stepper: EitherStepper, u0: Array, t_end: float, every: int = 1) -> OdeResult:
    """Step from 0 to ``t_end`` and return every ``every``-th state and the last one.

    ``u0`` is ``(n,)`` or, where the stepper takes rows of states, ``(batch, n)``. A stepper whose equation depends on
    time is given the time of each step. Stops at the first state that is not finite (status -1). Raises ValueError
    unless ``t_end`` is a multiple of ``stepper.dt``.
    """
    count = step_count(stepper.dt, t_end)
    u = np.array(u0, dtype=float)
    times, states = [0.0], [u]
    for k in range(1, count + 1):
        u = stepper.step(u, (k - 1) * stepper.dt) if is_timed(stepper) else stepper.step(u)  # type: ignore[call-arg]
        if k % every == 0 or k == count:
            times.append(k * stepper.dt)
            states.append(u)
            if not np.isfinite(u).all():
                message = f"not finite at step {k}, t = {k * stepper.dt:.6g}"
                return OdeResult(np.array(times), np.stack(states, axis=-1), -1, message, k)
    return OdeResult(np.array(times), np.stack(states, axis=-1), 0, "reached t_end", count)


def step_count(dt: float, t_end: float) -> int:
    """Return ``t_end / dt``; raise ValueError unless it is a whole number of steps, at least one."""
    count = round(t_end / dt) if dt > 0 else 0
    if count < 1 or abs(count * dt - t_end) > 1e-9 * t_end:
        near = t_end / max(1, count)
        raise ValueError(
            f"dt: expected t_end / dt to be a whole number of steps, got {t_end} / {dt}; use dt = {near!r}"
        )
    return count


def check_states(y0: ArrayLike, size: int | None = None) -> Array:
    """Return states ``(n,)`` or ``(batch, n)`` in double; ValueError for other shapes, another n, or not finite."""
    y0 = np.asarray(y0, dtype=float)
    if y0.ndim not in (1, 2) or not y0.size or (size is not None and y0.shape[-1] != size):
        raise ValueError(f"y0: expected ({size or 'n'},) or (batch, {size or 'n'}), got {y0.shape}")
    if not np.isfinite(y0).all():
        raise ValueError(f"y0: expected finite values, got {int((~np.isfinite(y0)).sum())} that are not")
    return y0
