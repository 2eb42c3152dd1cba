"""Parareal: a coarse propagator in sequence, a fine one on all slices at once, iterated to the fine solution."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from skfem_ml.stepping.evolution import OdeResult, check_states
from skfem_ml.stepping.stepper import Stepper, check_autonomous

Array = NDArray[np.float64]
Propagator = Callable[[Array], Array]


@dataclass(frozen=True, eq=False, repr=False)
class PararealResult(OdeResult):
    """States at the ends of slices, with what the iteration did.

    ``corrections`` ``(iterations,)``: largest change of a state in each iteration. ``iterates``: the states of each
    iteration, the coarse start first, each shaped as ``y``. ``fine_per_slice``, ``coarse_per_slice``: steps of the two
    propagators in a slice. ``steps`` are the fine steps one after the other, ``iterations * fine_per_slice``, and
    ``nfev`` the fine steps of states in all slices together.

    >>> from skfem_ml.stepping import RK4
    >>> coarse, fine = (RK4(lambda y: -y, dt) for dt in (0.5, 0.05))
    >>> result = parareal(coarse, fine, (0, 2), [1.0], slices=4, iterations=2)
    >>> result, result.ideal_speedup()
    (PararealResult(1 unknowns, 5 times from 0 to 2, 20 steps: 2 iterations, correction 1.3e-07), 2.0)
    """

    corrections: Array = None  # type: ignore[assignment]
    iterates: tuple[Array, ...] = ()
    fine_per_slice: int = 0
    coarse_per_slice: int = 0

    @property
    def iterations(self) -> int:
        """How many iterations were done."""
        return len(self.corrections)

    def ideal_speedup(self, coarse_cost: float = 0.0) -> float:
        """Serial fine steps over those of parareal with one processor a slice.

        ``N m_F / (K m_F + (K + 1) N m_G c)`` for N slices, K iterations, m steps in a slice; ``c = coarse_cost`` is the
        time of a coarse step over that of a fine one. With c = 0 it is ``N / K``. Communication costs nothing here.
        """
        slices, k = len(self.t) - 1, self.iterations
        serial = slices * self.fine_per_slice
        return serial / (k * self.fine_per_slice + (k + 1) * slices * self.coarse_per_slice * coarse_cost)


def parareal(
    coarse: Stepper,
    fine: Stepper,
    t_span: Sequence[float],
    y0: ArrayLike,
    slices: int,
    iterations: int | None = None,
    tol: float = 0.0,
) -> PararealResult:
    """Iterate ``U_{n+1}^{k+1} = G(U_n^{k+1}) + F(U_n^k) - G(U_n^k)`` over equal slices, from ``U^0`` by G alone.

    ``coarse`` G and ``fine`` F are steppers of rows ``(rows, n)`` whose dt divides a slice. F runs on all slices at
    once; slice n is the fine solution after n iterations, so it ends at the latest after ``slices`` of them. Stops when
    the largest change of a state falls to ``tol``, or after ``iterations``. ``y0`` is ``(n,)`` or ``(batch, n)``; ``y``
    are states at the ends of slices. Status -1: a state is not finite, or a positive ``tol`` was not reached.

    Raises ValueError for slices that the steps do not divide and numbers out of range, TypeError for steppers that
    depend on time. Source: Lions, Maday and Turinici (2001), in the form of Gander and Vandewalle (2007), (2.2).
    """
    y0 = check_states(y0, getattr(coarse, "size", None))
    limit = slices if iterations is None else min(iterations, slices)
    if slices < 1 or limit < 1 or tol < 0:
        raise ValueError(f"slices, iterations, tol: expected >= 1, >= 1, >= 0, got {slices}, {iterations}, {tol}")
    start, end = map(float, t_span)
    length = (end - start) / slices
    G, m_G = _propagator(coarse, length, "coarse")
    F, m_F = _propagator(fine, length, "fine")
    with np.errstate(over="ignore", invalid="ignore"):
        iterates, corrections, states = _iterate(G, F, y0, slices, limit, tol)
    status, message = _outcome(iterates[-1], corrections, tol, slices)
    y = [np.moveaxis(u, 0, -1) for u in iterates]
    return PararealResult(
        np.linspace(start, end, slices + 1), y[-1], status, message, len(corrections) * m_F, None, states * m_F,
        np.array(corrections), tuple(y), m_F, m_G,
    )  # fmt: skip


def _iterate(
    G: Propagator, F: Propagator, y0: Array, slices: int, limit: int, tol: float
) -> tuple[list[Array], list[float], int]:
    """The iterates ``(slices + 1, ..., n)``, the correction of each, and how many states F was given in all."""
    U = np.empty((slices + 1, *y0.shape))
    U[0] = y0
    for n in range(slices):
        U[n + 1] = G(U[n])
    guesses = U[1:].copy()
    iterates, corrections, states = [U.copy()], list[float](), 0
    for k in range(limit):
        exact = F(U[k:-1])  # slices before k are the fine solution already
        states += exact.size // y0.shape[-1]
        # Where a coarse start was so far off that F or G blew up there, the next guess goes uncorrected.
        jumps = np.nan_to_num(exact - guesses[k:], nan=0.0, posinf=0.0, neginf=0.0)
        new = U.copy()
        new[k + 1] = exact[0]
        for n in range(k + 1, slices):
            guesses[n] = G(new[n])
            new[n + 1] = guesses[n] + jumps[n - k]
        corrections.append(float(np.nan_to_num(abs(new - U), nan=np.inf).max()))
        U = new
        iterates.append(U.copy())
        if corrections[-1] <= tol:
            break
    return iterates, corrections, states


def _propagator(stepper: Stepper, length: float, name: str) -> tuple[Propagator, int]:
    """Return the map over a slice for states ``(..., n)``, and its number of steps."""
    check_autonomous(stepper, name)
    count = round(length / stepper.dt)
    if count < 1 or abs(count * stepper.dt - length) > 1e-9 * abs(length):
        raise ValueError(
            f"{name}: expected a dt that divides the slice of {length}, got {stepper.dt}; change the number of slices"
        )

    def advance(u: Array) -> Array:
        rows = u.reshape(-1, u.shape[-1])
        for _ in range(count):
            rows = stepper.step(rows)
        return np.asarray(rows).reshape(u.shape)

    return advance, count


def _outcome(U: Array, corrections: list[float], tol: float, slices: int) -> tuple[int, str]:
    done = f"{len(corrections)} iteration{'s' if len(corrections) > 1 else ''}, correction {corrections[-1]:.2g}"
    if not np.isfinite(U).all():
        bad = int((~np.isfinite(U)).reshape(len(U), -1).any(axis=1).argmax())
        return -1, f"{done}; not finite from slice {bad} on"
    if 0 < tol < corrections[-1] and len(corrections) < slices:
        return -1, f"{done}; tol = {tol:g} was not reached"
    return 0, done
