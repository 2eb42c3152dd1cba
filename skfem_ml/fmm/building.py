"""What the builders of `H2Operator` share: entries of a kernel, ridge regression, the way to a tolerance."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import solve as dense_solve

from skfem_ml.fmm.nested import Entries
from skfem_ml.fmm.skeleton import H2Skeleton, Index

Array = NDArray[np.float64]
Kernel = Callable[[Array, Array], Array]
M = TypeVar("M", bound=Any)
ATTEMPTS = 5


def evaluated(skeleton: H2Skeleton, kernel: Kernel) -> Entries:
    """Return ``entries(i, j)`` of ``kernel`` on the points of a skeleton; it raises ValueError as `from_kernel`."""

    def entries(i: Index, j: Index) -> Array:
        x, y = np.broadcast_arrays(skeleton.points[:, i], skeleton.points[:, j])
        values = np.asarray(kernel(x, y), dtype=float)
        if values.shape != x.shape[1:]:
            raise ValueError(
                f"kernel: expected values of shape {x.shape[1:]} for points of shape {x.shape}, got {values.shape}"
            )
        bad = ~np.isfinite(values)
        if bad.any():
            first = int(bad.argmax())
            xs, ys = (points.reshape(len(points), -1)[:, first].tolist() for points in (x, y))
            raise ValueError(
                f"kernel: expected finite values, got {values.flat[first]} at x = {xs}, y = {ys} ({int(bad.sum())} of "
                f"{bad.size} are not finite); a kernel that is singular at x = y has to return the diagonal entry there"
            )
        return values

    return entries


def to_tolerance(
    build: Callable[[int, float], M],
    measure: Callable[[M], float],
    tol: float | None,
    rank: int | None,
) -> M:
    """Return ``build(attempt, local tolerance)`` with ``.error = measure(it)``, repeated until that is at most ``tol``.

    With a rank it is built once. Raises ValueError for tol and rank out of range, RuntimeError where ``tol`` is missed.
    """
    if rank is not None and (not isinstance(rank, (int, np.integer)) or rank < 1):
        raise ValueError(f"rank: expected None or an integer of at least 1, got {rank!r}")
    if tol is None and rank is None:
        raise ValueError("tol, rank: expected at least one of them, got None twice")
    if tol is not None and not 0 < tol < 1:
        raise ValueError(f"tol: expected a number between 0 and 1, or None, got {tol!r}")
    local = 0.0 if tol is None else tol / 4  # errors of levels add up: at this one try is enough as a rule
    for attempt in range(ATTEMPTS):
        operator = build(attempt, local)
        operator.error = measure(operator)
        if tol is None or rank is not None or operator.error <= tol:
            return operator
        local /= 4
    raise RuntimeError(
        f"tol: asked for a relative error of {tol:g}, got {operator.error:.1e} after {ATTEMPTS} attempts; is the "
        "kernel smooth away from x = y? take a larger eta, or a larger tol"
    )


def relative(got: Array, exact: Array) -> float:
    """Return ``|got - exact| / |exact|`` (Frobenius); absolute where ``exact`` is zero."""
    size = float(np.linalg.norm(exact))
    return float(np.linalg.norm(got - exact)) / (size or 1.0)


def regression(q: Array, w: Array, ridge: float) -> Array:
    """Return the ridge solution A ``(N, N)``, through the smaller of the two Gram matrices (see `from_data`)."""
    return next(regressions(q, w, [ridge]))


def regressions(q: Array, w: Array, ridges: Iterable[float]) -> Iterator[Array]:
    """Yield the ridge solution ``(N, N)`` for each of ``ridges``; the Gram matrix is made once."""
    primal = q.shape[1] <= q.shape[0]
    gram, right = (q.T @ q, q.T @ w) if primal else (q @ q.T, q)
    scale = float(np.trace(gram)) / len(gram) or 1.0
    for ridge in ridges:
        shifted = gram + ridge * scale * np.eye(len(gram))
        x = dense_solve(shifted, right, assume_a="pos", overwrite_a=True)
        yield x.T if primal else w.T @ x
