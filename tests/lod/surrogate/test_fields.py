"""Where fields come from: folders, functions, families, arrays; how they are divided; and budgets in words."""

import logging

import meshio
import numpy as np
import pytest
from PIL import Image
from skfem import MeshQuad

from skfem_ml.coefficients import from_file
from skfem_ml.coefficients.families import paper_field, wide_field
from skfem_ml.lod import LOD
from skfem_ml.lod.surrogate import fields_of
from skfem_ml.lod.surrogate.recipe.budget import Budget, seconds_of
from skfem_ml.lod.surrogate.recipe.fields import FIRST

LOD_4 = LOD(MeshQuad().refined(2), refine=4, ell=1)
MESH = LOD_4.coefficient_mesh
NELEMS = 256


def draw(index):
    return np.random.default_rng([3, index]).uniform(1, 2, NELEMS)


def test_a_folder_in_the_order_of_its_names(tmp_path, caplog):
    rng = np.random.default_rng(0)
    np.save(tmp_path / "b.npy", rng.uniform(1, 2, (16, 16)))
    Image.fromarray(rng.integers(0, 256, (16, 16), dtype=np.uint8)).save(tmp_path / "a.png")
    np.save(tmp_path / "c.npy", rng.uniform(1, 2, (24, 40)))
    (tmp_path / "notes.txt").write_text("no field")
    with caplog.at_level(logging.INFO, "skfem_ml"):
        fields = fields_of(tmp_path, LOD_4, low=1, high=27, scale="log")
    assert fields.count == 3 and fields.name == tmp_path.name
    assert (fields.draw(0) == from_file(tmp_path / "a.png", MESH, low=1, high=27, scale="log")).all()
    assert (fields.draw(1) == from_file(tmp_path / "b.npy", MESH)).all()
    assert np.allclose(fields.draw(2), from_file(tmp_path / "c.npy", MESH, resample="geometric"))
    assert "1 of 3 files resampled" in fields.notes[0] and fields.notes[0] in caplog.text
    with pytest.raises(ValueError, match=r"a.png: an image holds grey levels; pass low= and high="):
        fields_of(tmp_path, LOD_4)


def test_mesh_files_are_read_where_they_lie(tmp_path):
    a = draw(0)
    meshio.Mesh(MESH.p.T, [("quad", MESH.t.T)], cell_data={"k": [a]}).write(tmp_path / "a.vtu")
    assert (fields_of(tmp_path, LOD_4).draw(0) == a).all()


def test_functions_by_themselves_and_by_their_place(tmp_path):
    assert (fields_of(draw, LOD_4).draw(5) == draw(5)).all() and fields_of(draw, LOD_4).count is None
    with_mesh = fields_of(lambda i, mesh: 1 + i + mesh.p[0, mesh.t].mean(axis=0), LOD_4)
    assert with_mesh.draw(2).min() > 3
    raster = np.arange(1.0, 257).reshape(16, 16)
    np.save(tmp_path / "a.npy", raster)
    assert (fields_of(lambda i: raster, LOD_4).draw(0) == from_file(tmp_path / "a.npy", MESH)).all()
    file = tmp_path / "mine.py"
    file.write_text("import numpy as np\ndef fields(i, mesh, low=2):\n    return np.full(mesh.t.shape[1], low + i)\n")
    assert fields_of(f"{file}:fields", LOD_4).draw(3)[0] == 5
    assert fields_of(f"{__name__}:draw", LOD_4).name == f"{__name__}:draw"
    for place, error, message in (
        (f"{file}:nothing", ValueError, "expected a function 'nothing'"),
        (f"{tmp_path}/no.py:draw", FileNotFoundError, "no.py: expected a file with the function draw"),
        ("skfem_ml.nowhere:draw", ValueError, "expected module:function"),
    ):
        with pytest.raises(error, match=message):
            fields_of(place, LOD_4)


def test_families_by_name():
    assert (fields_of("discs", LOD_4, seed=2).draw(7) == wide_field(MESH, "discs", 7, 2)).all()
    assert (fields_of("paper", LOD_4).draw(13) == paper_field(MESH, "iid-3", 1)).all()
    assert (fields_of("wide", LOD_4).draw(6) == wide_field(MESH, "discs", 1)).all()
    with pytest.raises(ValueError, match=r"one of paper, wide, iid-0, .*, cracks, textures, got 'clouds'"):
        fields_of("clouds", LOD_4)


def test_what_is_no_field_is_refused(tmp_path):
    for source, message in (
        (np.ones(NELEMS), r"expected an array \(k, 256\)"),
        (np.ones((3, 17)), "fields.0.: expected"),
        (-np.ones((3, NELEMS)), "fields.0."),
        (lambda i: np.random.default_rng().uniform(1, 2, NELEMS), "the same field each time, got two"),
        (lambda i: np.ones(7), "expected"),
        (tmp_path, "expected files .png"),
    ):
        with pytest.raises(ValueError, match=message):
            fields_of(source, LOD_4)
    with pytest.raises(TypeError, match=r"expected a folder, draw.i., a family's name or an array, got int"):
        fields_of(3, LOD_4)


@pytest.mark.parametrize("source", [draw, np.stack([draw(k) for k in range(40)])], ids=["draws", "array"])
def test_no_two_parts_share_a_field(source):
    fields = fields_of(source, LOD_4)
    parts = fields.divided(40, seed=1)
    assert {name: len(rows) for name, rows in parts.items()} == {
        "train": 21, "validation": 3, "doubt": 3, "calibration": 9, "test": 4,
    }  # fmt: skip
    few = fields.divided(20)
    assert len(few["calibration"]) == 0 and len(few["train"]) == 14
    rows = np.concatenate(list(parts.values()))
    assert len(set(rows.tolist())) == 40
    if fields.count is None:
        assert [rows.min() // FIRST for rows in parts.values()] == [0, 1, 2, 3, 4]
    else:
        assert sorted(rows) == list(range(40))
        assert not np.array_equal(parts["test"], fields.divided(40, seed=2)["test"])
        assert np.array_equal(parts["test"], fields.divided(40, seed=1)["test"])
        with pytest.raises(ValueError, match=r"at most the 40"):
            fields.divided(41)
    with pytest.raises(ValueError, match=r"expected at least 10 of .* .4 for train, 2 for validation, .* got 9"):
        fields.divided(9)


def test_fingerprints_tell_fields_apart():
    some = np.stack([draw(k) for k in range(12)])
    marks = [fields_of(source, LOD_4).fingerprint() for source in (draw, some, some[1:], some[::-1], lambda i: some[i])]
    assert len(set(marks[:4])) == 4 and marks[4] == marks[0]  # the same draws, by another function


def test_budgets_in_words():
    assert [seconds_of(text) for text in ("90s", "20min", "1h", "1.5 h", "1h30m", " 2 D ", 12, 0.5)] == [
        90, 1200, 3600, 5400, 5400, 172800, 12, 0.5,
    ]  # fmt: skip
    for bad in (
        "",
        "20",
        "20 parsecs",
        "-5min",
        "0s",
        "1h and 5",
        "nan",
        0,
        -1,
        float("nan"),
        float("inf"),
        True,
        None,
    ):
        with pytest.raises(ValueError, match="budget: expected wall seconds"):
            seconds_of(bad)
    budget = Budget("100s")
    assert budget.spent >= 0 and budget.left <= 100 and sum(map(budget.share, ("labels", "training"))) == 75
