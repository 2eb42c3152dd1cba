"""Trial functions: solutions with the boundary and initial data built in (the report's eq. 13; Lagaris et al. 1998)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray

from skfem_ml.learning.history import History
from skfem_ml.learning.nn import MLP, to_torch
from skfem_ml.learning.states import parameters_in
from skfem_ml.learning.storage import CorruptModelError, ModelMismatchError
from skfem_ml.learning.stored import load_network, save_network
from skfem_ml.pinn.distances import ZERO, Smooth, distance_of, fe_lift
from skfem_ml.problems import Diffusion, Heat
from skfem_ml.solutions import NOTHING, Record

Array = NDArray[np.float64]
# Values (n,) and gradient (D, n) of N at z (D, n).
Jet = Callable[[Array], tuple[Array, Array]]


@dataclass(frozen=True, eq=False)
class Trial:
    """``u(x, t) = lift(x) + t d(x) N(x, t)``, stationary: ``u(x) = lift(x) + d(x) N(x)``.

    Initial and boundary data hold for every N: at t = 0 u is the lift, the initial value; on the boundary d vanishes
    and the lift has the boundary value. ``own`` says that the distance was given, not derived from the problem.

    >>> from skfem_ml.problems import heat_box
    >>> trial = trial_of(heat_box())
    >>> trial.distance(np.array([[0.0, 0.5, 1.0]])).tolist(), trial.timed
    ([0.0, 1.0, 0.0], True)
    """

    lift: Smooth
    distance: Smooth
    timed: bool = True
    own: bool = False


def trial_of(problem: Heat | Diffusion, distance: Smooth | None = None) -> Trial:
    """Return the trial function of a problem; ``distance`` replaces the default of `distances.distance_of`.

    The lift is the initial value (`Heat`), zero or the harmonic finite element extension of g (`Diffusion`). Raises
    ValueError for an initial value without a gradient.
    """
    chosen, own = distance_of(problem) if distance is None else distance, distance is not None
    if isinstance(problem, Heat):
        return Trial(require_gradient(problem.initial, "initial"), chosen, True, own)
    lift = fe_lift(problem) if callable(problem.g) or problem.g != 0 else ZERO
    return Trial(lift, chosen, False, own)


@dataclass(frozen=True, eq=False, repr=False)
class LearnedSolution:
    """A trial function with a fitted N: ``u(x)`` or ``u(x, t)``, and ``u.grad``; ``jet`` gives N and its gradient.

    ``record`` counts the parameters as ``unknowns``; of networks it has the ``history`` and the note "net".

    >>> from skfem_ml.pinn import solver_elm
    >>> from skfem_ml.problems import heat_box
    >>> u = solver_elm(50, points=10, times=10)(heat_box())
    >>> u
    LearnedSolution(u(x, t), 50 unknowns)
    >>> bool(abs(u(np.array([[0.5]]), 0.0) - 1) < 1e-12)
    True
    """

    trial: Trial
    jet: Jet
    record: Record = NOTHING

    @property
    def unknowns(self) -> int | None:
        """The number of parameters, where the solver says it."""
        return self.record.unknowns

    def save(self, path: str | Path, card: Mapping[str, object] | None = None) -> None:
        """Write network, histories and a card of JSON values to a file; the problem is not in it.

        Raises TypeError for a solution without a network (random features), and what `storage.save_model` raises.
        """
        net = self.record.notes.get("net")
        if not isinstance(net, MLP):
            raise TypeError("save: expected a solution of solver_pinn or solver_vpinn, got one without a network")
        records = [history.to_dict() for history in self.record.history if isinstance(history, History)]
        own = {"history": records, "own distance": self.trial.own}
        save_network(path, net, {**self.record.notes.get("card", {}), **(card or {}), **own})

    @classmethod
    def load(cls, path: str | Path, problem: Heat | Diffusion, distance: Smooth | None = None) -> LearnedSolution:
        """Return the solution of a file of `save`, with the boundary and initial data of ``problem``.

        ``distance`` must be given where it was given to the solver. ``record["card"]`` is the card. Raises
        FileNotFoundError, CorruptModelError for a file that is damaged, ModelMismatchError for a problem of another
        dimension and for a distance that is missing or too many.
        """
        net, card = load_network(path, (MLP,))
        trial, records = trial_of(problem, distance), card.pop("history", None)
        wanted = {"inputs": problem.mesh.dim() + trial.timed, "distance given": trial.own}
        got = {"inputs": net.widths[0], "distance given": card.pop("own distance", None)}
        if wanted != got:
            raise ModelMismatchError(str(path), wanted, got, "give the problem and distance of the training")
        try:
            history = tuple(History.from_dict(one) for one in records)  # type: ignore[attr-defined]
        except (TypeError, AttributeError) as error:
            raise CorruptModelError(f"{path}: expected histories on the card, got others ({error})") from error
        record = Record(parameters_in(net), history=history, notes={"net": net, "card": card})
        return cls(trial, network_jet(net), record)

    def __repr__(self) -> str:
        return f"LearnedSolution(u(x{', t' if self.trial.timed else ''}), {self.unknowns} unknowns)"

    def __call__(self, x: ArrayLike, *t: ArrayLike) -> Array:
        """Return the values at ``x`` ``(dim, ...)`` and, in time, ``t`` that broadcasts to ``(...)``."""
        x, flat, z, moment = self._points(x, t)
        scale = moment if self.trial.timed else 1.0
        u = self.trial.lift(flat) + scale * self.trial.distance(flat) * self.jet(z)[0]
        return u.reshape(x.shape[1:])

    def grad(self, x: ArrayLike, *t: ArrayLike) -> Array:
        """Return the gradient in x, ``(dim, ...)``."""
        x, flat, z, moment = self._points(x, t)
        value, first = self.jet(z)
        scale = moment if self.trial.timed else 1.0
        d, slope = self.trial.distance(flat), self.trial.distance.grad(flat)
        return (self.trial.lift.grad(flat) + scale * (slope * value + d * first[: len(x)])).reshape(x.shape)

    def _points(self, x: ArrayLike, t: tuple[ArrayLike, ...]) -> tuple[Array, Array, Array, Array]:
        if len(t) != int(self.trial.timed):
            raise TypeError(f"expected u(x{', t' if self.trial.timed else ''}), got {1 + len(t)} arguments")
        x = np.asarray(x, dtype=float)
        flat = x.reshape(len(x), -1)
        if not t:
            return x, flat, flat, np.zeros(flat.shape[1])
        moment = np.broadcast_to(np.asarray(t[0], dtype=float), x.shape[1:]).ravel()
        return x, flat, np.concatenate([flat, moment[None]]), moment


def network_jet(net: MLP) -> Jet:
    """Return values ``(n,)`` and gradient ``(D, n)`` of a network with one output at numpy points ``(D, n)``."""

    def jet(z: Array) -> tuple[Array, Array]:
        with torch.no_grad():
            value, first, _ = net.jet(to_torch(z))
        return value[:, 0].numpy(), first[..., 0].numpy()

    return jet


def require_gradient(function: Callable[[Array], Array], label: str) -> Smooth:
    """Return a lift; ValueError unless it has a gradient, which every form needs."""
    if not hasattr(function, "grad"):
        raise ValueError(f"{label}: expected solutions.Analytic(value, gradient, ...), got {type(function).__name__}")
    return function
