"""Radiative transfer: the fast generator, the dense solver and discrete ordinates agree; second order; bad input."""

import numpy as np
import pytest

from skfem_ml.metrics import observed_rates
from skfem_ml.reference import rte_dense, rte_ordinates, rte_samples, rte_solve


def bumps(N):
    x = (np.arange(N) + 0.5) / N
    return 1.5 * np.exp(-((x - 0.4) ** 2) / 0.006) + 1.2 * np.exp(-((x - 0.7) ** 2) / 0.006)


@pytest.mark.parametrize("N", [1, 2, 320, 1280])
def test_fast_equals_dense(N):
    scattering, u = rte_samples(3, N, np.random.default_rng(0))
    for k in range(3):
        assert np.abs(u[k] - rte_dense(scattering[k])).max() < 1e-8 * u[k].max()


def test_agrees_with_discrete_ordinates():
    u = rte_dense(bumps(320))
    # The angles resolve the layers at the ends, where u is not smooth; refine > 1 the sharp rays in them.
    assert np.abs(rte_ordinates(bumps(320), angles=128, refine=9, tol=1e-9) - u).max() < 1e-5 * u.max()
    plain = rte_ordinates(bumps(320), angles=16, refine=3, tol=1e-9)
    assert np.abs(plain[20:-20] - u[20:-20]).max() < 1e-3 * u.max()


def test_second_order():
    sizes = np.array([40, 120, 360])
    fine = rte_dense(bumps(3240))
    errors = []
    for N in sizes:
        same = fine.reshape(N, -1)[:, 3240 // N // 2]  # the fine midpoints that are coarse midpoints
        errors.append(np.linalg.norm(rte_dense(bumps(N)) - same) / np.linalg.norm(same))
    assert (np.abs(observed_rates(1 / sizes, errors) - 2) < 0.15).all()


def test_samples_are_those_of_the_paper():
    scattering, u = rte_samples(200, 64, np.random.default_rng(3))
    mass = scattering.mean(axis=1)
    assert scattering.shape == u.shape == (200, 64) and (mass > 0.19).all() and (mass < 0.61).all()
    assert (u > 0).all()
    again = rte_samples(200, 64, np.random.default_rng(3))
    np.testing.assert_array_equal(scattering, again[0])
    np.testing.assert_array_equal(u, again[1])


def test_limits():
    scattering, _ = rte_samples(2, 50, np.random.default_rng(0))
    np.testing.assert_allclose(rte_solve(scattering, 3.0), 3 * rte_solve(scattering), rtol=1e-8)
    np.testing.assert_array_equal(rte_solve(scattering, 0.0), 0.0)
    # Deep inside a thick absorber u = f / mu_a.
    assert rte_solve(np.ones((1, 501)), absorption=100.0)[0, 250] == pytest.approx(1 / 100, rel=1e-5)
    np.testing.assert_allclose(rte_solve(scattering[:, ::-1]), rte_solve(scattering)[:, ::-1], rtol=1e-8)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: rte_solve(np.ones(5)), "expected shape"),
        (lambda: rte_solve(np.full((2, 5), -1.0)), r"got -1.0 in sample 0, cell 0 \(10 such values\)"),
        (lambda: rte_solve(np.array([[1.0, np.nan]])), "got nan in sample 0, cell 1"),
        (lambda: rte_solve(np.ones((1, 5)), absorption=0.0), "absorption"),
        (lambda: rte_dense(np.array([1.0, np.inf])), "got inf"),
        (lambda: rte_ordinates(np.ones(5), refine=2), "odd"),
        (lambda: rte_samples(0, 5, np.random.default_rng(0)), "at least one sample"),
    ],
)
def test_bad_input(call, message):
    with pytest.raises(ValueError, match=message):
        call()
