"""What a user would take for Allen-Cahn on a square: fewer unknowns of higher order, and cosines.

The square has natural boundary conditions and a regular grid, so cosines diagonalise the Laplacian: a fast transform
takes the place of every solve. Their errors are against finite elements on 64 x 64 cells, whose own error in space is
what these rows level off at.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy import ndarray
from scipy.fft import dctn, idctn
from skfem import Basis, ElementQuad2, MeshQuad

from demos.allen_cahn import last
from skfem_ml.reference import ETDRK4, AllenCahnFamily
from skfem_ml.stepping import IMEX, Stepper, allen_cahn

Run = Callable[[ndarray], ndarray]


@dataclass(frozen=True)
class Cosines:
    """Coefficients ``(rows, (m + 1)^2)`` of cos(k pi x) cos(l pi y), k, l <= m, by collocation on an m x m grid, of
    nodal values on the 2^level x 2^level grid of `AllenCahnFamily`.
    """

    setting: AllenCahnFamily
    m: int

    @property
    def rates(self) -> ndarray:
        """eps^2 times the eigenvalues of the Laplacian."""
        one = (np.arange(self.m + 1) * np.pi) ** 2
        return -(self.setting.eps**2) * (one[:, None] + one).ravel()

    def values(self, c: ndarray) -> ndarray:
        """Values at the nodes of the m x m grid, ``(rows, m + 1, m + 1)``."""
        return idctn(c.reshape(-1, self.m + 1, self.m + 1), type=1, axes=(1, 2), norm="forward")

    def coefficients(self, values: ndarray) -> ndarray:
        """Coefficients of values at the nodes of the m x m grid."""
        return dctn(values, type=1, axes=(1, 2), norm="forward").reshape(len(values), -1)

    def encode(self, u: ndarray) -> ndarray:
        """Coefficients of nodal values ``(rows, n)``."""
        order, n = self._nodes()
        grid = np.atleast_2d(u)[:, order].reshape(-1, n, n)
        every = (n - 1) // self.m
        return self.coefficients(grid[:, ::every, ::every])

    def decode(self, c: ndarray) -> ndarray:
        """Nodal values ``(rows, n)`` of coefficients."""
        order, n = self._nodes()
        all_waves = np.zeros((len(c), n, n))
        all_waves[:, : self.m + 1, : self.m + 1] = c.reshape(-1, self.m + 1, self.m + 1)
        if self.m < n - 1:  # the last coefficient of this transform counts twice
            all_waves[:, self.m] /= 2
            all_waves[:, :, self.m] /= 2
        u = np.empty((len(c), n * n))
        u[:, order] = idctn(all_waves, type=1, axes=(1, 2), norm="forward").reshape(len(c), -1)
        return u

    def _nodes(self) -> tuple[ndarray, int]:
        x = self.setting.basis.doflocs
        return np.lexsort(x), round(x.shape[1] ** 0.5)


class Strang:
    """Strang's splitting of coefficients: half a step of diffusion, the reaction exactly at nodes, diffusion again."""

    def __init__(self, cosines: Cosines, dt: float):
        self.cosines, self.dt = cosines, dt
        self.half, self.growth, self.rest = np.exp(dt / 2 * cosines.rates), np.exp(dt), np.expm1(2 * dt)

    def step(self, c: ndarray) -> ndarray:
        """Coefficients one step later."""
        u = self.cosines.values(c * self.half)
        return self.cosines.coefficients(u * self.growth / np.sqrt(1 + self.rest * u * u)) * self.half


def exponential(cosines: Cosines, dt: float) -> Stepper:
    """Exponential time differencing of order 4 of the coefficients."""

    def reaction(c: ndarray) -> ndarray:
        u = cosines.values(c)
        return cosines.coefficients(u - u**3)

    return ETDRK4(cosines.rates, reaction, dt)


def by_cosines(cosines: Cosines, stepper: Stepper) -> Run:
    """The state at the end."""
    return lambda u: cosines.decode(last(stepper)(cosines.encode(u)))


def by_quadratic(setting: AllenCahnFamily, level: int, dt: float) -> Run:
    """IMEX ars443 on biquadratic elements of a coarser mesh; nodal values there and back."""
    basis = Basis(MeshQuad().refined(level), ElementQuad2(), intorder=5)
    there, back = setting.basis.probes(basis.doflocs), basis.probes(setting.basis.doflocs)
    stepper = IMEX(allen_cahn(basis, setting.eps), dt)
    return lambda u: (back @ last(stepper)((there @ np.atleast_2d(u).T).T).T).T


def rivals(setting: AllenCahnFamily) -> dict[str, tuple[Run, int | None]]:
    """Rows of what has fewer unknowns, or needs a rectangle, as those of `allen_cahn.classical`."""
    rows: dict[str, tuple[Run, int | None]] = {}
    for level, steps in ((4, (0.5, 0.4, 0.25)), (3, (0.4, 0.25))):
        for dt in steps:
            name = f"IMEX ars443, biquadratic on {2**level} x {2**level}, dt = {dt:g}"
            rows[name] = by_quadratic(setting, level, dt), None
    for m in (32, 16):
        cosines = Cosines(setting, m)
        for dt in (1.0, 0.5):
            rows[f"cosines on {m} x {m}, ETDRK4, dt = {dt:g}"] = by_cosines(cosines, exponential(cosines, dt)), None
        for dt in (0.5, 0.25, 0.125):
            rows[f"cosines on {m} x {m}, Strang, dt = {dt:g}"] = by_cosines(cosines, Strang(cosines, dt)), None
    return rows
