"""Interiors of elements from elsewhere: every verb of a system is that of LOD for the form with their energies."""

import pickle

import numpy as np
import pytest
import torch
from skfem import MeshHex, MeshLine, MeshQuad, condense, solve

from skfem_ml.coefficients import checkerboard
from skfem_ml.lod import LOD, CondensedInteriors, ExtrapolatedInteriors, Interiors, exact_matrices, solver_lod
from skfem_ml.lod.coarse import is_definite
from skfem_ml.lod.engine.condensation import CondensationEngine
from skfem_ml.lod.engine.elements import element_source
from skfem_ml.lod.engine.protocol import reference
from skfem_ml.lod.engine.reference import ReferenceEngine
from skfem_ml.lod.mesh.forms import FineForm
from skfem_ml.lod.mesh.loads import FineLoad
from skfem_ml.lod.surrogate import Setting
from skfem_ml.metrics import l2_error
from skfem_ml.problems import Diffusion
from tests.gallery import (
    MESHES,
    crossing_channels,
    diffusion,
    engine_answers,
    moved,
    random_field,
    reaction_diffusion,
    relative,
    shuffled,
    sloped_load,
    small_lod,
    unit_load,
)

CASES = [
    ("square", diffusion, {"refine": 4, "ell": 1}),
    ("flat", diffusion, {"refine": 3, "ell": 2, "interpolation": "clement"}),
    ("graded", diffusion, {"refine": 4, "cells": 2, "ell": 1, "dirichlet": ["left", "top"]}),
    ("L", reaction_diffusion, {"refine": 3, "ell": 2}),
    ("U", diffusion, {"refine": 4, "cells": 2, "ell": 1, "interpolation": "clement"}),
    ("square", diffusion, {"refine": 4, "ell": 3, "dirichlet": []}),  # floating patches
]


def field_on(lod, contrast=100.0, seed=3):
    return random_field(lod.coefficient_mesh, np.random.default_rng(seed), contrast)


def answers(engine, space):
    """What `engine_answers` gives, and all correctors."""
    Q = np.zeros((len(space.all_elements), space.fine_mesh.p.shape[1], 4))
    for at, nodes, values in engine.correct(space.in_rows(space.all_elements)):
        for T, where, found in zip(at, nodes, values, strict=True):
            Q[T, where[where >= 0]] = found[where >= 0]
    return *engine_answers(engine, space), Q


@pytest.mark.parametrize(("mesh", "form", "options"), CASES)
def test_all_is_as_for_the_form_with_these_energies(mesh, form, options):
    """The reference engine, on patches whose fine matrix has the energies' difference added, agrees in every verb."""
    lod = LOD(MESHES[mesh](), interiors=4 * options["refine"], **options)
    space, coefficients = lod.space, {"a": field_on(lod), **({} if form is diffusion else {"c": 2.0})}
    fine_form = FineForm(space, form, coefficients)
    source = element_source(space, fine_form)
    wanted = answers(ReferenceEngine(space, fine_form, 0, source.correction), space)
    for memory in (0, 2**30):
        for got, expected in zip(answers(CondensationEngine(space, fine_form, memory), space), wanted, strict=True):
            assert relative(got, expected) < 1e-9


@pytest.mark.parametrize("interpolation", ["projection", "clement"])
def test_interiors_of_the_fine_mesh_are_exact(interpolation):
    options = {"ell": 1, "interpolation": interpolation, "dirichlet": ["left"]}
    plain, given = (LOD(MESHES["graded"](), 4, interiors=i, **options) for i in (None, CondensedInteriors(4)))
    one, other = (lod.system(diffusion, a=field_on(lod)) for lod in (plain, given))
    assert relative(other.matrix().toarray(), one.matrix().toarray()) < 1e-11
    assert relative(other.galerkin().toarray(), one.galerkin().toarray()) < 1e-10
    u = one.solve(sloped_load, corrected=True)
    assert relative(other.solve(sloped_load, corrected=True), u) < 1e-9
    assert relative(other.prolong(u, load=sloped_load), one.prolong(u, load=sloped_load)) < 1e-9
    assert relative(other.basis().toarray(), one.basis().toarray()) < 1e-9


@pytest.mark.parametrize("ell", [1, 3])
def test_verbs_belong_to_one_form(ell):
    """S = P^T A B, the Galerkin matrix is B^T A B, the corrected load P^T (F - A R f), A being its fine matrix."""
    lod = small_lod(ell=ell, interiors=16, dirichlet=["left", "top"])
    system = lod.system(diffusion, a=field_on(lod))
    A, P, B = FineForm(lod.space, diffusion, system.coefficients).assembled(), lod.prolongation, system.basis()
    assert relative(system.matrix().toarray(), (P.T @ A @ B).toarray()) < 1e-10
    galerkin = system.galerkin().toarray()
    assert relative(galerkin, (B.T @ A @ B).toarray()) < 1e-12 and relative(galerkin, galerkin.T) < 1e-12
    F = FineLoad(lod.space, sloped_load, {}).on_fine
    response = system.prolong(np.zeros(lod.coarse.N), load=sloped_load)
    assert relative(system.load(sloped_load, corrected=True), P.T @ (F - A @ response)) < 1e-10
    assert relative(system.correctors().toarray(), (P - B).toarray()) < 1e-12
    assert abs(lod.quasi_interpolation @ response)[~lod.space.fixed].max() < 1e-12 * abs(response).max()


