"""What a stepper is: one step of an equation, and whether the equation depends on time."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol, TypeGuard

import numpy as np
from numpy.typing import NDArray

from skfem_ml import checks

Array = NDArray[np.float64]
Rhs = Callable[[float, Array], Array] | Callable[[Array], Array]
"""The right-hand side of ``y' = f(t, y)``, or of ``y' = f(y)``, for states ``(n,)`` or rows ``(batch, n)``."""


class Stepper(Protocol):
    """One step ``dt`` of an autonomous equation: ``step(u) -> u`` of a state ``(n,)`` or of rows ``(batch, n)``.

    Any object with these two is one; it need not be a subclass.

    >>> import numpy as np
    >>> from skfem_ml.stepping import evolve
    >>> class Halving:
    ...     dt = 0.5
    ...     step = staticmethod(lambda u: u / 2)
    >>> evolve(Halving(), np.ones(1), 1.0).y
    array([[1.  , 0.5 , 0.25]])
    """

    @property
    def dt(self) -> float:
        """The length of a step in time."""

    def step(self, u: Array, /) -> Array:
        """Return the state or states one step later."""


class TimedStepper(Protocol):
    """One step of an equation that may depend on time: where ``timed`` is true, ``step(u, t)`` starts at time t.

    >>> import numpy as np
    >>> from skfem_ml.stepping import evolve
    >>> class Clock:
    ...     dt, timed = 0.5, True
    ...     step = staticmethod(lambda u, t: u + t)
    >>> evolve(Clock(), np.zeros(1), 1.5).y
    array([[0. , 0. , 0.5, 1.5]])
    """

    @property
    def dt(self) -> float:
        """The length of a step in time."""

    @property
    def timed(self) -> bool:
        """Whether the equation depends on time."""

    def step(self, u: Array, t: float, /) -> Array:
        """Return the state or states one step after time t."""


EitherStepper = Stepper | TimedStepper


def is_timed(stepper: EitherStepper) -> TypeGuard[TimedStepper]:
    """Return whether the equation of a stepper depends on time."""
    return bool(getattr(stepper, "timed", False))


def check_autonomous(stepper: EitherStepper, name: str) -> None:
    """Raise TypeError for a stepper whose equation may depend on time, where steps are taken out of order."""
    if is_timed(stepper):
        raise TypeError(
            f"{name}: expected a stepper of an autonomous equation, got {stepper!r} with timed = True; if the "
            "right-hand side f(t, y) does not depend on t, give it as f(y), or say timed=False"
        )


def start_time(t: float | None, timed: bool) -> float:
    """Return the time at the start of a step; TypeError where it is missing and the equation depends on it."""
    if t is None and timed:
        raise TypeError("t: expected the time at the start of the step, since the equation depends on it, got none")
    return 0.0 if t is None else t


def time_dependent(f: Rhs, timed: bool | None = None) -> tuple[Callable[[float, Array], Array], bool]:
    """Return ``f(t, y)`` of a right-hand side, and whether it may depend on time.

    The signature decides: ``f(y)`` does not, ``f(t, y)`` does, unless ``timed`` says otherwise. Raises TypeError where
    the signature does not tell and ``timed`` is None, ValueError for ``f(y)`` with ``timed`` true.
    """
    count = checks.required_arguments(f)
    if count == 1:
        if timed:
            raise ValueError("timed: expected f(t, y) with it, got a function of one argument")
        return lambda t, y: f(y), False  # type: ignore[call-arg, arg-type]
    if timed is None and count != 2:
        told = "a signature that does not tell" if count is None else f"{count} arguments"
        raise TypeError(f"f: expected f(t, y) or f(y), got {told}; say timed=True or False for an f(t, y)")
    return f, timed is not False  # type: ignore[return-value]
