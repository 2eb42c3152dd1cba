"""Eigenpairs: every route to matrix (26) and to the Dirichlet Laplacian, measures of errors, bad input."""

import numpy as np
import pytest
import torch
from scipy.sparse import csr_matrix
from skfem import Basis, BilinearForm, ElementQuad1, ElementQuad2, ElementTriP2, ElementVector, MeshQuad, MeshTri
from skfem.helpers import dot, grad
from skfem.models.elasticity import linear_elasticity

from skfem_ml.compare import compare
from skfem_ml.learning import CorruptModelError
from skfem_ml.learning.storage import save_model
from skfem_ml.metrics import eigen_residuals, eigenvalue_errors, eigenvector_errors
from skfem_ml.pinn import eig_neural, eig_subspace
from skfem_ml.problems import Eigenproblem, dirichlet_laplacian, mass, report_matrix, report_start
from skfem_ml.reference import eig_flow, eig_reference
from skfem_ml.reference.flow import flow
from skfem_ml.solutions import Eigenpairs

MATRIX = Eigenproblem(report_matrix())
EXACT = eig_reference(6)(MATRIX)
SQUARE = np.pi**2 * np.array([2.0, 5.0, 5.0, 8.0, 10.0, 10.0])
L_SHAPE = np.array([9.6397238440219, 15.1972519264543, 19.7392088021787])


def square_problem(cells=8, intorder=13):
    edge = np.linspace(0, 1, cells + 1)
    return dirichlet_laplacian(Basis(MeshQuad.init_tensor(edge, edge), ElementQuad2(), intorder=intorder))


def test_matrix_of_the_report():
    assert EXACT.values == pytest.approx([-2.307, -1.542, -0.540, 0.190, 1.686, 2.202], abs=1.5e-3)


def test_the_flow_keeps_the_length_and_rests_at_eigenvectors():
    x = np.random.default_rng(0).standard_normal(6)
    assert x @ flow(report_matrix(), x) == pytest.approx(0, abs=1e-12)
    for v in EXACT.vectors.T:
        assert flow(report_matrix(), v) == pytest.approx(0, abs=1e-13)
    with_f = -x + ((x @ x) * report_matrix() + (1 - x @ report_matrix() @ x) * np.eye(6)) @ x
    assert flow(report_matrix(), x) == pytest.approx(with_f)


@pytest.mark.parametrize(
    "solver",
    [
        eig_flow(start=report_start()),
        eig_flow(method="ivp"),
        eig_neural(method="orthonormal"),
        eig_neural(method="orthonormal", seed=1),
    ],
    ids=["euler", "solve_ivp", "orthonormal", "orthonormal, seed 1"],
)
def test_all_six_pairs_of_matrix_26(solver):
    pairs = solver(MATRIX)
    assert eigenvalue_errors(pairs, EXACT).max() < 1e-13
    assert eigenvector_errors(pairs, EXACT).max() < 1e-11
    assert eigen_residuals(pairs, MATRIX.A).max() < 1e-12


def test_windowed_networks_follow_the_flow_to_rounding():
    pairs = eig_neural(1, "windowed")(MATRIX)  # the largest; six take half a minute
    largest = Eigenpairs(EXACT.values[-1:], EXACT.vectors[:, -1:])
    assert eigenvector_errors(pairs, largest).max() < 1e-11 and eigen_residuals(pairs, MATRIX.A).max() < 1e-12


def test_without_projection_the_flow_falls_back():
    pairs = eig_flow(deflation="start only", start=report_start())(MATRIX)
    assert eigenvalue_errors(pairs, EXACT).max() > 0.1


def test_euler_as_in_the_report_has_the_errors_of_table_1():
    # The start (27) is printed, so the first pair found, the largest, can be compared digit by digit.
    pairs = eig_flow(1, t_end=8.0, dt=4e-4, start=report_start(), normalise=False)(MATRIX)
    assert abs(pairs.values[-1] / EXACT.values[-1] - 1) == pytest.approx(6.24e-8, rel=0.05)
    assert abs(pairs.values[-1] / EXACT.values[-1] - 1) > 1e-8
    largest = Eigenpairs(EXACT.values[-1:], EXACT.vectors[:, -1:])
    assert eigenvector_errors(pairs, largest).max() == pytest.approx(2.66e-7**0.5, rel=0.03)