def test_patches_of_everything_give_the_fine_solution_of_that_form():
    lod = small_lod(ell=3, interiors=16)
    system = lod.system(diffusion, a=field_on(lod, 1000.0))
    u = system.prolong(system.solve(sloped_load, corrected=True), load=sloped_load)
    A, F = FineForm(lod.space, diffusion, system.coefficients).assembled(), FineLoad(lod.space, sloped_load, {}).on_fine
    wanted = solve(*condense(A, F, D=lod.fine.get_dofs()))
    assert relative(u, wanted) < 1e-8
    plain = small_lod(ell=3).system(diffusion, **system.coefficients)
    assert relative(plain.prolong(plain.solve(sloped_load, corrected=True), load=sloped_load), wanted) > 1e-2


@pytest.mark.parametrize("interiors", [CondensedInteriors(8), ExtrapolatedInteriors(16)], ids=str)
def test_properties_of_local_matrices(interiors):
    """Constants, scaling, locality and the eight symmetries, as for exact ones."""
    lod = small_lod(interiors=interiors)
    a, other = field_on(lod), field_on(lod)
    S = lod.local(diffusion, a=a)
    size = abs(S).max()
    assert max(abs(S.sum(axis=axis)).max() for axis in (1, 2)) < 1e-11 * size
    assert relative(lod.local(diffusion, a=1e3 * a), 1e3 * S) < 1e-11
    other[lod.space.coefficient_refinement.cells[0]] *= 5
    gap, near = abs(lod.local(diffusion, a=other) - S).max(axis=(1, 2)), (lod.patches.cells == 0).any(axis=1)
    assert gap[~near].max() < 1e-12 * size and gap[near].min() > 1e-8 * size
    for number in range(8):
        cells, nodes = moved(lod, number)
        there, here = (lod.assemble(diffusion, a=b).toarray() for b in (a[cells], a))
        assert relative(there, here[np.ix_(nodes, nodes)]) < 1e-10


@pytest.mark.parametrize("name", ["checkerboard", "Bernoulli", "channels"])
def test_positive_definite_to_a_contrast_of_1000(name):
    lod = LOD(MeshQuad().refined(3), 8, ell=1, interiors=32)
    mesh, rng = lod.coefficient_mesh, np.random.default_rng(5)
    a = {
        "checkerboard": lambda: checkerboard(mesh, 64, 1.0, 1000.0),
        "Bernoulli": lambda: np.where(rng.random(4096) < 0.5, 1.0, 1000.0),
        "channels": lambda: crossing_channels(mesh, 1000.0),
    }[name]()
    energies = element_source(lod.space, FineForm(lod.space, diffusion, {"a": a})).given(np.arange(64))
    values = torch.linalg.eigvalsh(energies)
    assert (values[:, 0].abs() < 1e-9 * values[:, -1]).all() and (values[:, 1] > 0).all()  # constants alone
    galerkin, free = lod.assemble(diffusion, a=a, variant="galerkin"), ~lod.space.fixed
    assert is_definite(galerkin[free][:, free]) and np.linalg.eigvalsh(galerkin[free][:, free].toarray())[0] > 0


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_they_are_ten_times_closer_to_a_finer_mesh(seed):
    """Coarse solutions for cells of 1 and 100 at random, against exact matrices on 32 x 32 cells."""
    coarse, u = MeshQuad().refined(3), {}
    options = {"plain": (8, None), "interiors": (8, 32), "finer": (32, None)}
    for name, (refine, interiors) in options.items():
        lod = LOD(coarse, refine, cells=8, ell=2, interiors=interiors)
        a = np.where(np.random.default_rng(seed).random(lod.coefficient_mesh.t.shape[1]) < 0.5, 1.0, 100.0)
        u[name] = lod.system(diffusion, a=a).solve(unit_load)
    error = {name: l2_error(u[name], u["finer"], lod.coarse, relative=True) for name in ("plain", "interiors")}
    assert error["interiors"] < error["plain"] / 10


