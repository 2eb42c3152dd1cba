"""Both engines agree to 1e-10: on random meshes, boundary parts, ell, interpolations, forms and coefficients."""

import meshio
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from skfem import BilinearForm, MeshLine, MeshQuad, condense, solve
from skfem.helpers import dot, grad

from skfem_ml.lod import LOD, Interpolation
from skfem_ml.lod.correctors import Correctors
from skfem_ml.lod.engine import condensation, stacks
from skfem_ml.lod.engine import reference as correctors
from skfem_ml.lod.mesh.interpolation import hat_moments, tensor
from tests.gallery import (
    MESHES,
    both_engines,
    diffusion,
    graded,
    random_field,
    reaction_diffusion,
    relative,
    shuffled,
    sloped_load,
    tensor_diffusion,
    unit_load,
)

cases = st.fixed_dictionaries(
    {
        "mesh": st.sampled_from(sorted(MESHES)),
        "cells": st.sampled_from([(2, 2), (3, 1), (4, 2), (4, 4), (5, 5), (6, 3), (8, 2), (8, 8)]),
        "ell": st.sampled_from([1, 2, 3, 9]),
        "dirichlet": st.sampled_from([None, "left", ["left", "bottom"], ["top"], []]),
        "interpolation": st.sampled_from(["projection", "clement", "nodal"]),
        "seed": st.integers(0, 2**32 - 1),
    }
)


def spaces(case):
    n, m = case["cells"]
    options = {key: case[key] for key in ("ell", "dirichlet", "interpolation")}
    return both_engines(MESHES[case["mesh"]](), refine=n, cells=m, **options)


def forms(mesh, rng):
    """Forms of every kind with a coefficient for each."""
    a = random_field(mesh, rng, contrast=1e4)
    angle, other = rng.uniform(0, np.pi, len(a)), random_field(mesh, rng)
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    tensor = np.einsum("ijn,jn,kjn->ikn", turn, np.stack([a, other]), turn)
    return [(diffusion, {"a": a}), (reaction_diffusion, {"a": a, "c": other}), (tensor_diffusion, {"a": tensor})]


@given(case=cases, form=st.integers(0, 2))
@settings(max_examples=60, deadline=None)
def test_local_matrices(case, form):
    reference, fast = spaces(case)
    form, coefficients = forms(reference.coefficient_mesh, np.random.default_rng(case["seed"]))[form]
    expected = reference.local(form, **coefficients)
    assert relative(fast.local(form, **coefficients), expected) < 1e-10


@given(case=cases)
@settings(max_examples=25, deadline=None)
def test_correctors_reconstruction_and_corrected_loads(case):
    reference, fast = spaces(case)
    rng = np.random.default_rng(case["seed"])
    a, u = random_field(reference.coefficient_mesh, rng), rng.standard_normal(reference.coarse.N)
    Q = [lod.correctors(diffusion, a=a) for lod in (reference, fast)]
    assert abs(Q[1] - Q[0]).max() < 1e-10 * max(abs(Q[0]).max(), 1)
    on_fine = [lod.prolong(u, diffusion, a=a, load=sloped_load) for lod in (reference, fast)]
    assert relative(on_fine[1], on_fine[0]) < 1e-10
    without_load = fast.prolong(u, diffusion, a=a)
    assert relative(without_load, (fast.space.prolongation - Q[1]) @ u) < 1e-10  # summed and explicit correctors
    loads = [lod.load(sloped_load, corrected=True, bilinear=diffusion, a=a) for lod in (reference, fast)]
    assert relative(loads[1], loads[0]) < 1e-10


@pytest.mark.parametrize("engine", ["reference", "condensation"])
def test_mesh_through_meshio_in_shuffled_order(engine, tmp_path):
    """Files renumber vertices and cells: by place nothing changes."""
    rng = np.random.default_rng(1)
    coarse, fine = graded(4, 3), None
    plain = LOD(coarse, refine=3, ell=1, engine=engine)
    a = random_field(plain.coefficient_mesh, rng)
    fine, cell_order = shuffled(plain.coefficient_mesh, rng)
    turned, element_order = shuffled(coarse, rng)
    for name, mesh in (("coarse", turned), ("fine", fine)):
        points = np.pad(mesh.p.T, ((0, 0), (0, 1)))
        meshio.Mesh(points, [("quad", mesh.t.T)]).write(tmp_path / f"{name}.vtu")
    turned, fine = (MeshQuad.load(tmp_path / f"{name}.vtu") for name in ("coarse", "fine"))
    lod = LOD(turned, fine=fine, ell=1, engine=engine)
    S = lod.local(diffusion, a=a[cell_order])
    assert relative(S, plain.local(diffusion, a=a)[element_order]) < 1e-11


