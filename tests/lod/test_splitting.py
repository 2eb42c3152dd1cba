"""`explain`: what the error of u_h is made of, against independent answers."""

import numpy as np
import pytest
from skfem import MeshQuad

from skfem_ml.coefficients import iid_multilevel, inclusions
from skfem_ml.lod import LOD, GeometricMean, Known, explain
from skfem_ml.metrics import l2_error
from skfem_ml.problems import Diffusion, load
from skfem_ml.reference import solver_fem
from tests.gallery import diffusion, random_field, reaction_diffusion

COARSE = MeshQuad().refined(3).with_defaults()


@pytest.fixture(scope="module")
def lod():
    return LOD(COARSE, refine=4, ell=2)


@pytest.fixture(scope="module")
def a(lod):
    return random_field(lod.coefficient_mesh, np.random.default_rng(3), 20)


def test_rows_are_what_they_say(lod, a):
    """u_h, its reconstructions and the best coarse function in energy, each found in another way."""
    problem, system, f = Diffusion(lod.fine.mesh, a), lod.system(diffusion, a=a), load(1.0)
    table, u = explain(system, f), solver_fem()(problem).y
    P, basis = lod.prolongation, lod.fine
    assert np.isclose(table["u_h"]["L2"], l2_error(P @ system.solve(f), u, basis, relative=True), rtol=1e-6)
    nearest = solver_fem(COARSE)(problem)  # Galerkin with the exact coefficient is the best in energy
    A = system.fine_matrix()
    gap = P @ nearest.y - u
    assert np.isclose(table["best coarse function"]["energy"] ** 2, (gap @ A @ gap) / (u @ A @ u), rtol=1e-6)
    fine = system.prolong(system.solve(f, corrected=True), load=f)
    gap = fine - u
    assert np.isclose(table["(1 - Q) u_h + R f"]["energy"] ** 2, (gap @ A @ gap) / (u @ A @ u), rtol=1e-4)
    assert table["u_h"]["energy"] is None


@pytest.mark.parametrize("interpolation", ["projection", "clement", "nodal"])
@pytest.mark.parametrize("part", [None, ["left", "top"]])
def test_without_localisation_nothing_is_left_of_it(interpolation, part):
    """For ell that covers the domain u_h is the u_h of (1), and the corrected reconstruction the fine solution."""
    lod = LOD(COARSE, refine=2, ell=7, interpolation=interpolation, dirichlet=part)
    system = lod.system(reaction_diffusion, a=random_field(lod.coefficient_mesh, np.random.default_rng(0), 9), c=2.0)
    table = explain(system, load(lambda x: 1 + x[0]))
    assert table["of it the localisation"]["L2"] < 1e-10
    assert table["(1 - Q) u_h + R f"]["energy"] < 1e-9
    assert table["of it the load"]["L2"] > 1e-6 and table["(1 - Q) u_h"]["energy"] > 1e-4


def test_nothing_coarse_is_better_than_the_best(lod):
    for seed in range(3):
        rng = np.random.default_rng(seed)
        mesh = lod.coefficient_mesh
        a = inclusions(mesh, 50.0, 20, 0.06, rng) * iid_multilevel(mesh, range(5), 1.0, 2.0, rng)
        table = explain(lod.system(diffusion, a=a), load(1.0))
        coarse = [row["L2"] for row in table if row.name in ("I_h u", "u_h")]
        assert min(coarse) >= table["best coarse function"]["L2"] > 0
        parts = sum(table[name]["L2"] for name in ("I_h u", "of it the load", "of it the localisation"))
        assert max(coarse) <= parts  # the triangle inequality


def test_a_local_map_has_a_part_of_its_own(lod, a):
    f = load(1.0)
    exact = explain(lod.system(diffusion, a=a), f)
    table = explain(lod.system(GeometricMean(), a=a), f)
    gap, u = (lod.system(form, a=a).solve(f) for form in (GeometricMean(), diffusion))
    size = solver_fem()(Diffusion(lod.fine.mesh, a)).y
    wanted = l2_error(lod.prolongation @ gap + size, lod.prolongation @ u + size, lod.fine)
    assert np.isclose(table["of it the local map"]["L2"], wanted / table.norms["L2"], rtol=1e-6)
    assert table["u_h"]["L2"] > exact["u_h"]["L2"] > 0
    assert table["of it the localisation"]["L2"] == pytest.approx(exact["of it the localisation"]["L2"], rel=1e-8)
    same = explain(lod.system(Known(lod.local(diffusion, a=a))), f, form=lambda_form(a))
    assert same["of it the local map"]["L2"] < 1e-12


def lambda_form(a):
    """The form of a known matrix, which has no coefficients any more."""
    from skfem import BilinearForm
    from skfem.helpers import dot, grad

    def values(x):
        cells = np.floor(x * 32).astype(int)
        table = np.empty((32, 32))
        middle = LOD(COARSE, refine=4).coefficient_mesh
        at = np.floor(middle.p[:, middle.t].mean(axis=1) * 32).astype(int)
        table[at[1], at[0]] = a
        return table[cells[1], cells[0]]

    return BilinearForm(lambda u, v, w: values(w.x) * dot(grad(u), grad(v)))


def test_what_cannot_be_explained(lod, a):
    with pytest.raises(TypeError, match="expected the bilinear form that Known stands for, got none"):
        explain(lod.system(Known(lod.local(diffusion, a=a))), load(1.0))
    free = LOD(COARSE, refine=2, ell=1, dirichlet=np.zeros(0, dtype=int))
    with pytest.raises(ValueError, match="expected fixed and free coarse nodes, got 0 fixed"):
        explain(free.system(diffusion, a=1.0), load(1.0))
