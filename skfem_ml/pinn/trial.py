"""Trial functions: solutions with the boundary and initial data built in (the report's eq. 13; Lagaris et al. 1998)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from skfem_ml.pinn.distances import ZERO, distance_of, fe_lift
from skfem_ml.problems import Diffusion, Heat
from skfem_ml.solutions import NOTHING, Analytic, Record

Array = NDArray[np.float64]
# Values (n,) and gradient (D, n) of N at z (D, n).
Jet = Callable[[Array], tuple[Array, Array]]


@dataclass(frozen=True, eq=False)
class Trial:
    """``u(x, t) = (1 - decay t) lift(x) + t d(x) N(x, t)``, stationary: ``u(x) = lift(x) + d(x) N(x)``.

    Initial and boundary data hold for every N: at t = 0 u is the lift, the initial value; on the boundary d vanishes
    and the lift has the boundary value. ``decay = 1`` is the form (13) of the report, right for g = 0 only.
    """

    lift: Any
    distance: Any
    timed: bool = True
    decay: float = 0.0


def trial_of(problem: Heat | Diffusion, distance: Any = None, decay: float = 0.0) -> Trial:
    """Return the trial function of a problem; ``distance`` replaces the default of `distances.distance_of`.

    The lift is the initial value (`Heat`), zero or the harmonic finite element extension of g (`Diffusion`).
    """
    chosen = distance_of(problem) if distance is None else distance
    if isinstance(problem, Heat):
        return Trial(problem.initial, chosen, True, decay)
    lift = fe_lift(problem) if callable(problem.g) or problem.g != 0 else ZERO
    return Trial(lift, chosen, False)


@dataclass(frozen=True, eq=False)
class LearnedSolution:
    """A trial function with a fitted N: ``u(x)`` or ``u(x, t)``, and ``u.grad``; ``jet`` gives N and its gradient.

    ``record`` counts the parameters as ``unknowns``; of networks it has the ``history`` and the note "net".
    """

    trial: Trial
    jet: Jet
    record: Record = NOTHING

    @property
    def unknowns(self) -> int | None:
        """The number of parameters, where the solver says it."""
        return self.record.unknowns

    def __call__(self, x: ArrayLike, *t: ArrayLike) -> Array:
        """Return the values at ``x`` ``(dim, ...)`` and, in time, ``t`` that broadcasts to ``(...)``."""
        x, flat, z, moment = self._points(x, t)
        scale = moment if self.trial.timed else 1.0
        u = (1 - self.trial.decay * moment) * self.trial.lift(flat) + scale * self.trial.distance(flat) * self.jet(z)[0]
        return u.reshape(x.shape[1:])

    def grad(self, x: ArrayLike, *t: ArrayLike) -> Array:
        """Return the gradient in x, ``(dim, ...)``."""
        x, flat, z, moment = self._points(x, t)
        value, first = self.jet(z)
        scale = moment if self.trial.timed else 1.0
        d, slope = self.trial.distance(flat), self.trial.distance.grad(flat)
        g = (1 - self.trial.decay * moment) * self.trial.lift.grad(flat)
        return (g + scale * (slope * value + d * first[: len(x)])).reshape(x.shape)

    def _points(self, x: ArrayLike, t: tuple[ArrayLike, ...]) -> tuple[Array, Array, Array, Array]:
        if len(t) != int(self.trial.timed):
            raise TypeError(f"expected u(x{', t' if self.trial.timed else ''}), got {1 + len(t)} arguments")
        x = np.asarray(x, dtype=float)
        flat = x.reshape(len(x), -1)
        if not t:
            return x, flat, flat, np.zeros(flat.shape[1])
        moment = np.broadcast_to(np.asarray(t[0], dtype=float), x.shape[1:]).ravel()
        return x, flat, np.concatenate([flat, moment[None]]), moment


def require_gradient(function: Any, label: str) -> None:
    """Raise ValueError unless a lift has a gradient, which every form needs."""
    if not isinstance(function, Analytic) and not hasattr(function, "grad"):
        raise ValueError(f"{label}: expected solutions.Analytic(value, gradient, ...), got {type(function).__name__}")
