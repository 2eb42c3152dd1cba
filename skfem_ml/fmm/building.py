"""What the builders of `H2Operator` share: entries of a kernel, the way to a tolerance."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

from skfem_ml.fmm.nested import Entries
from skfem_ml.fmm.skeleton import H2Skeleton, Index

Array = NDArray[np.float64]
Kernel = Callable[[Array, Array], Array]
ATTEMPTS = 5


class Measured(Protocol):
    """What has an error that was measured."""

    error: float


M = TypeVar("M", bound=Measured)


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


def check_goal(tol: float | None, rank: int | None) -> None:
    """Raise ValueError for tol and rank out of range, or both None."""
    if rank is not None and (not isinstance(rank, (int, np.integer)) or rank < 1):
        raise ValueError(f"rank: expected None or an integer of at least 1, got {rank!r}")
    if tol is None and rank is None:
        raise ValueError("tol, rank: expected at least one of them, got None twice")
    if tol is not None and not 0 < tol < 1:
        raise ValueError(f"tol: expected a number between 0 and 1, or None, got {tol!r}")


def to_tolerance(
    build: Callable[[int, float], M],
    measure: Callable[[M], float],
    tol: float | None,
    rank: int | None,
    levels: int,
) -> M:
    """Return ``build(attempt, local tolerance)`` with ``.error = measure(it)``, repeated until that is at most ``tol``.

    The errors of the ``levels`` with far blocks add up, so each gets a part of ``tol``: with the same part at every
    depth of the tree, deep trees would miss ``tol`` by little and be built twice. With a rank it is built once. Raises
    RuntimeError where ``tol`` is missed.
    """
    local = 0.0 if tol is None else tol / max(4, 2 * levels)
    for attempt in range(ATTEMPTS):
        operator = build(attempt, local)
        operator.error = measure(operator)
        if tol is None or rank is not None or operator.error <= tol:
            return operator
        local *= min(0.5, 0.5 * tol / operator.error)
    raise RuntimeError(
        f"tol: asked for a relative error of {tol:g}, got {operator.error:.1e} after {ATTEMPTS} attempts; is the "
        "kernel smooth away from x = y? take a larger eta, or a larger tol"
    )


def relative(got: Array, exact: Array) -> float:
    """Return ``|got - exact| / |exact|`` (Frobenius); absolute where ``exact`` is zero."""
    size = float(np.linalg.norm(exact))
    return float(np.linalg.norm(got - exact)) / (size or 1.0)
