"""What `Multigrid` and `MultigridBatch` are given wrongly, and what they say."""

import numpy as np
import pytest
from skfem import Basis, BilinearForm, ElementQuad1, MeshQuad, MeshTri
from skfem.helpers import dot, grad

from skfem_ml.problems import diffusion
from skfem_ml.solvers import Multigrid, MultigridBatch
from tests.gallery import graded, reaction_diffusion, without

MESH = MeshQuad().refined(3)


@BilinearForm
def weighted(u, v, w):
    return w.k * dot(grad(u), grad(v))


@BilinearForm
def convection(u, v, w):
    return dot(grad(u), grad(v)) + u.grad[0] * v


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"a": np.ones(63)}, ValueError, r"a: expected .*64.*63"),
        ({"a": np.full(64, -1.0)}, ValueError, "a: .*positive"),
        ({"a": np.full(64, np.nan)}, ValueError, "a: .*finite"),
        ({"a": lambda x: x}, TypeError, "a: expected a number or one value per cell, got a function"),
        ({"a": np.ones((3, 3, 64))}, ValueError, r"a: expected one value per cell, \(64,\) or \(2, 2, 64\), got"),
        ({"a": -1.0}, ValueError, "a: expected a positive, finite number"),
        ({"form": weighted, "k": np.full(64, np.inf)}, ValueError, "k: expected finite numbers"),
        ({"form": convection}, ValueError, "symmetric"),
        ({"form": "diffusion"}, TypeError, "form: expected a BilinearForm, got str"),
        ({"form": BilinearForm(lambda u, v, w: 1j * u * v, dtype=complex)}, TypeError, "real form"),
        ({"form": weighted, "k": -np.ones(64)}, ValueError, "form: expected a positive definite matrix"),
        ({"a": 1.0, "dirichlet": "west"}, ValueError, "dirichlet: expected names among"),
        ({"a": 1.0, "dirichlet": []}, ValueError, "dirichlet: expected a part where u is fixed, got none"),
        ({"a": 1.0, "dirichlet": [81]}, ValueError, "dirichlet: expected degrees of freedom 0 to 80, got"),
        ({"a": 1.0, "dirichlet": [0.5]}, ValueError, "dirichlet: expected integer degrees of freedom"),
        ({"a": 1.0, "coarsest": 0}, ValueError, "coarsest: expected a whole number >= 1"),
    ],
)
def test_wrong_forms_coefficients_and_parts(options, error, message):
    options = {"form": diffusion, **({"a": 1.0} if "a" not in options and "k" not in options else {}), **options}
    with pytest.raises(error, match=message):
        Multigrid(MESH, options.pop("form"), **options).solve(np.ones(81))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"a": np.full(512, -1.0)}, "a: .*positive"),
        ({"a": np.ones(511)}, r"a: expected .*512.*511"),
        ({"form": convection}, "form: expected a symmetric bilinear form"),
        ({"dirichlet": []}, "dirichlet: expected a part where u is fixed"),
    ],
)
def test_the_same_on_triangles(options, message):
    options = {"form": diffusion, "a": 1.0, **options}
    with pytest.raises(ValueError, match=message):
        Multigrid(MeshTri().refined(4), options.pop("form"), **options)


def test_an_indefinite_matrix_is_found():
    k = np.ones(64)
    k[27] = -3.0
    with pytest.raises(ValueError, match="form: expected a positive definite matrix"):
        Multigrid(MESH, weighted, k=k)
    k[20:30] = -2.0
    with pytest.raises(ValueError, match="form: expected an elliptic form"):
        Multigrid(MESH, weighted, coarsest=10, k=k)


def test_wrong_vectors():
    mg = Multigrid(MESH, diffusion, a=1.0)
    for name, call in {
        "b": lambda v: mg.solve(v),
        "x": lambda v: mg.solve(np.ones(81), v),
        "start": lambda v: mg.complete(np.ones(81), v),
    }.items():
        with pytest.raises(ValueError, match=rf"{name}: expected one value a degree of freedom, \(81,\), got \(80,\)"):
            call(np.ones(80))
        with pytest.raises(ValueError, match=f"{name}: expected finite numbers"):
            call(np.full(81, np.nan))


