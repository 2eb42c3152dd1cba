"""Autonomous ordinary differential equations with distributions of starts, as in the paper on time-steppers."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray
from scipy.integrate import solve_ivp

Array = NDArray[np.float64]
Draw = Callable[[np.random.Generator, int], Array]
Ranges = Sequence[tuple[float, float]]
SPLITS = ("train", "val", "test", "accept")
SIZES = {"train": 1600, "val": 320, "test": 320}


@dataclass(frozen=True, eq=False)
class OdeSystem:
    """``y' = rhs(t, y)`` over ``steps`` steps of ``dt`` from starts drawn at random.

    ``rhs(t, y)`` takes y ``(n,)`` or ``(..., n)``, and does not depend on t. ``starts`` are ranges ``(low, high)`` of
    the unknowns, in which they are uniform, or functions that draw ``(count, n)`` for "train", and for "val" where it
    differs; "test" and "accept" are drawn like "val". ``sizes`` are the numbers of starts. ``exact(t, y0)`` is the
    solution ``(..., n)`` where there is one. Raises ValueError for dt or steps out of range, a rhs that depends on time
    or does not take many states at once, and ranges that are not one an unknown.

    >>> import numpy as np
    >>> from skfem_ml import OdeSystem
    >>> swing = lambda t, y: np.stack([y[..., 1], -np.sin(y[..., 0])], axis=-1)
    >>> pendulum = OdeSystem("pendulum", swing, ("angle", "speed"), 0.05, [(-2, 2), (-1, 1)], steps=256)
    >>> pendulum, pendulum.draw("test", np.random.default_rng(0)).shape
    (OdeSystem('pendulum', angle, speed, dt = 0.05, 256 steps), (320, 2))
    """

    name: str
    rhs: Callable[[float, Array], Array]
    variables: tuple[str, ...]
    dt: float
    starts: Mapping[str, Draw] | Ranges
    sizes: Mapping[str, int] = field(default_factory=SIZES.copy)
    steps: int = 5120
    exact: Callable[[float, Array], Array] | None = None

    def __post_init__(self) -> None:
        if not (np.isfinite(self.dt) and self.dt > 0 and self.steps >= 1):
            raise ValueError(f"dt, steps: expected positive, got {self.dt} and {self.steps}")
        if not isinstance(self.starts, Mapping):
            object.__setattr__(self, "starts", {"train": _box(*_ranges(self.starts, self.n))})
        _check_rhs(self.rhs, self.n)

    def __repr__(self) -> str:
        return f"OdeSystem({self.name!r}, {', '.join(self.variables)}, dt = {self.dt:.4g}, {self.steps} steps)"

    @property
    def n(self) -> int:
        """The number of unknowns."""
        return len(self.variables)

    @property
    def t_end(self) -> float:
        """The end of the published experiment, ``steps * dt``."""
        return self.steps * self.dt

    def draw(self, split: str, rng: np.random.Generator, count: int | None = None) -> Array:
        """Return starts ``(count, n)`` of "train", "val", "test" or "accept", by default as many as published.

        "accept" is a set beyond the published ones, to be looked at last. Raises ValueError for an unknown split.
        """
        if split not in SPLITS:
            raise ValueError(f"split: expected one of {SPLITS}, got {split!r}")
        assert isinstance(self.starts, Mapping)
        draw = self.starts["train" if split == "train" else "val" if "val" in self.starts else "train"]
        return draw(rng, self.sizes["test" if split == "accept" else split] if count is None else count)


@dataclass(frozen=True, eq=False)
class InitialValueProblem:
    """A system from starts ``y0`` ``(batch, n)`` at increasing times ``t`` ``(k,)``, t[0] the start, for `compare`.

    A solver of it returns a `stepping.OdeResult` with ``y`` ``(batch, n, k)`` at these times. Raises ValueError for
    other shapes, times that do not increase and values that are not finite.

    >>> import numpy as np
    >>> from skfem_ml import InitialValueProblem
    >>> from skfem_ml.problems import harmonic
    >>> InitialValueProblem(harmonic(), np.ones((3, 2)), np.linspace(0, 1, 5))
    InitialValueProblem('harmonic', 3 starts, 5 times to t = 1)
    """

    system: OdeSystem
    y0: Array
    t: Array

    def __post_init__(self) -> None:
        if self.y0.ndim != 2 or self.y0.shape[1] != self.system.n or not np.isfinite(self.y0).all():
            raise ValueError(f"y0: expected finite (batch, {self.system.n}), got shape {self.y0.shape}")
        if self.t.ndim != 1 or len(self.t) < 2 or not (np.diff(self.t) > 0).all():
            raise ValueError(f"t: expected at least two increasing times (k,), got shape {self.t.shape}")

    def __repr__(self) -> str:
        times = f"{len(self.t)} times to t = {self.t[-1]:.4g}"
        return f"InitialValueProblem({self.system.name!r}, {len(self.y0)} starts, {times})"


def harmonic() -> OdeSystem:
    """``x' = y, y' = -x``: circles; starts are uniform in the unit disk."""

    def draw(rng: np.random.Generator, count: int) -> Array:
        radius, angle = np.sqrt(rng.uniform(0, 1, count)), rng.uniform(0, 2 * np.pi, count)
        return np.stack([radius * np.cos(angle), radius * np.sin(angle)], axis=-1)

    def exact(t: float, y0: Array) -> Array:
        x, y = y0[..., 0], y0[..., 1]
        return np.stack([x * np.cos(t) + y * np.sin(t), y * np.cos(t) - x * np.sin(t)], axis=-1)

    rhs = _rhs(lambda x, y: (y, -x))
    return OdeSystem("harmonic", rhs, ("x", "y"), 1e-3, {"train": draw}, _sizes(500, 100), exact=exact)


def hyperbolic(mu: float = -0.05, rate: float = -1.0) -> OdeSystem:
    """``x' = mu x, y' = rate (y - x^2)``: a slow manifold near ``y = x^2``."""

    def exact(t: float, y0: Array) -> Array:
        x, y = y0[..., 0], y0[..., 1]
        factor = rate / (rate - 2 * mu)  # y = factor x^2 is invariant
        slow = x * np.exp(mu * t)
        return np.stack([slow, factor * slow**2 + (y - factor * x**2) * np.exp(rate * t)], axis=-1)

    rhs = _rhs(lambda x, y: (mu * x, rate * (y - x * x)))
    starts = {"train": _box((-1, 1), (-1, 1))}
    return OdeSystem("hyperbolic", rhs, ("x", "y"), 0.01, starts, _sizes(1600, 320), exact=exact)


def cubic() -> OdeSystem:
    """``x' = -x^3 / 10 + 2 y^3, y' = -2 x^3 - y^3 / 10``: a damped oscillator."""
    rhs = _rhs(lambda x, y: (-0.1 * x * x * x + 2 * y * y * y, -2 * x * x * x - 0.1 * y * y * y))
    return OdeSystem("cubic", rhs, ("x", "y"), 0.01, {"train": _box((-1, 1), (-1, 1))}, _sizes(3200, 320))


def van_der_pol(mu: float = 2.0) -> OdeSystem:
    """``x' = y, y' = mu (1 - x^2) y - x``: a limit cycle with slow and fast parts."""
    rhs = _rhs(lambda x, y: (y, mu * (1 - x * x) * y - x))
    starts = {"train": _box((-2, 2), (-4, 4)), "val": _box((-2, 2), (-2, 2))}
    return OdeSystem("van-der-pol", rhs, ("x", "y"), 0.01, starts, _sizes(3200, 320))


def hopf() -> OdeSystem:
    """``m' = 0, x' = m x + y - x r^2, y' = m y - x - y r^2``, ``r^2 = x^2 + y^2``: a Hopf bifurcation at m = 0."""

    def field(m: Array, x: Array, y: Array) -> tuple[Array, ...]:
        growth = m - x * x - y * y
        return 0 * m, growth * x + y, growth * y - x

    starts = {"train": _box((-0.2, 0.6), (-1, 2), (-1, 1))}
    return OdeSystem("hopf", _rhs(field), ("m", "x", "y"), 0.01, starts, _sizes(3200, 320))


