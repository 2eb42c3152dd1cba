"""The fast engine on hexes: against the reference engine, on boxes, unions and natural boundaries; its bounds."""

import numpy as np
import pytest
from skfem import BilinearForm, MeshHex, MeshQuad
from skfem.helpers import dot, grad

from skfem_ml.lod import LOD, Extrapolated
from skfem_ml.lod.engine.hexes import elements as hex_elements
from skfem_ml.lod.engine.hexes import projected
from skfem_ml.lod.engine.hexes.engine import HexEngine
from skfem_ml.problems import diffusion, load

CHANNEL = {"dirichlet": lambda x: x[0] == 0}
F = load(lambda x: np.sin(9 * x[0]) * x[1] + x[2])


def box(*counts, uneven=False):
    lines = [np.linspace(0, 1, count + 1) ** (1.4 if uneven else 1.0) for count in counts]
    return MeshHex.init_tensor(*lines)


def pair(mesh, n, **options):
    """The same system by the fast and by the reference engine, with a coefficient of contrast 10."""
    lods = [LOD(mesh, n, engine=engine, **options) for engine in ("condensation", "reference")]
    a = np.random.default_rng(n).uniform(1, 10, lods[0].coefficient_mesh.t.shape[1])
    return [lod.system(diffusion, a=a) for lod in lods]


def near(one, other, tol=1e-11):
    assert abs(one - other).max() <= tol * abs(other).max()


@pytest.mark.parametrize(
    ("mesh", "n", "options"),
    [
        (box(3, 2, 4), 3, {"ell": 1}),
        (box(4, 3, 3, uneven=True), 2, {"ell": 1, "interpolation": "clement"}),
        (box(3, 3, 3), 2, {"ell": 2, **CHANNEL}),
        (box(3, 4, 3), 4, {"ell": 1, "cells": 2, "dirichlet": lambda x: x[2] == 1}),
        (box(4, 3, 3).restrict(lambda x: (x[0] < 0.5) | (x[1] < 0.5) | (x[2] < 0.5)), 2, {"ell": 1}),
        (box(5, 2, 1).restrict(lambda x: (x[0] < 0.2) | (x[0] > 0.7) | (x[1] < 0.5)), 2, {"ell": 2}),  # a U
        (box(2, 1, 1), 3, {"ell": 1, "dirichlet": np.array([], dtype=int)}),  # nothing is fixed
    ],
    ids=["box", "uneven", "natural", "cells", "corner", "U", "floating"],
)
def test_it_agrees_with_the_reference_engine(mesh, n, options):
    fast, slow = pair(mesh, n, **options)
    near(fast.local(), slow.local())
    u = np.random.default_rng(0).normal(size=(fast.lod.coarse.N, 2))
    near(fast.prolong(u), slow.prolong(u))
    near(fast.prolong(u[:, 0], load=F), slow.prolong(u[:, 0], load=F))
    near(fast.load(F, corrected=True), slow.load(F, corrected=True))
    near(fast.correctors(), slow.correctors())
    some = np.array([1, 0])
    assert np.array_equal(fast.lod.local(diffusion, some, **fast.coefficients), fast.local(some))


def test_forms_with_tensors_and_reactions():
    """No matrix of one cell times a value: the element matrices of the host."""
    form = BilinearForm(lambda u, v, w: dot(_times(w["A"], grad(u)), grad(v)) + u * v)
    lods = [LOD(box(3, 2, 2), 2, ell=1, engine=engine) for engine in ("condensation", "reference")]
    rng = np.random.default_rng(1)
    root = rng.normal(size=(3, 3, lods[0].coefficient_mesh.t.shape[1]))
    A = np.einsum("ikc,jkc->ijc", root, root) + 0.5 * np.eye(3)[:, :, None]
    near(*(lod.local(form, A=A) for lod in lods))


def _times(A, v):
    return np.einsum("ij...,j...->i...", A, v)


def test_threads_memory_and_few_held_elements_change_nothing(monkeypatch):
    mesh, a = box(4, 3, 3), np.random.default_rng(2).uniform(1, 5, 36 * 27)
    one = LOD(mesh, 3, ell=1, memory=0).system(diffusion, a=a)
    many = LOD(mesh, 3, ell=1, workers=2).system(diffusion, a=a)
    wanted, u = one.local(), np.random.default_rng(0).normal(size=one.lod.coarse.N)
    assert np.array_equal(many.local(), wanted) and (one.held, many.held) == (0, 36)
    assert np.array_equal(many.prolong(u), one.prolong(u))
    bound = LOD(mesh, 3, ell=1, memory=10**6).system(diffusion, a=a)
    assert np.array_equal(bound.local(), wanted) and 0 < bound.held < 36
    monkeypatch.setattr(hex_elements, "HELD_BYTES", 1)
    assert np.array_equal(LOD(mesh, 3, ell=1).local(diffusion, a=a), wanted)