def test_subspace_on_the_square():
    pairs = eig_subspace(6)(square_problem())
    assert abs(pairs.values / SQUARE - 1).max() < 1e-9
    # The nodal values are those of the eigenfunctions: the first is sin(pi x) sin(pi y).
    problem = square_problem()
    nodes = problem.basis.doflocs[:, problem.free]
    first = np.sin(np.pi * nodes).prod(axis=0)
    cosine = first @ pairs.vectors[:, 0] / np.linalg.norm(first) / np.linalg.norm(pairs.vectors[:, 0])
    assert abs(cosine) == pytest.approx(1, abs=1e-10)


def test_the_l_shape_is_honestly_worse():
    problem = dirichlet_laplacian(Basis(MeshTri.init_lshaped().refined(3), ElementTriP2(), intorder=6))
    errors = abs(eig_subspace(3)(problem).values / L_SHAPE - 1)
    assert 1e-5 < errors.max() < 1e-2


@BilinearForm
def stiffness(u, v, w):
    return w.a * dot(grad(u), grad(v))


@BilinearForm
def density(u, v, w):
    return (1 + w.x[0]) * u * v


def pencil(mesh=None, **coefficients):
    basis = Basis(MeshTri().refined(2).with_defaults() if mesh is None else mesh, ElementTriP2())
    return Eigenproblem.of_forms(stiffness, density, basis, D=basis.get_dofs("left"), **coefficients)


@pytest.mark.parametrize(
    "solver",
    [
        eig_reference(3, "eigsh"),
        eig_reference(3, "lobpcg", tol=1e-13),
        eig_flow(3, "ivp"),
        eig_neural(3, "orthonormal"),
        eig_subspace(3, 60, space="elements", steps=8),
    ],
    ids=["eigsh", "lobpcg", "flow", "orthonormal", "subspace"],
)
def test_all_routes_take_two_forms_with_a_variable_coefficient(solver):
    problem = pencil(a=np.random.default_rng(0).uniform(1, 5, 32))
    exact, pairs = eig_reference(6)(problem), solver(problem)
    assert eigenvalue_errors(pairs, exact).max() < 1e-10
    assert eigenvector_errors(pairs, exact, problem.M).max() < 1e-6
    assert eigen_residuals(pairs, problem.A, problem.M).max() < 1e-6


@pytest.mark.parametrize("D", ["left", None], ids=["one side", "natural"])
def test_subspaces_keep_the_conditions_of_the_problem(D):
    """Strings fixed at one end, and free ones: features that vanish everywhere else would be of another problem."""
    basis = Basis(MeshQuad().refined(2).with_defaults(), ElementQuad2(), intorder=12)
    fixed = None if D is None else basis.get_dofs(D)
    problem = Eigenproblem.of_forms(stiffness, mass, basis, D=fixed, a=np.full(16, 2.0))
    exact = 2 * np.pi**2 * np.array([0.25, 1.25, 2.25] if D else [0.0, 1.0, 1.0])
    assert eig_subspace(3, 300)(problem).values == pytest.approx(exact, rel=1e-5, abs=1e-7)


def test_coefficients_go_with_their_cells():
    """A mesh in another order, its coefficient in that order: the same eigenvalues."""
    mesh, rng = MeshTri().refined(2).with_defaults(), np.random.default_rng(0)
    a, order = rng.uniform(1, 5, 32), rng.permutation(32)
    turned = MeshTri(mesh.p, mesh.t[:, order]).with_defaults()
    one, other = (eig_reference(4)(pencil(m, a=c)).values for m, c in ((mesh, a), (turned, a[order])))
    assert one == pytest.approx(other, rel=1e-10)


def test_natural_conditions_have_a_constant():
    basis = Basis(MeshQuad().refined(3), ElementQuad1())
    pairs = eig_reference(2)(Eigenproblem.of_forms(stiffness, mass, basis, a=1.0))
    assert pairs.values[0] == pytest.approx(0, abs=1e-10) and np.ptp(pairs.vectors[:, 0]) < 1e-8
    assert pairs.values[1] == pytest.approx(np.pi**2, rel=0.02)


