"""Linear solvers: agreement, the residual check, and errors that say what happened."""

import warnings

import numpy as np
import pytest
from scipy.sparse import csr_matrix
from skfem import (
    Basis,
    ElementQuad1,
    MeshQuad,
    condense,
    solve,
)

from skfem_ml.coefficients import channels
from skfem_ml.problems import Diffusion, diffusion, load
from skfem_ml.reference import solver_fem
from skfem_ml.solvers import relative_residual, solver_direct, solver_pyamg
from tests.gallery import random_problem


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
    with pytest.raises(ValueError, match=r"backward error of the direct solve is .*, expected at most 0.0e.00"):
        solver_direct(tol=0.0)(badly, np.array([0.1, 0.3]))
    problem = random_problem(5)
    with pytest.raises(RuntimeError, match=r"relative residual of .* after 2 iterations, expected 1.0e-10; raise"):
        solver_fem(solver=solver_pyamg(maxiter=2))(problem)
    with pytest.raises(ValueError, match="hierarchy: expected 'smoothed aggregation'"):
        solver_pyamg(hierarchy="geometric")


def test_refinement_repairs_a_factorisation_without_pivoting():
    A, b = csr_matrix(np.array([[1e-20, 1.0], [1.0, 1e-20]])), np.array([1.0, 2.0])
    np.testing.assert_allclose(solver_direct()(A, b), [2, 1])
    with pytest.raises(ValueError, match="backward error of the direct solve is"):
        solver_direct(refinements=0)(A, b)


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
        u = solver_fem(MeshQuad().refined(1))(random_problem(3))
    assert u.y.max() > 0
