"""The samples of FMM-Net, sections 3.2 and 3.3: radiative transfer, and the custom operator of equation (9), ::

    a_ij = (x_i + x_j)^2 / (N^5 |x_i - x_j|),    x_i = (i + 1/2) / N.

As printed it is singular at i = j. Here the cell width ``h = 1 / N`` takes the place of |x_i - x_j| there, so that
``a_ii = 4 x_i^2 / N^4``. The inputs are scattering coefficients of the radiative transfer for both, as in the paper.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from skfem_ml.problems import OperatorSamples
from skfem_ml.reference.rte import rte_samples, rte_scattering

Array = NDArray[np.float64]


def midpoints(N: int) -> Array:
    """Return the midpoints of N equal cells of (0, 1), ``(1, N)``."""
    return (np.arange(N)[None] + 0.5) / N


def custom_kernel(N: int) -> Callable[[Array, Array], Array]:
    """Return ``kernel(x, y)`` for coordinates ``(1, ...)`` twice, values ``(...)``; ValueError for N below 1."""
    if N < 1:
        raise ValueError(f"N: expected at least one cell, got {N}")

    def kernel(x: Array, y: Array) -> Array:
        # Half a cell, not none: midpoints that differ by rounding alone are the same.
        distance = np.abs(x - y)[0]
        return (x + y)[0] ** 2 / N**5 / np.where(distance < 0.5 / N, 1.0 / N, distance)

    return kernel


def custom_samples(n: int, N: int, rng: np.random.Generator, *, validation: int, test: int) -> OperatorSamples:
    """Return ``n`` samples of the custom operator on N cells; ValueError for sizes out of range."""
    x = midpoints(N)
    q = rte_scattering(n, N, rng)
    matrix = custom_kernel(N)(x[:, :, None], x[:, None, :])
    return OperatorSamples(x, q, q @ matrix.T, validation, test, "custom operator")


def transfer_samples(n: int, N: int, rng: np.random.Generator, *, validation: int, test: int) -> OperatorSamples:
    """Return ``n`` samples of the map from scattering to mean intensity on N cells (`rte_samples`)."""
    q, w = rte_samples(n, N, rng)
    return OperatorSamples(midpoints(N), q, w, validation, test, "radiative transfer")
