"""Reference finite elements: exactness, rates, null models, the solutions they return and the linear solvers below."""

import warnings

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from meshes import all_kinds, l_shape, shuffled, stretched
from scipy.sparse import csr_matrix
from skfem import (
    Basis,
    ElementQuad1,
    ElementQuad2,
    ElementVector,
    MeshHex,
    MeshLine,
    MeshQuad,
    MeshQuad2,
    MeshTet,
    MeshTri,
    condense,
    solve,
)

from skfem_ml.cells import locate, midpoints
from skfem_ml.coefficients import channels, checkerboard, iid_multilevel
from skfem_ml.metrics import energy_error, l2_error, observed_rates
from skfem_ml.problems import Diffusion, diffusion, load, mass
from skfem_ml.reference import coarse_coefficient, solver_fem
from skfem_ml.reference.fem import parents
from skfem_ml.solutions import Analytic, FEFunction, probes
from skfem_ml.solvers import relative_residual, solver_direct, solver_pyamg

MEANS = ("arithmetic", "harmonic", "geometric")
SINES = Analytic(
    lambda x: np.sin(np.pi * x[0]) * np.sin(np.pi * x[1]),
    lambda x: np.pi
    * np.stack([np.cos(np.pi * x[0]) * np.sin(np.pi * x[1]), np.sin(np.pi * x[0]) * np.cos(np.pi * x[1])]),
)


def random_problem(refinements=3, seed=0, **kwargs):
    mesh = MeshQuad().refined(refinements)
    return Diffusion(mesh, iid_multilevel(mesh, refinements, 1, 5, np.random.default_rng(seed)), **kwargs)


# --- solutions


@pytest.mark.parametrize("mesh", [*all_kinds().values(), MeshTri().refined(3), MeshTet().refined(2)])
def test_evaluation_reproduces_linear_functions_everywhere(mesh):
    mesh, _ = shuffled(mesh, np.random.default_rng(0))
    slope = np.arange(1, mesh.dim() + 1.0)
    basis = Basis(mesh, mesh.elem())
    u = FEFunction(basis, slope @ basis.doflocs)
    weights = np.random.default_rng(1).dirichlet(np.ones(mesh.t.shape[0]), size=mesh.nelements)
    inside = np.einsum("nk,dkn->dn", weights, mesh.p[:, mesh.t])
    for x in (inside, mesh.p, midpoints(mesh)[:, :, None]):
        np.testing.assert_allclose(u(x), np.tensordot(slope, x, 1), rtol=1e-11)
        assert u(x).shape == x.shape[1:]
    np.testing.assert_allclose(u.grad(inside), np.broadcast_to(slope[:, None], inside.shape), rtol=1e-9)
    np.testing.assert_allclose(probes(basis, inside) @ u.y, u(inside), rtol=1e-13)


def test_evaluation_agrees_with_scikit_fem():
    rng = np.random.default_rng(0)
    square = MeshQuad().refined(2)
    bent = MeshQuad(square.p + 0.03 * np.sin(7 * square.p[::-1]), square.t)  # no boxes, no parallelograms
    x = rng.uniform(0.1, 0.9, (2, 40))
    for mesh in (square, bent):
        for element in (ElementQuad1(), ElementQuad2()):
            basis = Basis(mesh, element)
            y = rng.standard_normal(basis.N)
            np.testing.assert_allclose(FEFunction(basis, y)(x), basis.interpolator(y)(x), rtol=1e-9, atol=1e-11)
            assert (locate(mesh, midpoints(mesh)) == np.arange(16)).all()


def test_points_outside_are_an_error():
    basis = Basis(l_shape(), ElementQuad1())
    u = FEFunction(basis, basis.doflocs[0] + 0.0)
    x = np.array([[0.5, 1.0, 1.5, 2.0, 1.5], [0.5, 2.0, 1.0, 0.0, 1.0 + 1e-12]])
    np.testing.assert_allclose(u(x), x[0])  # the re-entrant edges belong to the domain
    with pytest.raises(ValueError, match=r"1 points lie outside the mesh, the first is point 1 at \[1.5, 1.5\]"):
        u(np.array([[0.5, 1.5], [0.5, 1.5]]))
    with pytest.raises(ValueError, match="outside the mesh"):
        u(np.array([[np.nan], [0.5]]))
    with pytest.raises(ValueError, match="outside the mesh"):
        FEFunction(Basis(MeshTri(), MeshTri.elem()), np.zeros(4))(np.array([[1.1], [0.5]]))
    with pytest.raises(ValueError, match=r"x: expected shape \(2, ...\)"):
        u(np.zeros((3, 4)))


