"""Labels: the paper's families and split, files of blocks that a broken run goes on with, fresh ones without end."""

import json
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from itertools import islice
from pathlib import Path

import numpy as np
import pytest
import torch
from skfem import BilinearForm, MeshQuad
from skfem.helpers import dot, grad

from skfem_ml.coefficients.families import NAMES, paper_field, paper_split
from skfem_ml.learning import CorruptModelError, ModelMismatchError, load_model, save_model
from skfem_ml.lod import LOD, Hybrid, PatchMLP, fit_surrogate
from skfem_ml.lod.surrogate import Setting, fingerprint, fresh_labels, read_labels, write_labels
from skfem_ml.lod.surrogate.recipe.labelling.labels import Stored
from skfem_ml.problems import diffusion
from tests.gallery import graded


@pytest.fixture(scope="module")
def lod():
    return LOD(MeshQuad().refined(2), refine=4, ell=1)


def draw(lod, seed=0):
    return lambda i: paper_field(lod.coefficient_mesh, NAMES[i % 10], i, seed)


def test_families_and_split_are_the_papers():
    mesh = MeshQuad().refined(4)
    for k, family in enumerate(NAMES[:5]):
        a = paper_field(mesh, family, 3)
        assert len(np.unique(a)) == 4**k and a.min() >= 1 and a.max() <= 5
        assert np.array_equal(a, paper_field(mesh, family, 3)) and not np.array_equal(a, paper_field(mesh, family, 4))
    assert paper_field(mesh, "multiscale", 0).std() < paper_field(mesh, "iid-8", 0).std() / 2
    split = paper_split()
    assert [len(split[name]) for name in ("train", "validation", "test")] == [4000, 500, 500]
    everything = [sample for part in split.values() for sample in part]
    assert len(set(everything)) == 5000 and split == paper_split() and split != paper_split(seed=1)
    for name in NAMES:
        assert sum(family == name for family, _ in split["test"]) == 50
    with pytest.raises(ValueError, match="family: expected one of"):
        paper_field(mesh, "iid-9", 0)
    with pytest.raises(ValueError, match="at least 10"):
        paper_split(9)


def test_setting_says_what_a_matrix_depends_on(lod):
    square = Setting(2, 4, 4, 1, "projection", "dirichlet", "square", "diffusion")
    assert Setting.of(lod) == square
    other = LOD(graded(), refine=4, cells=2, ell=1, dirichlet="left", interpolation="clement")
    changed = {"cells": 2, "interpolation": "clement", "boundary": "mixed", "cell": "unequal"}
    assert Setting.of(other) == replace(square, **changed)
    pairs = {key: (getattr(square, key), value) for key, value in changed.items() if key != "boundary"}
    assert square.mismatch(replace(square, **changed)) == pairs  # what is for every boundary is for this one
    assert replace(square, boundary="mixed").mismatch(square) == {"boundary": ("mixed", "dirichlet")}


def test_a_setting_goes_through_json(lod):
    found = Setting.of(lod)
    assert Setting.from_json(json.loads(json.dumps({**found.to_json(), "seed": 3}))) == found
    for change, message in (({"form": None}, "got none of"), ({"n": "8"}, "got others"), ({"n": True}, "got others")):
        with pytest.raises(ValueError, match=message):
            Setting.from_json({**found.to_json(), **change})


@pytest.mark.parametrize("dim", [1, 2, 3])
def test_forms_are_told_apart_by_what_they_compute(dim):
    """Finding A7: in other words the same form, and other forms of all kinds."""
    same = BilinearForm(lambda u, v, w: dot(grad(v), w.a * grad(u)))
    assert fingerprint(same, dim) == fingerprint(diffusion, dim) == "diffusion"
    others = [
        BilinearForm(lambda u, v, w: w.a * dot(grad(u), grad(v)) + u * v),
        BilinearForm(lambda u, v, w: w.a**2 * dot(grad(u), grad(v))),
        BilinearForm(lambda u, v, w: (1 + w.x[0]) * w.a * dot(grad(u), grad(v))),
        BilinearForm(lambda u, v, w: w.a * dot(grad(u), grad(v)) * (1 + 1e-9)),
        BilinearForm(lambda u, v, w: w.a * grad(u)[0] * grad(v)[0]) if dim > 1 else same_but_mass(),
    ]
    assert len({fingerprint(form, dim) for form in [diffusion, *others]}) == 6
    with pytest.raises(ValueError, match="form: expected a BilinearForm of the coefficient a alone"):
        fingerprint(BilinearForm(lambda u, v, w: w.a * w.c * u * v), dim)


def same_but_mass():
    return BilinearForm(lambda u, v, w: w.a * (dot(grad(u), grad(v)) + u * v))


def test_labels_of_another_form_are_refused(lod, tmp_path):
    """Finding A7: by writing, by training, and those that do not say of which form they are."""
    form = BilinearForm(lambda u, v, w: w.a * dot(grad(u), grad(v)) + 5 * u * v)
    (path,) = write_labels(tmp_path, lod, draw(lod), 4, block=4, form=form)
    with pytest.raises(ModelMismatchError, match="form: wanted 'diffusion', got 'form-"):
        write_labels(tmp_path, lod, draw(lod), 4, block=4)
    net = PatchMLP(4, 1, (9,), generator=torch.Generator().manual_seed(0))
    options = {"validation": draw(lod)(9)[None], "steps": 1}
    with pytest.raises(ModelMismatchError, match="form: wanted 'diffusion', got 'form-"):
        fit_surrogate(lod, tmp_path, net, **options)
    made, _ = fit_surrogate(lod, tmp_path, net, form=form, **options)
    assert made.setting.form.startswith("form-")
    Hybrid(made, form, element_tol=0.1, score=made.spread)
    tensors, card = load_model(path)
    save_model(path, tensors, {key: value for key, value in card.items() if key != "form"})
    with pytest.raises(ModelMismatchError, match="form: wanted 'diffusion', got None"):
        write_labels(tmp_path, lod, draw(lod), 4, block=4)


