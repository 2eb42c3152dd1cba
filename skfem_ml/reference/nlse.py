"""Ground states of a nonlinear Schroedinger equation: a fast batched solver, samples, and an independent way.

For a potential V on the circle of length one, ``u > 0`` with mean square one and the energy E solve ::

    -u'' + V u + beta u^3 = E u,    beta = 10

(Fan, Lin, Ying and Zepeda-Nunez, A multiscale neural network based on hierarchical matrices, section 4.1). The energy
is strictly convex in u^2, so there is one such u. It lives at ``x_i = i / N``, i = 1..N, with the second difference
for the second derivative, second order in 1 / N.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.linalg import eigh

from skfem_ml.problems import OperatorSamples

Array = NDArray[np.float64]
BETA = 10.0
CHUNK = 512  # samples solved together: their vectors stay in the cache


def nlse_samples(n: int, N: int, rng: np.random.Generator, *, validation: int, test: int) -> OperatorSamples:
    """Return ``n`` samples of the map from potential to ground state at the points ``i / N``.

    V is minus the sum of two periodic bumps ``r / sqrt(2 pi T) exp(-(x - c)^2 / 2T)`` with r in [10, 40], c on the
    circle at least 0.05 apart and a common T in [0.002, 0.004], all uniform (the published samples add a constant to
    V, which changes E alone). Raises ValueError for n below 1 or N below 3.
    """
    if n < 1 or N < 3:
        raise ValueError(f"n, N: expected at least one sample and three points, got {n} and {N}")
    c = rng.random((n, 2))
    while (close := np.abs((c[:, 0] - c[:, 1] + 0.5) % 1 - 0.5) < 0.05).any():
        c[close] = rng.random((int(close.sum()), 2))
    r, T = rng.uniform(10, 40, (n, 2)), rng.uniform(0.002, 0.004, (n, 1))
    x = np.arange(1, N + 1) / N
    V = np.zeros((n, N))
    for k in range(2):
        for period in (-1, 0, 1):
            V -= r[:, k : k + 1] / np.sqrt(2 * np.pi * T) * np.exp(-((x - c[:, k : k + 1] + period) ** 2) / (2 * T))
    return OperatorSamples(x[None], V, nlse_solve(V)[0], validation, test, "nonlinear Schroedinger")


def nlse_solve(
    potential: ArrayLike, beta: float = BETA, *, tol: float = 1e-9, maxiter: int = 100
) -> tuple[Array, Array]:
    """Return the ground states ``(n, N)`` and energies ``(n,)`` of the rows of ``potential`` ``(n, N)``.

    Inverse iteration with u^2 frozen, ``(-D + V - min V + 1 + beta + beta u^2) v = u``, keeps u positive and comes
    near the ground state; Newton's method in (u, E) ends at a residual of at most ``tol`` times ``|4 N^2 u|``. Both
    solve cyclic tridiagonal systems of all samples at once, O(n N).

    Raises ValueError for a potential of another shape or not finite and for beta <= 0, RuntimeError where ``maxiter``
    steps do not reach ``tol``.
    """
    V = np.atleast_2d(np.asarray(potential, dtype=float))
    if V.ndim != 2 or V.shape[1] < 3 or not len(V):
        raise ValueError(f"potential: expected shape (n, N) with N at least 3, one row per sample, got {V.shape}")
    if not np.isfinite(V).all():
        raise ValueError(f"potential: expected finite values, got {int((~np.isfinite(V)).sum())} that are not")
    if not 0 < beta < np.inf:
        raise ValueError(f"beta: expected a positive number, got {beta!r}; for 0 take an eigensolver")
    parts = [_ground(V[k : k + CHUNK].T, beta, tol, maxiter) for k in range(0, len(V), CHUNK)]
    return np.concatenate([u.T for u, _ in parts]), np.concatenate([E for _, E in parts])


def nlse_spectral(potential: ArrayLike, beta: float = BETA, *, tol: float = 1e-12) -> tuple[Array, float]:
    """Return ground state ``(N,)`` and energy for one ``potential`` ``(N,)``: an independent check, without Newton.

    Fourier collocation, dense eigenvectors, and optimal damping: the density u^2 moves towards that of the linear
    ground state by the step of least energy (Cances and Le Bris, 2000). Raises RuntimeError where 1000 steps leave a
    slope of the energy above ``tol``.
    """
    V = np.asarray(potential, dtype=float)
    N = len(V)
    wave = np.fft.fft(np.eye(N), axis=0)
    laplacian = np.fft.ifft(wave * (2 * np.pi * np.fft.fftfreq(N, 1 / N)[:, None]) ** 2, axis=0).real
    linear = (laplacian + laplacian.T) / 2 + np.diag(V)
    states, energies = np.ones((N, 1)), np.ones(1)  # the density matrix and its weights
    for _ in range(1000):
        density = states**2 @ energies
        value, vector = eigh(linear + beta * np.diag(density), subset_by_index=[0, 0])
        new = vector[:, 0] * np.sqrt(N)
        frozen = ((linear @ states) * states).mean(axis=0) @ energies + beta * (density**2).mean()
        slope = float(value[0] - frozen)
        if -slope <= tol * abs(value[0]):
            return np.abs(new), float(value[0])
        curvature = beta * float(((new**2 - density) ** 2).mean())
        step = min(1.0, -slope / curvature) if curvature > 0 else 1.0
        states = np.column_stack([states, new])
        energies = np.append((1 - step) * energies, step)
        keep = energies > 1e-14
        states, energies = states[:, keep], energies[keep]
    raise RuntimeError(f"potential: 1000 damped steps left a slope of {slope:.1e} of the energy, expected {tol:.1e}")


def _ground(V: Array, beta: float, tol: float, maxiter: int) -> tuple[Array, Array]:
    """Ground states ``(N, n)`` and energies ``(n,)`` for V ``(N, n)``."""
    s = float(len(V)) ** 2
    lift = 1 - V.min(axis=0) + beta  # without beta a strong nonlinearity overshoots
    u, E = np.ones_like(V), V.mean(axis=0) + beta
    newton = False
    for _ in range(maxiter):
        diagonal = 2 * s + V + beta * u**2
        image = diagonal * u - s * (np.roll(u, 1, axis=0) + np.roll(u, -1, axis=0))
        if not newton:
            E = (image * u).mean(axis=0)
        residual = image - E * u
        size = np.linalg.norm(residual, axis=0) / np.linalg.norm(u, axis=0)
        defect = (u**2).mean(axis=0) - 1
        if (size <= tol * 4 * s).all() and (np.abs(defect) <= tol).all() and (u > 0).all():
            return u, E
        # Newton from where the residual is small against the first gap, of order one, or the nonlinearity.
        newton = newton or bool((size < 1.0).all())
        if newton:
            x, y = _cyclic(diagonal - E + 2 * beta * u**2, s, np.stack([residual, u]))
            change = (2 * (x * u).mean(axis=0) - defect) / (2 * (y * u).mean(axis=0))
            u, E = u - x + change * y, E + change
        else:
            u = _cyclic(diagonal + lift, s, u[None])[0]
            u /= np.sqrt((u**2).mean(axis=0))
    worst = int(size.argmax())
    raise RuntimeError(
        f"potential: {maxiter} steps left a residual of {size[worst]:.1e} in a row of the potential, expected "
        f"{tol * 4 * s:.1e} and u > 0; raise maxiter"
    )


def _cyclic(d: Array, s: float, b: Array) -> Array:
    """Solve the positive definite cyclic systems with diagonals d ``(N, n)`` and ``-s`` beside them, b ``(k, N, n)``.

    With ``e`` the sum of the first and last unit vectors the matrix is tridiagonal minus ``s e e^T``
    (Sherman and Morrison); the elimination needs no pivots.
    """
    N = len(d)
    e = np.zeros((1, *d.shape))
    e[0, [0, -1]] = 1.0
    x = np.concatenate([b, e])
    d = d.copy()
    d[[0, -1]] += s
    for i in range(1, N):
        factor = s / d[i - 1]
        d[i] -= s * factor
        x[:, i] += factor * x[:, i - 1]
    x[:, -1] /= d[-1]
    for i in range(N - 2, -1, -1):
        x[:, i] = (x[:, i] + s * x[:, i + 1]) / d[i]
    x, z = x[:-1], x[-1]
    return x + z * (s * (x[:, :1] + x[:, -1:]) / (1 - s * (z[0] + z[-1])))