def test_cells_are_found_by_position():
    """Meshes of one's own in any order, with the coefficient on the fine mesh itself."""
    rng, mesh = np.random.default_rng(2), MeshQuad().refined(2)
    plain = LOD(mesh, 4, ell=1, interiors=16)
    coarse, fine = shuffled(mesh, rng)[0], shuffled(plain.fine.mesh, rng)[0]
    lod = LOD(coarse, fine=fine, ell=1, interiors=16)
    a = field_on(plain)
    x, y = (one.coefficient_mesh.p[:, one.coefficient_mesh.t].mean(axis=1) for one in (plain, lod))
    order = [int(np.argmin(((x - point[:, None]) ** 2).sum(axis=0))) for point in y.T]
    u, v = plain.system(diffusion, a=a).solve(unit_load), lod.system(diffusion, a=a[order]).solve(unit_load)
    same = [int(np.argmin(((mesh.p - point[:, None]) ** 2).sum(axis=0))) for point in coarse.p.T]
    assert relative(v, u[same]) < 1e-11
    assert relative(lod.with_fine(16).system(diffusion, a=a[order]).solve(unit_load), u[same]) < 0.1


def test_update_some_elements_threads_and_copies():
    lod = small_lod(interiors=16)
    a, b = field_on(lod), field_on(lod)
    b[lod.space.coefficient_refinement.cells[5]] *= 7
    system = lod.system(diffusion, a=a)
    whole = system.local()
    assert relative(lod.local(diffusion, [7, 2], a=a), whole[[7, 2]]) < 1e-12
    assert relative(system.update(a=b).matrix().toarray(), lod.assemble(diffusion, a=b).toarray()) < 1e-12
    assert np.array_equal(small_lod(interiors=16, workers=2).local(diffusion, a=a), lod.local(diffusion, a=a))
    assert np.array_equal(pickle.loads(pickle.dumps(lod)).local(diffusion, a=a), lod.local(diffusion, a=a))
    assert repr(lod) == "LOD(16 quads, refine=4, ell=1, condensation on cpu, ExtrapolatedInteriors(16))"
    assert lod.with_fine(8).space.interiors is None and lod.space.interiors is not None


def test_whole_problems():
    """On the problem's own mesh, 2 x 2 cells of which have one value: closer to a mesh four times as fine."""
    coarse, mesh = MeshQuad().refined(2), MeshQuad().refined(4)
    a = np.where(np.random.default_rng(0).random(mesh.t.shape[1]) < 0.5, 1.0, 50.0)
    problem, finer = Diffusion(mesh, a), LOD(coarse, 16, cells=4, ell=3)
    order = np.empty(256, dtype=int)
    order[finer.space.coefficient_refinement.cells] = LOD(coarse, fine=mesh, ell=1).space.refinement.cells
    wanted = finer.system(diffusion, a=a[order]).solve(unit_load)
    plain, given = (solver_lod(coarse, 3, interiors=i)(problem).record.notes["coarse"].y for i in (None, 16))
    assert l2_error(given, wanted, finer.coarse) < l2_error(plain, wanted, finer.coarse) / 5


def test_where_they_do_not_apply():
    for mesh, options in (
        (MeshQuad().refined(2), {"refine": 4, "engine": "reference"}),
        (MeshQuad().refined(2), {"refine": 4, "engine": reference}),
        (MeshQuad().refined(2), {"refine": 2}),
        (MeshLine().refined(2), {"refine": 4}),
        (MeshHex().refined(1), {"refine": 4}),
    ):
        with pytest.raises(ValueError, match="interiors: expected quads, refine > 2 and the condensation engine"):
            LOD(mesh, interiors=16, ell=1, **options)
    for interiors, told in (
        (8, r"expected a multiple of 4 refine = 16, got 8; .* CondensedInteriors\(8\)"),
        (CondensedInteriors(6), "expected a multiple of refine = 4, got 6"),
        ("32", "interiors: expected a whole number"),
    ):
        with pytest.raises(ValueError, match=told):
            small_lod(interiors=interiors)
    with pytest.raises(ValueError, match="factor: expected a finite number of at least 0, got -1"):
        ExtrapolatedInteriors(16, -1)
    with pytest.raises(ValueError, match="interiors: expected a quasi-interpolation that sees the interior"):
        small_lod(interiors=16, interpolation="nodal").assemble(diffusion, a=1.0)
    with pytest.raises(ValueError, match=r"expected energies of elements that are positive, got [1-9]\d* that are not"):
        lod = small_lod(interiors=ExtrapolatedInteriors(16, 50.0))
        lod.assemble(diffusion, a=field_on(lod))


def test_interiors_of_ones_own_have_a_shape():
    class Short(Interiors):
        def energies(self, space, fine_form):
            return lambda elements: torch.eye(19, dtype=torch.float64).expand(len(elements), 19, 19)

    with pytest.raises(ValueError, match=r"interiors: expected energies \(4, 20, 20\), got \(4, 19, 19\)"):
        small_lod(interiors=Short()).assemble(diffusion, a=1.0)


def test_what_knows_the_fine_mesh_alone_refuses_them():
    lod = small_lod(interiors=16)
    with pytest.raises(ValueError, match=r"lod: expected one with the exact interiors .* lod.with_fine\(4\)"):
        Setting.of(lod)
    with pytest.raises(ValueError, match=r"lod: expected one with the interiors of its fine mesh"):
        exact_matrices(lod, torch.ones(256, dtype=torch.float64))
