"""Radiative transfer in a slab: a fast generator of samples, a dense solver, and an independent one by ordinates.

With scattering mu_s(x), total attenuation ``mu_t = mu_s + mu_a`` and source f, the mean intensity u solves ::

    u(x) = 1/2 int_0^1 E1(|tau(x) - tau(y)|) (mu_s(y) u(y) + f(y)) dy,     tau(x) = int_0^x mu_t

(FMM-Net, section 3.2; Fan and others, A multiscale neural network based on hierarchical nested bases). Cells ``i`` of
width ``h = 1/N`` have midpoints ``(i + 1/2) h`` and constant data; the equation holds at the midpoints, with exact
integrals over the cells: ``u = K (mu_s u + f)``, second order in h.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import expn

Array = NDArray[np.float64]
ABSORPTION = 0.2  # mu_a of the paper's samples
NODES = 32  # exponentials that stand for E2: error below 2e-9 for N up to 1280 and absorption 0.2
CHUNK = 128  # samples swept together: their states stay in the cache


def rte_samples(n: int, N: int, rng: np.random.Generator) -> tuple[Array, Array]:
    """Return ``n`` pairs of scattering coefficient and mean intensity, both ``(n, N)``, on N cells of (0, 1), f = 1.

    mu_s is drawn by `rte_scattering`, mu_a is 0.2. Raises ValueError for n or N below 1.
    """
    scattering = rte_scattering(n, N, rng)
    return scattering, rte_solve(scattering)


def rte_scattering(n: int, N: int, rng: np.random.Generator) -> Array:
    """Return ``n`` scattering coefficients at the midpoints of N cells of (0, 1), ``(n, N)``.

    mu_s is the sum of two bumps ``r / sqrt(2 pi T) exp(-(x - c)^2 / 2T)`` with r in [0.1, 0.3], c in [0.2, 0.8] at
    least 0.05 apart and a common T in [0.002, 0.004], all uniform. Raises ValueError for n or N below 1.
    """
    if n < 1 or N < 1:
        raise ValueError(f"n, N: expected at least one sample and one cell, got {n} and {N}")
    c = rng.uniform(0.2, 0.8, (n, 2))
    while (close := np.abs(c[:, 0] - c[:, 1]) < 0.05).any():
        c[close] = rng.uniform(0.2, 0.8, (int(close.sum()), 2))
    r, T = rng.uniform(0.1, 0.3, (n, 2)), rng.uniform(0.002, 0.004, (n, 1))
    x = (np.arange(N) + 0.5) / N
    scattering = np.zeros((n, N))
    for k in range(2):
        scattering += r[:, k : k + 1] / np.sqrt(2 * np.pi * T) * np.exp(-((x - c[:, k : k + 1]) ** 2) / (2 * T))
    return scattering


def rte_solve(
    scattering: ArrayLike, source: float = 1.0, *, absorption: float = ABSORPTION, tol: float = 1e-10
) -> Array:
    """Return the mean intensity of every row of ``scattering`` ``(n, N)``, at the midpoints of N cells, ``(n, N)``.

    E2 is replaced by a sum of 32 exponentials, so a product with K is two sweeps over the cells in O(N), for many
    samples at once; the equation is solved by conjugate residuals to the relative residual ``tol``.

    Raises ValueError for scattering that is negative or not finite and for absorption <= 0, RuntimeError where 100
    products do not reach ``tol``.
    """
    mu_s = _checked(scattering, absorption)
    result = np.empty_like(mu_s)
    for start in range(0, len(mu_s), CHUNK):
        part = slice(start, start + CHUNK)
        result[part] = _residuals(_Sweeps(mu_s[part], absorption), mu_s[part], source, tol)
    return result


def rte_dense(scattering: ArrayLike, source: float = 1.0, *, absorption: float = ABSORPTION) -> Array:
    """Return the mean intensity ``(N,)`` of one ``scattering`` ``(N,)`` by the dense matrix with the exact E2.

    ``K_ij = |E2(|tau_i - tau_j-|) - E2(|tau_i - tau_j+|)| / (2 mu_t,j)`` between the ends of cell j, and
    ``K_ii = (1 - E2(mu_t,i h / 2)) / mu_t,i``. Raises ValueError as `rte_solve`.
    """
    mu_s = _checked(np.atleast_2d(scattering), absorption)[0]
    N, mu_t = len(mu_s), mu_s + absorption
    edges = np.concatenate([[0.0], np.cumsum(mu_t / N)])
    middle = (edges[:-1] + edges[1:]) / 2
    values = expn(2, np.abs(middle[:, None] - edges))
    K = np.abs(np.diff(values, axis=1)) / (2 * mu_t)
    K[np.diag_indices(N)] = (1 - expn(2, mu_t / (2 * N))) / mu_t
    return np.linalg.solve(np.eye(N) - K * mu_s, K @ np.full(N, float(source)))


def rte_ordinates(
    scattering: ArrayLike,
    source: float = 1.0,
    *,
    absorption: float = ABSORPTION,
    angles: int = 32,
    refine: int = 3,
    tol: float = 1e-12,
) -> Array:
    """Return the mean intensity ``(N,)`` by discrete ordinates: an independent check that knows no E1.

    ``mu psi' + mu_t psi = (mu_s u + f) / 2`` for ``angles`` Gauss points mu in (0, 1) and their negatives, without
    inflow, by diamond differences on ``refine`` (odd) cells for each given one, and source iteration until u changes
    by less than ``tol``. Raises ValueError as `rte_solve` and for an even ``refine``.
    """
    if refine < 1 or refine % 2 == 0:
        raise ValueError(f"refine: expected an odd number, so that midpoints stay midpoints, got {refine}")
    mu_s = np.repeat(_checked(np.atleast_2d(scattering), absorption)[0], refine)
    h, mu_t = 1 / len(mu_s), mu_s + absorption
    nodes, weights = np.polynomial.legendre.leggauss(angles)
    mu, weights = (nodes + 1) / 2, weights / 2
    u = np.zeros(len(mu_s))
    for _ in range(1000):
        q = (mu_s * u + source) / 2
        psi = np.zeros((2, angles))  # to the right, to the left
        new = np.zeros_like(u)
        for i in range(len(u)):
            for side, cell in enumerate((i, len(u) - 1 - i)):
                centre = (2 * mu * psi[side] + h * q[cell]) / (2 * mu + h * mu_t[cell])
                psi[side] = 2 * centre - psi[side]
                new[cell] += weights @ centre
        change, u = float(np.abs(new - u).max()), new
        if change <= tol * float(np.abs(u).max()):
            break
    return u[refine // 2 :: refine]


def _checked(scattering: ArrayLike, absorption: float) -> Array:
    mu_s = np.asarray(scattering, dtype=float)
    if mu_s.ndim != 2 or 0 in mu_s.shape:
        raise ValueError(f"scattering: expected shape (n, N), one row per sample, got {mu_s.shape}")
    bad = ~(np.isfinite(mu_s) & (mu_s >= 0))
    if bad.any():
        row, cell = np.argwhere(bad)[0]
        raise ValueError(
            f"scattering: expected finite values >= 0, got {mu_s[row, cell]} in sample {row}, cell {cell} "
            f"({int(bad.sum())} such values)"
        )
    if not 0 < absorption < np.inf:
        raise ValueError(f"absorption: expected a positive number, got {absorption!r}")
    return mu_s


class _Sweeps:
    """Products with K for samples ``(n, N)``: ``E2(z) = int exp(-z e^s) e^-s ds = sum_k w_k exp(-z t_k)``."""

    def __init__(self, mu_s: Array, absorption: float):
        self.mu_t = mu_s + absorption
        depth = self.mu_t.T / mu_s.shape[1]  # (N, n)
        nodes, weights = np.polynomial.legendre.leggauss(NODES)
        # exp(-z e^s) is below 1e-15 beyond this s at the smallest argument, half of the thinnest cell.
        end = np.log(36 / (depth.min() / 2))
        s = (nodes + 1) * end / 2
        half = np.exp(-depth[:, :, None] / 2 * np.exp(s))
        self.decay = half**2
        self.read = half * (weights * end / 2 * np.exp(-s))
        self.own = (1 - expn(2, depth.T / 2)) / self.mu_t

    def __call__(self, g: Array) -> Array:
        """Return ``K g`` for ``g`` ``(n, N)``: what comes from the left, from the right, and from the cell itself."""
        emission = np.ascontiguousarray((g / (2 * self.mu_t)).T)[:, :, None]
        cells = len(emission)
        result = np.zeros((cells, g.shape[0]))
        for order in (range(cells), range(cells - 1, -1, -1)):
            state = np.zeros(self.decay.shape[1:])
            for i in order:
                result[i] += np.einsum("nk,nk->n", state, self.read[i])
                state -= emission[i]
                state *= self.decay[i]
                state += emission[i]
        return result.T + self.own * g


def _residuals(K: _Sweeps, mu_s: Array, source: float, tol: float) -> Array:
    """Solve ``u - K mu_s u = K f`` by generalised conjugate residuals, each sample with its own coefficients."""
    residual = K(np.full_like(mu_s, source))
    goal = tol * np.linalg.norm(residual, axis=1)
    u = np.zeros_like(mu_s)
    directions: list[tuple[Array, Array]] = []
    for _ in range(100):
        if (np.linalg.norm(residual, axis=1) <= goal).all():
            return u
        p = residual
        image = p - K(mu_s * p)
        for q, other in directions:
            part = (image * other).sum(axis=1, keepdims=True)
            p, image = p - part * q, image - part * other
        length = np.linalg.norm(image, axis=1, keepdims=True)
        length[length == 0] = 1.0  # a sample that is solved exactly
        p, image = p / length, image / length
        directions.append((p, image))
        step = (residual * image).sum(axis=1, keepdims=True)
        u, residual = u + step * p, residual - step * image
    raise RuntimeError(f"scattering: 100 products did not reach the residual {tol:g}; optically thick? use rte_dense")
