"""The coarse part of LOD as a solver: the same u_h as solver_lod's, any local map, finer meshes, bad input."""

import numpy as np
import pytest
from skfem import MeshLine, MeshQuad

from skfem_ml.lod import GeometricMean, solver_coarse, solver_lod
from skfem_ml.lod.solver import _Built
from skfem_ml.problems import Diffusion
from skfem_ml.reference import solver_fem
from tests.gallery import diffusion, random_field

COARSE = MeshQuad().refined(2).with_defaults()
FINE = MeshQuad().refined(4).with_defaults()
A = random_field(FINE, np.random.default_rng(0), 20)


@pytest.mark.parametrize(
    "options",
    [{}, {"dirichlet": ["left", "top"]}, {"f": lambda x: x[0], "g": lambda x: 1 + x[1], "dirichlet": "left"}],
    ids=["plain", "mixed", "load and boundary values"],
)
def test_it_is_the_coarse_part_of_solver_lod(options):
    problem = Diffusion(FINE, A, **options)
    u = solver_coarse(COARSE, diffusion, ell=2)(problem)
    wanted = solver_lod(COARSE, ell=2)(problem).record["coarse"]
    assert u.basis.mesh is COARSE and u.unknowns == 25 and u.record["ell"] == 2
    assert np.allclose(u.y, wanted.y, rtol=0, atol=1e-12)
    assert set(u.record.seconds) == {"setup", "assembly", "solve"}


def test_the_null_model_is_a_local_map_like_others():
    problem = Diffusion(FINE, A)
    u = solver_coarse(COARSE, GeometricMean(), ell=1)(problem)
    assert np.allclose(u.y, solver_fem(COARSE, mean="geometric")(problem).y, rtol=0, atol=1e-13)


def test_a_line():
    fine, coarse = MeshLine(np.linspace(0, 1, 25)), MeshLine(np.linspace(0, 1, 7))
    problem = Diffusion(fine, random_field(fine, np.random.default_rng(0), 20), f=0.0, g=lambda x: x[0])
    u = solver_coarse(coarse, diffusion, ell=5, interpolation="nodal")(problem)
    exact = solver_fem()(problem)  # nodal interpolation in one dimension, no load: exact at the nodes
    assert np.allclose(u.y, exact(u.basis.doflocs), rtol=1e-9)


def test_a_finer_mesh_below_the_coefficient():
    """The coefficient comes in the order of the finer LOD, and the finer solution is near the other."""
    problem = Diffusion(FINE, A)
    built = _Built(COARSE, problem, 2, 8, {})
    lod, a = built.lod, built.coefficient(A)
    assert (lod.space.n, lod.space.m) == (8, 4)
    x = lod.coefficient_mesh.p[:, lod.coefficient_mesh.t].mean(axis=1)
    finder = FINE.element_finder()(*x)
    assert np.array_equal(a, A[finder])
    u, v = (solver_coarse(COARSE, diffusion, ell=2, refine=refine)(problem) for refine in (8, None))
    assert 1e-6 < abs(u.y - v.y).max() < 0.1 * abs(v.y).max()
    with pytest.raises(ValueError, match="expected a divisor of refine = 6, got 4"):
        solver_coarse(COARSE, diffusion, refine=6)(problem)


def test_boundaries_of_one_name_must_agree():
    other = COARSE.with_boundaries({"part": lambda x: x[0] == 0})
    fine = FINE.with_boundaries({"part": lambda x: x[0] == 1})
    with pytest.raises(ValueError, match="to be the same part"):
        solver_coarse(other, diffusion, ell=1)(Diffusion(fine, A, dirichlet="part"))
