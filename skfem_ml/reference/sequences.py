"""The sequence of the Kuramoto-Sivashinsky equation, and null models of sequences: mean, last frame, table, matrix."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from skfem_ml.problems import Sequence
from skfem_ml.reference.kuramoto import KuramotoSivashinsky, ks_start
from skfem_ml.solutions import Generated, Record
from skfem_ml.stepping.evolution import evolve

Array = NDArray[np.float64]
Generator = Callable[[Sequence], Generated]


def kuramoto_sivashinsky(frames: int = 4001, more: int = 40, rank: int = 96, points: int = 512) -> Sequence:
    """Return a chaotic orbit of `KuramotoSivashinsky` on (0, 32 pi) at times i / 4; states are POD coordinates.

    512 x 4001 values are the published size; the paper does not give domain and step, these are of Kassam and
    Trefethen. POD of the frames to be learnt, of ``rank``; the error is measured on all points, so what POD cuts off
    counts. Raises ValueError for a rank above points or frames.
    """
    if not 1 <= rank <= min(points, frames) or more < 0:
        raise ValueError(f"rank, more: expected 1 to {min(points, frames)} and >= 0, got {rank} and {more}")
    equation = KuramotoSivashinsky(points)
    target = evolve(equation, ks_start(equation.x), (frames + more - 1) * equation.dt).y.T
    _, vectors = np.linalg.eigh(target[:frames].T @ target[:frames])
    modes = vectors[:, ::-1][:, :rank].T
    return Sequence("ks", target @ modes.T, frames, equation.dt, modes, target)


def solver_mean() -> Generator:
    """Return the null model that gives the mean of what was learnt at all times."""

    def solver(sequence: Sequence) -> Generated:
        mean = sequence.learnt.mean(axis=0)
        same, after = np.tile(mean, (sequence.train, 1)), np.tile(mean, (sequence.held_out, 1))
        return Generated(same, after, Record(len(mean)))

    return solver


def solver_persistence() -> Generator:
    """Return the null model that repeats the first frame, and the last one learnt in the continuation."""

    def solver(sequence: Sequence) -> Generated:
        learnt = sequence.learnt
        first, last = np.tile(learnt[0], (len(learnt), 1)), np.tile(learnt[-1], (sequence.held_out, 1))
        return Generated(first, last, Record(0))

    return solver


def solver_analogue() -> Generator:
    """Return the table of what was learnt: the reproduction is exact, at the cost of every number of the sequence.

    The continuation repeats what followed the frame nearest to the last one (Lorenz, J. Atmos. Sci. 26, 1969), moved by
    the distance of the two; a frame qualifies if as many follow it as are held out (fewer: all that do).
    """

    def solver(sequence: Sequence) -> Generated:
        learnt, count = sequence.learnt, sequence.held_out
        candidates = learnt[: max(1, len(learnt) - count - 1)]
        nearest = int(((candidates - learnt[-1]) ** 2).sum(axis=1).argmin())
        after = np.arange(nearest + 1, nearest + 1 + count) % len(learnt)
        continued = learnt[after] + (learnt[-1] - learnt[nearest])
        return Generated(learnt, continued, Record(learnt.size))

    return solver


def solver_linear(ridge: float = 1e-12) -> Generator:
    """Return dynamic mode decomposition: the affine map ``x' = A x + b`` of least squares, repeated.

    ``ridge`` is the weight of ``|A|^2`` over the largest squared singular value. Eigenvalues outside the unit circle
    make it diverge; what is not finite fails in a comparison. Raises ValueError for a negative ridge.
    """
    if not ridge >= 0:
        raise ValueError(f"ridge: expected >= 0, got {ridge}")

    def solver(sequence: Sequence) -> Generated:
        learnt = sequence.learnt
        center = learnt.mean(axis=0)
        x, y = learnt[:-1] - center, learnt[1:] - center
        left, values, right = np.linalg.svd(np.column_stack([x, np.full(len(x), x.std())]), full_matrices=False)
        damped = values / (values**2 + ridge * values[0] ** 2)
        A = (right.T * damped) @ (left.T @ y)

        def repeat(start: Array, count: int) -> Array:
            states, bias = [start - center], [x.std()]
            with np.errstate(over="ignore", invalid="ignore"):
                for _ in range(count):
                    states.append(np.concatenate([states[-1], bias]) @ A)
            return np.array(states) + center

        continued = repeat(learnt[-1], sequence.held_out)[1:]
        return Generated(repeat(learnt[0], len(learnt) - 1), continued, Record(A.size))

    return solver