@pytest.mark.parametrize("engine", ["reference", "condensation"])
@pytest.mark.parametrize("shape", [(1, 1), (2, 1), (1, 3), (2, 2)])
@pytest.mark.parametrize("dirichlet", [None, "left"])
def test_tiny_coarse_meshes(engine, shape, dirichlet):
    mesh = MeshQuad.init_tensor(*(np.arange(k + 1.0) for k in shape)).with_defaults()
    lod = LOD(mesh, refine=4, ell=2, engine=engine, dirichlet=dirichlet)
    a = random_field(lod.coefficient_mesh, np.random.default_rng(2))
    S = lod.assemble(diffusion, a=a)
    assert S.shape == (lod.coarse.N, lod.coarse.N)
    assert abs(S.sum(axis=0)).max() < 1e-10 * abs(S).max()
    free = np.flatnonzero(~lod.space.dirichlet.nodes)
    assert np.isfinite(S.toarray()).all() and (np.linalg.eigvals(S.toarray()[np.ix_(free, free)]).real > 0).all()


def test_no_refinement_is_the_finite_element_method():
    lod = LOD(graded(), refine=1)
    a = random_field(lod.coefficient_mesh, np.random.default_rng(3))
    assert (
        relative(lod.assemble(diffusion, a=a).toarray(), diffusion.assemble(lod.coarse, a=a[:, None]).toarray()) < 1e-12
    )


def test_large_ell_is_clipped_to_the_domain():
    a = None
    results = []
    for ell in (3, 50):
        lod = LOD(MeshQuad().refined(2), refine=2, ell=ell)
        a = random_field(lod.coefficient_mesh, np.random.default_rng(4))
        assert lod.ell == 3
        results.append(lod.assemble(diffusion, a=a).toarray())
    assert relative(*results) == 0


@pytest.mark.parametrize("workers", [1, 3])
def test_some_elements_in_any_order_threads_and_small_memory(workers, monkeypatch):
    lod = LOD(graded(9, 8), refine=4, ell=1, workers=workers)
    a = random_field(lod.coefficient_mesh, np.random.default_rng(5))
    whole = lod.local(diffusion, a=a)
    some = np.random.default_rng(6).permutation(len(whole))[:17]
    monkeypatch.setattr(condensation, "BAND_BYTES", 1)
    monkeypatch.setattr(condensation, "SWEEP_BYTES", 1)
    monkeypatch.setattr(stacks, "CHUNK_BYTES", 1)
    monkeypatch.setattr(correctors, "BLOCK_CELLS", 1)
    assert relative(lod.local(diffusion, some, a=a), whole[some]) < 1e-12
    assert relative(lod.local(diffusion, a=a), whole) < 1e-12
    reference = LOD(graded(9, 8), refine=4, ell=1, engine="reference")
    assert relative(reference.local(diffusion, some, a=a), whole[some]) < 1e-10


@pytest.mark.parametrize("corner", [(0, 0), (3, 3), (5, 2)])
def test_update_solves_changed_patches_only(corner, monkeypatch):
    lod = LOD(MeshQuad().refined(3), refine=4, ell=1)
    old = random_field(lod.coefficient_mesh, np.random.default_rng(7))
    new = old.copy()
    x = lod.coefficient_mesh.p[:, lod.coefficient_mesh.t].mean(axis=1)
    new[(np.floor(8 * x) == np.array(corner)[:, None]).all(axis=0)] *= 50  # one coarse element
    S, coo = lod.assemble(diffusion, a=old), lod.elemental(diffusion, a=old)
    before = lod.system(diffusion, a=old)
    before.matrix()
    solved = []
    rows = Correctors.rows
    monkeypatch.setattr(
        Correctors, "rows", lambda self, elements, loads=None: solved.append(elements) or rows(self, elements, loads)
    )
    updated, replaced = lod.update(S, old, new, diffusion), lod.update(coo, old, new, diffusion)
    after = before.update(a=new)
    S_after = after.matrix()
    again = after.update(a=old)
    S_again = again.matrix()
    monkeypatch.undo()
    around = abs(lod.space.grid.cells - np.array(corner)[:, None]).max(axis=0) <= 1
    assert all(np.array_equal(elements, np.flatnonzero(around)) for elements in solved) and len(solved) == 5
    expected = lod.assemble(diffusion, a=new)
    assert relative(updated.toarray(), expected.toarray()) < 1e-12
    assert relative(replaced.tocsr().toarray(), expected.toarray()) < 1e-13
    assert relative(S_after.toarray(), expected.toarray()) < 1e-13 and relative(S_again.toarray(), S.toarray()) < 1e-13


