"""Eigenpairs as limits of an ordinary differential equation (Yi, Fu and Tang 2004; the report's section II.4)."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray
from scipy.integrate import solve_ivp

from skfem_ml import checks
from skfem_ml.problems import Eigenproblem
from skfem_ml.solutions import Eigenpairs, Record

Array = NDArray[np.float64]
STRETCH, STRETCHES = 20.0, 1000  # of time between looks at the residual, and how many


def flow(A: Array, x: Array) -> Array:
    """Return the right-hand side ``-x + f(x) = (x'x) A x - (x'A x) x`` of (17)-(18); it is orthogonal to x."""
    Ax = A @ x
    return (x @ x) * Ax - (x @ Ax) * x


def eig_flow(
    k: int | None = None, method: str = "euler", deflation: str = "projected", t_end: float | None = None,
    dt: float = 0.02, start: Array | None = None, normalise: bool = True, seed: int = 0, inverse: bool | None = None,
) -> Callable[[Eigenproblem], Eigenpairs]:  # fmt: skip
    """Return ``solve(problem) -> Eigenpairs``: the pairs found by following the flow (17), largest eigenvalue first.

    A problem with M is brought to standard form; with ``inverse`` (default: where there is an M) the flow is that of
    the inverse matrix, scaled to norm 1, and finds the smallest pairs first (`Eigenproblem.standard`).

    ``method`` is "euler", the rule (21) with step ``dt``, or "ivp", scipy's `solve_ivp` (DOP853, tolerances 1e-13). The
    limit from a start orthogonal to the pairs found before is the next pair (theorem B). Rounding leaves that
    orthogonal complement and the flow amplifies it, so ``deflation="projected"`` takes the right-hand side off the
    found vectors at every step; "start only" orthogonalises nothing but the start and the result, the recipe as the
    report states it (30), which loses the later pairs. The first start is ``start`` (default: drawn from ``seed``), the
    others are drawn. The flow keeps the length, which sets its speed: ``normalise`` scales every start to length 1. The
    error is about ``exp(-2 |x|^2 t_end gap)`` in the eigenvalue: the end time, not the step, sets it; None goes on
    until ``|A x - l x| <= 1e-13 |A|``. ``k`` is None for all pairs.

    Raises RuntimeError where that is not so at t = 20000, ValueError for more pairs than rows, more than 2000 rows, a
    step or end time that is not positive, and a step for which Euler's rule diverges.
    """
    _checked(method, deflation, t_end, dt)

    def solve(problem: Eigenproblem) -> Eigenpairs:
        count = problem.require_pairs(problem.size if k is None else k)
        standard = problem.standard("eig_flow", inverse)
        A = standard.matrix
        rng, found = np.random.default_rng(seed), np.zeros((len(A), 0))
        for i in range(count):
            x = rng.standard_normal(len(A)) if start is None or i else np.asarray(start, dtype=float)
            x = _project(x, found)
            x = x / np.linalg.norm(x) if normalise else x
            off = found if deflation == "projected" else found[:, :0]
            x = _project(_limit(A, x, off, method, t_end, dt), found)
            found = np.column_stack([found, x / np.linalg.norm(x)])
        return standard.pairs(found, Record(found.size, notes={"method": method}))

    return solve


def _checked(method: str, deflation: str, t_end: float | None, dt: float) -> None:
    checks.choice(method, ("euler", "ivp"), "method")
    checks.choice(deflation, ("projected", "start only"), "deflation")
    if not (0 < dt <= (STRETCH if t_end is None else t_end) < np.inf):
        raise ValueError(f"dt, t_end: expected 0 < dt <= t_end, got {dt} and {t_end}")


def _limit(A: Array, x: Array, found: Array, method: str, t_end: float | None, dt: float) -> Array:
    """The state at the end time, or, without one, where it is an eigenvector off the found ones."""
    if t_end is not None:
        return _end(A, x, found, method, t_end, dt)
    size = np.linalg.norm(A, 2)
    for _ in range(STRETCHES):
        x = _end(A, x, found, method, STRETCH, dt)
        image = _project(A @ x, found)
        gap = np.linalg.norm(image - (x @ image) / (x @ x) * x) / np.linalg.norm(x)
        if gap <= 1e-13 * size:
            return x
    raise RuntimeError(
        f"flow: expected |A x - l x| <= 1e-13 |A|, got {gap / size:.1e} |A| at t = {STRETCH * STRETCHES:g}; "
        "eigenvalues lie close: give t_end, or use eig_reference"
    )


def _end(A: Array, x: Array, found: Array, method: str, t_end: float, dt: float) -> Array:
    return _euler(A, x, found, t_end, dt) if method == "euler" else _ivp(A, x, found, t_end)


def _project(x: Array, found: Array) -> Array:
    # Twice is enough (Kahan): the second pass removes what rounding left of the first.
    for _ in range(2):
        x = x - found @ (found.T @ x)
    return x


def _euler(A: Array, x: Array, found: Array, t_end: float, dt: float) -> Array:
    for _ in range(round(t_end / dt)):
        x = _project(x + dt * flow(A, x), found) if found.shape[1] else x + dt * flow(A, x)
        if not abs(x).max() < 1e6:
            raise ValueError(
                f"dt: Euler's rule diverges with dt = {dt}; expected dt well below 2 / |A| "
                f"= {2 / np.linalg.norm(A, 2):.3g} at |x| = 1"
            )
    return x


def _ivp(A: Array, x: Array, found: Array, t_end: float) -> Array:
    def right(_: float, y: Array) -> Array:
        y = _project(y, found)
        return _project(flow(A, y), found)

    result = solve_ivp(right, (0, t_end), x, method="DOP853", rtol=1e-13, atol=1e-14)
    if not result.success:
        raise RuntimeError(f"solve_ivp: {result.message}")
    return result.y[:, -1]