def test_a_function_needs_one_value_per_unknown_and_a_scalar_element():
    basis = Basis(MeshQuad(), ElementQuad1())
    with pytest.raises(ValueError, match=r"y: expected shape \(4,\), one value per degree of freedom, got \(5,\)"):
        FEFunction(basis, np.zeros(5))
    vector = Basis(MeshQuad(), ElementVector(ElementQuad1()))
    with pytest.raises(TypeError, match="expected a scalar element"):
        FEFunction(vector, np.zeros(8))(np.full((2, 1), 0.5))
    curved = MeshQuad2.from_mesh(MeshQuad())
    with pytest.raises(TypeError, match="MeshQuad2: points are located on first-order meshes only"):
        FEFunction(Basis(curved, ElementQuad2()), np.zeros(9))(np.full((2, 1), 0.5))
    assert FEFunction(basis, np.zeros(4)).unknowns == 4
    assert FEFunction(basis, np.zeros(4), {"unknowns": 2}).unknowns == 2


# --- problems


def test_problems_refuse_what_they_cannot_honour():
    mesh = MeshQuad().refined(2)
    a = np.ones(16)
    with pytest.raises(ValueError, match=r"first is -1\.0 in cell 0"):
        Diffusion(mesh, -a)
    with pytest.raises(ValueError, match=r"expected shape \(16,\), one value per cell, got 25 values"):
        Diffusion(mesh, np.ones(25))
    with pytest.raises(ValueError, match=r"expected 2 x 2 tensors, got shape \(3, 3, 16\)"):
        Diffusion(mesh, np.tile(np.eye(3)[:, :, None], 16))
    with pytest.raises(ValueError, match=r"got \['left'\]; the mesh has none"):
        Diffusion(mesh, a, dirichlet="left")
    with pytest.raises(ValueError, match=r"got \['west'\]; the mesh has \['bottom', 'left', 'right', 'top'\]"):
        Diffusion(mesh.with_defaults(), a, dirichlet="west")
    with pytest.raises(ValueError, match=r"expected names of boundaries, got \[\]"):
        Diffusion(mesh.with_defaults(), a, dirichlet=())
    with pytest.raises(ValueError, match="f: expected a finite number"):
        Diffusion(mesh, a, f=np.nan)
    with pytest.raises(ValueError, match=r"f\(x\): expected shape"):
        solver_fem()(Diffusion(mesh, a, f=lambda x: x))
    with pytest.raises(ValueError, match=r"f\(x\): expected finite values"), np.errstate(divide="ignore"):
        solver_fem()(Diffusion(mesh, a, g=lambda x: 1 / x[0]))
    with pytest.warns(UserWarning, match="contrast"):
        Diffusion(mesh, np.r_[1e-12, np.ones(15)])


def test_forms_have_their_kernels_and_integrals():
    basis = Basis(stretched(), ElementQuad1())
    a = np.random.default_rng(0).uniform(1, 5, basis.nelems)
    A, M = diffusion.assemble(basis, a=a[:, None]), mass.assemble(basis)
    one, x = np.ones(basis.N), basis.doflocs[0]
    area = basis.dx.sum(axis=1)
    assert abs(A @ one).max() < 1e-9 * abs(A).max()
    assert x @ A @ x == pytest.approx(a @ area)
    assert one @ M @ one == pytest.approx(area.sum())
    assert load(2.0).assemble(basis).sum() == pytest.approx(2 * area.sum())
    np.testing.assert_allclose(load(lambda x: x[0]).assemble(basis), M @ x, rtol=1e-10)
    tensor = diffusion.assemble(basis, a=(np.eye(2)[:, :, None] * a)[..., None])
    assert abs(tensor - A).max() < 1e-14 * abs(A).max()


# --- exactness and rates


