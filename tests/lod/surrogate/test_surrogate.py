"""The surrogate in the place of the form: what it returns, what it refuses, what it says of its range, its file."""

import pickle
import subprocess
import sys

import numpy as np
import pytest
import torch
from skfem import MeshQuad, condense, solve
from skfem.models import unit_load

from skfem_ml.learning import CorruptModelError, ModelMismatchError, load_model, save_model, storage
from skfem_ml.lod import LOD, FieldNetwork, Hybrid, PatchMLP, Surrogate
from skfem_ml.lod.surrogate import setting
from skfem_ml.lod.surrogate.model import extent_of
from tests.gallery import diffusion, graded, moved, random_field


def network(seed=0, m=4, noise=0.02):
    g = torch.Generator().manual_seed(seed)
    net = FieldNetwork(m, 1, encoding=3, outer=1, width=2, generator=g)
    with torch.no_grad():
        for p in net.parameters():
            p.add_(noise * torch.randn(p.shape, generator=g))
    return net


def squares():
    """A rectangle of equal squares without its corner."""
    mesh = MeshQuad.init_tensor(np.arange(6) / 5, np.arange(5) / 5)
    return mesh.restrict(np.flatnonzero(~((mesh.p[:, mesh.t].mean(axis=1) > 0.4).all(axis=0))))


@pytest.fixture
def lod():
    return LOD(MeshQuad().refined(2).with_defaults(), refine=4, ell=1)


@pytest.fixture
def a(lod):
    return random_field(lod.coefficient_mesh, np.random.default_rng(0), 5)


def model(lod, **options):
    net = network()
    wide = random_field(lod.coefficient_mesh, np.random.default_rng(1), 20)
    return Surrogate(net, {**setting(lod), "extent": extent_of(net, lod, wide[None]), "seed": 0}, **options)


@pytest.mark.parametrize("mesh", [MeshQuad().refined(2), squares()], ids=["square", "L"])
def test_the_matrix_has_pattern_and_type_of_the_exact_one(mesh):
    lod = LOD(mesh, refine=4, ell=1)
    a = random_field(lod.coefficient_mesh, np.random.default_rng(0), 5)
    exact, got = lod.assemble(diffusion, a=a), lod.assemble(model(lod), a=a)
    assert type(got) is type(exact) and got.dtype == exact.dtype == np.float64
    assert np.array_equal(got.indptr, exact.indptr) and np.array_equal(got.indices, exact.indices)
    assert abs(got.sum(axis=0)).max() < 1e-13 * abs(got).max() and abs(got.sum(axis=1)).max() < 1e-13 * abs(got).max()
    assert lod.elemental(model(lod), a=a).tolocal().shape == lod.elemental(diffusion, a=a).tolocal().shape
    u = solve(*condense(got, unit_load.assemble(lod.coarse), D=lod.coarse.get_dofs()))
    assert np.isfinite(u).all() and u.max() > 0


def test_some_elements_are_some_of_all(lod, a):
    surrogate = model(lod)
    some = np.array([7, 2, 2])
    assert np.allclose(lod.local(surrogate, some, a=a), lod.local(surrogate, a=a)[some], rtol=0, atol=1e-6)
    assert lod.local(surrogate, np.zeros(0, int), a=a).shape == (0, 16, 4)


@pytest.mark.parametrize("h", [0.01, 300.0])
def test_other_mesh_sizes_have_the_same_matrices(lod, a, h):
    scaled = LOD(MeshQuad(h * lod.coarse.mesh.p, lod.coarse.mesh.t), refine=4, ell=1)
    for local_map in (diffusion, model(lod)):
        assert np.allclose(scaled.local(local_map, a=a), lod.local(local_map, a=a), atol=1e-6)


def test_scaling_and_a_batch_of_fields(lod, a):
    surrogate = model(lod)
    fields = np.stack([a, 3 * a, a[::-1]])
    batch = surrogate.local(lod, lod.space.all_elements, a=fields)
    assert batch.shape == (3, 16, 16, 4) and batch.dtype == np.float64
    one = lod.assemble(surrogate, a=a)
    several = surrogate.assemble_batch(lod, fields)
    assert abs(several[0] - one).max() < 1e-5 and abs(several[1] - 3 * one).max() < 1e-5
    assert abs(several[2] - lod.assemble(surrogate, a=a[::-1])).max() < 1e-5
    with pytest.raises(ValueError, match="fields"):
        surrogate.assemble_batch(lod, a)