def test_tolerances_that_are_not_reached():
    mesh = MeshQuad().refined(5)
    mg = Multigrid(mesh, diffusion, coarsest=10, a=np.random.default_rng(0).uniform(0.01, 1, 1024))
    b = np.random.default_rng(1).normal(size=1089)
    with pytest.raises(RuntimeError, match=r"relative residual of .* after 1 steps, expected 1.0e-10; raise rtol"):
        mg.solve(b, rtol=1e-10, maxiter=1)
    with pytest.raises(RuntimeError, match=r"the error in energy is about .* after 2 steps, expected 1.0e-10"):
        mg.complete(b, tol=1e-10, maxiter=2)
    batch = MultigridBatch(mesh, diffusion, coarsest=10, a=np.random.default_rng(0).uniform(0.01, 1, (2, 1024)))
    with pytest.raises(RuntimeError, match="2 of 2 fields are not solved after 2 steps, the worst is field"):
        batch.complete(b, tol=1e-10, maxiter=2)


@pytest.mark.parametrize("coarse", [MeshQuad.init_tensor(np.linspace(0, 1, 4), np.linspace(0, 1, 4)), graded(4, 4)])
def test_coarse_meshes_that_do_not_fit(coarse):
    with pytest.raises(ValueError, match=r"coarse: expected a mesh with 2\^k x .* of the fine cells in each"):
        Multigrid(MESH, diffusion, a=1.0, coarse=coarse)
    with pytest.raises(ValueError, match="coarse: expected a mesh of the same domain"):
        Multigrid(MESH, diffusion, a=1.0, coarse=without(MeshQuad().refined(1), lambda x: (x > 0.5).all(axis=0)))
    with pytest.raises(ValueError, match="coarse_matrix: expected a grid of boxes"):
        Multigrid(MeshQuad(MESH.p + 0.1 * MESH.p[::-1] ** 2, MESH.t), diffusion, a=1.0, coarse=MeshQuad())


def test_arrays_that_are_changed_later_change_nothing():
    a, c, b = np.ones(64), np.ones(64), np.ones(81)
    mg = Multigrid(MESH, reaction_diffusion, a=a, c=c)
    expected = mg.update(a=2 * a).solve(b, rtol=1e-12)
    c[:] = 1e3
    np.testing.assert_array_equal(mg.update(a=2 * a).solve(b, rtol=1e-12), expected)


def test_a_basis_on_some_cells_is_refused():
    with pytest.raises(TypeError, match="basis: expected one on all cells"):
        Multigrid(Basis(MESH, ElementQuad1(), elements=np.arange(8)), diffusion, a=1.0)


def test_what_a_batch_refuses():
    fields = np.random.default_rng(0).uniform(1, 2, (2, 64))
    basis = Basis(MESH, ElementQuad1())
    with pytest.raises(ValueError, match=r"coefficients: expected one field \(k, 64\), else numbers, got"):
        MultigridBatch(basis, diffusion, a=fields[:, 1:])
    with pytest.raises(ValueError, match=r"coefficients: expected one field \(k, 64\)"):
        MultigridBatch(basis, diffusion, a=1.0)
    with pytest.raises(ValueError, match=r"field 1: |a: .*positive"):
        MultigridBatch(basis, diffusion, a=np.stack([np.ones(64), -np.ones(64)]))
    with pytest.raises(ValueError, match="a multiple of one field"):
        MultigridBatch(graded(8, 8), diffusion, a=fields)
    with pytest.raises(ValueError, match="a multiple of one field"):
        MultigridBatch(basis, BilinearForm(lambda u, v, w: w.a * dot(grad(u), grad(v)) + u * v), a=fields)
    with pytest.raises(ValueError, match="halved to at most 10 nodes, got 7 x 7 cells"):
        seven = MeshQuad.init_tensor(np.linspace(0, 1, 8), np.linspace(0, 1, 8))
        MultigridBatch(seven, diffusion, coarsest=10, a=np.ones((1, 49)))
    with pytest.raises(ValueError, match=r"b: expected \(81,\), or \(2, 81\) for 2 fields, got \(80,\)"):
        MultigridBatch(basis, diffusion, a=fields).fmg(np.ones(80))
    with pytest.raises(ValueError, match="dirichlet: expected a part"):
        MultigridBatch(basis, diffusion, dirichlet=[], a=fields)
    with pytest.raises(ValueError, match="device: expected one of cpu"):
        MultigridBatch(basis, diffusion, device="nowhere", a=fields)
