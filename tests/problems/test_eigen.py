"""Eigenpairs: every route to matrix (26) and to the Dirichlet Laplacian, measures of errors, bad input."""

import numpy as np
import pytest
from scipy.sparse import csr_matrix
from skfem import Basis, ElementQuad1, ElementQuad2, ElementTriP2, MeshQuad, MeshTri

from skfem_ml.compare import compare
from skfem_ml.metrics import eigenvalue_errors, eigenvector_errors
from skfem_ml.pinn import eig_neural, eig_subspace
from skfem_ml.problems import Eigenproblem, dirichlet_laplacian, report_matrix, report_start
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
    ("solver", "vector_error"),
    [
        (eig_flow(start=report_start()), 1e-11),
        (eig_flow(method="ivp"), 1e-11),
        (eig_neural(method="windowed"), 1e-6),
        (eig_neural(method="orthonormal"), 1e-6),
        (eig_neural(method="orthonormal", seed=1), 1e-6),
    ],
    ids=["euler", "solve_ivp", "windowed", "orthonormal", "orthonormal, seed 1"],
)
def test_all_six_pairs_of_matrix_26(solver, vector_error):
    pairs = solver(MATRIX)
    assert eigenvalue_errors(pairs, EXACT).max() < 1e-9
    assert eigenvector_errors(pairs, EXACT).max() < vector_error


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
    assert table.headings == ("error eigenvalue", "eigenvector angle")
    assert table["flow"].error < 1e-12 and table["flow"]["eigenvector angle"] < 1e-12
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
        (lambda: eig_flow()(square_problem(4, 4)), "got one with M; use eig_reference"),
        (lambda: eig_subspace(2)(MATRIX), "expected a problem with a basis"),
        (lambda: eig_subspace(5, features=3)(square_problem(4, 4)), "expected at most 3 pairs"),
        (lambda: eigenvalue_errors(Eigenpairs(np.empty(0)), EXACT), "expected at least one eigenvalue, got none"),
        (lambda: eig_neural(method="magic"), "method"),
        (lambda: dirichlet_laplacian(Basis(MeshQuad(), ElementQuad1())), "degrees of freedom off the boundary"),
    ],
)
def test_bad_input(call, message):
    with pytest.raises(ValueError, match=message):
        call()