@pytest.mark.parametrize("kind", all_kinds())
def test_linear_solutions_are_exact_with_mixed_boundary(kind):
    mesh = all_kinds()[kind]
    mesh, _ = shuffled(mesh, np.random.default_rng(0))
    left, right = mesh.p[0].min(), mesh.p[0].max()
    mesh = mesh.with_boundaries(
        {"left": lambda x: np.isclose(x[0], left), "right": lambda x: np.isclose(x[0], right)}
    )
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
    problem, coarse = random_problem(5), MeshQuad().refined(2)
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
    with pytest.raises(ValueError, match=r"64 cells is not a refinement of the coarse mesh of 9 cells: .*coarse\.ref"):
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


# --- linear solvers


@pytest.mark.parametrize("hierarchy", ["smoothed aggregation", "ruge-stuben"])
def test_direct_and_multigrid_solvers_agree(hierarchy):
    problem = random_problem(4)
    direct = solver_fem()(problem)
    iterative = solver_pyamg(hierarchy=hierarchy)
    np.testing.assert_allclose(solver_fem(solver=iterative)(problem).y, direct.y, rtol=1e-7, atol=1e-12)
    # The same solver on another matrix builds another hierarchy.
    other = random_problem(3, seed=1)
    np.testing.assert_allclose(solver_fem(solver=iterative)(other).y, solver_fem()(other).y, rtol=1e-7, atol=1e-12)


def test_solvers_stand_where_scikit_fem_expects_them():
    basis = Basis(MeshQuad().refined(3), ElementQuad1())
    system = condense(diffusion.assemble(basis, a=np.ones((64, 1))), load().assemble(basis), D=basis.get_dofs())
    expected = solve(*system)
    for solver in (solver_direct(), solver_pyamg()):
        np.testing.assert_allclose(solve(*system, solver=solver), expected, rtol=1e-8, atol=1e-14)


def test_several_right_hand_sides_and_no_unknowns():
    A = csr_matrix(np.diag([2.0, 4.0]))
    np.testing.assert_allclose(solver_direct()(A, np.array([[2.0, 0.0], [4.0, 0.0]])), [[1, 0], [1, 0]])
    np.testing.assert_array_equal(solver_pyamg()(A, np.zeros(2)), 0)
    one_cell = Diffusion(MeshQuad(), np.ones(1), g=2.0)
    for solver in (solver_direct(), solver_pyamg()):
        np.testing.assert_array_equal(solver_fem(solver=solver)(one_cell).y, 2.0)


def test_failed_solves_say_so():
    singular = csr_matrix(np.array([[1.0, -1.0], [-1.0, 1.0]]))
    with pytest.raises(ValueError, match="singular"):
        solver_direct()(singular, np.array([1.0, 1.0]))
    badly = csr_matrix(np.array([[1.0, 1.0], [1.0, 1.0 + 4e-16]]))
    with pytest.raises(ValueError, match=r"relative residual of the direct solve is .*, expected at most 0.0e.00"):
        solver_direct(tol=0.0)(badly, np.array([0.1, 0.3]))
    problem = random_problem(5)
    with pytest.raises(RuntimeError, match=r"relative residual of .* after 2 iterations, expected 1.0e-10; raise"):
        solver_fem(solver=solver_pyamg(maxiter=2))(problem)
    with pytest.raises(ValueError, match="hierarchy: expected 'smoothed aggregation'"):
        solver_pyamg(hierarchy="geometric")


@pytest.mark.parametrize("contrast", [1e-11, 1e11])
def test_contrast_beyond_1e10_warns_and_the_residual_is_checked(contrast):
    mesh = MeshQuad().refined(4)
    with pytest.warns(UserWarning, match="contrast"):
        problem = Diffusion(mesh, channels(mesh, contrast, 2, 1 / 8, np.random.default_rng(0)))
    u = solver_fem()(problem)
    inner = np.setdiff1d(np.arange(u.basis.N), u.basis.get_dofs().flatten())
    A, b = problem.stiffness(u.basis)[inner][:, inner], problem.load(u.basis)[inner]
    assert relative_residual(A, u.y[inner], b) <= 1e-8
    assert np.isfinite(u.y).all() and (u.y >= -1e-9 * u.y.max()).all()


def test_no_warning_in_ordinary_use():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        solver_fem(MeshQuad().refined(1))(random_problem(3))
