"""`System.complete`: the fine solution from any coarse one, and what it says of its error."""

import pickle

import numpy as np
import pytest
from skfem import BilinearForm, MeshHex, MeshQuad
from skfem.helpers import dot, grad

from skfem_ml.coefficients import channels, checkerboard, cracks, inclusions, log_normal
from skfem_ml.lod import LOD, GeometricMean, Known, Surrogate, solver_lod
from skfem_ml.problems import Diffusion, load
from skfem_ml.reference import solver_fem
from skfem_ml.solvers import solver_direct
from tests.gallery import diffusion, l_shaped, random_field, reaction_diffusion

COARSE = MeshQuad().refined(4).with_defaults()
F = load(lambda x: 1 + np.sin(5 * x[0]) * x[1])
FAMILIES = {
    "log-normal": lambda mesh, rng: log_normal(mesh, 1.0, 0.05, rng),
    "discs 100": lambda mesh, rng: inclusions(mesh, 100.0, 60, 0.03, rng),
    "soft discs 1/1000": lambda mesh, rng: 1 / inclusions(mesh, 1000.0, 60, 0.03, rng),
    "crossing channels 1000": lambda mesh, rng: np.maximum(
        *(channels(mesh, 1000.0, 3, 1 / 32, rng, axis) for axis in (0, 1))
    ),
    "cracks 300": lambda mesh, rng: cracks(mesh, 20, 1 / 128, 0.3, rng, (1.0, 2.0), (300.0, 300.0), 7),
    "checkerboard 100": lambda mesh, rng: checkerboard(mesh, 64, 1.0, 100.0),
    "Bernoulli 1000": lambda mesh, rng: np.where(rng.random(mesh.t.shape[1]) < 0.5, 1.0, 1000.0),
}


def energy(u, v, w):
    return w.a * dot(grad(u), grad(v))


def energy_error(system, u, f):
    """|u - u*|_a / |u*|_a, u* with the boundary values of u by elimination."""
    free = np.flatnonzero(~system.lod.space.fine_dirichlet)
    A, exact = system.fine_matrix(), u.copy()
    exact[free] += solver_direct(tol=1e-9)(A[free][:, free], (f.on_fine - A @ u)[free])
    gap = u - exact
    return np.sqrt((gap @ (A @ gap)) / (exact @ (A @ exact)))


@pytest.mark.filterwarnings("ignore::UserWarning")  # of surrogates that are not made for these, and of indefinite S
@pytest.mark.parametrize("family", FAMILIES)
def test_any_start_ends_at_the_fine_solution_and_the_estimate_is_true(family):
    """1e-6 in energy after exact LOD, a null model and a surrogate; the estimate within a factor of 2 of the error."""
    lod = LOD(COARSE, refine=8, ell=2)
    a, f = FAMILIES[family](lod.coefficient_mesh, np.random.default_rng(11)), lod.fine_load(F)
    exact = lod.system(diffusion, a=a)
    maps = {"mean": GeometricMean(), "surrogate": Surrogate.load("diffusion-q1-ell2-n8")}
    starts = {name: (lod.system(local_map, a=a), None) for name, local_map in maps.items()}
    starts |= {"exact": (exact, None), "prolonged": (exact, exact.prolong(exact.solve(f, corrected=True), load=f))}
    A, free = exact.fine_matrix(), np.flatnonzero(~lod.space.fine_dirichlet)
    for system, fine in starts.values():
        for tol in (1e-3, 1e-6):
            done = system.complete(system.solve(f) if fine is None else fine, f, tol=tol)
            true = energy_error(exact, done.u, f)
            assert true <= 2 * tol and 0.5 < done.energy_error / true < 2
            residual = np.linalg.norm((f.on_fine - A @ done.u)[free]) / np.linalg.norm(f.on_fine[free])
            assert done.residual == pytest.approx(residual, rel=1e-4)


@pytest.mark.parametrize("lod", [
    LOD(COARSE, refine=4, ell=1, dirichlet=["left", "top"]),
    LOD(l_shaped(), refine=4, ell=1),
    LOD(MeshHex().refined(2), refine=2, ell=1),
], ids=["mixed", "a union of cells", "hexes"])  # fmt: skip
def test_other_domains_and_boundary_values(lod):
    """u on Gamma_D stays as it was, natural boundaries and reaction terms are in the form."""
    a = random_field(lod.coefficient_mesh, np.random.default_rng(0), 50)
    system, f = lod.system(reaction_diffusion, a=a, c=3.0), lod.fine_load(load(1.0))
    u = system.solve(f, x=lod.coarse.doflocs[0])
    done = system.complete(u, f, tol=1e-8)
    fixed = lod.space.fine_dirichlet
    assert np.array_equal(done.u[fixed], (lod.prolongation @ u)[fixed]) and done.u[fixed].any()
    assert energy_error(system, done.u, f) < 2e-8


def test_many_loads_on_the_same_levels_and_pickled():
    lod = LOD(COARSE, refine=4, ell=1)
    system = lod.system(diffusion, a=random_field(lod.coefficient_mesh, np.random.default_rng(0), 50))
    levels = system.multigrid
    loads = [load(1.0), load(lambda x: x[0])]
    first = [system.complete(system.solve(f), f).u for f in loads]
    assert system.multigrid is levels
    named = lod.system(BilinearForm(energy), a=system.coefficients["a"])  # a decorated form has no place to be found at
    named.complete(np.zeros(lod.coarse.N), loads[0])
    again = pickle.loads(pickle.dumps(named))
    for f, u in zip(loads, first, strict=True):
        assert np.allclose(again.complete(again.solve(f), f).u, u, rtol=0, atol=1e-6 * abs(u).max())


def test_as_a_solver_it_is_the_fine_solution():
    fine = MeshQuad().refined(6)
    problem = Diffusion(fine, random_field(fine, np.random.default_rng(0), 50), f=lambda x: x[0], g=lambda x: 1 - x[1])
    u, wanted = solver_lod(COARSE, 1, complete=1e-9)(problem), solver_fem()(problem)
    assert abs(u.y - wanted.y).max() < 1e-7 * abs(wanted.y).max()


def test_what_it_asks_for():
    lod = LOD(COARSE, refine=2, ell=1)
    known = lod.system(Known(lod.local(diffusion, a=2.0)))
    with pytest.raises(TypeError, match="expected the bilinear form that Known stands for, got none; pass form="):
        known.complete(np.zeros(lod.coarse.N), load(1.0))
    system = lod.system(diffusion, a=2.0)
    with pytest.raises(ValueError, match="expected values of the 289 coarse or the 1089 fine"):
        system.complete(np.zeros(3), load(1.0))
