"""Networks on POD coefficients as steppers of finite element states, and the remainder after a linear step."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import ArrayLike, NDArray

from skfem_ml.hits.flow_map import FlowMap
from skfem_ml.hits.reduced_files import load_reduced, save_reduced
from skfem_ml.stepping.linear import Matrix
from skfem_ml.stepping.pod import POD
from skfem_ml.stepping.semidiscrete import check_rows
from skfem_ml.stepping.stepper import Stepper

Array = NDArray[np.float64]


class ReducedMap:
    """The stepper ``u -> decode(F(encode(u)))`` of states ``(n,)`` or ``(batch, n)``, by a map F of POD coefficients.

    ``flow`` is a stepper of coefficients ``(batch, r)``: a `FlowMap`, a `Remainder`, or a classical one. What the modes
    cannot hold is lost at the first step. For many steps encode once, step ``flow``, and decode what is wanted.

    >>> import numpy as np
    >>> from skfem_ml.stepping import POD, RK4
    >>> pod = POD(np.eye(3), 1).fit([[1.0, 2.0, 2.0]])
    >>> stepper = ReducedMap(pod, RK4(lambda c: -c, 0.1))
    >>> stepper, stepper.step([1.0, 2.0, 2.0]).round(3)
    (ReducedMap(POD(1 mode of 3 unknowns), RK4(dt 0.1)), array([0.905, 1.81 , 1.81 ]))
    """

    def __init__(self, pod: POD, flow: Stepper):
        self.pod, self.flow, self.dt, self.size = pod, flow, flow.dt, pod.size

    def __repr__(self) -> str:
        return f"ReducedMap({self.pod}, {self.flow})"

    def step(self, u: ArrayLike) -> Array:
        """Return the state or states one step later."""
        return self.pod.decode(self.flow.step(self.pod.encode(u)))

    def save(self, path: str | Path, **card: object) -> None:
        """Write map, modes and a card of JSON values to one file.

        Raises TypeError where ``flow`` is no `FlowMap` of a network that files can hold, else as `storage.save_model`.
        """
        save_reduced(path, "reduced map", self.flow, self.pod, card)

    @classmethod
    def load(cls, path: str | Path, M: Matrix) -> ReducedMap:
        """Read a map; ``M`` ``(n, n)`` is the matrix of the POD, the mass matrix of the basis.

        Raises FileNotFoundError, CorruptModelError for what `save` did not write, and ModelMismatchError for another
        kind of model or a matrix in which the modes are not orthonormal.
        """
        flow, pod = load_reduced(path, "reduced map", M)
        assert pod is not None
        return cls(pod, flow)


class Remainder:
    """A linear implicit step, and a network for what it leaves: ``u -> L(u) + V N(V' M (u - lift))``.

    ``linear`` is the stepper L, of the same dt as ``flow``. The network is given as a `FlowMap` of coefficients, so
    ``N(c) = flow(c) - c``; train it on `remainder_pairs`. With ``pod`` the state is ``(n,)`` or ``(batch, n)``, and
    what the modes V cannot hold is still carried by L; without, the states are the network's own.

    Raises ValueError for steppers of different dt, and for a size that is not the POD's.

    >>> import torch
    >>> from skfem_ml.learning import MLP
    >>> from skfem_ml.stepping import RK4
    >>> flow = FlowMap(MLP((1, 4, 1), generator=torch.Generator().manual_seed(0)), 0.1, increment=0.0)
    >>> stepper = Remainder(RK4(lambda u: -u, 0.1), flow)
    >>> stepper, stepper.step([1.0]).round(4)
    (Remainder(RK4(dt 0.1), FlowMap(1 unknowns, dt 0.1, MLP 1-4-1 tanh, float64)), array([0.9048]))
    """

    def __init__(self, linear: Stepper, flow: FlowMap, pod: POD | None = None):
        if abs(linear.dt - flow.dt) > 1e-12 * flow.dt:
            raise ValueError(f"linear: expected a stepper of the network's dt = {flow.dt!r}, got dt = {linear.dt!r}")
        size = getattr(linear, "size", None)
        if pod is not None and size is not None and size != pod.size:
            raise ValueError(f"linear: expected a stepper of states ({pod.size},) as the POD has, got ({size},)")
        self.linear, self.flow, self.pod, self.dt = linear, flow, pod, flow.dt
        self.size = size if pod is None else pod.size

    def __repr__(self) -> str:
        return f"Remainder({self.linear}, {self.flow}{'' if self.pod is None else f', {self.pod}'})"

    def step(self, u: ArrayLike) -> Array:
        """Return the state or states one step later."""
        u = np.asarray(u, dtype=float)
        if self.pod is None:
            return self.linear.step(u) + self.flow.step(u) - u
        c = self.pod.encode(u)
        return self.linear.step(u) + (self.flow.step(c) - c) @ self.pod.modes.T

    def save(self, path: str | Path, **card: object) -> None:
        """Write the network, the modes and a card of JSON values; the linear stepper is given again at `load`."""
        save_reduced(path, "remainder", self.flow, self.pod, card)

    @classmethod
    def load(cls, path: str | Path, linear: Stepper, M: Matrix | None = None) -> Remainder:
        """Read the network for the stepper ``linear``, and for the matrix ``M`` where there are modes.

        Raises as `ReducedMap.load`, and what the constructor raises.
        """
        flow, pod = load_reduced(path, "remainder", M)
        return cls(linear, flow, pod)


def remainder_pairs(
    linear: Stepper, before: ArrayLike, after: ArrayLike, pod: POD | None = None
) -> tuple[Array, Array]:
    """Return rows ``(c, c + V' M (after - L(before)))``, ``(batch, r)`` both: what the flow of a `Remainder` learns.

    ``before`` and ``after`` are states ``(batch, n)`` a step apart. Raises ValueError for other shapes and values that
    are not finite.
    """
    before, after = np.asarray(before, dtype=float), np.asarray(after, dtype=float)
    if before.ndim != 2 or before.shape != after.shape:
        raise ValueError(f"before, after: expected one shape (batch, n), got {before.shape} and {after.shape}")
    if not (np.isfinite(before).all() and np.isfinite(after).all()):
        raise ValueError("before, after: expected finite states, got NaN or infinity; cut diverged trajectories off")
    rest = after - linear.step(before)
    if pod is None:
        return before, before + rest
    c = pod.encode(check_rows(before, pod.size, "before"))
    return c, c + pod.encode(rest + pod.lift)