def test_blocks_hold_exact_matrices_and_a_broken_run_goes_on(lod, tmp_path):
    told = []
    files = write_labels(tmp_path, lod, draw(lod), 5, block=2, progress=lambda *x: told.append(x))
    assert [f.name for f in files] == [f"labels-{i:06d}.safetensors" for i in (0, 2, 4)] and told[-1] == (
        5,
        5,
        "labels",
    )
    blocks = list(read_labels(tmp_path))
    fields = np.concatenate([block[0] for block in blocks])
    assert fields.shape == (5, 256) and np.array_equal(fields[3], draw(lod)(3))
    assert blocks[1][1].shape == (2, 16, 16, 4)
    exact = lod.local(diffusion, a=fields[3])
    assert abs(blocks[1][1][1] - exact).max() < 1e-6 * abs(exact).max()
    before = [f.stat().st_mtime_ns for f in files]
    content = files[1].read_bytes()
    files[1].unlink()
    write_labels(tmp_path, lod, draw(lod), 5, block=2)
    assert [f.stat().st_mtime_ns == t for f, t in zip(files, before, strict=True)] == [True, False, True]
    assert files[1].read_bytes() == content


def test_labels_stay_in_their_files(lod, tmp_path):
    """Many processes share what they read; what is taken of it is a copy."""
    write_labels(tmp_path, lod, draw(lod), 5, block=2)
    found = Stored(lod, tmp_path)
    assert repr(found).startswith("Stored(5 fields in 3 files of ") and len(found) == len(list(found)) == 5
    rows, some = np.array([0, 3, 4]), np.array([5, 2])
    fields, exact = found.rows(rows, some)
    for k, row in enumerate(rows):
        assert np.array_equal(fields[k], draw(lod)(row))
        S = lod.local(diffusion, some, a=fields[k])
        assert abs(exact[k] - S).max() < 1e-6 * abs(S).max()
    if sys.platform == "linux":
        maps = Path("/proc/self/maps").read_text()
        assert all(str(path) in maps for path in tmp_path.glob("*.safetensors"))
    fields += 1
    assert np.array_equal(found.rows(rows, some)[0] + 1, fields)


def test_blocks_of_others_and_damaged_ones_are_refused(lod, tmp_path):
    (path,) = write_labels(tmp_path, lod, draw(lod), 1, block=2)
    with pytest.raises(ModelMismatchError, match="another family or seed"):
        write_labels(tmp_path, lod, draw(lod, seed=1), 1, block=2)
    with pytest.raises(ModelMismatchError, match="interpolation: wanted 'clement', got 'projection'"):
        other = LOD(MeshQuad().refined(2), refine=4, ell=1, interpolation="clement")
        write_labels(tmp_path, other, draw(other), 1, block=2)
    data = bytearray(path.read_bytes())
    data[-9] ^= 4
    path.write_bytes(data)
    for run in (lambda: write_labels(tmp_path, lod, draw(lod), 1, block=2), lambda: list(read_labels(tmp_path))):
        with pytest.raises(CorruptModelError):
            run()
    with pytest.raises(FileNotFoundError, match=r"labels-\*"):
        list(read_labels(tmp_path / "none"))
    with pytest.raises(ValueError, match="at least 1"):
        write_labels(tmp_path, lod, draw(lod), 0)


def test_fresh_labels_go_on_anywhere(lod):
    first = list(islice(fresh_labels(lod, draw(lod), block=2), 2))
    assert first[0][0].shape == (2, 256) and first[0][1].shape == (2, 16, 16, 4)
    later = next(fresh_labels(lod, draw(lod), block=2, start=2))
    assert np.array_equal(first[1][1], later[1]) and not np.array_equal(first[0][0], later[0])
    with pytest.raises(ValueError, match="block, start"):
        next(fresh_labels(lod, draw(lod), block=0))


def test_labels_of_workers_are_those_of_one_process(lod, tmp_path):
    told, tries = [], []
    here = write_labels(tmp_path / "here", lod, draw(lod), 10, 4)

    def flaky(index):
        tries.append(index)
        if index == 5 and tries.count(5) < 3:
            raise OSError("no such node")
        return draw(lod)(index)

    with ThreadPoolExecutor(2) as pool:
        there = write_labels(
            tmp_path / "there", lod, flaky, 10, 4, client=pool, progress=lambda *state: told.append(state)
        )
        assert [path.name for path in there] == [path.name for path in here]
        assert all(one.read_bytes() == other.read_bytes() for one, other in zip(here, there, strict=True))
        assert told[-1] == (10, 10, "labels") and tries.count(5) == 3
        with pytest.raises(RuntimeError, match=r"1 of 2 files failed on all tries.*of fields from 4 on.*run it again"):
            write_labels(tmp_path / "lost", lod, _lost, 8, 4, client=pool)
    assert [path.name for path in (tmp_path / "lost").glob("*.safetensors")] == ["labels-000000.safetensors"]
    with pytest.raises(TypeError, match="client: expected"):
        write_labels(tmp_path / "other", lod, draw(lod), 4, client="127.0.0.1")


def _lost(index):
    if index == 6:
        raise OSError("gone")
    return np.full(256, 1.0 + index)