def test_vector_elements_have_eigenpairs():
    basis = Basis(MeshQuad().refined(3), ElementVector(ElementQuad1()))
    problem = Eigenproblem.of_forms(
        linear_elasticity(1.0, 1.0), BilinearForm(lambda u, v, w: dot(u, v)), basis, D=basis.get_dofs()
    )
    exact = eig_reference(4)(problem)
    pairs = eig_subspace(2, 60, space="elements", steps=6)(problem)
    assert eigenvalue_errors(pairs, exact).max() < 1e-10
    assert problem.extend(pairs.vectors).shape == (basis.N, 2)
    with pytest.raises(TypeError, match="expected a scalar element"):
        eig_subspace(2, 60)(problem)


def test_residuals_bound_the_errors_of_values():
    """Some eigenvalue is as near to l, relative to l, as the residual in the norm of M^-1 says."""
    problem = pencil(a=2.0)
    exact, rng = eig_reference(problem.size)(problem), np.random.default_rng(0)
    for size in (1e-1, 1e-3):
        x = exact.vectors[:, :4] + size * rng.standard_normal((problem.size, 4))
        values = np.einsum("ij,ij->j", x, problem.A @ x) / np.einsum("ij,ij->j", x, problem.M @ x)
        pairs = Eigenpairs(values, x)
        nearest = abs(exact.values[:, None] / pairs.values - 1).min(axis=0)
        assert (nearest <= eigen_residuals(pairs, problem.A, problem.M)).all()
    assert eigen_residuals(exact, problem.A, problem.M)[:4].max() < 1e-9


def test_pairs_are_saved_and_loaded(tmp_path):
    problem = pencil(a=1.0)
    pairs = eig_reference(3)(problem)
    pairs.save(tmp_path / "pairs.safetensors", {"a": 1.0})
    again = Eigenpairs.load(tmp_path / "pairs.safetensors")
    assert (again.values == pairs.values).all() and (again.vectors == pairs.vectors).all()
    assert again.record["card"] == {"a": 1.0} and again.unknowns == pairs.unknowns
    save_model(tmp_path / "other.safetensors", {"values": torch.zeros(2, 2)}, {})
    with pytest.raises(CorruptModelError, match=r"expected the file of Eigenpairs\.save"):
        Eigenpairs.load(tmp_path / "other.safetensors")


def test_a_learned_start_is_taken_by_lobpcg():
    problem = square_problem(12, 4)
    pairs = eig_reference(4, "lobpcg", start=eig_subspace(6, 100, space="elements"))(problem)
    assert eigenvalue_errors(pairs, eig_reference(4)(problem)).max() < 1e-10


def test_fe_references_agree():
    problem = square_problem(16, 4)
    dense = eig_reference(4)(problem)
    for method in ("eigsh", "lobpcg"):
        pairs = eig_reference(4, method)(problem)
        assert eigenvalue_errors(pairs, dense).max() < 1e-9
        assert eigenvector_errors(pairs, eig_reference(6)(problem), problem.M).max() < 1e-9
    assert (dense.values >= SQUARE[:4]).all() and abs(dense.values / SQUARE[:4] - 1).max() < 1e-3


def test_compare_has_columns_for_pairs():
    table = compare(MATRIX, {"eigh": eig_reference(6), "flow": eig_flow(), "function": lambda p: lambda x: x})
    assert table.headings == ("error eigenvalue", "eigenvector angle", "residual")
    assert table["flow"].error < 1e-12 and table["flow"]["eigenvector angle"] < 1e-11
    assert table["flow"]["residual"] < 1e-12 and "|A x - l x| / |A|" in str(table)
    assert "expected Eigenpairs, got function" in table["function"].failure
    assert "error eigenvalue" in str(table) and "eigenvector angle" in table.to_markdown()


def test_vector_errors_see_spaces_not_vectors():
    reference = Eigenpairs(np.array([1.0, 1.0, 2.0]), np.eye(3))
    turned = Eigenpairs(np.array([1.0, 1.0, 2.0]), np.array([[0.6, 0.8, 0], [0.8, -0.6, 0], [0, 0, -3.0]]))
    assert eigenvector_errors(turned, reference) == pytest.approx(0, abs=1e-15)
    twice = Eigenpairs(np.array([1.0, 1.0]), np.array([[1.0, 1.0], [0, 0], [0, 0]]))
    assert eigenvector_errors(twice, reference) == pytest.approx([1, 1])  # one vector twice is not the space


