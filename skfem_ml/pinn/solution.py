"""What learners return: a trial function with a fitted network, that can be kept in a file."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from skfem import Mesh

from skfem_ml import displays
from skfem_ml.learning.history import History
from skfem_ml.learning.nn import MLP
from skfem_ml.learning.states import parameters_in
from skfem_ml.learning.storage import CorruptModelError, ModelMismatchError
from skfem_ml.learning.stored import load_network, save_network
from skfem_ml.pinn.distances import Smooth, is_box
from skfem_ml.pinn.trial import Trial, trial_of
from skfem_ml.problems import PDE, Diffusion, Heat
from skfem_ml.solutions import NOTHING, Record

Array = NDArray[np.float64]
Problem = PDE | Heat | Diffusion


@dataclass(frozen=True, eq=False, repr=False)
class LearnedSolution:
    """A trial function with a fitted network N: ``u(x)`` or ``u(x, t)``, and ``u.grad``.

    Values are ``(...)`` for one component, else ``(components, ...)``, those of several fields one after the other.
    ``unknown`` holds what was asked for in an inverse problem, numbers and callables of x (and t). ``record`` counts
    the parameters as ``unknowns`` and has the ``history``.

    >>> from skfem_ml.pinn import solver_elm
    >>> from skfem_ml.problems import heat_box
    >>> u = solver_elm(50, points=10, times=10)(heat_box())
    >>> u
    LearnedSolution(u(x, t), 50 unknowns)
    >>> bool(abs(u(np.array([[0.5]]), 0.0) - 1) < 1e-12)
    True
    """

    trial: Trial
    net: MLP
    record: Record = NOTHING
    scalars: Mapping[str, float] = field(default_factory=dict)

    @property
    def unknowns(self) -> int | None:
        """The number of parameters, where the solver says it."""
        return self.record.unknowns

    @property
    def unknown(self) -> dict[str, float | Callable[..., Array]]:
        """The unknown scalars and fields of an inverse problem, by name."""
        first, guesses = sum(self.trial.problem.fields), self.trial.problem.unknown
        names = [name for name, guess in guesses.items() if callable(guess)]

        def of(c: int) -> Callable[..., Array]:
            return lambda x, *t: self._jets(x, t)[c, 0].reshape(np.shape(x)[1:])

        return {**self.scalars, **{name: of(first + k) for k, name in enumerate(names)}}

    def __call__(self, x: ArrayLike, *t: ArrayLike) -> Array:
        """Return the values at ``x`` ``(dim, ...)`` and, in time, ``t`` that broadcasts to ``(...)``."""
        return self._shaped(self._jets(x, t)[:, 0], np.shape(x)[1:])

    def grad(self, x: ArrayLike, *t: ArrayLike) -> Array:
        """Return the gradient in x, ``(dim, ...)``, or ``(components, dim, ...)``."""
        return self._shaped(self._jets(x, t)[:, 1 : 1 + self.trial.problem.dim], np.shape(x))

    def _shaped(self, values: Array, shape: tuple[int, ...]) -> Array:
        count = sum(self.trial.problem.fields)
        return values[0].reshape(shape) if count == 1 else values[:count].reshape(count, *shape)

    def _jets(self, x: ArrayLike, t: tuple[ArrayLike, ...]) -> Array:
        """The jets of u in z without second derivatives, ``(C, 1 + D, n)``."""
        trial = self.trial
        if len(t) != int(trial.timed):
            raise TypeError(f"expected u(x{', t' if trial.timed else ''}), got {1 + len(t)} arguments")
        x = np.asarray(x, dtype=float)
        if x.ndim < 1 or len(x) != trial.problem.dim:
            raise ValueError(f"x: expected shape ({trial.problem.dim}, ...), one row per coordinate, got {x.shape}")
        z = x.reshape(len(x), -1)
        if t:
            moment = np.broadcast_to(np.asarray(t[0], dtype=float), x.shape[1:]).ravel()
            z = np.concatenate([z, moment[None]])
        N = network_jet(self.net, trial.scaled(z))
        return trial.lift(z, ()) + np.einsum("cefn,cfn->cen", trial.factor(z, ()), N)

    def save(self, path: str | Path, card: Mapping[str, object] | None = None) -> None:
        """Write network, unknown scalars, histories and a card of JSON values to a file; the problem is not in it.

        Raises what `storage.save_model` raises.
        """
        records = [history.to_dict() for history in self.record.history if isinstance(history, History)]
        own = {"history": records, "own distance": self.trial.own, "scalars": dict(self.scalars)}
        save_network(path, self.net, {**self.record.notes.get("card", {}), **(card or {}), **own})

    @classmethod
    def load(cls, path: str | Path, problem: Problem, distance: Smooth | None = None) -> LearnedSolution:
        """Return the solution of a file of `save`, with the boundary and initial data of ``problem``.

        ``distance`` must be given where it was given to the solver. ``record["card"]`` is the card. Raises
        FileNotFoundError, CorruptModelError for a file that is damaged, ModelMismatchError for a problem of another
        dimension, other components or unknowns, and for a distance that is missing or too many.
        """
        net, card = load_network(path, (MLP,))
        trial, records = trial_of(problem, distance), card.pop("history", None)
        scalars = card.pop("scalars", {})
        names = sorted(name for name, guess in trial.problem.unknown.items() if not callable(guess))
        wanted = {"inputs": len(trial.low), "outputs": len(trial.zetas), "unknown": names, "distance given": trial.own}
        got = {"inputs": net.widths[0], "outputs": net.widths[-1],
               "unknown": sorted(scalars) if isinstance(scalars, dict) else scalars,
               "distance given": card.pop("own distance", None)}  # fmt: skip
        if wanted != got:
            raise ModelMismatchError(str(path), wanted, got, "give the problem and distance of the training")
        try:
            history = tuple(History.from_dict(one) for one in records)  # type: ignore[attr-defined]
            values = {str(name): float(value) for name, value in scalars.items()}  # type: ignore[attr-defined]
        except (TypeError, AttributeError, ValueError) as error:
            raise CorruptModelError(f"{path}: expected histories on the card, got others ({error})") from error
        record = Record(parameters_in(net) + len(values), history=history, notes={"net": net, "card": card})
        return cls(trial, net, record, values)

    def __repr__(self) -> str:
        found = "".join(f", {name} = {value:.6g}" for name, value in self.scalars.items())
        return f"LearnedSolution(u(x{', t' if self.trial.timed else ''}), {self.unknowns} unknowns{found})"

    def _repr_html_(self) -> str | None:
        """A picture of one component of up to two variables on a box (time goes up), for notebooks."""
        trial = self.trial
        box = not isinstance(trial.problem.domain, Mesh) or is_box(trial.problem.domain)
        if len(trial.low) > 2 or sum(trial.problem.fields) > 1 or not box:
            return None
        if len(trial.low) == 1:
            x = np.linspace(trial.low, trial.high, displays.WIDTH).T
            return displays.curve(repr(self), x[0], self(x))
        x = displays.places(trial.low, trial.high)
        return displays.picture(repr(self), self(x[:1], x[1]) if trial.timed else self(x))


def network_jet(net: MLP, s: Array) -> Array:
    """Return values and first derivatives ``(C, 1 + D, n)`` of a network at s ``(D, n)``."""
    with torch.no_grad():
        value, first, _ = net.jet(torch.as_tensor(np.ascontiguousarray(s.T)))
    return torch.cat([value[None], first]).permute(2, 0, 1).numpy()
