"""Bad input and faults: what a user of LOD gets, row by row of the table of faults."""

import subprocess
import sys

import numpy as np
import pytest
from skfem import (
    Basis,
    BilinearForm,
    ElementQuad1,
    ElementQuad2,
    ElementVector,
    MeshHex2,
    MeshQuad,
    MeshQuad2,
    MeshTet,
    MeshTri,
)
from skfem.helpers import dot, grad

from skfem_ml.lod import LOD
from skfem_ml.lod.engine import condensation
from skfem_ml.lod.engine import reference as correctors
from tests.gallery import diffusion, graded, random_field, u_shaped, unit_load


@pytest.fixture
def lod():
    return LOD(MeshQuad().refined(2), refine=4, ell=1)


@pytest.mark.parametrize("engine", ["reference", "condensation"])
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, 0.0, -2.5])
def test_bad_values_are_named_before_any_factorisation(engine, value, monkeypatch):
    lod = LOD(MeshQuad().refined(2), refine=4, ell=1, engine=engine)
    a = np.ones(256)
    a[[17, 40]] = value

    def never(*args, **kwargs):
        raise AssertionError("factorised a bad coefficient")

    monkeypatch.setattr(correctors, "factorised", never)
    monkeypatch.setattr(condensation, "element_source", never)
    for call in (
        lambda: lod.assemble(diffusion, a=a),
        lambda: lod.prolong(np.zeros(25), diffusion, a=a),
        lambda: lod.gather(a),
        lambda: lod.correctors(diffusion, a=a),
        lambda: lod.update(None, np.ones(256), a, diffusion),
    ):
        with pytest.raises(ValueError, match=r"cell 17.*") as error:
            call()
        assert str(value) in str(error.value) and "2" in str(error.value)


def test_contrast_above_1e10_is_warned_of(lod):
    a = np.ones(256)
    a[0] = 1e11
    with pytest.warns(UserWarning, match="contrast"):
        S = lod.assemble(diffusion, a=a)
    assert np.isfinite(S.data).all()


@pytest.mark.parametrize(
    ("value", "got"),
    [
        (np.ones(255), "255"),
        (np.ones(16), "16"),
        (np.ones(289), "289"),
        (np.ones((256, 4)), r"\(256, 4\)"),
        (np.ones((16, 16)), r"\(16, 16\)"),
        (np.ones(0), "0"),
    ],
)
def test_wrong_lengths_name_expected_and_got(lod, value, got):
    with pytest.raises(ValueError, match="256") as error:
        lod.assemble(diffusion, a=value)
    with pytest.raises(ValueError, match=got):
        raise error.value


def test_nodal_values_are_not_guessed(lod):
    with pytest.raises(ValueError, match="nodes"):
        assert lod.fine.N == 289
        lod.assemble(diffusion, a=np.ones(289))


def test_coefficients_of_another_mesh_than_the_coefficient_mesh():
    lod = LOD(MeshQuad().refined(2), refine=4, cells=2)
    with pytest.raises(ValueError, match="64"):
        lod.assemble(diffusion, a=np.ones(256))


@pytest.mark.parametrize(
    "mesh",
    [
        MeshTri().refined(2),
        MeshTet(),
        MeshQuad2(),
        MeshHex2(),
        MeshQuad(np.array([[0, 1, 1.3, 0], [0, 0, 1, 1]]), np.array([[0, 1, 2, 3]]).T),
        MeshQuad(MeshQuad().p + np.array([[0.3], [0]]) * MeshQuad().p[1], MeshQuad().t),
    ],
    ids=lambda m: type(m).__name__,
)
def test_unsupported_meshes_list_what_is_supported(mesh):
    with pytest.raises(TypeError, match=r"MeshQuad1|boxes"):
        LOD(mesh, refine=2)


@pytest.mark.parametrize("element", [ElementQuad2(), ElementVector(ElementQuad1())])
def test_unsupported_elements(element):
    with pytest.raises(TypeError, match="ElementQuad1"):
        LOD(Basis(MeshQuad().refined(2), element), refine=2)


def test_basis_on_some_cells_is_refused():
    with pytest.raises(TypeError, match="restrict"):
        LOD(Basis(MeshQuad().refined(2), ElementQuad1(), elements=[0, 1]), refine=2)


@pytest.mark.parametrize(
    "fine",
    [
        MeshQuad().refined(1),
        MeshQuad.init_tensor(np.linspace(0, 1, 9), np.linspace(0, 1, 13)),
        MeshQuad.init_tensor(np.linspace(0, 1, 9) ** 2, np.linspace(0, 1, 9)),
        MeshQuad.init_tensor(np.linspace(0, 2, 9), np.linspace(0, 1, 9)),
        MeshQuad().refined(3).restrict(np.arange(60)),
    ],
)
def test_fine_mesh_that_is_no_refinement(fine):
    with pytest.raises(ValueError, match="fine mesh: expected"):
        LOD(MeshQuad().refined(2), fine=fine)


@pytest.mark.parametrize("name", ["refine", "ell", "cells", "workers"])
@pytest.mark.parametrize("value", [0, -1, 1.5, "two", True, None])
def test_whole_numbers(name, value):
    options = {"refine": 4, name: value}
    if value is None and name in ("refine", "cells"):
        options = {"refine": None, "cells": None, "fine": None} if name == "refine" else {"refine": 4, "cells": 3}
    with pytest.raises(ValueError, match=f"{name}.*expected"):
        LOD(MeshQuad().refined(2), **options)


