"""How close super-localised solutions are to finite elements on the fine mesh: rates, limits, loads of every kind."""

import logging
import warnings
from itertools import pairwise

import numpy as np
import pytest
from skfem import LinearForm, MeshQuad, condense, solve

from skfem_ml.coefficients import channels
from skfem_ml.lod import LOD, SLOD
from tests.gallery import (
    diffusion,
    fine_matrix,
    graded,
    l_shaped,
    random_field,
    reaction_diffusion,
    relative,
    u_shaped,
    unit_load,
    without,
)


@LinearForm
def oscillating(v, w):
    return (np.sin(40 * w.x[0]) * np.cos(57 * w.x[1]) + 0.3) * v


def solved(slod, a, f, x=None, form=diffusion, **coefficients):
    """The fine matrix and solution, by scikit-fem alone."""
    A, D = fine_matrix(slod, form, a=a, **coefficients), np.flatnonzero(slod.space.fine_dirichlet)
    x = np.zeros(slod.fine.N) if x is None else x
    return A, solve(*condense(A, f.assemble(slod.fine), x=x, D=D))


def energy_error(slod, a, f, variant):
    A, u = solved(slod, a, f)
    e = slod.system(diffusion, a=a).solution(f, variant=variant) - u
    return np.sqrt((e @ A @ e) / (u @ A @ u))


@pytest.mark.parametrize("variant", ["collocation", "galerkin"])
def test_errors_fall_faster_than_exponentially_for_any_load(variant):
    """Each layer gains more than the one before, and an oscillating load is as good as a constant one."""
    errors = []
    for ell in (1, 2, 3):
        slod = SLOD(MeshQuad().refined(3), 4, ell=ell)
        a = np.random.default_rng(0).uniform(1, 10, slod.coefficient_mesh.nelements)
        errors.append([energy_error(slod, a, f, variant) for f in (unit_load, oscillating)])
        assert errors[-1][1] < 1.5 * errors[-1][0]
    gains = [before[0] / after[0] for before, after in pairwise(errors)]
    assert gains[0] > 20 and gains[1] > 3 * gains[0]
    assert errors[2][0] < 1e-5


def test_it_is_more_local_than_lod():
    """Corrected and prolonged LOD with the same patches is farther from the fine solution at ell = 3."""
    slod = SLOD(MeshQuad().refined(3), 4, ell=3)
    a = np.random.default_rng(1).uniform(1, 10, slod.coefficient_mesh.nelements)
    A, u = solved(slod, a, unit_load)
    system = LOD(slod.coarse, 4, ell=3).system(diffusion, a=a)
    e = system.prolong(system.solve(unit_load, corrected=True), load=unit_load) - u
    assert energy_error(slod, a, unit_load, "galerkin") < 0.05 * np.sqrt((e @ A @ e) / (u @ A @ u))


DOMAINS = {
    "square": (lambda: MeshQuad().refined(2), None, 3),
    "one row": (lambda: MeshQuad.init_tensor(np.linspace(0, 1, 5), np.linspace(0, 0.3, 2)), None, 3),
    "natural": (graded, ["left", "top"], 5),
    "L": (l_shaped, ["left"], 5),
    "U": (u_shaped, ["bottom"], 6),
}


@pytest.mark.parametrize("domain", DOMAINS)
@pytest.mark.parametrize("variant", ["collocation", "galerkin"])
def test_patches_that_are_the_domain_give_the_fine_solution(domain, variant):
    mesh, dirichlet, ell = DOMAINS[domain]
    slod = SLOD(mesh(), 3, ell=ell, dirichlet=dirichlet)
    a = random_field(slod.coefficient_mesh, np.random.default_rng(2))
    system = slod.system(diffusion, a=a)
    for f in (unit_load, oscillating):
        assert relative(system.solution(f, variant=variant), solved(slod, a, f)[1]) < 1e-10


