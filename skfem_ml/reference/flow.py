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


def flow(A: Array, x: Array) -> Array:
    """Return the right-hand side ``-x + f(x) = (x'x) A x - (x'A x) x`` of (17)-(18); it is orthogonal to x."""
    Ax = A @ x
    return (x @ x) * Ax - (x @ Ax) * x


def eig_flow(
    k: int | None = None,
    method: str = "euler",
    deflation: str = "projected",
    t_end: float = 60.0,
    dt: float = 0.02,
    start: Array | None = None,
    normalise: bool = True,
    seed: int = 0,
) -> Callable[[Eigenproblem], Eigenpairs]:
    """Return ``solve(problem) -> Eigenpairs``: the pairs found by following the flow (17), largest eigenvalue first.

    ``method`` is "euler", the rule (21) with step ``dt``, or "ivp", scipy's `solve_ivp` (DOP853, tolerances 1e-12). The
    limit from a start orthogonal to the pairs found before is the next pair (theorem B). Rounding leaves that
    orthogonal complement and the flow amplifies it, so ``deflation="projected"`` takes the right-hand side off the
    found vectors at every step; "start only" orthogonalises nothing but the start and the result, the recipe as the
    report states it (30), which loses the later pairs. The first start is ``start`` (default: drawn from ``seed``), the
    others are drawn. The flow keeps the length, which sets its speed: ``normalise`` scales every start to length 1. The
    error is about ``exp(-2 |x|^2 t_end gap)`` in the eigenvalue: the end time, not the step, sets it. ``k`` is None for
    all pairs.

    Raises ValueError for more pairs than rows, a problem with M, a step or end time that is not positive, and a step
    for which Euler's rule diverges.
    """
    _checked(method, deflation, t_end, dt)

    def solve(problem: Eigenproblem) -> Eigenpairs:
        A = problem.require_matrix("eig_flow")
        count = problem.require_pairs(len(A) if k is None else k)
        rng, found = np.random.default_rng(seed), np.zeros((len(A), 0))
        for i in range(count):
            x = rng.standard_normal(len(A)) if start is None or i else np.asarray(start, dtype=float)
            x = _project(x, found)
            x = x / np.linalg.norm(x) if normalise else x
            off = found if deflation == "projected" else found[:, :0]
            x = _project(_end(A, x, off, method, t_end, dt), found)
            found = np.column_stack([found, x / np.linalg.norm(x)])
        return Eigenpairs(np.einsum("ij,ij->j", found, A @ found), found, Record(found.size, notes={"method": method}))

    return solve


def _checked(method: str, deflation: str, t_end: float, dt: float) -> None:
    checks.choice(method, ("euler", "ivp"), "method")
    checks.choice(deflation, ("projected", "start only"), "deflation")
    if not (0 < dt <= t_end < np.inf):
        raise ValueError(f"dt, t_end: expected 0 < dt <= t_end, got {dt} and {t_end}")


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

    result = solve_ivp(right, (0, t_end), x, method="DOP853", rtol=1e-12, atol=1e-12)
    if not result.success:
        raise RuntimeError(f"solve_ivp: {result.message}")
    return result.y[:, -1]
