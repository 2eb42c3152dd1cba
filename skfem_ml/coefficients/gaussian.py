"""Log-normal coefficients: the exponential of a stationary Gaussian field, sampled exactly by the FFT."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product

import numpy as np
from numpy.typing import NDArray
from scipy.fft import irfftn, next_fast_len, rfftn
from skfem import Mesh

from skfem_ml import checks
from skfem_ml.meshes.cells import bounding_box, grid_index, relative_midpoints, widths

# Correlation lengths between a point and its periodic image: what wraps around is below 3e-4 of the variance.
PADDING = {"exponential": 8.0, "gaussian": 5.0}
LARGEST_GRID = 2**26


def log_normal(
    mesh: Mesh,
    sigma: float,
    correlation_length: float | Sequence[float],
    rng: np.random.Generator,
    mean: float = 0.0,
    covariance: str = "exponential",
) -> NDArray[np.float64]:
    """Return ``a = exp(mean + sigma Z)``, Z a stationary Gaussian field of variance one; shape ``(nelems,)``.

    With ``r^2 = sum_i (d_i / l_i)^2`` the covariance of Z at distance d is ``exp(-r)`` ("exponential", rough) or
    ``exp(-r^2 / 2)`` ("gaussian", smooth). The correlation lengths l_i > 0 (one number, or one per axis) are in the
    unit of the mesh's coordinates. ``mean`` is the mean of log a, so exp(mean) is the geometric mean of a.

    Z is drawn by circulant embedding on a regular grid as fine as the finest cells (Dietrich and Newsam, 1997): white
    noise times the square root of the covariance's spectrum. On a uniform box mesh the grid points are the midpoints;
    elsewhere a cell takes the nearest grid point. Another mesh width draws another field from the same ``rng``.
    Raises ValueError for lengths that are not positive, or so long that the grid would exceed 2^26 points.
    """
    checks.rng(rng)
    if not (0 <= sigma < np.inf and np.isfinite(mean)):
        raise ValueError(f"sigma, mean: expected sigma >= 0 and finite numbers, got sigma={sigma}, mean={mean}")
    checks.choice(covariance, tuple(PADDING), "covariance")
    lengths = _per_axis(correlation_length, mesh.dim())
    lower, upper = bounding_box(mesh)
    shape = np.ceil((upper - lower) / widths(mesh).min(axis=1) - 1e-6).astype(int)
    spacing = (upper - lower) / shape
    periods = [next_fast_len(int(n), real=True) for n in shape + np.ceil(PADDING[covariance] * lengths / spacing)]
    if np.prod(periods, dtype=float) > LARGEST_GRID:
        raise ValueError(
            f"correlation_length: {lengths.tolist()} on cells of {spacing.tolist()} needs a grid of {periods} points, "
            f"more than {LARGEST_GRID}; take a shorter correlation length or a coarser mesh"
        )
    spectrum = rfftn(_periodic_covariance(periods, spacing / lengths, covariance)).real
    field = irfftn(np.sqrt(np.maximum(spectrum, 0.0)) * rfftn(rng.standard_normal(periods)), s=periods)
    index = grid_index(relative_midpoints(mesh), tuple(int(n) for n in shape))
    return np.exp(mean + sigma * field[tuple(index)])


def _per_axis(correlation_length: float | Sequence[float], dim: int) -> NDArray[np.float64]:
    given = np.atleast_1d(np.asarray(correlation_length, dtype=float))
    if given.shape not in ((1,), (dim,)):
        raise ValueError(f"correlation_length: expected a number or {dim} numbers, one per axis, got {given.size}")
    for value in given:
        checks.positive(float(value), "correlation_length")
    return np.broadcast_to(given, (dim,)).copy()


def _periodic_covariance(periods: list[int], step: NDArray[np.float64], covariance: str) -> NDArray[np.float64]:
    # Summed over the images, the covariance keeps a positive spectrum; cut off at half a period it would not.
    total = np.zeros(periods)
    for shift in product((0, 1), repeat=len(periods)):
        squared = np.zeros([1] * len(periods))
        for axis, (period, h, image) in enumerate(zip(periods, step, shift, strict=True)):
            distance = h * (np.arange(period) - image * period)
            squared = squared + (distance**2).reshape([-1 if k == axis else 1 for k in range(len(periods))])
        total += np.exp(-np.sqrt(squared)) if covariance == "exponential" else np.exp(-squared / 2)
    return total
