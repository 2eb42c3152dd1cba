"""Names of subdomains and boundaries on coarse meshes."""

import numpy as np
import pytest
from skfem import Mesh, MeshHex, MeshLine, MeshQuad

from skfem_ml import LOD
from skfem_ml.coefficients import from_file
from skfem_ml.meshes import coarsened
from tests.conftest import ROOT
from tests.gallery import l_shape, shuffled


def marked(mesh):
    """The left half as a subdomain, one cell of it as another, the bottom's left half and the middle as boundaries."""
    half = float(mesh.p[0].max()) / 2
    axis = mesh.dim() - 1
    mesh = mesh.with_subdomains({"rock": lambda x: x[0] < half, "crumb": np.array([0])})
    return mesh.with_boundaries(
        {
            "inlet": lambda x: (x[axis] == 0) & (x[0] < half + (axis == 0)),
            "wall": np.flatnonzero(mesh.p[0, mesh.facets].mean(axis=0) == half),
            "one": mesh.boundary_facets()[:1],
        },
        boundaries_only=False,
    )


@pytest.mark.parametrize("mesh", [MeshLine().refined(4), MeshQuad().refined(4), MeshHex().refined(2), l_shape(2)])
def test_names_that_fit_are_carried(mesh):
    """Finding C: names of subdomains and boundaries are not lost on the way to the coarse mesh."""
    fine = marked(shuffled(mesh, np.random.default_rng(0))[0])
    coarse = coarsened(fine, 2)
    assert set(coarse.subdomains) == {"rock"}
    half = float(fine.p[0].max()) / 2
    rock = np.flatnonzero(coarse.p[0, coarse.t].mean(axis=0) < half)
    np.testing.assert_array_equal(np.sort(coarse.subdomains["rock"]), rock)
    axis = mesh.dim() - 1
    middles = coarse.p[:, coarse.facets].mean(axis=1)
    expected = np.flatnonzero((middles[axis] == 0) & (middles[0] < half + (axis == 0)))
    np.testing.assert_array_equal(np.sort(coarse.boundaries["inlet"]), expected)
    np.testing.assert_array_equal(np.sort(coarse.boundaries["wall"]), np.flatnonzero(middles[0] == half))
    assert ("one" in coarse.boundaries) == (mesh.dim() == 1) and "left" in coarse.boundaries


def test_a_facet_inside_a_coarse_cell_has_no_place():
    mesh = MeshQuad().refined(3)
    inside = np.flatnonzero(mesh.p[0, mesh.facets].mean(axis=0) == 1 / 8)
    coarse = coarsened(mesh.with_boundaries({"inside": inside}), 4)
    assert "inside" not in coarse.boundaries and coarse.subdomains is None


def test_a_mesh_as_gmsh_saves_it():
    """MSH 4.1 by Gmsh 4.15: its bounding entities come as a subdomain whose numbers are no cells."""
    path = ROOT / "tests" / "data" / "gmsh41.msh"
    fine = Mesh.load(path)
    assert "gmsh:bounding_entities" in fine.subdomains  # else this test says nothing
    a = from_file(path, fine, tags={"matrix": 1.0, "inclusion": 50.0})
    coarse = coarsened(fine, 2)
    assert set(coarse.subdomains) == {"matrix", "inclusion"} and len(coarse.subdomains["inclusion"]) == 4
    assert {"left", "right"} <= set(coarse.boundaries) and len(coarse.boundaries["left"]) == 4
    lod = LOD(fine, refine=2, ell=1)
    assert set(lod.fine.mesh.subdomains) == {"matrix", "inclusion"}
    assert len(lod.fine.mesh.subdomains["inclusion"]) == 4 * (a == 50).sum() == 64
