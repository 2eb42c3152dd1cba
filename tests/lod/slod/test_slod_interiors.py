"""SLOD on elements whose interiors come from finer meshes."""

import numpy as np
from skfem import MeshQuad

from skfem_ml.coefficients import inclusions
from skfem_ml.lod import LOD, SLOD, CondensedInteriors
from skfem_ml.problems import load
from skfem_ml.solvers import solver_direct
from tests.gallery import diffusion, random_field

COARSE = MeshQuad().refined(3)
F = load(lambda x: 1 + np.sin(9 * x[0]))


def test_those_of_the_fine_mesh_change_nothing():
    plain, same = (SLOD(COARSE, refine=4, ell=2, interiors=i) for i in (None, CondensedInteriors(4)))
    a = random_field(plain.coefficient_mesh, np.random.default_rng(0), 30)
    x = plain.coarse.doflocs[0]
    u, v = (slod.system(diffusion, a=a).solution(F, x=x) for slod in (plain, same))
    assert abs(u - v).max() < 1e-9 * abs(u).max() and "CondensedInteriors(4)" in repr(same)


def test_the_basis_is_that_of_the_form_with_their_energies():
    """For ell that covers the domain the solution is that of the fine matrix with what interiors add, A + D^T (.) D."""
    slod = SLOD(COARSE, refine=4, ell=7, interiors=16)
    a = inclusions(slod.coefficient_mesh, 50.0, 10, 0.06, np.random.default_rng(1))
    lod = LOD(COARSE, refine=4, interiors=16)
    A, fixed = lod.system(diffusion, a=a).fine_matrix(), slod.space.fine_dirichlet
    free, b = np.flatnonzero(~fixed), slod.fine_load(F).on_fine
    for x in (None, slod.coarse.doflocs[1]):
        u = np.zeros(len(b)) if x is None else slod.prolongation @ np.where(slod.space.fixed, x, 0.0)
        lift = u.copy()
        u[free] += solver_direct()(A[free][:, free], (b - A @ lift)[free])
        found = slod.system(diffusion, a=a).solution(F, x=x)
        assert abs(found - u).max() < 1e-7 * abs(u).max()
