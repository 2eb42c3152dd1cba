"""Symmetric H2 operators from columns of a solver: equal to the dense way, with few columns at a time."""

from functools import partial

import numpy as np
import pytest
from scipy.sparse import csc_matrix
from scipy.sparse.linalg import splu
from skfem import Basis, ElementTriP1, MeshTri, condense

from skfem_ml.fmm import FMMNet, H2Operator, H2Skeleton
from skfem_ml.problems import diffusion
from skfem_ml.solvers import solver_direct


def system(mesh):
    basis = Basis(mesh, ElementTriP1())
    a = np.random.default_rng(0).choice([1.0, 10.0], mesh.nelements)
    A, _, _, inside = condense(diffusion.assemble(basis, a=a[:, None]), np.zeros(basis.N), D=basis.get_dofs())
    return csc_matrix(A), basis.doflocs[:, inside]


MESHES = {"disk": MeshTri.init_circle(4), "L-shape": MeshTri.init_lshaped().refined(4)}


@pytest.mark.parametrize("mesh", MESHES.values(), ids=MESHES)
@pytest.mark.parametrize("tol", [1e-2, 1e-5, 1e-9])
def test_as_good_as_from_the_dense_inverse(mesh, tol):
    A, points = system(mesh)
    skeleton = H2Skeleton(points, leaf=16)
    solve = splu(A).solve
    inverse = solve(np.eye(len(points[0])))
    op = H2Operator.from_solver(skeleton, solve, tol=tol, symmetric=True)
    dense = H2Operator.from_matrix(skeleton, (inverse + inverse.T) / 2, tol=tol)
    matrix = op @ np.eye(skeleton.N)
    assert np.abs(matrix - matrix.T).max() < 1e-13 * np.abs(matrix).max()
    error = np.linalg.norm(matrix - inverse) / np.linalg.norm(inverse)
    assert error < 1.5 * tol and op.error <= tol and error == pytest.approx(op.error, rel=2)  # of 32 columns
    assert op.rows is op.columns
    assert op.storage().numbers == pytest.approx(dense.storage().numbers, rel=0.15)


def test_few_columns_at_a_time():
    A, points = system(MESHES["disk"])
    asked, factors = [], splu(A)

    def solve(b):
        asked.append(b.shape[1])
        return factors.solve(b)

    H2Operator.from_solver(H2Skeleton(points, leaf=16), solve, tol=None, rank=4, symmetric=True, chunk=64)
    N = points.shape[1]
    assert max(asked) <= 64 and N < sum(asked) < 2 * N + 32


def test_unequal_leaves_and_one_leaf():
    A, points = system(MeshTri.init_lshaped().refined(3))
    for leaf in (7, 11):
        op = H2Operator.from_solver(H2Skeleton(points, leaf=leaf), splu(A).solve, tol=1e-8, symmetric=True)
        np.testing.assert_allclose(op @ (A @ points.T), points.T, atol=1e-6)
    with pytest.warns(UserWarning, match="nothing is compressed"):
        skeleton = H2Skeleton(points, leaf=points.shape[1])
    op = H2Operator.from_solver(skeleton, splu(A).solve, symmetric=True)
    assert not op.far and op.error < 1e-13


def test_a_network_starts_from_it():
    torch = pytest.importorskip("torch")
    A, points = system(MESHES["disk"])
    skeleton = H2Skeleton(points, leaf=16)
    op = H2Operator.from_solver(skeleton, splu(A).solve, tol=1e-4, symmetric=True)
    options = {"generator": torch.Generator().manual_seed(0), "dtype": torch.float64}
    net = FMMNet(skeleton, depth=1, variant="linear", linear=op, **options)
    q = np.random.default_rng(1).standard_normal((3, skeleton.N))
    np.testing.assert_allclose(net(torch.as_tensor(q)).detach().numpy(), (op @ q.T).T, atol=1e-10)


def test_bad_solvers():
    A, points = system(MeshTri.init_lshaped().refined(2))
    skeleton = H2Skeleton(points, leaf=4)
    with pytest.raises(ValueError, match="solve: expected shape"):
        H2Operator.from_solver(skeleton, lambda b: b[:5], symmetric=True)
    with pytest.raises(ValueError, match="solve: expected finite values"):
        H2Operator.from_solver(skeleton, lambda b: b * np.nan, symmetric=True)
    turned = np.triu(np.ones((skeleton.N, skeleton.N)))
    with pytest.raises(ValueError, match=r"expected a symmetric solver.*pass symmetric=False"):
        H2Operator.from_solver(skeleton, lambda b: turned @ b, symmetric=True)
    with pytest.raises(ValueError, match="tol: expected"):
        H2Operator.from_solver(skeleton, partial(solver_direct(), A), tol=2.0, symmetric=True)
