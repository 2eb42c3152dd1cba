"""Finite differences for the heat equation on a segment."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray
from scipy.interpolate import CubicSpline
from scipy.sparse import csc_matrix, diags, identity

from skfem_ml import checks
from skfem_ml.meshes.cells import bounding_box
from skfem_ml.problems import Heat, evaluate
from skfem_ml.solutions import Evolution, Record
from skfem_ml.stepping.evolution import evolve, step_count
from skfem_ml.stepping.linear import ThetaMethod

Array = NDArray[np.float64]
SLICES = 400


def solver_fd(
    n: int = 100, dt: float | None = None, scheme: str = "explicit", spacing: str = "right"
) -> Callable[[Heat], Evolution]:
    """Return ``solve(problem) -> Evolution``, second differences on ``n`` equal intervals of a segment.

    ``scheme`` is "explicit", the forward difference scheme (10) of the report, or "cn", Crank-Nicolson. ``dt`` must
    divide ``t_end``; the default is the largest such step with ``a dt / dx^2 <= 0.4`` (explicit) or ``dt <= dx`` (cn).

    ``spacing="as published"`` repeats an error of the report's program, for comparison only: its grid has n points,
    that is a true spacing of ``L / (n - 1)``, but the scheme divides by ``(L / n)^2``. The discrete operator is too
    large by ``(n / (n - 1))^2``, so the solution decays too fast: by 20 % at n = 10 and 2 % at n = 100 in the exponent.

    Raises ValueError for an explicit step above the stability bound ``dx^2 / (2 a)`` (11), a mesh that is not a
    segment, and n < 2.
    """
    checks.choice(scheme, ("explicit", "cn"), "scheme")
    checks.choice(spacing, ("right", "as published"), "spacing")
    if n < 2 + (spacing == "as published"):
        raise ValueError(f"n: expected at least 2 intervals (3 points as published), got {n}")

    def solve(problem: Heat) -> Evolution:
        if problem.mesh.dim() != 1:
            raise ValueError(f"finite differences: expected a segment, got a mesh of dimension {problem.mesh.dim()}")
        low, high = (float(v[0]) for v in bounding_box(problem.mesh))
        dx = (high - low) / n
        grid = np.linspace(low, high, n + 1 if spacing == "right" else n)
        step = _time_step(problem, dx, dt, scheme)
        K, load, edge = _system(problem, grid, dx)
        if scheme == "explicit":
            stepper: ForwardEuler | ThetaMethod = ForwardEuler(K, step, load)
        else:
            stepper = ThetaMethod(identity(len(grid) - 2, format="csc"), K, step, load=load)
        count = step_count(step, problem.t_end)
        result = evolve(stepper, evaluate(problem.initial, grid[None, 1:-1]), problem.t_end, max(1, count // SLICES))
        ends = np.repeat(edge[:, None], len(result.t), axis=1)
        y = np.vstack([ends[:1], result.y, ends[1:]]).T
        record = Record(len(grid) - 2, notes={"steps": result.steps, "grid": grid})
        return Evolution(lambda y: _spline(grid, y), result.t, y, record=record)

    return solve


def stable_step(dx: float, a: float = 1.0) -> float:
    """Return the largest stable step of the explicit scheme, ``dx^2 / (2 a)`` (report, eq. 11)."""
    return dx**2 / (2 * a)


class ForwardEuler:
    """``u' = u + dt (b(t) - K u)``: a stepper; stable for dt up to two over the largest eigenvalue of K.

    >>> import numpy as np
    >>> from scipy.sparse import csc_matrix
    >>> from skfem_ml.reference import ForwardEuler
    >>> stepper = ForwardEuler(csc_matrix([[2.0]]), 0.25, lambda t: np.array([4.0]))
    >>> stepper.step(np.array([1.0])).tolist()
    [1.5]
    """

    timed = True

    def __init__(self, K: csc_matrix, dt: float, load: Callable[[float], Array]):
        self.dt, self.load = dt, load
        self._step = csc_matrix(identity(K.shape[0]) - dt * K)

    def step(self, u: Array, t: float = 0.0) -> Array:
        """Return the state one step later."""
        return self._step @ u + self.dt * self.load(t)


def _time_step(problem: Heat, dx: float, dt: float | None, scheme: str) -> float:
    largest = stable_step(dx, problem.a)
    if dt is None:
        wanted = 0.8 * largest if scheme == "explicit" else dx
        return problem.t_end / np.ceil(problem.t_end / wanted - 1e-9)
    if scheme == "explicit" and dt > largest * (1 + 1e-12):
        raise ValueError(
            f"dt: expected at most {largest:.6g} = dx^2 / (2 a), the stability bound of the explicit scheme at "
            f"dx = {dx:.6g}, got {dt:.6g}; take a smaller step or scheme='cn'"
        )
    return dt


def _system(problem: Heat, grid: Array, dx: float) -> tuple[csc_matrix, Callable[[float], Array], Array]:
    """Return minus the difference operator on inner points, the load with boundary data, and g at both ends."""
    size = len(grid) - 2
    scale = problem.a / dx**2
    K = csc_matrix(scale * diags([-1.0, 2.0, -1.0], [-1, 0, 1], shape=(size, size)))
    edge = evaluate(problem.g, grid[None, [0, -1]])
    boundary = np.zeros(size)
    boundary[0] += scale * edge[0]
    boundary[-1] += scale * edge[1]
    inner = grid[None, 1:-1]
    fixed = boundary if callable(problem.f) else boundary + problem.f
    return K, (lambda t: boundary + problem.source(inner, t)) if callable(problem.f) else (lambda t: fixed), edge


def _spline(grid: Array, y: Array) -> Callable[[Array], Array]:
    curve = CubicSpline(grid, y)
    return lambda x: curve(np.asarray(x)[0])