def lorenz(sigma: float = 10.0, rho: float = 28.0, beta: float = 8 / 3) -> OdeSystem:
    """``x' = sigma (y - x), y' = x (rho - z) - y, z' = x y - beta z``; starts are points of one orbit."""
    rhs = _rhs(lambda x, y, z: (sigma * (y - x), x * (rho - z) - y, x * y - beta * z))

    def draw(rng: np.random.Generator, count: int) -> Array:
        # The orbit forgets where it began; its points, 0.1 apart on average, come in random order.
        times = np.sort(rng.uniform(20, 20 + 0.1 * count, count))
        start = rng.uniform((-10, -10, 15), (10, 10, 35))
        orbit = solve_ivp(rhs, (0, times[-1]), start, "DOP853", t_eval=times, rtol=1e-8, atol=1e-8)
        return rng.permutation(orbit.y.T)

    return OdeSystem("lorenz", rhs, ("x", "y", "z"), 5e-4, {"train": draw}, _sizes(6400, 640))


def ode_systems() -> dict[str, OdeSystem]:
    """Return the harmonic oscillator and the five systems of the paper by name."""
    systems = (harmonic(), hyperbolic(), cubic(), van_der_pol(), hopf(), lorenz())
    return {system.name: system for system in systems}


def _rhs(field: Callable[..., tuple[Array, ...]]) -> Callable[[float, Array], Array]:
    def rhs(t: float, y: Array) -> Array:
        y = np.asarray(y)
        return np.stack(field(*np.moveaxis(y, -1, 0)), axis=-1)

    return rhs


