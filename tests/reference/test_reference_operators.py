"""Samples of finite element solution operators: linear, right for known solutions, and input that cannot work."""

import numpy as np
import pytest
from skfem import Basis, ElementTriMini, ElementTriP1, ElementTriP2, ElementVector, MeshTri, condense, solve
from skfem.models.poisson import laplace, mass

from skfem_ml.problems import diffusion, load
from skfem_ml.reference import coefficient_samples, load_samples
from skfem_ml.reference.operators import free_dofs, gaussian_fields

PARTS = {"validation": 1, "test": 1}
MESHES = {"disk": MeshTri.init_circle(3), "L-shape": MeshTri.init_lshaped().refined(2)}


def rng():
    return np.random.default_rng(0)


@pytest.mark.parametrize("mesh", MESHES.values(), ids=MESHES)
@pytest.mark.parametrize("element", [ElementTriP1(), ElementTriP2()], ids=["P1", "P2"])
def test_loads(mesh, element):
    basis = Basis(mesh, element)
    data = load_samples(basis, 4, rng(), a=2.0, **PARTS)
    free = free_dofs(basis)
    np.testing.assert_array_equal(data.points, basis.doflocs[:, free])
    f = gaussian_fields(basis.doflocs, 4, 0.2, rng())
    np.testing.assert_array_equal(data.inputs, f[:, free])
    for k in range(4):
        u = solve(*condense(2.0 * laplace.assemble(basis), mass.assemble(basis) @ f[k], D=basis.get_dofs()))
        np.testing.assert_allclose(data.outputs[k], u[free], atol=1e-12)


@pytest.mark.parametrize("mesh", MESHES.values(), ids=MESHES)
def test_coefficients(mesh):
    basis = Basis(mesh, ElementTriP1())
    data = coefficient_samples(basis, 5, rng(), f=3.0, **PARTS)
    free = free_dofs(basis)
    z = 0.7 * gaussian_fields(basis.doflocs, 5, 0.3, rng())
    np.testing.assert_array_equal(data.inputs, z[:, free])
    for k in range(5):
        A = diffusion.assemble(basis, a=basis.interpolate(np.exp(z[k])))
        u = solve(*condense(A, load(3.0).assemble(basis), D=basis.get_dofs()))
        np.testing.assert_allclose(data.outputs[k], u[free], atol=1e-12)
    assert (data.outputs > 0).all()  # the maximum principle
    halved = coefficient_samples(basis, 5, rng(), f=6.0, **PARTS)
    np.testing.assert_allclose(halved.outputs, 2 * data.outputs)


def test_fields_have_their_covariance():
    x = np.array([[0.0, 0.1, 0.3], [0.0, 0.2, 0.0]])
    fields = gaussian_fields(x, 20_000, 0.25, rng())
    square = ((x[:, :, None] - x[:, None, :]) ** 2).sum(axis=0)
    np.testing.assert_allclose(fields.T @ fields / len(fields), np.exp(-square / (2 * 0.25**2)), atol=0.03)
    assert np.abs(fields.mean(axis=0)).max() < 0.03


def test_bad_input():
    mesh = MESHES["disk"]
    basis = Basis(mesh, ElementTriP1())
    for n, length in ((0, 0.2), (3, 0.0), (3, np.nan)):
        with pytest.raises(ValueError, match="n, length: expected"):
            load_samples(basis, n, rng(), length=length, **PARTS)
    for element in (ElementTriMini(), ElementVector(ElementTriP1())):
        with pytest.raises(ValueError, match=r"scalar Lagrange element.* got Element"):
            load_samples(Basis(mesh, element), 3, rng(), **PARTS)
    with pytest.raises(ValueError, match="all 3 are on it; refine"):
        coefficient_samples(Basis(MeshTri.init_refdom(), ElementTriP1()), 3, rng(), **PARTS)
    with pytest.raises(ValueError, match="expected positive values"):
        coefficient_samples(Basis(mesh, ElementTriP2()), 3, rng(), length=0.02, sigma=3.0, **PARTS)