@pytest.mark.parametrize("domain", ["natural", "L", "U"])
def test_unions_of_cells_and_natural_boundaries(domain):
    mesh, dirichlet, _ = DOMAINS[domain]
    slod = SLOD(mesh(), 3, ell=2, dirichlet=dirichlet)
    a = np.random.default_rng(3).uniform(1, 10, slod.coefficient_mesh.nelements)
    assert max(energy_error(slod, a, f, "galerkin") for f in (unit_load, oscillating)) < 1e-2


@pytest.mark.parametrize("cells", [2, 4])
def test_a_domain_in_two_pieces(cells):
    """A row of the grid between them is empty; blocks reach over it, functions do not."""
    mesh = without(MeshQuad.init_tensor(np.arange(5.0), np.arange(7.0)), lambda x: (x[1] > 2) & (x[1] < 3))
    slod = SLOD(mesh, 4, ell=2, cells=cells)
    a = np.random.default_rng(10).uniform(1, 10, slod.coefficient_mesh.nelements)
    system = slod.system(diffusion, a=a)
    A = fine_matrix(slod, a=a[slod.space.coefficient_cell])
    free = np.flatnonzero(~slod.space.fine_dirichlet)
    for f in (unit_load, oscillating):
        u = np.zeros(slod.fine.N)
        u[free] = np.linalg.solve(A[free][:, free].toarray(), f.assemble(slod.fine)[free])
        assert relative(system.solution(f), u) < 1e-3
    upper = slod.coarse.mesh.p[1, slod.coarse.mesh.t].mean(axis=0) > 3
    assert abs(system.matrix()[upper][:, ~upper]).sum() < 1e-15


def test_nothing_fixed_with_a_reaction_term():
    slod = SLOD(graded(), 3, ell=2, dirichlet=[])
    a = np.random.default_rng(4).uniform(1, 10, slod.coefficient_mesh.nelements)
    A, u = solved(slod, a, unit_load, form=reaction_diffusion, c=30.0)
    e = (
        slod.system(reaction_diffusion, a=a, c=30.0).solution(oscillating)
        - solved(slod, a, oscillating, form=reaction_diffusion, c=30.0)[1]
    )
    assert np.sqrt(e @ A @ e) < 1e-2 * np.sqrt(u @ A @ u)