def test_it_is_chosen_and_refused():
    assert repr(LOD(box(2, 2, 2), 4, ell=1)) == "LOD(8 hexes, refine=4, ell=1, condensation on cpu)"
    assert isinstance(LOD(box(2, 2, 2), 2, ell=1).system(diffusion, a=1.0)._correctors._engine, HexEngine)
    assert "reference on cpu" in repr(LOD(box(2, 2, 2), 1, ell=1))
    assert "condensation on cpu" in repr(LOD(box(2, 1, 1), 10, ell=1))
    assert "iterative on cpu" in repr(LOD(box(2, 1, 1), 11, ell=1))
    with pytest.raises(ValueError, match="expected quads or hexes with refine > 1 for the condensation engine"):
        LOD(box(2, 2, 2), 1, ell=1, engine="condensation")
    with pytest.raises(ValueError, match="elliptic"):
        LOD(box(2, 2, 2), 2, ell=1).assemble(BilinearForm(lambda u, v, w: dot(grad(u), grad(v)) - 1e4 * u * v))


def test_constants_scales_and_a_whole_domain():
    """S of constants is zero, S(c a) = c S(a), and with all layers S = (I_h A^-1 I_h^T)^-1 on the interior nodes."""
    lod = LOD(box(3, 3, 3), 3, ell=2)
    a = np.random.default_rng(3).uniform(1, 10, 27 * 27)
    system = lod.system(diffusion, a=a)
    S = system.local()
    assert abs(S.sum(axis=2)).max() < 1e-12 * abs(S).max() and abs(S.sum(axis=1)).max() < 1e-12 * abs(S).max()
    near(lod.local(diffusion, a=3 * a), 3 * S)
    free, inner = np.flatnonzero(~lod.space.fixed), np.flatnonzero(~lod.space.fine_dirichlet)
    A = system.fine_matrix()[inner][:, inner].toarray()
    Ih = lod.quasi_interpolation[free][:, inner].toarray()
    near(system.matrix()[free][:, free].toarray(), np.linalg.inv(Ih @ np.linalg.solve(A, Ih.T)), 1e-9)


@pytest.mark.parametrize("kind", ["box", "natural", "floating", "quads", "contrast"])
def test_the_iterative_engine(kind):
    """Conjugate gradients on W: to ten digits, boundary and contrast notwithstanding."""
    mesh = MeshQuad().refined(2) if kind == "quads" else box(3, 2, 3)
    options = {"natural": CHANNEL, "floating": {"dirichlet": np.array([], dtype=int)}}.get(kind, {})
    lods = [LOD(mesh, 3, ell=1, engine=engine, **options) for engine in ("iterative", "reference")]
    contrast = np.log(1e6 if kind == "contrast" else 30)
    a = np.exp(np.random.default_rng(5).uniform(0, contrast, lods[0].coefficient_mesh.t.shape[1]))
    fast, slow = (lod.system(diffusion, a=a) for lod in lods)
    near(fast.local(), slow.local(), 1e-9)
    u = np.random.default_rng(0).normal(size=(fast.lod.coarse.N, 2))
    near(fast.prolong(u), slow.prolong(u), 1e-9)
    near(fast.correctors(), slow.correctors(), 1e-9)


def test_a_patch_where_iterations_do_not_do_is_factorised(monkeypatch, caplog):
    monkeypatch.setattr(projected, "STEPS", 2)
    a = np.random.default_rng(5).uniform(1, 30, 12 * 27)
    fast, slow = (LOD(box(3, 2, 2), 3, ell=1, engine=engine) for engine in ("iterative", "reference"))
    with caplog.at_level("INFO", "skfem_ml"):
        near(fast.local(diffusion, a=a), slow.local(diffusion, a=a), 1e-12)
    assert caplog.messages.count("a patch of 200 unknowns: 2 steps do not do, it is factorised") == 4
    assert repr(fast) == "LOD(12 hexes, refine=3, ell=1, iterative on cpu)"


def test_extrapolated_matrices_of_hexes_are_better_than_the_finest_they_are_made_of():
    """Rough coefficients on 2^3 cells an element: n = 2 and 4, extrapolated, against n = 8."""
    lod = LOD(box(3, 2, 2), 8, cells=2, ell=1)
    a = np.exp(np.random.default_rng(7).uniform(0, np.log(50), 12 * 8))
    wanted = lod.local(diffusion, a=a)
    error = [np.linalg.norm(S - wanted) for S in (
        Extrapolated(diffusion, (2, 4)).local(lod, lod.space.all_elements, a=a), lod.with_fine(4).local(diffusion, a=a)
    )]  # fmt: skip
    assert error[0] < 0.6 * error[1], error