@pytest.mark.parametrize("number", range(8))
def test_symmetric_models_turn_with_the_field(lod, a, number):
    """The field moved by a symmetry of the square gives the matrix with the nodes moved."""
    cells, nodes = moved(lod, number)
    plain = Surrogate(PatchMLP(4, 1, (9,), generator=torch.Generator().manual_seed(0)), setting(lod))
    averaged = Surrogate(plain.net, setting(lod), symmetric=True)
    gaps = []
    for local_map in (diffusion, model(lod), averaged, plain):
        there = lod.assemble(local_map, a=a[cells]).toarray()
        here = lod.assemble(local_map, a=a).toarray()
        gaps.append(abs(there - here[np.ix_(nodes, nodes)]).max() / abs(here).max())
    assert gaps[0] < 1e-12 and max(gaps[1:3]) < 1e-5
    assert number == 0 or gaps[3] > 1e-4


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"refine": 8}, "n: wanted 8, got 4; cells: wanted 8, got 4"),
        ({"refine": 8, "cells": 4}, "n: wanted 8, got 4"),
        ({"ell": 2}, "ell: wanted 2, got 1"),
        ({"interpolation": "nodal"}, "interpolation: wanted 'nodal', got 'projection'"),
        ({"dirichlet": "left"}, "boundary: wanted 'mixed', got 'dirichlet'"),
        ({"coarse": graded()}, "cell: wanted 'unequal', got 'square'"),
    ],
)
def test_another_setting_is_refused(lod, options, message):
    other = LOD(**{"coarse": lod.coarse, "refine": 4, "ell": 1, **options})
    with pytest.raises(ModelMismatchError, match=message):
        other.assemble(model(lod), a=np.ones(other.coefficient_mesh.t.shape[1]))


def test_a_mixed_model_takes_every_boundary(lod, a):
    mixed = LOD(lod.coarse, refine=4, ell=1, dirichlet="left")
    surrogate = Surrogate(network(), setting(mixed))
    assert lod.assemble(surrogate, a=a).shape == mixed.assemble(surrogate, a=a).shape


def test_inputs_are_checked(lod, a):
    surrogate = model(lod)
    for bad, message in [
        (-a, "not positive"),
        (a[:-1], "expected shape"),
        (np.where(a == a[3], np.nan, a), "not finite"),
        (np.ones((2, 2, len(a))), "one value a cell"),
    ]:
        with pytest.raises(ValueError, match=message):
            lod.assemble(surrogate, a=bad)
    with pytest.raises(TypeError, match="a alone"):
        lod.assemble(surrogate, a=a, c=1.0)
    assert abs(lod.assemble(surrogate, a=2.0) - lod.assemble(surrogate, a=np.full_like(a, 2.0))).max() == 0
    with pytest.raises(ValueError, match="got none of"):
        Surrogate(network(), {"n": 4})
    with pytest.raises(ValueError, match="expected cells = 4"):
        Surrogate(network(), {**setting(lod), "cells": 8})


def test_outside_the_range_of_training_there_is_a_warning_with_the_count(lod, a, recwarn):
    surrogate = model(lod)
    lod.assemble(surrogate, a=a)
    assert not recwarn.list
    odd = a.copy()
    odd[lod.space.coefficient_refinement.cells[0, 0]] *= 1e4
    around = int((lod.patches.cells == 0).any(axis=1).sum())
    excess = surrogate.excess(lod, lod.space.all_elements, a=odd)
    assert np.array_equal(excess > 0, (lod.patches.cells == 0).any(axis=1))
    with pytest.warns(UserWarning, match=f"a: {around} of 16 patches are outside"):
        lod.assemble(surrogate, a=odd)


@pytest.mark.parametrize("net", [network(), PatchMLP(4, 1, (9,), generator=torch.Generator().manual_seed(0))])
def test_saved_and_loaded_it_is_the_same(net, lod, a, tmp_path):
    surrogate = Surrogate(net, {**setting(lod), "seed": 3}, symmetric=True)
    surrogate.save(tmp_path / "m.safetensors")
    loaded = Surrogate.load(tmp_path / "m.safetensors")
    assert loaded.card == surrogate.card and loaded.symmetric
    assert abs(lod.assemble(loaded, a=a) - lod.assemble(surrogate, a=a)).max() == 0


def test_files_that_are_no_surrogate(lod, tmp_path):
    path = tmp_path / "m.safetensors"
    model(lod).save(path)
    tensors, card = load_model(path)
    for change in (
        {"network": {**card["network"], "width": 16000}},
        {"network": {**card["network"], "kind": "os.system"}},
        {"network": {**card["network"], "depth": 10**12}},
        {"network": 3},
        {"ell": 2},
    ):
        save_model(path, tensors, {**card, **change})
        with pytest.raises(CorruptModelError, match="expected the weights and card"):
            Surrogate.load(path)
    save_model(path, {}, {})
    with pytest.raises(CorruptModelError):
        Surrogate.load(path)
    with pytest.raises(FileNotFoundError, match="name of a model"):
        Surrogate.load("no-such-model")


