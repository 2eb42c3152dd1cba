"""Step sizes chosen by comparing two scales, and the spread of an ensemble."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

import numpy as np
from numpy.typing import ArrayLike, NDArray

from skfem_ml.stepping.evolution import OdeResult
from skfem_ml.stepping.hierarchy import Hierarchy
from skfem_ml.stepping.interpolation import interpolate
from skfem_ml.stepping.stepper import Rhs, Stepper

Array = NDArray[np.float64]
Estimate = Callable[[Stepper, Stepper, Array], tuple[Array, Array]]
"""``estimate(coarse, fine, u)``: the step ``F_2D(u)`` of rows ``(rows, n)``, and a number for each that tol bounds."""


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


def increment_size(coarse: Stepper, fine: Stepper, u: ArrayLike) -> tuple[Array, Array]:
    """Return ``F_2D(u)`` and its root mean square distance from u, ``(rows,)``: what the published AHiTS goes by.

    It bounds how far a state moves in a step, and says nothing of errors. Source: Hamid, Rafiq, Nahvi and Bazaz,
    Hierarchical deep learning-based adaptive time-stepping (arXiv 2311.05961), and its program, which takes one step
    for all starts, by the mean over them.
    """
    u = np.asarray(u, dtype=float)
    far = coarse.step(u)
    return far, np.sqrt(np.mean((far - u) ** 2, axis=-1))


def solve_adaptive(
    hierarchy: Hierarchy, t_span: Sequence[float], y0: ArrayLike, tol: float, estimate: Estimate = discrepancy
) -> OdeResult:
    """Return a solution by the largest steps whose `discrepancy` with the next finer scale is at most ``tol``.

    ``y0`` is ``(n,)`` or ``(batch, n)``; a batch shares its steps, the worst trajectory decides (see
    `solve_adaptive_each`). The smallest scale has none to be compared with, and is taken where all others fail; the
    message counts such steps. ``t`` ``(k,)`` are the steps taken, ``y`` is ``(n, k)`` or ``(batch, n, k)``; ``sol``
    fills in between them by the finer maps, as a roll-out does, and by cubics between the smallest steps. Status -1
    where a state is not finite, with the states before it. ``estimate`` may be another measure, such as
    `increment_size`.

    Raises ValueError for a tol that is not positive and what `Hierarchy.solve` raises for span and states.
    """
    start, count, y0 = hierarchy.check(t_span, y0)
    u, walk = np.atleast_2d(y0), _Walk(hierarchy, count, _positive(tol), estimate)
    place, places, states = 0, [0], [u]
    while place < count:
        new, strides = walk.step(u, np.full(len(u), place), together=True)
        if not np.isfinite(new).all():
            break
        u, place = new, place + int(strides[0])
        places.append(place)
        states.append(u)
    hierarchy.watch(np.stack(states))
    y = np.stack(states, axis=-1).reshape(*y0.shape, -1)
    return walk.result(start, np.array(places), y, reached=place >= count)


def solve_adaptive_each(
    hierarchy: Hierarchy, t_span: Sequence[float], y0: ArrayLike, tol: float, estimate: Estimate = discrepancy
) -> list[OdeResult]:
    """Return `solve_adaptive` of every start of ``y0`` ``(batch, n)`` with steps of its own, vectorised over them.

    ``nfev`` and the count of unchecked steps are those of all. Raises as `solve_adaptive`.
    """
    start, count, y0 = hierarchy.check(t_span, y0)
    u, walk = np.atleast_2d(y0).copy(), _Walk(hierarchy, count, _positive(tol), estimate)
    place, kept = np.zeros(len(u), dtype=int), [([0], [row]) for row in u.copy()]
    going = np.arange(len(u))
    while len(going):
        new, strides = walk.step(u[going], place[going])
        sound = np.isfinite(new).all(axis=1)
        going, new, strides = going[sound], new[sound], strides[sound]
        u[going], place[going] = new, place[going] + strides
        for row in going:
            kept[row][0].append(int(place[row]))
            kept[row][1].append(u[row].copy())
        going = going[place[going] < count]
    hierarchy.watch(np.concatenate([np.stack(states) for _, states in kept]))
    return [
        walk.result(start, np.array(places), np.stack(states, axis=-1), reached=places[-1] >= count)
        for places, states in kept
    ]


def _positive(tol: float) -> float:
    if not tol > 0:
        raise ValueError(f"tol: expected a positive number, got {tol}")
    return tol


class _Counted:
    """A stepper that counts the states it steps."""

    def __init__(self, stepper: Stepper):
        self.stepper, self.dt, self.rows = stepper, stepper.dt, 0

    def step(self, u: Array) -> Array:
        self.rows += len(u)
        return np.asarray(self.stepper.step(u))


class _Walk:
    """Steps chosen for rows of states at their own places, counted in smallest steps."""

    def __init__(self, hierarchy: Hierarchy, count: int, tol: float, estimate: Estimate):
        self.maps, self.strides = [_Counted(m) for m in hierarchy.maps], hierarchy.strides
        self.filled = partial(_filled, hierarchy)
        self.count, self.tol, self.estimate, self.unchecked = count, tol, estimate, 0

    def step(self, u: Array, place: Array, together: bool = False) -> tuple[Array, NDArray[np.int_]]:
        """Return the states after the largest steps that pass, and their strides; ``together`` all pass or none."""
        new, taken, left = np.empty_like(u), np.zeros(len(u), dtype=int), np.arange(len(u))
        for level, stride in enumerate(self.strides[:-1]):
            fits = left[place[left] + stride <= self.count]
            if not len(fits):
                continue
            far, measure = self.estimate(self.maps[level], self.maps[level + 1], u[fits])
            passed = np.full(len(fits), (measure <= self.tol).all()) if together else measure <= self.tol
            good = fits[passed]
            new[good], taken[good] = far[passed], stride
            left = left[taken[left] == 0]
        if len(left):
            new[left], taken[left] = self.maps[-1].step(u[left]), self.strides[-1]
            self.unchecked += 1 if together else len(left)
        return new, taken

    def result(self, start: float, places: NDArray[np.int_], y: Array, reached: bool) -> OdeResult:
        """The states at so many smallest steps after the start."""
        dt, steps = self.maps[-1].dt, len(places) - 1
        message = "" if reached else f"not finite after t = {start + places[-1] * dt:.6g}; "
        message += f"{steps} steps, {self.unchecked} of them of the smallest scale without an estimate"
        t, work = np.asarray(start + dt * places, dtype=float), sum(m.rows for m in self.maps)
        sol = self.filled(start, places, np.moveaxis(y, -1, 0)) if steps else None
        return OdeResult(t, y, 0 if reached else -1, message, steps, sol, work)


def _filled(hierarchy: Hierarchy, start: float, places: NDArray[np.int_], states: Array) -> Callable:
    """Dense output of states ``(k, ..., n)`` at so many smallest steps after the start: made when it is asked for."""
    grid: list[Array] = []

    def sol(t: ArrayLike) -> Array:
        t = np.asarray(t, dtype=float)
        if not grid:
            grid.append(_grid(hierarchy, places, states))
        values = interpolate(start, hierarchy.maps[-1].dt, grid[0], t.reshape(-1), "cubic", None)
        return np.moveaxis(values, 0, -1).reshape(*states.shape[1:], *t.shape)

    return sol


def _grid(hierarchy: Hierarchy, places: NDArray[np.int_], states: Array) -> Array:
    """The states at every smallest step: steps of one size are filled in at once, each by the maps below its own."""
    whole = np.empty((places[-1] + 1, *states.shape[1:]))
    whole[places] = states
    taken = np.diff(places)
    for level, stride in enumerate(hierarchy.strides[:-1]):
        steps = np.nonzero(taken == stride)[0]
        if len(steps):
            finer = Hierarchy(hierarchy.maps[level + 1 :])
            within = finer.rollout(states[steps], stride // finer.strides[-1] - 1)[0]
            for j in range(1, len(within)):
                whole[places[steps] + j] = within[j]
    return whole


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
