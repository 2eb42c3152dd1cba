"""Step sizes chosen by comparing two scales, and the spread of an ensemble."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from skfem_ml.stepping.evolution import OdeResult
from skfem_ml.stepping.hierarchy import Hierarchy
from skfem_ml.stepping.stepper import Rhs, Stepper

Array = NDArray[np.float64]


def discrepancy(coarse: Stepper, fine: Stepper, u: ArrayLike) -> tuple[Array, Array]:
    """Return ``F_2D(u)`` and ``|F_2D(u) - F_D(F_D(u))|`` for states ``(rows, n)``: an error estimate without a truth.

    The semigroup property says that both are the same. ``coarse.dt`` may be any multiple of ``fine.dt``. The second
    is the Euclidean norm by row, ``(rows,)``; errors that both maps share are not seen.
    """
    u = np.asarray(u, dtype=float)
    far, near = coarse.step(u), u
    for _ in range(round(coarse.dt / fine.dt)):
        near = fine.step(near)
    return far, np.linalg.norm(far - near, axis=-1)


def solve_adaptive(hierarchy: Hierarchy, t_span: Sequence[float], y0: ArrayLike, tol: float) -> OdeResult:
    """Return a solution by the largest steps whose `discrepancy` with the next finer scale is at most ``tol``.

    ``y0`` is ``(n,)`` or ``(batch, n)``; a batch shares its steps, the worst trajectory decides. The smallest scale
    has none to be compared with, and is taken where all others fail; the message counts such steps. ``t`` ``(k,)`` are
    the steps taken, ``y`` is ``(n, k)`` or ``(batch, n, k)``; status -1 where a state is not finite, with the states
    before it.

    Raises ValueError for a tol that is not positive and what `Hierarchy.solve` raises for span and states.
    """
    start, count, y0 = hierarchy.check(t_span, y0)
    if not tol > 0:
        raise ValueError(f"tol: expected a positive number, got {tol}")
    u = np.atleast_2d(y0)
    place, places, states, work, unchecked = 0, [0], [u], 0, 0
    message, status = "", 0
    while place < count:
        for level, stride in enumerate(hierarchy.strides):
            if place + stride > count:
                continue
            if level == len(hierarchy.maps) - 1:
                new, unchecked, work = hierarchy.maps[level].step(u), unchecked + 1, work + len(u)
                break
            new, error = discrepancy(hierarchy.maps[level], hierarchy.maps[level + 1], u)
            work += len(u) * (1 + stride // hierarchy.strides[level + 1])
            if error.max() <= tol:
                break
        if not np.isfinite(new).all():
            message, status = f"not finite at t = {start + (place + stride) * hierarchy.maps[-1].dt:.6g}; ", -1
            break
        u, place = new, place + stride
        places.append(place)
        states.append(u)
    hierarchy.watch(np.stack(states))
    message += f"{len(places) - 1} steps, {unchecked} of them of the smallest scale without an estimate"
    t = start + hierarchy.maps[-1].dt * np.array(places)
    return OdeResult(t, np.stack(states, axis=-1).reshape(*y0.shape, -1), status, message, len(places) - 1, None, work)


def solve_ensemble(
    members: Sequence[Hierarchy],
    t_span: Sequence[float],
    y0: ArrayLike,
    t_eval: ArrayLike | None = None,
    *,
    interpolation: str = "cubic",
    f: Rhs | None = None,
) -> tuple[OdeResult, Array]:
    """Return the mean of several hierarchies (trained from different seeds), and their standard deviation.

    The spread has the shape of ``y``; it tells where members disagree, which is where data were scarce, and not what
    they all have wrong. The options are those of `Hierarchy.solve`. Raises ValueError for fewer than two members and
    members with different times, and what `Hierarchy.solve` raises.
    """
    if len(members) < 2:
        raise ValueError(f"members: expected at least two hierarchies, got {len(members)}")
    results = [member.solve(t_span, y0, t_eval, interpolation=interpolation, f=f) for member in members]
    if any(len(r.t) != len(results[0].t) for r in results):
        raise ValueError("members: expected the same smallest step in all of them; or give t_eval")
    values = np.stack([r.y for r in results])
    bad = [f"member {k}: {r.message}" for k, r in enumerate(results) if r.status]
    mean = OdeResult(
        results[0].t, values.mean(axis=0), -1 if bad else 0, "; ".join(bad) or results[0].message,
        sum(r.steps for r in results), None, sum(r.nfev for r in results),
    )  # fmt: skip
    return mean, values.std(axis=0)
