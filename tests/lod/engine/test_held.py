"""Factorised patches that are held: the same answers, each patch factorised once, memory within its bound."""

import numpy as np
import pytest
from skfem import MeshQuad

from skfem_ml.lod import LOD
from skfem_ml.lod.engine import condensation, reference
from skfem_ml.lod.engine.protocol import find_engine
from skfem_ml.lod.mesh.forms import FineForm
from skfem_ml.problems import load
from tests.gallery import MESHES, diffusion, engine_answers, random_field, reaction_diffusion, relative


def setting(mesh, form=diffusion, **options):
    lod = LOD(MESHES[mesh](), **options)
    a = random_field(lod.coefficient_mesh, np.random.default_rng(3))
    coefficients = {"a": a} if form is diffusion else {"a": a, "c": 2.0}
    return lod.space, FineForm(lod.space, form, coefficients)


CASES = [
    ("square", diffusion, {"refine": 4, "ell": 1}),
    ("graded", diffusion, {"refine": 6, "cells": 2, "ell": 2, "dirichlet": ["left", "top"]}),
    ("L", reaction_diffusion, {"refine": 3, "ell": 2}),
    ("U", diffusion, {"refine": 4, "ell": 2, "interpolation": "clement"}),
]


@pytest.mark.parametrize("name", ["reference", "condensation"])
@pytest.mark.parametrize(("mesh", "form", "options"), CASES)
def test_what_is_held_gives_the_same_answers(name, mesh, form, options):
    space, fine_form = setting(mesh, form, **options)
    factory = find_engine(name, space)
    plain = engine_answers(factory(space, fine_form, 0), space)
    held = factory(space, fine_form, 2**30)
    for _ in range(2):
        for got, expected in zip(engine_answers(held, space), plain, strict=True):
            assert relative(got, expected) < 1e-11
    assert held.patches == len(space.all_elements)


@pytest.mark.parametrize(("mesh", "form", "options"), CASES)
def test_the_engines_agree_on_weighted_sums(mesh, form, options):
    space, fine_form = setting(mesh, form, **options)
    one, other = (
        engine_answers(find_engine(name, space)(space, fine_form, 0), space) for name in ("reference", "condensation")
    )
    for got, expected in zip(other, one, strict=True):
        assert relative(got, expected) < 1e-10


@pytest.mark.parametrize(("name", "room", "made"), [
    ("condensation", condensation, "Sweep"), ("reference", reference, "PatchProblem"),
])  # fmt: skip
def test_each_patch_is_factorised_once(name, room, made, monkeypatch):
    """Matrix, corrected load and reconstruction share factors; without memory each makes its own."""
    space, fine_form = setting("square", refine=4, ell=1)
    count, kind = [], getattr(room, made)

    class Counted(kind):
        def __init__(self, *args):
            super().__init__(*args)
            count.append(len(self.elements) if made == "Sweep" else 1)

    monkeypatch.setattr(room, made, Counted)
    engine_answers(find_engine(name, space)(space, fine_form, 2**30), space)
    assert sum(count) == len(space.all_elements)
    count.clear()
    engine_answers(find_engine(name, space)(space, fine_form, 0), space)
    assert sum(count) == 3 * len(space.all_elements)


@pytest.mark.parametrize("name", ["reference", "condensation"])
def test_memory_is_bounded_and_what_does_not_fit_is_made_again(name):
    space, fine_form = setting("square", refine=8, ell=1)
    factory = find_engine(name, space)
    whole = factory(space, fine_form, 2**30)
    expected = engine_answers(whole, space)
    needed = whole.held.bytes if name == "condensation" else whole._bytes
    half = factory(space, fine_form, needed // 2)
    for got, wanted in zip(engine_answers(half, space), expected, strict=True):
        assert relative(got, wanted) < 1e-12
    assert 0 < half.patches < whole.patches


def test_some_elements_of_what_is_held():
    space, fine_form = setting("graded", refine=4, ell=1)
    factory = find_engine("condensation", space)
    engine, plain = factory(space, fine_form, 2**30), factory(space, fine_form, 0)
    list(engine.local(np.array([3, 4, 20])))
    for elements in (np.array([4, 7]), np.array([20, 3]), space.all_elements):
        S = {int(T): rows for at, found in engine.local(elements) for T, rows in zip(at, found, strict=True)}
        R = {int(T): rows for at, found in plain.local(elements) for T, rows in zip(at, found, strict=True)}
        assert set(S) == set(elements.tolist()) and max(relative(S[T], R[T]) for T in S) < 1e-12
        Q = {int(T): values for at, _, found in engine.correct(elements) for T, values in zip(at, found, strict=True)}
        assert set(Q) == set(elements.tolist())
    assert engine.patches == len(space.all_elements)


def test_held_bytes_are_near_what_is_said():
    """The estimate that bounds the memory counts the factors' bytes: within a factor of two."""
    space, fine_form = setting("square", refine=8, ell=2)
    engine = find_engine("condensation", space)(space, fine_form, 2**30)
    list(engine.local(space.all_elements))
    storages = {}
    for sweep, rows in engine.held.sweeps:
        tensors = [t for pair in sweep.steps.values() for t in pair]
        tensors += [sweep.multipliers.factor, *sweep.strips.step, *(row.matrices for row in rows.values())]
        tensors += [t for tower in sweep.strips.towers if tower is not None and tower.step for t in tower.step]
        tensors += [t for row in rows.values() for step in row._steps for t in step]
        storages.update({t.untyped_storage().data_ptr(): t.untyped_storage().nbytes() for t in tensors})
    assert 0.5 < sum(storages.values()) / engine.held.bytes < 1.2


@pytest.mark.parametrize("memory", [0, 2**30])
def test_many_vectors_at_once_are_those_one_by_one(memory):
    """Prolonged in one pass over patches, the load's part among them."""
    lod = LOD(MeshQuad().refined(3), refine=4, ell=2, memory=memory)
    system = lod.system(diffusion, a=np.random.default_rng(0).uniform(1, 9, 64 * 16))
    U, f = np.random.default_rng(1).normal(size=(lod.coarse.N, 5)), load(lambda x: np.sin(9 * x[0]))
    for options in ({}, {"load": f}):
        together = system.prolong(U, **options)
        one_by_one = np.stack([system.prolong(u, **options) for u in U.T], axis=1)
        assert together.shape == (lod.fine.N, 5)
        assert abs(together - one_by_one).max() < 1e-12 * abs(one_by_one).max()