def test_an_angle_is_no_square():
    """Finding A8: the error of an eigenvector is the sine of its angle, not its square, in the inner product of M."""
    simple = Eigenpairs(np.array([1.0, 2.0, 3.0]), np.eye(3)[:, [0, 2, 1]])
    for angle in (1e-9, 1e-3, 0.5, np.pi / 2):
        off = np.array([np.cos(angle), 0.0, -np.sin(angle)])
        assert eigenvector_errors(Eigenpairs(np.array([1.0]), off[:, None]), simple) == pytest.approx(np.sin(angle))
    M = np.diag([1.0, 1.0, 4.0])
    off = np.array([np.cos(0.1), 0.0, np.sin(0.1) / 2])[:, None]
    assert eigenvector_errors(Eigenpairs(np.array([1.0]), off), simple, M) == pytest.approx(np.sin(0.1))
    # In a double space each vector alone has the angle 1e-3, their difference more: the spaces are what counts.
    double = Eigenpairs(np.array([1.0, 1.0, 2.0]), np.eye(3))
    near = np.array([[1.0, 1.0], [0.0, 0.1], [0.0, 1e-3]])
    errors = eigenvector_errors(Eigenpairs(np.array([1.0, 1.0]), near), double)
    assert errors == pytest.approx(np.sin(np.arctan(1e-2)), rel=1e-6)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (
            lambda: Eigenproblem(np.triu(report_matrix())),
            "expected a symmetric matrix.*differ from their mirror by up to",
        ),
        (lambda: Eigenproblem(csr_matrix(np.triu(np.ones((3, 3))))), "expected a symmetric matrix"),
        (lambda: Eigenproblem(np.ones((2, 3))), r"expected a square matrix, got shape \(2, 3\)"),
        (lambda: Eigenproblem(np.diag([1.0, np.nan])), "expected finite entries"),
        (lambda: Eigenproblem(np.eye(3), M=np.eye(2)), "M: expected the shape of A"),
        (lambda: eig_reference(7)(MATRIX), "expected between 1 and 6 pairs.*got 7"),
        (lambda: eig_flow(7)(MATRIX), "expected between 1 and 6 pairs"),
        (lambda: eig_neural(0)(MATRIX), "expected between 1 and 6 pairs"),
        (lambda: eig_reference(6, "eigsh")(MATRIX), "use 'eigh'"),
        (lambda: eig_reference(2, "eigsh")(Eigenproblem(-np.diag(np.arange(1.0, 9)))), "positive definite"),
        (lambda: eig_flow(dt=5.0)(MATRIX), "Euler's rule diverges"),
        (lambda: eig_flow(dt=-1.0), "expected 0 < dt"),
        (lambda: eig_flow(1, inverse=True)(MATRIX), "A: expected a positive definite matrix"),
        (lambda: eig_flow(1)(Eigenproblem(np.eye(3), -np.eye(3))), "M: expected a positive definite matrix"),
        (lambda: eig_flow(1)(square_problem(24, 4)), "expected at most 2000 rows"),
        (lambda: eig_subspace(2, space="nodes"), "space"),
        (lambda: eig_subspace(2, features=0), "expected at least 1"),
        (lambda: MATRIX.extend(np.ones(6)), "expected a problem with a basis"),
        (lambda: eigen_residuals(Eigenpairs(np.ones(1)), MATRIX.A), "expected vectors of 6 entries"),
        (lambda: eig_reference(2, "lobpcg", start=eig_reference(5))(square_problem(4, 4)), "at most 4 pairs"),
        (lambda: eig_subspace(2)(MATRIX), "expected a problem with a basis"),
        (lambda: eig_subspace(5, features=3)(square_problem(4, 4)), "expected at most 3 pairs"),
        (lambda: eigenvalue_errors(Eigenpairs(np.empty(0)), EXACT), "expected at least one eigenvalue, got none"),
        (lambda: eig_neural(method="magic"), "method"),
        (lambda: dirichlet_laplacian(Basis(MeshQuad(), ElementQuad1())), "degrees of freedom outside of D"),
        (lambda: pencil(a=np.ones(3)), r"a: expected a number or one value a cell, shape \(..., 32\), got \(3,\)"),
        (lambda: pencil(a=np.full(32, np.nan)), "a: expected finite values"),
    ],
)
def test_bad_input(call, message):
    with pytest.raises(ValueError, match=message):
        call()
