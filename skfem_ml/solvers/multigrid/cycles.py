"""Levels, Chebyshev smoothing, the symmetric cycle and the full-multigrid pass, for arrays of numpy and torch."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from skfem_ml.solvers.multigrid.elements import Field
from skfem_ml.solvers.multigrid.interpolation import Interpolation, nodes_of

SMALL_STEP = 0.1  # the full-multigrid pass leaves a level when a step has moved the solution by less, in energy
STEPS = 3


@dataclass(frozen=True, eq=False)
class Level:
    """One level: ``product(x)`` is A x, ``scaled`` is D^-1 / lambda at free nodes, zero at the others.

    lambda bounds the eigenvalues of D^-1 A. As ``scaled`` vanishes at fixed nodes, no cycle moves them, and the rows
    and columns of A that belong to them need not be taken out. ``interpolation`` comes from the next coarser level.
    """

    product: Callable[[Field], Field]
    scaled: Field
    interpolation: Interpolation

    def smoothed(self, b: Field, x: Field | None) -> Field:
        """Two steps of Chebyshev iteration for A x = b on [lambda / 5, lambda]; ``x = None`` means zero.

        The polynomial is the same before and after a correction, so that the cycle is symmetric.
        """
        # With theta = .6 lambda, delta = .4 lambda: sigma = 3/2, rho_0 = 2/3, rho_1 = 3/7.
        r = b if x is None else b - self.product(x)
        p = r * self.scaled
        p *= 1 / 0.6
        r = r - self.product(p)
        r *= self.scaled
        r *= 15 / 7
        p *= 9 / 7
        r += p
        if x is not None:
            r += x
        return r


class Cycles:
    """Cycles over some levels, the finest first, and ``coarsest(b, given)``, which solves below them.

    ``dim`` is the number of axes of the grid, the last ones of every array.
    """

    def __init__(self, levels: Sequence[Level], coarsest: Callable[[Field, Field | None], Field], dim: int):
        self.levels, self.coarsest, self.axes = list(levels), coarsest, tuple(range(-dim, 0))

    def cycle(self, b: Field, at: int = 0, x: Field | None = None) -> Field:
        """One W-cycle for A x = b on a level, from ``x`` (None: zero): b -> B b is symmetric and positive definite."""
        if at == len(self.levels):
            return self.coarsest(b, None)
        level = self.levels[at]
        x = level.smoothed(b, x)
        r = level.interpolation.down(b - level.product(x))
        correction = self.cycle(r, at + 1)
        if at + 1 < len(self.levels):
            correction = self.cycle(r, at + 1, correction)
        x += level.interpolation.up(correction)
        return level.smoothed(b, x)

    def full_multigrid(self, b: Field, given: Field | None = None, at: int = 0) -> Field:
        """The full-multigrid pass: on every level the solution of the next coarser one is interpolated and improved by
        steps of conjugate gradients preconditioned by one cycle.

        There are one to three steps, until one has moved the solution by less than 10 % in energy. Before them the
        energy is made smallest over the multiples of what was interpolated: where the coarse operator is as much as
        15 % too stiff, as on checkerboards, the error of that is taken out. ``given`` holds values at fixed nodes
        (default 0), zero elsewhere; coarser levels have them too, so that the solution is smooth up to the boundary.
        """
        if at == len(self.levels):
            return self.coarsest(b, given)
        level, every_second = self.levels[at], nodes_of((0,) * len(self.axes))
        coarse = None if given is None else given[every_second]
        x = level.interpolation.up(self.full_multigrid(level.interpolation.down(b), coarse, at + 1))
        p = x
        if given is not None:
            p = x * (level.scaled != 0)
            x = p + given
        image = level.product(x)
        r, q = b - image, image if given is None else level.product(p)
        energy, size = self.dot(x, image), self.dot(p, q)
        length, moving = self._ratio(self.dot(r, p), size), (energy == energy) * 1.0
        for _ in range(STEPS):
            x, r = x + length * p, r - length * q
            z = self.cycle(r, at)
            image = level.product(z)
            conjugate = self._ratio(self.dot(z, q), size)
            p, q = z - conjugate * p, image - conjugate * q
            size = self.dot(p, q)
            length = self._ratio(self.dot(r, p), size) * moving
            moving = moving * (length**2 * size > SMALL_STEP**2 * energy)
            if not moving.any():
                break
        return x + length * p

    def dot(self, x: Field, y: Field) -> Field:
        """Scalar products over the grid, one a field of the batch; the axes of the grid are kept, of length one."""
        return (x * y).sum(axis=self.axes, keepdims=True)

    @staticmethod
    def _ratio(x: Field, y: Field) -> Field:
        """x / y, and 0 where y = 0 (nothing is left to do)."""
        return x / (y + (y == 0) * 1.0)
