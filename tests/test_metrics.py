"""Errors against integrals known by hand, and rates and norms against their definitions."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.sparse import random as random_matrix
from skfem import Basis, ElementQuad1, ElementQuad2, MeshLine, MeshQuad

from skfem_ml.coefficients import iid_multilevel
from skfem_ml.metrics import best_error, energy_error, l2_error, observed_rates, spectral_error, spectral_norm
from skfem_ml.solutions import Analytic, FEFunction
from tests.gallery import l_shape, shuffled

BASIS = Basis(MeshQuad().refined(3), ElementQuad1())
LINEAR = Analytic(lambda x: 1 + 2 * x[0] - 3 * x[1], lambda x: np.stack([2 + 0 * x[0], -3 + 0 * x[0]]))
ZERO = Analytic(lambda x: 0 * x[0], lambda x: 0 * x)


def test_norms_of_a_polynomial_are_its_integrals():
    square = Analytic(lambda x: x[0] * x[1], lambda x: np.stack([x[1], x[0]]))
    assert l2_error(square, ZERO, BASIS) == pytest.approx(1 / 3)
    assert energy_error(square, ZERO, BASIS, np.full(64, 6.0)) == pytest.approx(2.0)
    tensor = np.tile(np.array([[2.0, 1.0], [1.0, 4.0]])[:, :, None], 64)
    # int 2 y^2 + 2 x y + 4 x^2 = 2/3 + 1/2 + 4/3
    assert energy_error(square, ZERO, BASIS, tensor) == pytest.approx(np.sqrt(2.5))


def test_dofs_functions_and_callables_are_the_same_solution():
    y = LINEAR(BASIS.doflocs)
    function = FEFunction(BASIS, y)
    elsewhere = Basis(MeshQuad().refined(2), ElementQuad2())
    other = FEFunction(elsewhere, LINEAR(elsewhere.doflocs))
    for u in (y, function, other, LINEAR):
        assert l2_error(u, LINEAR, BASIS) < 1e-14
        assert energy_error(u, LINEAR, BASIS, np.ones(64)) < 1e-12
        # mean 1/2, variance 4/12 + 9/12
        assert l2_error(u, ZERO, BASIS) == pytest.approx(np.sqrt(4 / 3))


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 999), c=st.floats(1e-3, 1e3))
def test_errors_are_norms(seed, c):
    rng = np.random.default_rng(seed)
    u, v, w = rng.standard_normal((3, BASIS.N))
    a = iid_multilevel(BASIS.mesh, 3, 1, 5, rng)
    for error in (lambda p, q: l2_error(p, q, BASIS), lambda p, q: energy_error(p, q, BASIS, a)):
        assert error(u, u) == 0
        assert error(u, v) == pytest.approx(error(v, u))
        assert error(u, w) <= error(u, v) + error(v, w) + 1e-12
        assert error(c * u, c * v) == pytest.approx(c * error(u, v))
    assert energy_error(u, v, BASIS, c * a) == pytest.approx(np.sqrt(c) * energy_error(u, v, BASIS, a))
    assert l2_error(u, v, BASIS, relative=True) == pytest.approx(l2_error(u, v, BASIS) / l2_error(v, 0 * v, BASIS))


def test_errors_do_not_depend_on_the_order_of_the_mesh():
    mesh, rng = l_shape(), np.random.default_rng(0)
    other, order = shuffled(mesh, rng)
    a = rng.uniform(1, 5, mesh.nelements)
    u = Analytic(lambda x: np.sin(x[0]) * x[1], lambda x: np.stack([np.cos(x[0]) * x[1], np.sin(x[0])]))
    one, two = Basis(mesh, ElementQuad1()), Basis(other, ElementQuad1())
    assert energy_error(u, ZERO, one, a) == pytest.approx(energy_error(u, ZERO, two, a[order]), rel=1e-13)
    assert l2_error(u, ZERO, one) == pytest.approx(l2_error(u, ZERO, two), rel=1e-13)


def test_what_has_no_error_is_refused():
    with pytest.raises(ValueError, match=r"expected shape \(81,\) on this basis, or a callable"):
        l2_error(np.ones(80), ZERO, BASIS)
    with pytest.raises(ValueError, match="the reference vanishes"):
        l2_error(LINEAR, ZERO, BASIS, relative=True)
    with pytest.raises(TypeError, match="needs gradients"):
        energy_error(lambda x: x[0], ZERO, BASIS, np.ones(64))
    with pytest.raises(ValueError, match=r"u\(x\): expected shape \(64, 9\)"):
        l2_error(lambda x: x, ZERO, BASIS)
    with pytest.raises(ValueError, match=r"first is 0\.0 in cell 3"):
        energy_error(LINEAR, ZERO, BASIS, np.r_[1.0, 1, 1, np.zeros(61)])


@pytest.mark.parametrize("size", [30, 500])
def test_spectral_norm_agrees_with_the_dense_decomposition(size):
    S = random_matrix(size, size, density=0.02, random_state=0, format="csr")
    T = random_matrix(size, size, density=0.02, random_state=1, format="csr")
    exact = np.linalg.norm((S - T).toarray(), 2)
    assert spectral_error(S, T) == pytest.approx(exact, rel=1e-10)
    assert spectral_error(S.toarray(), T.toarray()) == pytest.approx(exact, rel=1e-10)
    assert spectral_error(S, T, relative=True) == pytest.approx(exact / np.linalg.norm(T.toarray(), 2), rel=1e-10)
    assert spectral_error(S, S) == 0
    assert spectral_error(S, T) == spectral_error(S, T)


def test_spectral_norm_refuses_what_has_none():
    with pytest.raises(ValueError, match="one shape"):
        spectral_error(np.eye(2), np.eye(3))
    with pytest.raises(ValueError, match="finite entries"):
        spectral_norm(np.array([[1, np.nan]]))
    with pytest.raises(ValueError, match="vanishes"):
        spectral_error(np.eye(2), np.zeros((2, 2)), relative=True)


@given(rate=st.floats(-2, 4), scale=st.floats(0.1, 10))
def test_rates_of_a_power_law_are_its_exponent(rate, scale):
    h = np.array([0.5, 0.3, 0.1, 0.05])
    np.testing.assert_allclose(observed_rates(h, scale * h**rate), rate, atol=1e-12)


def test_rates_refuse_zero_errors_and_unequal_lists():
    with pytest.raises(ValueError, match=r"leave out exact \(zero\) errors"):
        observed_rates([1, 0.5], [1, 0])
    with pytest.raises(ValueError, match="one length >= 2"):
        observed_rates([1, 0.5], [1])
    with pytest.raises(ValueError, match="different successive mesh sizes"):
        observed_rates([1, 1], [1, 2])


def test_nodal_interpolation_converges_at_the_known_rates():
    u = Analytic(lambda x: np.sin(3 * x[0]), lambda x: 3 * np.cos(3 * x))
    errors, h = [], []
    for k in (3, 4, 5):
        mesh = MeshLine().refined(k)
        basis = Basis(mesh, mesh.elem(), intorder=5)
        y = u(basis.doflocs)
        errors.append([l2_error(y, u, basis), energy_error(y, u, basis, np.ones(mesh.nelements))])
        h.append(2.0**-k)
    np.testing.assert_allclose(observed_rates(h, np.array(errors)[:, 0]), 2, atol=0.05)
    np.testing.assert_allclose(observed_rates(h, np.array(errors)[:, 1]), 1, atol=0.05)


def test_the_best_coarse_function_is_a_bound():
    """In the coarse space it is zero; else no coarse function, however found, has a smaller error."""
    fine, coarse = (Basis(MeshQuad().refined(k), ElementQuad1()) for k in (5, 2))
    x = fine.doflocs
    u = FEFunction(fine, np.sin(5 * x[0]) * np.exp(x[1]))
    best = best_error(u, coarse)
    inside = FEFunction(fine, 1 + x[0] - 2 * x[1])
    assert best_error(inside, coarse) < 1e-7 < best
    rng = np.random.default_rng(0)
    interpolant = u(coarse.doflocs)
    for change in (0.0, 1e-3, 1e-2):
        v = FEFunction(coarse, interpolant + change * rng.standard_normal(coarse.N))
        assert l2_error(v, u, fine, relative=True) >= best
    assert l2_error(FEFunction(coarse, interpolant), u, fine, relative=True) < 3 * best
