"""The coarse system by a Krylov method: the answers of elimination, which follows where it does not converge."""

import logging
import pickle
from functools import partial

import numpy as np
import pytest
from skfem import MeshQuad

from skfem_ml.lod import LOD, GeometricMean, Known, coarse, solver_coarse, solver_lod
from skfem_ml.lod.coarse import CoarseSystem
from skfem_ml.problems import Diffusion, diffusion, load
from skfem_ml.solvers import solver_direct, solver_krylov
from tests.gallery import l_shape

SQUARE = MeshQuad().refined(4).with_defaults()


@pytest.fixture
def iterated(monkeypatch):
    """Every size is large."""
    monkeypatch.setattr(coarse, "ITERATED", 1)
    monkeypatch.setattr(coarse, "ALONE", 1)


def field(lod: LOD, ratio: float, seed: int = 0) -> np.ndarray:
    return np.exp(np.random.default_rng(seed).uniform(0, np.log(ratio), lod.coefficient_mesh.t.shape[1]))


@pytest.mark.parametrize("ratio", [5.0, 1e3])
@pytest.mark.parametrize(
    ("mesh", "dirichlet"), [(SQUARE, None), (SQUARE, ["left", "top"]), (l_shape(3), None)], ids=["all", "mixed", "L"]
)
def test_the_answers_of_elimination(mesh, dirichlet, ratio, iterated):
    lod = LOD(mesh, 2, ell=1, dirichlet=dirichlet)
    system = lod.system(diffusion, a=field(lod, ratio))
    x = lod.coarse.doflocs[0] + 1
    wanted = system.solve(load(1.0), x, solver=solver_direct())
    made = system.coarse()
    u, error = made.solve(system.load(load(1.0)), x)
    assert "Krylov(bicgstab" in repr(made) and ("itself" in repr(made)) == (ratio > 100)
    assert error <= 1e-12 and np.abs(u - wanted).max() <= 1e-10 * np.abs(wanted).max()
    assert np.array_equal(system.solve(load(1.0), x), u)


def test_the_galerkin_variant_by_conjugate_gradients(iterated):
    lod = LOD(SQUARE, 2, ell=1)
    system = lod.system(diffusion, a=field(lod, 10))
    u = system.solve(load(1.0), variant="galerkin")
    assert "Krylov(cg" in repr(system.coarse("galerkin"))
    assert np.allclose(u, system.solve(load(1.0), variant="galerkin", solver=solver_direct()), rtol=1e-10, atol=1e-13)


def test_many_loads_are_each_its_own(iterated):
    lod = LOD(SQUARE, 2, ell=1)
    made = lod.system(diffusion, a=field(lod, 5)).coarse()
    B, x = np.random.default_rng(1).standard_normal((lod.coarse.N, 3)), np.zeros(lod.coarse.N)
    U, _ = made.solve(B, x)
    assert U.shape == B.shape and all(np.array_equal(U[:, k], made.solve(B[:, k], x)[0]) for k in range(3))
    assert np.array_equal(pickle.loads(pickle.dumps(made)).solve(B, x)[0], U)
    assert made.solve(B[:, :0], x)[0].shape == (lod.coarse.N, 0)


def test_elimination_follows_where_it_does_not_converge_and_is_told(iterated, caplog):
    """Contrast 1e6: S is not definite."""
    lod = LOD(SQUARE, 2, ell=1)
    with pytest.warns(UserWarning, match="not positive definite"):
        S = lod.assemble(diffusion, a=field(lod, 1e6))
    with caplog.at_level(logging.INFO, logger="skfem_ml"):
        made = CoarseSystem(S, lod.space.fixed)
        u, error = made.solve(np.ones(lod.coarse.N), np.zeros(lod.coarse.N))
    assert "elimination follows" in caplog.text and error <= 1e-12
    direct = CoarseSystem(S, lod.space.fixed, solver=solver_direct()).solve(np.ones(lod.coarse.N), 0 * u)[0]
    assert np.allclose(u, direct, rtol=1e-6, atol=1e-8 * abs(u).max())


def test_local_maps_with_and_without_a_form(iterated):
    lod = LOD(SQUARE, 2, ell=1)
    a = field(lod, 5)
    for form, told in ((GeometricMean(), "cg"), (Known(lod.local(diffusion, a=a)), "hierarchy of the matrix itself")):
        system = lod.system(form, **({} if isinstance(form, Known) else {"a": a}))
        assert told in repr(system.coarse())
        direct = system.solve(load(1.0), solver=solver_direct())
        assert np.allclose(system.solve(load(1.0)), direct, rtol=1e-10, atol=1e-13)


def test_a_user_can_ask_for_either():
    lod = LOD(SQUARE, 2, ell=1)
    system = lod.system(diffusion, a=field(lod, 5))
    u, v = (system.solve(load(1.0), solver=solver) for solver in (solver_krylov(), solver_direct()))
    assert np.allclose(u, v, rtol=1e-11) and "elimination" in repr(system.coarse())
    problem = Diffusion(lod.fine.mesh, field(lod, 5))
    for way in (solver_lod, partial(solver_coarse, local_map=diffusion)):
        y, z = (way(SQUARE, ell=1, solver=solver)(problem).y for solver in (solver_krylov(), None))
        assert np.allclose(y, z, rtol=1e-11, atol=1e-14) and not np.array_equal(y, z)


@pytest.mark.parametrize("ratio", [5.0, 1e3])
def test_iterations_do_not_grow_with_the_size(ratio, iterated):
    counts = []
    for N in (24, 96):
        lod = LOD(MeshQuad.init_tensor(*2 * [np.linspace(0, 1, N + 1)]), 2, ell=1)
        made = lod.system(diffusion, a=field(lod, ratio)).coarse()
        made.solve(np.ones(lod.coarse.N), np.zeros(lod.coarse.N))
        counts.append(sum(made._krylov.iterations))
    assert counts[1] <= 1.6 * counts[0]
