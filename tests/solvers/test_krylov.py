"""Krylov methods preconditioned by AMG: as exact as elimination, the same bits twice, and what they refuse."""

import pickle

import numpy as np
import pytest
from scipy.sparse import csr_matrix, diags, eye, kron
from scipy.sparse.linalg import splu

from skfem_ml.solvers import backward_error, solver_krylov


def convection(n: int, wind: float = 0.5) -> csr_matrix:
    """Five-point diffusion with a wind along x, nonsymmetric where there is one."""
    plain = diags([-1.0, 2.0, -1.0], [-1, 0, 1], shape=(n, n))
    blown = diags([-1.0 - wind, 2.0, -1.0 + wind], [-1, 0, 1], shape=(n, n))
    return (kron(eye(n), blown) + kron(plain, eye(n))).tocsr()


@pytest.mark.parametrize("method", [None, "gmres", "bicgstab"])
def test_it_is_as_exact_as_elimination(method):
    A = convection(40)
    b = np.random.default_rng(0).standard_normal((1600, 3))
    solve = solver_krylov(method=method).prepare(A)
    x = solve(b)
    assert backward_error(A, x, b) <= 1e-14 and np.allclose(x, splu(A.tocsc()).solve(b), rtol=0, atol=1e-11)
    assert np.array_equal(x[:, 1], solve(b[:, 1])), "a load alone, or among others, has one solution"
    assert np.array_equal(pickle.loads(pickle.dumps(solve))(b), x)


def test_symmetric_matrices_get_conjugate_gradients():
    assert [solver_krylov().prepare(convection(5, wind)).method for wind in (0.0, 0.1)] == ["cg", "bicgstab"]


def test_a_near_matrix_serves_as_well():
    A, b = convection(40), np.ones(1600)
    solve = solver_krylov(near=convection(40, 0.0)).prepare(A)
    assert "100% of its entries" in repr(solve)
    assert backward_error(A, solve(b), b) <= 1e-14


def test_no_random_number_is_drawn():
    A, b, found = convection(30), np.ones(900), []
    for seed in (0, 1):
        np.random.seed(seed)  # noqa: NPY002 (the state that pyamg draws from)
        found.append(solver_krylov()(A, b))
    assert np.array_equal(*found)


def test_no_unknowns_no_loads_and_zero():
    assert solver_krylov()(csr_matrix((0, 0)), np.zeros(0)).shape == (0,)
    solve = solver_krylov().prepare(convection(5))
    assert solve(np.zeros((25, 0))).shape == (25, 0) and not solve(np.zeros(25)).any()


def test_what_it_refuses():
    with pytest.raises(ValueError, match="method: expected one of"):
        solver_krylov(method="jacobi")
    with pytest.raises(ValueError, match="near: expected a matrix of the 25 unknowns"):
        solver_krylov(near=convection(4)).prepare(convection(5))
    rng = np.random.default_rng(0)
    A = csr_matrix(rng.standard_normal((200, 200)) + 200 * np.diag(rng.choice([-1.0, 1.0], 200)) * 0.01)
    with pytest.raises(RuntimeError, match=r"stopped at a backward error|hierarchy is not finite"):
        solver_krylov(maxiter=2)(A, np.ones(200))
