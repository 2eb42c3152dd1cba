"""Singular functions of corners, graded meshes, forms at points; the L-shape by three independent ways."""

import numpy as np
import pytest
from skfem import Basis, BilinearForm, ElementTriP1, ElementTriP2, ElementTriP3, MeshQuad, MeshTri
from skfem.helpers import dot, grad, mul

from skfem_ml.meshes import graded, refined_towards
from skfem_ml.pinn import Corner, box_distance, eig_subspace
from skfem_ml.pinn.eigen.integration import pointwise, root
from skfem_ml.problems import Eigenproblem, dirichlet_laplacian, mass
from skfem_ml.reference import eig_reference, l_shape_eigenvalues
from skfem_ml.solutions import Analytic

CORNER = Corner((0.0, 0.0), start=np.pi / 2, angle=1.5 * np.pi)
BOX = box_distance([-1, -1], [1, 1])


def in_l_shape(n=60, seed=0):
    x = np.random.default_rng(seed).uniform(-1, 1, (2, n))
    return x[:, (x < 0).any(axis=0)]


@pytest.mark.parametrize("given", [{"envelope": BOX}, {"radius": 0.8}], ids=["box", "cut-off"])
def test_corner_functions_vanish_on_the_sides_and_know_their_gradients(given):
    features = CORNER.features(orders=4, degree=4, **given)
    t = np.linspace(0, 1, 9)
    sides = np.array([[0 * t, t], [t, 0 * t], [t, -1 + 0 * t], [-1 + 0 * t, t]]).transpose(1, 0, 2).reshape(2, -1)
    assert abs(features(sides)).max() < 1e-14
    x, h = in_l_shape(), 1e-6
    for axis, slope in enumerate(features.grad(x)):
        e = np.eye(2)[:, [axis]] * h
        assert slope == pytest.approx((features(x + e) - features(x - e)) / (2 * h), abs=1e-7)


def test_the_singular_functions_are_harmonic():
    x, h = 0.5 * in_l_shape(), 1e-4
    x = x[:, np.hypot(*x) > 0.05]
    for a in CORNER.powers(5):
        value = lambda y, a=a: CORNER.features(1, 1, radius=1.0)._singular(y, a)[0]
        steps = [np.eye(2)[:, [k]] * s * h for k in range(2) for s in (1, -1)]
        assert (sum(value(x + e) for e in steps) - 4 * value(x)) / h**2 == pytest.approx(0, abs=2e-4)


def test_another_corner_is_the_same_turned():
    turned = Corner((1.0, 2.0), start=0.3, angle=1.5 * np.pi)
    c, s = np.cos(0.3 - np.pi / 2), np.sin(0.3 - np.pi / 2)
    x = in_l_shape()
    moved = np.array([[c, -s], [s, c]]) @ x + [[1.0], [2.0]]
    one, other = CORNER.features(3, 3, radius=2.0), turned.features(3, 3, radius=2.0)
    lowest = [k for k, (_, m, n) in enumerate(one.indices) if m == n == 0]  # the polynomials turn otherwise
    assert one(x)[:, lowest] == pytest.approx(other(moved)[:, lowest], abs=1e-12)


def test_the_l_shape_by_singular_functions_and_by_particular_solutions():
    """Rayleigh-Ritz with r^(2j/3) features, particular solutions, and the published first eigenvalue agree."""
    exact = l_shape_eigenvalues(2)
    assert exact[0] == pytest.approx(9.6397238440219410527, rel=1e-12)
    mesh = refined_towards(MeshTri.init_lshaped().refined(1), (0, 0), 16)
    problem = dirichlet_laplacian(Basis(mesh, ElementTriP1(), intorder=12))
    pairs = eig_subspace(2, features=0, extra=[CORNER.features(4, 6, BOX)])(problem)
    assert abs(pairs.values / exact - 1).max() < 1e-6
    smooth = eig_subspace(2, features=200)(problem)
    assert abs(smooth.values / exact - 1).max() > 1e-4
    assert pairs.record["residuals"].max() < 1e-10