@pytest.mark.parametrize("variant", ["collocation", "galerkin"])
def test_boundary_values(variant):
    """A function on the fine mesh, and one on the coarse mesh of which the boundary values count."""
    errors = []
    for ell in (1, 2, 5):
        slod = SLOD(graded(), 3, ell=ell, dirichlet=["left", "bottom"])
        a = np.random.default_rng(5).uniform(1, 10, slod.coefficient_mesh.nelements)
        system = slod.system(diffusion, a=a)
        p = slod.fine.doflocs
        x = np.sin(2 * p[0]) + p[1] ** 2
        A, u = solved(slod, a, oscillating, x=x)
        e = system.solution(oscillating, variant=variant, x=x) - u
        errors.append(np.sqrt(e @ A @ e) / np.sqrt(u @ A @ u))
        coarse = 1 + 2 * slod.coarse.doflocs[0] - slod.coarse.doflocs[1]
        inside = np.where(slod.space.fixed, coarse, np.nan)
        u = solved(slod, a, unit_load, x=1 + 2 * p[0] - p[1])[1]
        found = system.solution(unit_load, variant=variant, x=np.nan_to_num(inside, nan=77.0))
        assert relative(found, u) < (0.3, 1e-2, 1e-10)[ell // 2]
    assert errors[1] < 0.1 * errors[0] and errors[2] < 1e-11


def test_galerkin_is_the_best_of_the_space():
    """No other coefficients give a smaller energy error."""
    slod = SLOD(MeshQuad().refined(3), 4, ell=1)
    a = random_field(slod.coefficient_mesh, np.random.default_rng(6), 10.0)
    system = slod.system(diffusion, a=a)
    A, u = solved(slod, a, unit_load)
    c = system.solve(unit_load, variant="galerkin")
    assert abs(system.basis().T @ (A @ (system.prolong(c) - u))).max() < 1e-12
    other = system.prolong(system.solve(unit_load)) - u
    best = system.prolong(c) - u
    assert best @ A @ best <= other @ A @ other


def test_without_correction_an_oscillating_load_is_not_seen():
    slod = SLOD(MeshQuad().refined(3), 4, ell=2)
    a = np.random.default_rng(7).uniform(1, 10, slod.coefficient_mesh.nelements)
    A, u = solved(slod, a, oscillating)
    system = slod.system(diffusion, a=a)
    for variant in ("collocation", "galerkin"):
        e = system.prolong(system.solve(oscillating, corrected=False, variant=variant)) - u
        assert np.sqrt((e @ A @ e) / (u @ A @ u)) > 0.05
    b = system.load(oscillating, corrected=False)
    assert relative(b, oscillating.assemble(slod.fine).sum() * b / b.sum()) < 1e-12  # all of the load is in it


def crossing(slod, seed):
    """Four channels of contrast 100, one fine cell wide, that cross the square either way."""
    rng = np.random.default_rng(seed)
    return np.maximum(*[channels(slod.coefficient_mesh, 100.0, 4, 1 / 32, rng, axis) for axis in (0, 1)])


@pytest.mark.parametrize("seed", [0, 2])
def test_damping_is_raised_where_functions_coincide(seed, caplog):
    slod = SLOD(MeshQuad().refined(3), 4, ell=2)
    a = crossing(slod, seed)
    with caplog.at_level(logging.INFO, logger="skfem_ml"):
        system = slod.system(diffusion, a=a)
        raised = system.epsilon
    assert (raised >= 3 * slod.epsilon).all() and (slod.epsilon == 1e-4).all()
    assert "taken is epsilon" in caplog.records[-1].message
    plain = SLOD(MeshQuad().refined(3), 4, ell=2, epsilon=1e-4).system(diffusion, a=a)
    with pytest.warns(UserWarning, match="hard to tell apart"):
        assert plain.condition > 30 * system.condition
    _, u = solved(slod, a, unit_load)
    errors = [abs(one.solution(unit_load, variant="collocation") - u).max() for one in (plain, system)]
    assert errors[1] < 0.5 * errors[0]


@pytest.mark.parametrize("ell", [2, 3])
@pytest.mark.parametrize("contrast", [5.0, 100.0])
def test_the_error_is_estimated(ell, contrast):
    slod = SLOD(MeshQuad().refined(4), 4, ell=ell)
    a = random_field(slod.coefficient_mesh, np.random.default_rng(9), contrast)
    system = slod.system(diffusion, a=a)
    A, u = solved(slod, a, unit_load)
    for variant in ("collocation", "galerkin"):
        c = system.solve(unit_load, variant=variant)
        e = system.prolong(c) - u
        error = np.sqrt((e @ A @ e) / (u @ A @ u))
        assert error / 2.5 < system.estimate(c) < 2.5 * error
    assert system.estimate(np.stack([c, 3 * c], axis=1)) == pytest.approx([system.estimate(c)] * 2)
    assert system.estimate(0 * c) == 0


def test_a_solution_that_is_far_off_is_warned_of():
    """Channels of contrast 100 at ell = 1."""
    slod = SLOD(MeshQuad().refined(3), 4, ell=1)
    a = crossing(slod, 0)
    system = slod.system(diffusion, a=a)
    A, u = solved(slod, a, unit_load)
    with pytest.warns(UserWarning, match="rims"):
        e = system.prolong(system.solve(unit_load)) - u
    assert e @ A @ e > 0.3**2 * (u @ A @ u)


def test_damping_is_left_alone_where_all_is_well():
    slod = SLOD(MeshQuad().refined(3), 4, ell=2)
    a = np.random.default_rng(8).uniform(1, 5, slod.coefficient_mesh.nelements)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        system = slod.system(diffusion, a=a)
        assert (system.epsilon == slod.epsilon).all() and 1 < system.condition < 1e3
