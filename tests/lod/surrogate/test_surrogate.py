"""The surrogate in the place of the form: what it returns, what it refuses, what it says of its range, its file."""

import pickle
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
import torch
from skfem import BilinearForm, MeshQuad, condense, solve
from skfem.helpers import dot, grad
from skfem.models import unit_load

from skfem_ml.learning import Card, CorruptModelError, ModelMismatchError, load_model, save_model
from skfem_ml.learning import models as shelf
from skfem_ml.lod import LOD, FieldNetwork, Hybrid, PatchMLP, Surrogate
from skfem_ml.lod.surrogate import Setting
from skfem_ml.lod.surrogate.inputs import extent_of
from tests.gallery import diffusion, graded, random_field


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
    extent, facts = extent_of(net, lod, wide[None]), {"seed": 0}
    doubt = {"quantile": 0.9}  # as if it had been trained: what is tested here does not ask how well
    return Surrogate(net, Card(setting=Setting.of(lod).to_json(), extent=extent, facts=facts, doubt=doubt), **options)


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


def test_in_bfloat16_little_changes_and_the_other_stays_as_it_is(lod, a, tmp_path):
    surrogate, fields = model(lod), np.stack([a, 3 * a])
    before = surrogate.local(lod, lod.space.all_elements, a=fields)
    fast = surrogate.in_bfloat16()
    got = fast.local(lod, lod.space.all_elements, a=fields)
    assert got.dtype == np.float64 and 0 < abs(got - before).max() < 3e-3 * abs(before).max()
    assert np.allclose(got[1], 3 * got[0]) and abs(got.sum(axis=2)).max() < 1e-12  # what is built in is kept
    assert np.array_equal(surrogate.local(lod, lod.space.all_elements, a=fields), before)
    assert np.array_equal(pickle.loads(pickle.dumps(fast)).local(lod, lod.space.all_elements, a=fields), got)
    fast.save(tmp_path / "fast.safetensors")
    assert np.array_equal(Surrogate.load(tmp_path / "fast.safetensors").local(lod, np.arange(16), a=fields), before)
    with pytest.raises(ValueError, match="expected a FieldNetwork"):
        Surrogate(PatchMLP(4, 1, [8], generator=torch.Generator().manual_seed(0)), Setting.of(lod)).in_bfloat16()


def test_gradients_go_through_bfloat16(lod, a):
    surrogate = model(lod)
    inputs = surrogate.inputs(lod, lod.space.all_elements, a=a)
    weights = torch.rand(1, 16, 16, 4, generator=torch.Generator().manual_seed(1), dtype=torch.float64)

    def gradient(of):
        x = inputs.a.clone().requires_grad_()
        (of.predict(x, inputs.place) * weights).sum().backward()
        return x.grad

    one, other = gradient(surrogate), gradient(surrogate.in_bfloat16())
    assert 0 < (one - other).norm() < 0.02 * one.norm()


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
    surrogate = Surrogate(network(), Setting.of(mixed))
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
        Surrogate(network(), Card(setting={"n": 4}))
    with pytest.raises(ValueError, match="expected cells = 4"):
        Surrogate(network(), replace(Setting.of(lod), cells=8))


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
    surrogate = Surrogate(net, Card(setting=Setting.of(lod).to_json(), facts={"seed": 3}), symmetric=True)
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
    monkeypatch.setattr(shelf, "MODELS", tmp_path)
    assert shelf.shipped("lod") == {}
    with pytest.raises(FileNotFoundError, match="there is none"):
        Surrogate.load("toy")
    (tmp_path / "lod").mkdir()
    model(lod).save(tmp_path / "lod" / "toy.safetensors")
    model(lod).save(tmp_path / "lod" / "other.safetensors")
    assert list(shelf.shipped("lod")) == ["other", "toy"]
    assert abs(lod.assemble(Surrogate.load("toy"), a=a) - lod.assemble(model(lod), a=a)).max() == 0
    for name in ("../toy", "toi", ""):
        with pytest.raises(FileNotFoundError, match=r"name of a model of the package \(other, toy\)"):
            Surrogate.load(name)


