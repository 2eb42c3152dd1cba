"""Trajectories of the Allen-Cahn equation on the unit square: a family of starts to learn and to be judged on.

    u_t = eps^2 laplace(u) + u - u^3,    natural boundary conditions, bilinear elements on 2^level x 2^level cells.

Starts are random combinations of nine products of cosines, scaled to a largest value drawn from (0.3, 1).
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from skfem import Basis, ElementQuad1, MeshQuad

from skfem_ml.stepping import IMEX, POD, allen_cahn, evolve

Array = NDArray[np.float64]


class AllenCahnFamily:
    """Trajectories for training, validation and test ``(starts, times, n)``, at t = 0, dt, ..., t_end.

    ``counts`` are the numbers of starts of the three parts, ``test`` the starts of the last and ``exact`` their
    trajectories, with a quarter of the ``step`` that makes the other two: the error of these can be told from that of
    what learns them. ``semi`` is the semi-discretisation, ``images`` the eight symmetries of the nodes. With ``cache``,
    a folder, trajectories are kept there and read again.

    >>> family = AllenCahnFamily(level=2, counts=(2, 1, 1), t_end=1.0, dt=0.5)
    >>> family, family.train.shape
    (AllenCahnFamily(25 unknowns, 2 / 1 / 1 trajectories of 2 steps of 0.5), (2, 3, 25))
    >>> float(family.errors(family.exact[:, -1]).max()), len(family.images)
    (0.0, 8)
    """

    train: Array
    validation: Array
    exact: Array

    def __init__(
        self,
        level: int = 6,
        counts: tuple[int, int, int] = (200, 20, 32),
        *,
        eps: float = 0.1,
        t_end: float = 4.0,
        dt: float = 0.5,
        step: float = 0.1,
        seed: int = 0,
        cache: Path | None = None,
    ):
        self.eps, self.t_end, self.dt, self.step = eps, t_end, dt, step
        self.basis = Basis(MeshQuad().refined(level), ElementQuad1(), intorder=3)
        self.semi = allen_cahn(self.basis, eps)
        self.images = symmetries(self.basis)
        rng = np.random.default_rng(seed)
        first, second, self.test = (starts(self.basis, n, rng) for n in counts)
        jobs = {"train": (first, step), "validation": (second, step), "exact": (self.test, step / 4)}
        for name, (u0, h) in jobs.items():
            file = None if cache is None else cache / f"{name}_{level}_{seed}_{len(u0)}_{h:g}.npy"
            states = np.load(file) if file is not None and file.exists() else self.trajectories(u0, h)
            if file is not None and not file.exists():
                np.save(file, states)
            setattr(self, name, states)

    def __repr__(self) -> str:
        counts = " / ".join(str(len(part)) for part in (self.train, self.validation, self.exact))
        steps = round(self.t_end / self.dt)
        return f"AllenCahnFamily({self.semi.size} unknowns, {counts} trajectories of {steps} steps of {self.dt:g})"

    def trajectories(self, u0: Array, step: float | None = None) -> Array:
        """States at multiples of dt from starts ``(k, n)``, ``(k, times, n)``, by an IMEX method of order 3."""
        h = self.step if step is None else step
        return evolve(IMEX(self.semi, h), u0, self.t_end, every=round(self.dt / h)).y.transpose(0, 2, 1)

    def norm(self, u: Array) -> Array:
        """Norms in L2 of states ``(rows, n)``."""
        return np.sqrt(((self.semi.M @ u.T).T * u).sum(axis=1))

    def errors(self, u: Array) -> Array:
        """Relative errors in L2 at the end of the first test states, ``(len(u),)``."""
        exact = self.exact[: len(u), -1]
        return self.norm(u - exact) / self.norm(exact)

    def pod(self, r: int) -> POD:
        """``r`` modes of some trajectories and their images, so that the space is symmetric."""
        some = self.train[: max(8, r // 3), ::2].reshape(-1, self.semi.size)
        return POD(self.semi.M, r).fit(np.concatenate([some[:, image] for image in self.images]))


def starts(basis: Basis, count: int, rng: np.random.Generator) -> Array:
    """Random states of the family, ``(count, n)``."""
    x = np.pi * basis.doflocs
    shapes = [np.cos(k * x[0]) * np.cos(l * x[1]) / (1 + k * k + l * l) for k in range(3) for l in range(3)]
    waves = rng.normal(size=(count, 9)) @ np.array(shapes)
    return waves / abs(waves).max(axis=1, keepdims=True) * rng.uniform(0.3, 1, size=(count, 1))


def symmetries(basis: Basis) -> list[NDArray[np.intp]]:
    """The eight permutations of the nodes by reflections and the exchange of the axes."""
    x = basis.doflocs
    order = np.lexsort(x)
    images = []
    for k in range(8):
        y = np.stack([1 - x[i] if k >> i & 1 else x[i] for i in range(2)])[:: -1 if k & 4 else 1]
        image = np.empty_like(order)
        image[np.lexsort(y)] = order
        images.append(image)
    return images