def test_a_damaged_file_is_refused(lod, tmp_path):
    path = tmp_path / "m.safetensors"
    model(lod).save(path)
    whole = path.read_bytes()
    flipped = [whole[:k] + bytes([whole[k] ^ 4]) + whole[k + 1 :] for k in (0, 20, len(whole) // 2, len(whole) - 1)]
    for data in [*flipped, whole[:-1], whole[: len(whole) // 2], b"", pickle.dumps(model(lod).net.state_dict())]:
        path.write_bytes(data)
        with pytest.raises(CorruptModelError):
            Surrogate.load(path)


def test_models_of_the_package_load_by_name(lod, a, tmp_path, monkeypatch):
    monkeypatch.setattr(storage, "MODELS", tmp_path)
    assert storage.shipped("lod") == {}
    with pytest.raises(FileNotFoundError, match="there is none"):
        Surrogate.load("toy")
    (tmp_path / "lod").mkdir()
    model(lod).save(tmp_path / "lod" / "toy.safetensors")
    model(lod).save(tmp_path / "lod" / "other.safetensors")
    assert list(storage.shipped("lod")) == ["other", "toy"]
    assert abs(lod.assemble(Surrogate.load("toy"), a=a) - lod.assemble(model(lod), a=a)).max() == 0
    for name in ("../toy", "toi", ""):
        with pytest.raises(FileNotFoundError, match=r"name of a model of the package \(other, toy\)"):
            Surrogate.load(name)


def test_importing_lod_leaves_torch_out():
    code = "import sys, skfem_ml.lod; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0


def test_hybrid_of_tolerance_zero_is_exact_to_the_bit(lod, a):
    exact = lod.assemble(diffusion, a=a)
    hybrid = Hybrid(model(lod), diffusion, 0)
    assert abs(lod.assemble(hybrid, a=a) - exact).max() == 0 and hybrid.fraction == 1
    silent = Hybrid(model(lod), diffusion, 0, score=lambda lod, elements, a: np.zeros(len(elements)))
    assert abs(lod.assemble(silent, a=a) - exact).max() == 0
    trusting = Hybrid(model(lod), diffusion, np.inf)
    assert abs(lod.assemble(trusting, a=a) - lod.assemble(model(lod), a=a)).max() == 0 and trusting.fraction == 0


def test_hybrid_recomputes_what_is_in_doubt(lod, a):
    odd = a.copy()
    odd[lod.space.coefficient_refinement.cells[0, 0]] *= 1e4
    inside = Hybrid(model(lod), diffusion, 1e9)
    lod.assemble(inside, a=a)
    hybrid = Hybrid(model(lod), diffusion, inside.scores.max())
    got = lod.local(hybrid, a=odd)
    near = (lod.patches.cells == 0).any(axis=1)
    assert hybrid.fraction < 1 and (hybrid.scores[near] > hybrid.tol).all()
    exact = lod.local(diffusion, a=odd)
    assert abs(got[near] - exact[near]).max() < 1e-12 * abs(exact).max()
    assert abs(got[~near] - exact[~near]).max() > 1e-6


def test_hybrid_errors_fall_with_the_fraction(lod, a):
    """With the true error as score every recomputed element helps."""
    exact = lod.local(diffusion, a=a)

    def truth(lod, elements, a):
        return abs(lod.local(model(lod), elements, a=a) - exact[elements]).max(axis=(1, 2))

    errors, fractions = [], []
    for tol in np.quantile(truth(lod, lod.space.all_elements, a), [1, 0.7, 0.4, 0.1]):
        hybrid = Hybrid(model(lod), diffusion, tol, score=truth)
        errors.append(np.linalg.norm(lod.local(hybrid, a=a) - exact))
        fractions.append(hybrid.fraction)
    assert (np.diff(errors) < 0).all() and (np.diff(fractions) > 0).all() and fractions[0] == 0


def test_hybrid_input(lod, a):
    with pytest.raises(ValueError, match="tol"):
        Hybrid(model(lod), diffusion, float("nan"))
    with pytest.raises(ValueError, match="one value an element"):
        lod.assemble(Hybrid(model(lod), diffusion, 1, score=lambda *x, a: np.zeros(3)), a=a)
    with pytest.raises(ValueError, match="one field"):
        Hybrid(model(lod), diffusion, 1).local(lod, lod.space.all_elements, a=np.stack([a, a]))
    assert Hybrid(model(lod), diffusion, 1, score=lambda *x, a: np.full(16, np.nan)).fraction == 0
