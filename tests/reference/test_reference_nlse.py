"""Ground states of the nonlinear Schroedinger equation: the equation itself, limits, and an independent way."""

import numpy as np
import pytest

from skfem_ml.metrics import observed_rates
from skfem_ml.reference import nlse_samples, nlse_solve, nlse_spectral


def samples(n, N, seed=0):
    return nlse_samples(n, N, np.random.default_rng(seed), validation=1, test=1)


def residual(V, u, E, beta=10.0):
    laplacian = V.shape[1] ** 2 * (2 * u - np.roll(u, 1, axis=1) - np.roll(u, -1, axis=1))
    return laplacian + V * u + beta * u**3 - E[:, None] * u


def test_samples_solve_the_equation():
    data = samples(600, 80)  # more than one chunk
    u, E = nlse_solve(data.inputs)
    np.testing.assert_array_equal(u, data.outputs)
    assert (u > 0).all() and np.abs((u**2).mean(axis=1) - 1).max() < 1e-8
    assert np.abs(residual(data.inputs, u, E)).max() < 1e-4  # of terms of size 4 N^2 u = 5e4
    np.testing.assert_allclose(data.points[0], np.arange(1, 81) / 80)


def test_second_order_to_fourier_collocation():
    sizes, states, energies = (80, 160, 320), [], []
    for N in sizes:
        V = samples(3, N).inputs[0]
        u, E = nlse_solve(V)
        reference, energy = nlse_spectral(V)
        states.append(np.abs(u[0] - reference).max())
        energies.append(abs(E[0] - energy))
    for errors in (states, energies):
        rates = observed_rates(1 / np.array(sizes), np.array(errors))
        assert rates.min() > 1.9 and rates.max() < 2.1
    assert states[-1] < 3e-4


def test_limits():
    V = samples(3, 64).inputs
    u, E = nlse_solve(V, beta=1e-6)  # nearly linear: the lowest eigenvector
    for row, state, energy in zip(V, u, E, strict=True):
        unit = np.eye(64)
        A = 64**2 * (2 * unit - np.roll(unit, 1, axis=0) - np.roll(unit, -1, axis=0)) + np.diag(row)
        values, vectors = np.linalg.eigh(A)
        assert energy == pytest.approx(values[0], abs=1e-5)
        np.testing.assert_allclose(state, np.abs(vectors[:, 0]) * 8, atol=1e-6)
    flat, energy = nlse_solve(np.full((1, 16), -3.0))
    np.testing.assert_allclose(flat, 1.0)
    assert energy[0] == pytest.approx(7.0)  # -3 + beta
    strong, _ = nlse_solve(V, beta=1e6)  # the nonlinearity flattens the state
    assert np.abs(strong - 1).max() < 1e-3


def test_symmetries():
    V = samples(3, 64).inputs
    u, E = nlse_solve(V)
    moved, same = nlse_solve(np.roll(V, 5, axis=1))
    np.testing.assert_allclose(moved, np.roll(u, 5, axis=1), atol=1e-7)
    np.testing.assert_allclose(same, E, atol=1e-6)
    lifted, more = nlse_solve(V + 40)
    np.testing.assert_allclose(lifted, u, atol=1e-7)
    np.testing.assert_allclose(more, E + 40, atol=1e-6)


def test_bad_input():
    with pytest.raises(ValueError, match="at least one sample and three points, got 3 and 2"):
        samples(3, 2)
    with pytest.raises(ValueError, match=r"expected shape \(n, N\)"):
        nlse_solve(np.ones((2, 2)))
    with pytest.raises(ValueError, match="expected finite values, got 1"):
        nlse_solve([[0.0, 1.0, np.nan]])
    with pytest.raises(ValueError, match="beta: expected"):
        nlse_solve(np.ones((1, 8)), beta=0.0)
    with pytest.raises(RuntimeError, match="2 steps left a residual"):
        nlse_solve(samples(3, 32).inputs, maxiter=2)