@pytest.mark.parametrize(
    "options",
    [
        {"refine": 4, "fine": MeshQuad().refined(3)},
        {"refine": 4, "interpolation": "spline"},
        {"refine": 4, "engine": "magic"},
        {"refine": 1, "engine": "condensation"},
        {"refine": 4, "dirichlet": "nowhere"},
        {"refine": 4, "dirichlet": [0, 99]},
        {"refine": 4, "dirichlet": [4]},
        {"refine": 4, "dirichlet": np.ones(25, dtype=bool)},
        {"refine": 4, "dirichlet": np.array([0.5])},
    ],
)
def test_options_that_make_no_sense(options):
    with pytest.raises(ValueError, match="expected"):
        LOD(MeshQuad().refined(2), **options)


def test_boundary_data_are_honoured_in_every_notation():
    mesh = graded()
    basis = Basis(mesh, ElementQuad1())
    a = random_field(LOD(mesh, refine=2).coefficient_mesh, np.random.default_rng(0))
    expected = LOD(basis, refine=2, dirichlet=["left", "top"]).assemble(diffusion, a=a)
    for choice in (
        basis.get_dofs(["left", "top"]),
        basis.get_dofs(["left", "top"]).flatten(),
        {"left": basis.get_dofs("left"), "top": basis.get_dofs("top")},
        ("left", "top"),
    ):
        S = LOD(basis, refine=2, dirichlet=choice).assemble(diffusion, a=a)
        assert abs(S - expected).max() < 1e-13
    other = LOD(basis, refine=2).assemble(diffusion, a=a)
    assert abs(other - expected).max() > 1e-3  # and never ignored


@pytest.mark.parametrize("engine", ["reference", "condensation"])
def test_forms_that_are_not_symmetric_or_elliptic(engine):
    lod = LOD(MeshQuad().refined(2), refine=4, ell=1, engine=engine)
    convection = BilinearForm(lambda u, v, w: w.a * dot(grad(u), grad(v)) + u.grad[0] * v)
    with pytest.raises(ValueError, match="symmetric"):
        lod.assemble(convection, a=np.ones(256))
    broken = BilinearForm(lambda u, v, w: w.a * np.nan * u * v)
    with pytest.raises(ValueError, match=r"symmetric|finite"):
        lod.assemble(broken, a=np.ones(256))
    if engine == "condensation":
        hyperbolic = BilinearForm(lambda u, v, w: w.a * (u.grad[0] * v.grad[0] - u.grad[1] * v.grad[1]))
        with pytest.raises(ValueError, match="elliptic"):
            lod.assemble(hyperbolic, a=np.ones(256))


def test_other_arguments(lod):
    with pytest.raises(TypeError, match="BilinearForm"):
        lod.prolong(np.zeros(25), unit_load, a=np.ones(256))
    with pytest.raises(ValueError, match="25"):
        lod.prolong(np.zeros(24), diffusion, a=np.ones(256))
    with pytest.raises(ValueError, match="galerkin"):
        lod.assemble(diffusion, a=np.ones(256), variant="ritz")
    with pytest.raises(ValueError, match=r"bilinear|form"):
        lod.load(unit_load, corrected=True)
    with pytest.raises(ValueError, match="finite"):
        lod.assemble(BilinearForm(lambda u, v, w: w.c * u * v + u * v), a=np.ones(256), c=np.full(256, np.nan))


@pytest.mark.parametrize("elements", [[16], [-1], [0.5], [[0, 1]], ["a"], np.ones(5, dtype=bool)])
def test_elements_that_are_none(lod, elements):
    with pytest.raises(ValueError, match="0 to 15"):
        lod.local(diffusion, elements, a=np.ones(256))


def test_no_elements_and_masks(lod):
    a = random_field(lod.coefficient_mesh, np.random.default_rng(1))
    assert lod.local(diffusion, [], a=a).shape == (0, 16, 4)
    mask = np.arange(16) % 3 == 0
    assert np.allclose(lod.local(diffusion, mask, a=a), lod.local(diffusion, a=a)[mask], rtol=0, atol=1e-12)
    S = lod.assemble(diffusion, a=a)
    assert abs(lod.update(S, a, a, diffusion) - S).max() == 0


def test_cells_that_share_a_place_are_refused():
    mesh = MeshQuad().refined(1)
    twice = MeshQuad(mesh.p, np.hstack([mesh.t, mesh.t[:, :1]]))
    with pytest.raises(ValueError, match="several"):
        LOD(twice, refine=2)
    slit = u_shaped()
    p, t = np.hstack([slit.p, slit.p[:, :1]]), slit.t.copy()
    t[:, -1] = np.where(t[:, -1] == 0, p.shape[1] - 1, t[:, -1])
    if (t != slit.t).any():
        with pytest.raises(ValueError, match="several"):
            LOD(MeshQuad(p, t), refine=2)


def test_import_loads_no_torch_until_the_fast_engine_runs():
    script = """
import sys
import numpy as np
from skfem import BilinearForm, MeshQuad
from skfem.helpers import dot, grad
from skfem_ml.lod import LOD
diffusion = BilinearForm(lambda u, v, w: w.a * dot(grad(u), grad(v)))
assert "torch" not in sys.modules and "matplotlib" not in sys.modules
LOD(MeshQuad().refined(2), refine=2, engine="reference").assemble(diffusion, a=np.ones(64))
assert "torch" not in sys.modules
LOD(MeshQuad().refined(2), refine=2).assemble(diffusion, a=np.ones(64))
assert "torch" in sys.modules
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