def test_importing_lod_leaves_torch_out():
    code = "import sys, skfem_ml.lod; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0


def test_hybrid_of_tolerance_zero_is_exact_to_the_bit(lod, a):
    exact = lod.assemble(diffusion, a=a)
    hybrid = Hybrid(model(lod), diffusion, element_tol=0)
    assert abs(lod.assemble(hybrid, a=a) - exact).max() == 0 and hybrid.judge(lod, a=a).fraction == 1
    silent = Hybrid(model(lod), diffusion, element_tol=0, score=lambda lod, elements, a: np.zeros(len(elements)))
    assert abs(lod.assemble(silent, a=a) - exact).max() == 0
    trusting = Hybrid(model(lod), diffusion, element_tol=np.inf)
    assert abs(lod.assemble(trusting, a=a) - lod.assemble(model(lod), a=a)).max() == 0
    assert trusting.judge(lod, a=a).fraction == 0


def test_hybrid_recomputes_what_is_in_doubt(lod, a):
    odd = a.copy()
    odd[lod.space.coefficient_refinement.cells[0, 0]] *= 1e4
    inside = Hybrid(model(lod), diffusion, element_tol=1e9).judge(lod, a=a)
    hybrid = Hybrid(model(lod), diffusion, element_tol=inside.scores.max())
    got, scores, recomputed, promised = hybrid.judge(lod, a=odd)
    assert promised is None
    assert np.array_equal(got, lod.local(hybrid, a=odd))
    near = (lod.patches.cells == 0).any(axis=1)
    assert recomputed.mean() < 1 and (scores[near] > hybrid.element_tol).all() and recomputed[near].all()
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
        judged = Hybrid(model(lod), diffusion, element_tol=tol, score=truth).judge(lod, a=a)
        errors.append(np.linalg.norm(judged.matrices - exact))
        fractions.append(judged.fraction)
    assert (np.diff(errors) < 0).all() and (np.diff(fractions) > 0).all() and fractions[0] == 0


def test_hybrid_input(lod, a):
    with pytest.raises(ValueError, match="tol"):
        Hybrid(model(lod), diffusion, element_tol=float("nan"))
    with pytest.raises(ValueError, match="one value an element"):
        lod.assemble(Hybrid(model(lod), diffusion, element_tol=1, score=lambda *x, a: np.zeros(3)), a=a)
    with pytest.raises(ValueError, match="one field"):
        Hybrid(model(lod), diffusion, element_tol=1).local(lod, lod.space.all_elements, a=np.stack([a, a]))


def test_hybrid_trusts_no_score_that_is_not_a_number(lod, a):
    """Finding E: the mutant that trusts NaN scores."""
    nan = np.where(np.arange(16) % 3 == 0, np.nan, 0.5)
    exact, learned = lod.local(diffusion, a=a), lod.local(model(lod), a=a)
    judged = Hybrid(model(lod), diffusion, element_tol=1, score=lambda *x, a: nan).judge(lod, a=a)
    matrices, scores, recomputed, _ = judged
    assert np.array_equal(recomputed, np.isnan(nan)) and np.array_equal(np.isnan(scores), np.isnan(nan))
    assert np.array_equal(matrices[recomputed], exact[recomputed])
    assert np.array_equal(matrices[~recomputed], learned[~recomputed])


def broken(lod, where="head.weight"):
    """A model whose file held a NaN weight."""
    made = model(lod)
    with torch.no_grad():
        made.net.get_parameter(where)[0] = torch.nan
    return made


