"""Reference finite elements: exactness, rates, coarse meshes and null models."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from skfem import (
    Basis,
    ElementQuad1,
    ElementQuad2,
    MeshHex,
    MeshLine,
    MeshQuad,
)

from skfem_ml.coefficients import channels, checkerboard, iid_multilevel
from skfem_ml.metrics import energy_error, l2_error, observed_rates
from skfem_ml.problems import Diffusion
from skfem_ml.reference import coarse_coefficient, solver_fem
from skfem_ml.reference.fem import parents
from skfem_ml.solutions import Analytic
from tests.gallery import all_kinds, random_problem, shuffled, stretched

MEANS = ("arithmetic", "harmonic", "geometric")
SINES = Analytic(
    lambda x: np.sin(np.pi * x[0]) * np.sin(np.pi * x[1]),
    lambda x: (
        np.pi * np.stack([np.cos(np.pi * x[0]) * np.sin(np.pi * x[1]), np.sin(np.pi * x[0]) * np.cos(np.pi * x[1])])
    ),
)


# --- exactness and rates


@pytest.mark.parametrize("kind", all_kinds())
def test_linear_solutions_are_exact_with_mixed_boundary(kind):
    mesh = all_kinds()[kind]
    mesh, _ = shuffled(mesh, np.random.default_rng(0))
    left, right = mesh.p[0].min(), mesh.p[0].max()
    mesh = mesh.with_boundaries({"left": lambda x: np.isclose(x[0], left), "right": lambda x: np.isclose(x[0], right)})
    if kind == "l_shape":
        # On the L the flow cannot be straight: all of the boundary is given instead.
        problem = Diffusion(mesh, np.full(mesh.nelements, 3.0), f=0, g=lambda x: 1 + 2 * x[0])
    else:
        problem = Diffusion(
            mesh, np.full(mesh.nelements, 3.0), f=0, g=lambda x: 1 + 2 * x[0], dirichlet=("left", "right")
        )
    u = solver_fem()(problem)
    np.testing.assert_allclose(u(mesh.p), 1 + 2 * mesh.p[0], rtol=1e-9)


@pytest.mark.parametrize(("element", "order"), [(ElementQuad1(), 1), (ElementQuad2(), 2)])
def test_rates_with_a_manufactured_solution(element, order):
    h, l2, energy = [], [], []
    for k in (2, 3, 4):
        mesh = MeshQuad().refined(k)
        a = np.full(mesh.nelements, 2.0)
        problem = Diffusion(mesh, a, f=lambda x: 4 * np.pi**2 * SINES(x), exact=SINES)
        u = solver_fem(element=element)(problem)
        basis = Basis(mesh, element, intorder=8)
        h.append(2.0**-k)
        l2.append(l2_error(u, SINES, basis))
        energy.append(energy_error(u, SINES, basis, a))
    np.testing.assert_allclose(observed_rates(h, l2)[-1], order + 1, atol=0.1)
    np.testing.assert_allclose(observed_rates(h, energy)[-1], order, atol=0.1)


def test_tensor_coefficient_with_a_manufactured_solution():
    tensor = np.array([[2.0, 1.0], [1.0, 3.0]])
    wave = np.array([1.0, 2.0])
    errors = []
    for k in (3, 4):
        mesh = MeshQuad().refined(k)
        problem = Diffusion(
            mesh,
            np.tile(tensor[:, :, None], mesh.nelements),
            f=lambda x: (wave @ tensor @ wave) * np.sin(wave[0] * x[0] + wave[1] * x[1]),
            g=lambda x: np.sin(wave[0] * x[0] + wave[1] * x[1]),
        )
        u = solver_fem()(problem)
        errors.append(l2_error(u, lambda x: np.sin(wave[0] * x[0] + wave[1] * x[1]), u.basis))
    assert observed_rates([2, 1], errors)[0] == pytest.approx(2, abs=0.1)


def test_the_solution_does_not_depend_on_the_order_of_the_mesh():
    problem = random_problem()
    mesh, order = shuffled(problem.mesh, np.random.default_rng(1))
    u, v = solver_fem()(problem), solver_fem()(Diffusion(mesh, problem.a[order]))
    np.testing.assert_allclose(v(problem.mesh.p), u(problem.mesh.p), atol=1e-14)


@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 999), c=st.floats(1e-3, 1e3))
def test_scaling_the_coefficient_scales_the_solution(seed, c):
    problem = random_problem(2, seed)
    scaled = Diffusion(problem.mesh, c * problem.a)
    np.testing.assert_allclose(solver_fem()(scaled).y * c, solver_fem()(problem).y, rtol=1e-10, atol=1e-16)


# --- coarse meshes and null models


@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 999))
def test_means_are_ordered_and_agree_with_a_loop(seed):
    rng = np.random.default_rng(seed)
    coarse = stretched(3, 2)
    fine, _ = shuffled(coarse.refined(2), rng)
    a = 10 ** rng.uniform(-3, 3, fine.nelements)
    harmonic, geometric, arithmetic = (
        coarse_coefficient(a, fine, coarse, m) for m in ("harmonic", "geometric", "arithmetic")
    )
    assert (harmonic <= geometric * (1 + 1e-12)).all() and (geometric <= arithmetic * (1 + 1e-12)).all()
    parent, area = parents(fine, coarse), Basis(fine, ElementQuad1()).dx.sum(axis=1)
    for k in range(coarse.nelements):
        own = parent == k
        weight = area[own] / area[own].sum()
        assert arithmetic[k] == pytest.approx(weight @ a[own])
        assert harmonic[k] == pytest.approx(1 / (weight @ (1 / a[own])))
        assert geometric[k] == pytest.approx(np.exp(weight @ np.log(a[own])))
    tensors = np.eye(2)[:, :, None] * a
    for mean, scalar in (("arithmetic", arithmetic), ("harmonic", harmonic)):
        np.testing.assert_allclose(coarse_coefficient(tensors, fine, coarse, mean), np.eye(2)[:, :, None] * scalar)


def test_all_coarse_models_agree_where_the_coefficient_is_coarse():
    coarse = MeshQuad().refined(3)
    fine = coarse.refined(2)
    problem = Diffusion(fine, iid_multilevel(fine, 3, 1, 5, np.random.default_rng(0)), f=lambda x: 1 + x[0])
    direct = Diffusion(coarse, iid_multilevel(coarse, 3, 1, 5, np.random.default_rng(0)), f=problem.f)
    expected = solver_fem()(direct).y
    for mean in ("exact", *MEANS):
        np.testing.assert_allclose(solver_fem(coarse, mean=mean)(problem).y, expected, rtol=1e-11, atol=1e-15)
    np.testing.assert_allclose(solver_fem(fine)(problem).y, solver_fem()(problem).y, rtol=1e-10, atol=1e-15)


def test_exact_coarse_fem_is_the_best_coarse_function_in_energy():
    # A right-hand side that the coarse quadrature cannot see.
    problem = random_problem(5, f=lambda x: 1 + np.sign(np.sin(32 * np.pi * x[0])))
    coarse = MeshQuad().refined(2)
    fine = solver_fem()(problem)
    error = {
        m: energy_error(solver_fem(coarse, mean=m)(problem), fine, fine.basis, problem.a) for m in ("exact", *MEANS)
    }
    assert error["exact"] <= min(error.values())
    u = solver_fem(coarse)(problem)
    # Pythagoras: |u_f|^2 = |u_f - u_h|^2 + |u_h|^2
    zero = np.zeros(fine.basis.N)
    norms = [energy_error(v, zero, fine.basis, problem.a) for v in (fine, u)]
    assert norms[0] ** 2 == pytest.approx(error["exact"] ** 2 + norms[1] ** 2, rel=1e-10)


@pytest.mark.parametrize(("axis", "mean"), [(1, "harmonic"), (0, "arithmetic")])
def test_layered_media_homogenise_to_the_harmonic_and_arithmetic_mean(axis, mean):
    coarse = MeshQuad().refined(2).with_defaults()
    fine = coarse.refined(2)
    layers = channels(fine, 50.0, 3, 1 / 16, np.random.default_rng(0), axis=axis)
    problem = Diffusion(fine, layers, f=0, g=lambda x: x[0], dirichlet=("left", "right"))
    exact, homogenised = solver_fem()(problem), solver_fem(coarse, mean=mean)(problem)
    nodes = coarse.p
    np.testing.assert_allclose(homogenised(nodes), exact(nodes), atol=1e-12)


def test_harmonic_mean_is_exact_at_the_nodes_in_one_dimension():
    coarse = MeshLine().refined(3)
    fine = coarse.refined(3)
    problem = Diffusion(fine, 10 ** np.random.default_rng(0).uniform(-2, 2, 64), f=0, g=lambda x: x[0])
    exact = solver_fem()(problem)
    np.testing.assert_allclose(solver_fem(coarse, mean="harmonic")(problem)(coarse.p), exact(coarse.p), atol=1e-12)
    assert abs(solver_fem(coarse, mean="arithmetic")(problem)(coarse.p) - exact(coarse.p)).max() > 1e-2


def test_coarse_models_in_three_dimensions():
    coarse = MeshHex().refined(1)
    fine = coarse.refined(1)
    problem = Diffusion(fine, checkerboard(fine, 4, 1.0, 4.0))
    for mean, value in (("arithmetic", 2.5), ("harmonic", 1.6), ("geometric", 2.0)):
        np.testing.assert_allclose(coarse_coefficient(problem.a, fine, coarse, mean), value)
    assert solver_fem(coarse)(problem).y.max() > 0


def test_meshes_that_are_not_nested_are_refused():
    problem = random_problem(3)
    with pytest.raises(ValueError, match="coarse mesh of 9 cells: 28 fine cells lie in no single coarse cell"):
        solver_fem(MeshQuad.init_tensor(np.linspace(0, 1, 4), np.linspace(0, 1, 4)), mean="harmonic")(problem)
    with pytest.raises(ValueError, match="not a refinement of the coarse mesh of 256 cells"):
        solver_fem(MeshQuad().refined(4))(problem)
    larger = MeshQuad.init_tensor(np.linspace(0, 2, 3), np.linspace(0, 1, 2))
    with pytest.raises(ValueError, match="they do not fill every coarse cell"):
        coarse_coefficient(problem.a, problem.mesh, larger, "harmonic")
    with pytest.raises(ValueError, match=r"dirichlet: expected names of boundaries, got \['left'\]; the mesh has none"):
        named = Diffusion(problem.mesh.with_defaults(), problem.a, dirichlet="left")
        solver_fem(MeshQuad().refined(1))(named)
    with pytest.raises(ValueError, match="mean: expected one of 'exact'"):
        solver_fem(MeshQuad(), mean="median")
    with pytest.raises(ValueError, match="needs a coarse mesh"):
        solver_fem(mean="harmonic")
    with pytest.raises(ValueError, match=r"first is 0\.0 in cell 0"):
        coarse_coefficient(np.zeros(64), problem.mesh, MeshQuad(), "harmonic")
    with pytest.raises(ValueError, match="geometric mean of tensors"):
        coarse_coefficient(np.tile(np.eye(2)[:, :, None], 64), problem.mesh, MeshQuad(), "geometric")