def test_own_interpolation_and_line_meshes():
    """A weighted projection of the user's own goes through both engines; lines take the reference engine."""
    shift = Interpolation(lambda n, dim: _weighted(n, dim), average="volume")
    reference, fast = both_engines(graded(), refine=4, ell=1, interpolation=shift)
    a = random_field(reference.coefficient_mesh, np.random.default_rng(8))
    assert relative(fast.local(diffusion, a=a), reference.local(diffusion, a=a)) < 1e-10
    line = LOD(MeshLine(np.linspace(0, 1, 9)), refine=4, ell=2)
    assert line.local(diffusion, a=np.ones(32)).shape == (8, 6, 2)


def _weighted(n, dim):
    return tensor(hat_moments(n) * np.linspace(1, 2, n + 1), dim)


def test_form_that_asks_for_its_place_is_evaluated_everywhere():
    """A form that uses coordinates, or is not linear in a, must not be taken for one matrix times the coefficient."""

    @BilinearForm
    def placed(u, v, w):
        return (1 + w.x[0]) * w.a * dot(grad(u), grad(v))

    @BilinearForm
    def nonlinear(u, v, w):
        return w["a"] ** 2 * dot(grad(u), grad(v))

    @BilinearForm
    def stepped(u, v, w):
        return np.where(w.get("x")[0] < 0.4, 1.0, 3.0) * w.a * dot(grad(u), grad(v))

    for form in (placed, nonlinear, stepped):
        reference, fast = both_engines(MeshQuad().refined(2), refine=4, cells=2, ell=1)
        a = random_field(reference.coefficient_mesh, np.random.default_rng(9))
        assert relative(fast.local(form, a=a), reference.local(form, a=a)) < 1e-10


def test_inhomogeneous_dirichlet_data_through_condense():
    """u = x on two sides, natural on the others, constant coefficient: exact where patches are the domain."""
    lod = LOD(graded(), refine=4, ell=9, dirichlet=["left", "right"])
    x = lod.coarse.doflocs[0].copy()
    S = lod.assemble(diffusion, a=np.full(lod.coefficient_mesh.t.shape[1], 2.0))
    u = solve(*condense(S, 0 * unit_load.assemble(lod.coarse), x=x, D=lod.coarse.get_dofs(["left", "right"])))
    assert relative(u, x) < 1e-11
    prolonged = lod.prolong(u, diffusion, a=np.full(lod.coefficient_mesh.t.shape[1], 2.0))
    assert relative(prolonged, lod.fine.doflocs[0]) < 1e-11


def test_names_of_boundaries_are_carried_to_the_fine_mesh():
    for name in MESHES:
        lod = LOD(MESHES[name](), refine=3)
        for side in ("left", "right", "top", "bottom"):
            coarse, fine = (basis.mesh for basis in (lod.coarse, lod.fine))
            length = [
                np.linalg.norm(np.diff(m.p[:, m.facets[:, m.boundaries[side]]], axis=1), axis=0).sum()
                for m in (coarse, fine)
            ]
            assert length[0] > 0 and length[1] == pytest.approx(length[0])


@pytest.mark.parametrize("engine", ["reference", "condensation"])
def test_progress_counts_every_element_and_changes_nothing(engine):
    a = random_field(LOD(graded(), refine=3).coefficient_mesh, np.random.default_rng(10))
    seen = []
    silent = LOD(graded(), refine=3, ell=1, engine=engine).local(diffusion, a=a)
    lod = LOD(graded(), refine=3, ell=1, engine=engine, progress=lambda *told: seen.append(told))
    shown = lod.local(diffusion, a=a)
    assert len(seen) > 1 and seen[-1] == (len(shown), len(shown), "correctors")
    assert np.array_equal(shown, silent)
