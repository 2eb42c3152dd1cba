"""PETSc as solver of coarse systems, where petsc4py can be loaded; what is said where it cannot."""

import pickle
import sys

import numpy as np
import pytest
from skfem import MeshQuad

from skfem_ml import LOD, diffusion
from skfem_ml.coefficients import checkerboard
from skfem_ml.problems import load
from skfem_ml.solvers import backward_error, solver_direct, solver_petsc

try:
    from petsc4py import PETSc

    MISSING = not hasattr(PETSc, "KSP")
except (ImportError, ValueError):
    MISSING = True
WITH_PETSC = pytest.mark.skipif(MISSING, reason="petsc4py is not installed, or built for another numpy")


def coarse_system():
    lod = LOD(MeshQuad().refined(4), refine=4)
    a = checkerboard(lod.coefficient_mesh, 16, 1.0, 10.0)
    system = lod.system(diffusion, a=a)
    free = np.flatnonzero(~lod.space.fixed)
    return system, system.matrix()[free][:, free], system.load(load(1.0))[free]


@WITH_PETSC
def test_solutions_are_as_exact_as_elimination_and_survive_a_pickle():
    system, S, b = coarse_system()
    for options in ({}, {"ksp_type": "bcgs"}, {"pc_type": "jacobi"}):
        solve = solver_petsc(options=options).prepare(S)
        x = solve(b)
        assert backward_error(S, x, b) < 1e-13
        assert x == pytest.approx(solver_direct()(S, b), rel=1e-9)
        again = pickle.loads(pickle.dumps(solve))
        assert again(np.stack([b, 0 * b], axis=1))[:, 0] == pytest.approx(x, rel=1e-12)
    u = system.solve(load(1.0), solver=solver_petsc())
    assert u == pytest.approx(system.solve(load(1.0)), rel=1e-9)


@WITH_PETSC
def test_a_near_matrix_is_checked_and_what_does_not_converge_is_told():
    _, S, b = coarse_system()
    with pytest.raises(ValueError, match="near: expected a matrix of the 225 unknowns"):
        solver_petsc(near=S[:4, :4]).prepare(S)
    with pytest.raises(RuntimeError, match="PETSc stopped at a backward error of"):
        solver_petsc(options={"ksp_type": "richardson", "pc_type": "none", "ksp_max_it": 2}).prepare(S)(b)


def test_without_petsc_it_is_said_what_to_take(monkeypatch):
    monkeypatch.setitem(sys.modules, "petsc4py", None)
    with pytest.raises(ImportError, match=r"expected petsc4py.*conda.*take solver_krylov\(\)"):
        solver_petsc()