def test_matrices_that_are_not_finite_are_refused_or_recomputed(lod, a):
    """Finding G7: also at an infinite tolerance, and with a score of one's own."""
    with pytest.raises(ValueError, match="not finite for 16 of 16 patches; Hybrid"):
        lod.assemble(broken(lod), a=a)
    for options in (
        {"element_tol": 0.5},
        {"element_tol": np.inf},
        {"element_tol": 1, "score": lambda *x, a: np.zeros(16)},
    ):
        judged = Hybrid(broken(lod), diffusion, **options).judge(lod, a=a)
        assert judged.fraction == 1 and np.isinf(judged.scores).all()
        assert np.array_equal(judged.matrices, lod.local(diffusion, a=a))
    assert np.isinf(broken(lod).doubt(lod, lod.space.all_elements, a=a)).all()


def test_a_doubt_that_was_not_trained_is_none(lod, a):
    """Finding A5: a model without a trained doubt says so, and a hybrid of it is refused."""
    untrained = Surrogate(network(), Setting.of(lod))
    assert not untrained.has_doubt and "no doubt trained" in repr(untrained)
    for run in (
        lambda: untrained.doubt(lod, lod.space.all_elements, a=a),
        lambda: untrained.with_score(lod, lod.space.all_elements, a=a),
        lambda: Hybrid(untrained, diffusion, element_tol=0.1),
    ):
        with pytest.raises(ValueError, match=r"whose card has no doubt; train one by train_surrogate"):
            run()
    hybrid = Hybrid(untrained, diffusion, element_tol=0.1, score=untrained.spread)
    assert hybrid.judge(lod, a=a).scores.max() < 1e-5  # built in: what all images share is not seen


def test_a_hybrid_of_another_form_is_refused(lod):
    """Finding A7."""
    with pytest.raises(ModelMismatchError, match=r"form: wanted 'form-[0-9a-f]{12}', got 'diffusion'"):
        Hybrid(model(lod), reaction, element_tol=0.1)


@BilinearForm
def reaction(u, v, w):
    return w.a * dot(grad(u), grad(v)) + 5 * u * v


def test_nothing_is_kept_of_the_lod_that_was_used(lod, a):
    """Finding G3: surrogate and hybrid pickle before and after use, and say the same then."""
    surrogate = model(lod)
    hybrid = Hybrid(surrogate, diffusion, element_tol=0.9)
    wanted = pickle.loads(pickle.dumps(surrogate)).local(lod, lod.space.all_elements, a=a)
    assert np.array_equal(lod.local(surrogate, a=a), wanted)
    judged = hybrid.judge(lod, a=a)
    for copy in (pickle.loads(pickle.dumps(surrogate)), pickle.loads(pickle.dumps(hybrid)).surrogate):
        assert np.array_equal(copy.local(lod, lod.space.all_elements, a=a), wanted)
    again = pickle.loads(pickle.dumps(hybrid)).judge(lod, a=a)
    assert all(np.array_equal(one, other) for one, other in zip(judged, again, strict=True))
    assert vars(hybrid).keys() == {"surrogate", "form", "tol", "element_tol", "score", "promise"}


def test_a_copy_of_a_network_forgets_what_it_kept(lod, a):
    """Weights of a copy count their changes from zero: as many later the expanded matrices must not pass for theirs."""
    net = pickle.loads(pickle.dumps(model(lod).net))
    net.combine.weight.requires_grad_(False)
    for _ in range(3):
        net.combine.matrix()
        net.combine.weight.mul_(2)
    copy = pickle.loads(pickle.dumps(net))
    for _ in range(5):
        assert torch.equal(copy.combine.matrix(), copy.combine.expanded())
        copy.combine.weight.mul_(2)


def test_a_device_that_is_not_there(lod, tmp_path):
    """Finding C: an error in our words."""
    model(lod).save(tmp_path / "m.safetensors")
    for device in ("cuda:77", "gpu"):
        with pytest.raises(ValueError, match=f"device: expected one of .*, got '{device}'"):
            Surrogate.load(tmp_path / "m.safetensors", device=device)
        with pytest.raises(ValueError, match="device: expected"):
            Surrogate(network(), Setting.of(lod), device=device)