def _box(*sides: tuple[float, float]) -> Draw:
    low, high = np.array(sides, dtype=float).T
    return lambda rng, count: rng.uniform(low, high, (count, len(low)))


def _sizes(train: int, other: int) -> dict[str, int]:
    return {"train": train, "val": other, "test": other}


def _ranges(starts: Ranges, n: int) -> Ranges:
    sides = np.asarray(starts, dtype=float)
    if sides.shape != (n, 2) or not np.isfinite(sides).all() or (sides[:, 0] > sides[:, 1]).any():
        raise ValueError(f"starts: expected {n} finite ranges (low, high), one an unknown, got {starts}")
    return [(float(low), float(high)) for low, high in sides]


def _check_rhs(rhs: Callable[[float, Array], Array], n: int) -> None:
    """Raise ValueError unless rows of states give what the states give one by one, at all times."""
    rows = np.linspace(0.1, 0.9, (n + 1) * n).reshape(n + 1, n)
    with np.errstate(all="ignore"):
        try:
            each = np.stack([np.asarray(rhs(0.0, row), dtype=float) for row in rows])
            late, together = (np.asarray(rhs(t, rows), dtype=float) for t in (1.0, 0.0))
        except (ValueError, IndexError, TypeError) as error:
            raise ValueError(f"rhs: {ROWS}; {type(error).__name__}: {error}") from error
    if together.shape != (n + 1, n) or not np.allclose(together, each, equal_nan=True):
        raise ValueError(f"rhs: {ROWS}; for {n + 1} states got the shape {together.shape}")
    if not np.allclose(late, together, equal_nan=True):
        raise ValueError("rhs: expected one that does not depend on t; make the time, or its phase, an unknown")


ROWS = (
    "expected rhs(t, y) for one state (n,) and for many (..., n), the unknowns last: write y[..., 0] for y[0] and "
    "np.stack([...], axis=-1) for [...]"
)
