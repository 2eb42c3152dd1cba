"""Solutions: evaluation anywhere in a mesh of any order, and the cells it rests on."""

import pickle
from dataclasses import FrozenInstanceError

import numpy as np
import pytest
from skfem import (
    Basis,
    ElementQuad1,
    ElementQuad2,
    ElementVector,
    MeshHex,
    MeshQuad,
    MeshQuad2,
    MeshTet,
    MeshTri,
)

from skfem_ml.meshes import locate, mesh_lattice, midpoints
from skfem_ml.solutions import Eigenpairs, FEFunction, Record, probes
from tests.gallery import all_kinds, l_shape, shuffled, stretched


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
    bend = 0.05 * np.sin(7 * square.p[0]) * np.sin(5 * square.p[::-1])
    bent = MeshQuad(square.p + bend, square.t)  # no boxes, no parallelograms
    x = rng.uniform(0.1, 0.9, (2, 40))
    for mesh in (square, bent):
        for element in (ElementQuad1(), ElementQuad2()):
            basis = Basis(mesh, element)
            y = rng.standard_normal(basis.N)
            np.testing.assert_allclose(FEFunction(basis, y)(x), basis.interpolator(y)(x), rtol=1e-9, atol=1e-11)
            assert (locate(mesh, midpoints(mesh)) == np.arange(16)).all()


def test_boxes_in_single_precision_are_still_boxes():
    mesh = stretched(40, 30)
    rough = MeshQuad(mesh.p.astype(np.float32).astype(float), mesh.t)
    assert mesh_lattice(rough).shape == (40, 30)
    np.testing.assert_array_equal(locate(rough, midpoints(mesh)), np.arange(1200))
    bent = MeshQuad(mesh.p + 0.1 * np.sin(mesh.p[::-1]), mesh.t)
    assert mesh_lattice(bent) is None and mesh_lattice(MeshTri()) is None
    slanted = MeshHex().refined(1).translated((1.0, 0, 0))
    slanted = MeshHex(slanted.p + 0.3 * slanted.p[::-1], slanted.t)
    with pytest.raises(TypeError, match="hexahedra are supported as axis-aligned boxes"):
        locate(slanted, midpoints(slanted))


def test_boxes_that_share_no_grid_are_located_all_the_same():
    # One large box beside two small ones: all are boxes, but the large one spans two intervals of the grid.
    p = np.array([[0, 1, 1, 0, 2, 2, 1, 2], [0, 0, 2, 2, 0, 1, 1, 2]], dtype=float)
    mesh = MeshQuad(p, np.array([[0, 1, 2, 3], [1, 4, 5, 6], [6, 5, 7, 2]]).T)
    x = np.random.default_rng(0).uniform(0, 2, (2, 200))
    np.testing.assert_array_equal(locate(mesh, x), np.where(x[0] < 1, 0, np.where(x[1] < 1, 1, 2)))


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
    assert FEFunction(basis, np.zeros(4), Record(2)).unknowns == 2


def test_a_record_cannot_be_changed_and_can_be_pickled():
    seconds = {"solve": 0.5}
    record = Record(np.int64(3), seconds, notes={"ell": 2})
    seconds["solve"] = 1.0
    assert record.unknowns == 3 and type(record.unknowns) is int and record.seconds["solve"] == 0.5
    more = record.with_notes(ell=3, variant="galerkin")
    assert record["ell"] == 2 and more["ell"] == 3 and list(more.notes) == ["ell", "variant"]
    for change in (lambda: record.notes.update(a=1), lambda: setattr(record, "unknowns", 4)):
        with pytest.raises((AttributeError, FrozenInstanceError)):
            change()
    with pytest.raises(KeyError, match=r"no note called 'tol'.*ell"):
        record["tol"]
    again = pickle.loads(pickle.dumps(more))
    assert (again.unknowns, dict(again.seconds), dict(again.notes)) == (3, {"solve": 0.5}, dict(more.notes))


def test_unknowns_of_eigenpairs():
    values = np.array([2.0, 1.0])
    assert Eigenpairs(values).unknowns is None and Eigenpairs(values, np.eye(2)).unknowns == 2
    assert Eigenpairs(values, np.eye(2), Record(7)).unknowns == 7