def test_grading_restores_the_rate():
    exact = l_shape_eigenvalues(1)
    errors = []
    for exponent in (1.0, 3.0):
        for refinements in (2, 3):
            mesh = graded(MeshTri.init_lshaped().refined(refinements), (0, 0), exponent)
            pairs = eig_reference(1, "eigsh")(dirichlet_laplacian(Basis(mesh, ElementTriP3())))
            errors.append(pairs.values[0] / exact[0] - 1)
    rates = np.log2([errors[0] / errors[1], errors[2] / errors[3]])
    assert rates[0] == pytest.approx(4 / 3, abs=0.1) and rates[1] > 3.5 and errors[3] < 0.03 * errors[1]


def test_graded_meshes_keep_their_area_and_boundary():
    mesh = graded(MeshTri.init_lshaped().refined(3), (0, 0), 4.0)
    assert Basis(mesh, ElementTriP1()).dx.sum() == pytest.approx(3)
    x = mesh.p[:, mesh.boundary_nodes()]
    assert np.isclose(np.minimum(abs(x), abs(abs(x) - 1)).min(axis=0), 0, atol=1e-12).all()
    assert Basis(refined_towards(MeshTri.init_lshaped(), (0, 0), 5), ElementTriP1()).dx.sum() == pytest.approx(3)


def test_forms_at_points_are_what_assembly_integrates():
    """For functions of the basis itself, the coefficients give the assembled matrix."""
    mesh = MeshQuad().refined(1)
    basis = Basis(mesh, MeshQuad.elem(), intorder=4)
    a = np.random.default_rng(0).uniform(1, 2, mesh.nelements)
    A = np.array([[2.0, 0.5], [0.5, 1.0]])
    form = BilinearForm(lambda u, v, w: w.a * dot(mul(A[:, :, None, None], grad(u)), grad(v)) + w.x[0] * u * v)
    problem = Eigenproblem.of_forms(form, mass, basis, a=a)
    C = pointwise(form, basis, problem.coefficients)
    jets = np.zeros((3, basis.N, basis.dx.size))
    for i, (phi,) in enumerate(basis.basis):
        rows = np.repeat(basis.element_dofs[i], basis.dx.shape[1])
        for k, field in enumerate((np.broadcast_to(np.asarray(phi), basis.dx.shape), *phi.grad)):
            jets[k, rows, np.arange(basis.dx.size)] = field.ravel()
    matrix = np.einsum("kin,kln,n,ljn->ij", jets, C, basis.dx.ravel(), jets.transpose(0, 1, 2))
    assert matrix == pytest.approx(problem.A.toarray(), abs=1e-13)
    R = root(pointwise(mass, basis, {}))
    assert len(R) == 1 and np.allclose(abs(R[0, 0]), 1)


def test_a_user_function_joins_the_space():
    """The exact eigenfunction as an extra: one feature and its eigenvalue."""
    sine = Analytic(lambda x: np.sin(np.pi * x).prod(axis=0),
                    lambda x: np.pi * np.cos(np.pi * x) * np.sin(np.pi * x[::-1]))  # fmt: skip
    problem = dirichlet_laplacian(Basis(MeshTri().refined(3), ElementTriP2(), intorder=12))
    pairs = eig_subspace(1, features=1, extra=[sine])(problem)
    assert pairs.values[0] == pytest.approx(2 * np.pi**2, rel=1e-9)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: Corner((0, 0), 0.0, 7.0), "angle: expected the opening"),
        (lambda: CORNER.features(), "expected one of them"),
        (lambda: CORNER.features(orders=0, radius=1.0), "orders"),
        (lambda: graded(MeshTri(), (0, 0), 0.5), "exponent: expected at least 1"),
        (lambda: graded(MeshTri(), (0,), 2.0), "at: expected 2 coordinates"),
        (lambda: refined_towards(MeshTri(), (0.3, 0.3), 1), "expected a vertex of the mesh"),
        (lambda: l_shape_eigenvalues(5), "expected at most 4"),
        (
            lambda: eig_subspace(1)(
                Eigenproblem.of_forms(mass, BilinearForm(lambda u, v, w: -u * v), Basis(MeshTri(), ElementTriP2()))
            ),
            "mass",
        ),
    ],
)
def test_bad_input(call, message):
    with pytest.raises(ValueError, match=message):
        call()
