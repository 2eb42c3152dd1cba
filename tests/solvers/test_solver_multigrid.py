"""`solver_multigrid` in ``compare``: the same solution as `solver_fem`, with a record of what happened."""

import numpy as np
import pytest
from skfem import ElementQuad2, MeshQuad, MeshTri

from skfem_ml.compare import compare
from skfem_ml.problems import Diffusion
from skfem_ml.reference import solver_fem
from skfem_ml.solvers import solver_multigrid
from tests.gallery import random_field, random_problem


def test_the_solution_and_its_record():
    mesh = MeshQuad().refined(6).with_defaults()
    problem = Diffusion(mesh, random_field(mesh, np.random.default_rng(0)), dirichlet="left", g=lambda x: 1 + x[1])
    table = compare(problem, {"Q1": solver_fem(), "multigrid": solver_multigrid(1e-8)}, reference="Q1")
    u = table.solutions["multigrid"]
    np.testing.assert_allclose(u.y, table.solutions["Q1"].y, rtol=1e-6)
    assert u.unknowns == 65 * 64 and set(u.record.seconds) == {"setup", "assembly", "solve"}
    assert u.record["energy error"] <= 1e-8 and 2 <= u.record["steps"] <= 10
    assert u.record["levels"] == 1 and u.record["coarsest"] == "elimination" and u.record["residual"] < 1e-6


@pytest.mark.parametrize("element", [None, ElementQuad2()])
def test_other_elements_and_triangles(element):
    problem = random_problem(4)
    u = solver_multigrid(1e-9, element)(problem)
    np.testing.assert_allclose(u.y, solver_fem(element=element)(problem).y, rtol=1e-6, atol=1e-10)
    triangles = Diffusion(MeshTri().refined(5), random_field(MeshTri().refined(5), np.random.default_rng(1)))
    u = solver_multigrid(1e-9)(triangles)
    np.testing.assert_allclose(u.y, solver_fem()(triangles).y, rtol=1e-6, atol=1e-10)
    assert u.record["coarsest"] == "coarsened by pyamg: MeshTri1 is no mesh of boxes"
