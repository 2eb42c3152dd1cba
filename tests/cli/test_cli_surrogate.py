"""The command line with trained networks: training, rows of the comparison, solutions with scores, shipped models."""

import json

import meshio
import numpy as np
import pytest
from PIL import Image
from skfem import MeshQuad, condense, solve
from skfem.models import unit_load

from skfem_ml.cli.doctor import shipped_models
from skfem_ml.lod import LOD, Recipe, Surrogate, train_surrogate
from skfem_ml.problems import diffusion
from tests.cli.commands import refused, skfem_ml


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    """A folder with a trained toy for n = 4, and one whose coefficient is coarser than its fine mesh."""
    folder = tmp_path_factory.mktemp("models") / "lod"
    folder.mkdir()
    mesh = MeshQuad.init_tensor(*[np.linspace(0, 1, 5)] * 2)
    for name, cells, steps in (("toy", 4, 60), ("coarser", 2, 2)):
        recipe = Recipe(steps=steps, fields=60, held=10, doubt=20, test=10, verdict=1)
        lod = LOD(mesh, refine=4, cells=cells, ell=1)
        train_surrogate(lod, "paper", recipe=recipe, card={"name": name}).save(folder / f"{name}.safetensors")
    return folder


@pytest.fixture
def ships(models, monkeypatch):
    monkeypatch.setattr("skfem_ml.learning.models.MODELS", models.parent)


@pytest.fixture
def field(tmp_path):
    np.save(tmp_path / "a.npy", np.random.default_rng(0).uniform(1, 5, (16, 16)))
    return tmp_path / "a.npy"


SMALL = ("--coarse", "4", "--refine", "4", "--cells", "2", "--ell", "1", "--budget", "12s")


def test_training_writes_a_model_with_its_verdict_and_goes_on(tmp_path, monkeypatch):
    """From a folder of pictures, as text; then from what is kept, as JSON. Numbers in place of time."""

    def train(lod, family, budget, seed, folder, name, report):
        recipe = Recipe(steps=3, fields=6, held=2, doubt=2, test=2, verdict=1)
        card = {"name": name}
        return train_surrogate(lod, family, recipe=recipe, seed=seed, folder=folder, card=card, progress=report)

    monkeypatch.setattr("skfem_ml.cli.train.surrogate.train", train)
    folder, path = tmp_path / "pictures", tmp_path / "m.safetensors"
    folder.mkdir()
    for k in range(12):
        grey = np.random.default_rng(k).integers(0, 256, (8, 8), dtype=np.uint8)
        Image.fromarray(grey).save(folder / f"{k:02d}.png")
    command = ["train", "surrogate", folder, *SMALL, "--low", "1", "--high", "5", "--out", path]
    result = skfem_ml(*command, "--resume", tmp_path / "run")
    assert result.exit_code == 0, result.output
    card = Surrogate.load(path).card
    assert card["family"] == "pictures" and card["name"] == "m" and card["n"] == 4 and card["cells"] == 2
    sentence = card["verdict"]["sentence"]
    assert sentence in result.stdout and "exact, n = 4" in result.stdout and str(path) in result.stdout
    assert "12s for labels, training and verdict" in result.stderr
    before = path.read_bytes()
    again = skfem_ml(*command, "--resume", tmp_path / "run", "--json")
    assert json.loads(again.stdout)["verdict"]["sentence"] == sentence and path.read_bytes() == before
    assert "seed: wanted 1, got 0" in refused(*command, "--resume", tmp_path / "run", "--seed", "1", "--quiet")


def test_ctrl_c_says_what_is_missing(tmp_path, monkeypatch):
    """The library's own words after "interrupted"."""

    def stopped(*arguments, **options):
        raise KeyboardInterrupt("nothing is trained yet, fields are being labelled")

    monkeypatch.setattr("skfem_ml.cli.train.surrogate.train", stopped)
    result = skfem_ml("train", "surrogate", "paper", *SMALL, "--out", tmp_path / "m.safetensors")
    assert result.exit_code == 130 and "interrupted; nothing is trained yet" in result.stderr
    assert not (tmp_path / "m.safetensors").exists()


@pytest.mark.slow
def test_the_comparison_has_the_rows_of_models_that_fit(ships, field, tmp_path):
    def rows(*arguments):
        result = skfem_ml("compare", "diffusion", field, "--ell", "1", "--output", tmp_path, "--json", *arguments)
        assert result.exit_code == 0, result.output
        return {row["name"]: row for row in json.loads(result.stdout)["rows"]}

    found = rows("--refine", "4", "--tol", "0")
    names = ["u_h of LOD ell=1", "surrogate, toy", "hybrid, toy"]
    exact, learned, hybrid = (found[name]["error_l2"] for name in names)
    assert hybrid == exact and 0 < abs(learned - exact) < exact / 2
    finer = rows("--refine", "2", "--surrogate", "coarser")  # 4 fine cells on 2 of the field
    assert "surrogate, coarser" in finer and finer["fine FEM"]["unknowns"] == 33**2
    assert not any("toy" in name for name in rows("--refine", "2"))
    text = skfem_ml("compare", "diffusion", field, "--refine", "4", "--output", tmp_path).stdout
    row = next(line for line in text.splitlines() if line.startswith("hybrid, toy"))
    assert row.endswith("% of the elements recomputed exactly") or "used nowhere" in row
    vtu = meshio.read(tmp_path / "diffusion.vtu")
    assert {"u_surrogate_toy", "error_hybrid_toy"} <= set(vtu.point_data)
    score, recomputed = (vtu.cell_data[f"{key}_hybrid_toy"][0] for key in ("score", "recomputed"))
    assert len(np.unique(score)) <= 16 and ((recomputed == 0) | (recomputed == 1)).all()
    assert f"{recomputed.mean():.1%} of" in row and set(vtu.cell_data) == {"coefficient"} | {
        f"{key}_hybrid_toy" for key in ("score", "recomputed")
    }


def test_a_model_that_is_asked_for_must_fit(ships, field, tmp_path):
    arguments = ["compare", "diffusion", field, "--output", tmp_path, "--surrogate", "toy"]
    assert "made for cells = 4, the case has cells = 2; take --refine 4" in refused(*arguments, "--refine", "2")
    assert "is made for boundary = dirichlet, the case has boundary = mixed; take no --dirichlet" in refused(
        *arguments, "--refine", "4", "--dirichlet", "left"
    )
    assert "expected the name of a model" in refused(*arguments[:-1], "nothing")
    assert "toy wants 1 fine cells along one of the field, got 2" in refused(
        *arguments, "--refine", "4", "--below", "2"
    )


def solved(path, method, *arguments):
    output = path.parent / "out"
    result = skfem_ml("solve", path, "--method", method, "--json", "--output", output, *arguments)
    assert result.exit_code == 0, result.output
    return json.loads(result.stdout), meshio.read(output / f"solve_{method}.vtu"), result.stderr


def test_solutions_with_scores(ships, field):
    a = np.load(field)
    plain, vtu, warnings = solved(field, "surrogate", "--surrogate", "toy")
    assert plain["refine"] == 4 and plain["model"] == "toy" and plain["ell"] == 1 and plain["unknowns"] == 25
    assert "score" not in vtu.cell_data and "recomputed" not in plain and not warnings
    summary, vtu, _ = solved(field, "hybrid", "--surrogate", "toy", "--tol", "0", "--scores")
    exact, _, _ = solved(field, "lod", "--refine", "4", "--ell", "1")
    assert summary["recomputed"] == 1.0 and summary["tol"] == 0 and exact["unknowns"] == 25
    assert (vtu.cell_data["recomputed"][0] == 1).all()
    tol = float(np.median(vtu.cell_data["score"][0]))
    summary, vtu, _ = solved(field, "hybrid", "--surrogate", "toy", "--tol", tol, "--scores")
    score, again = vtu.cell_data["score"][0], vtu.cell_data["recomputed"][0]
    assert np.array_equal(again, score > tol) and summary["recomputed"] == again.mean() and 0 < again.mean() < 1
    assert summary["largest score"] == score.max()
    marked, vtu, _ = solved(field, "surrogate", "--surrogate", "toy", "--scores")
    assert np.allclose(vtu.cell_data["score"][0], score) and not vtu.cell_data["recomputed"][0].any()
    assert marked["norm_l2"] == pytest.approx(plain["norm_l2"], rel=1e-6)
    # The map is in the order of the mesh: one score a coarse cell, and the cell's own.
    centres = vtu.points[vtu.cells[0].data].mean(axis=1)[:, :2]
    lod = LOD(MeshQuad.init_tensor(*[np.linspace(0, 1, 5)] * 2), refine=4, ell=1)
    at = [np.flatnonzero(np.isclose(centres, x, atol=1e-9).all(axis=1))[0] for x in middles(lod.coefficient_mesh)]
    model = Surrogate.load("toy")
    raster = a[::-1]  # the first row of a file is the top
    x, y = (middles(lod.coefficient_mesh) * 16).astype(int).T
    scores = model.doubt(lod, np.arange(16), a=raster[y, x]) + model.excess(lod, np.arange(16), a=raster[y, x])
    of_cells = np.empty(256)
    of_cells[lod.space.coefficient_refinement.cells] = scores[:, None]
    assert np.allclose(score[at], of_cells, rtol=1e-4)


def middles(mesh):
    return mesh.p[:, mesh.t].mean(axis=1).T


def test_a_finer_mesh_than_that_of_the_field(ships, field):
    """A model with 4 fine cells on 2 cells of the coefficient; at tolerance 0 it is exact LOD on that finer mesh."""
    summary, vtu, _ = solved(field, "hybrid", "--surrogate", "coarser", "--tol", "0")
    assert summary["refine"] == 2 and summary["unknowns"] == 81 and summary["fine unknowns"] == 289
    line = np.linspace(0, 1, 9)
    lod = LOD(MeshQuad.init_tensor(line, line), refine=4, cells=2, ell=1)
    x, y = (middles(lod.coefficient_mesh) * 16).astype(int).T
    a = np.load(field)[::-1][y, x]
    u = solve(*condense(lod.assemble(diffusion, a=a), unit_load.assemble(lod.coarse), D=lod.coarse.get_dofs()))
    assert vtu.point_data["u"].max() == pytest.approx(u.max(), rel=1e-10)


def test_outside_the_range_there_is_one_line_with_the_count(ships, tmp_path):
    a = np.ones((16, 16))
    a[0, 0] = 1e6
    np.save(tmp_path / "a.npy", a)
    _, _, warnings = solved(tmp_path / "a.npy", "surrogate", "--surrogate", "toy")
    of_a = [line for line in warnings.splitlines() if line.startswith("warning: a: ")]
    assert len(of_a) == 1 and of_a[0].startswith("warning: a: 4 of 16 patches are outside the range of training")


def test_bad_input(ships, field, tmp_path):
    for arguments, message in [
        (["--method", "surrogate"], "there are: coarser, toy"),
        (["--method", "hybrid", "--surrogate", "none"], "expected the name of a model of the package (coarser, toy)"),
        (["--method", "hybrid", "--surrogate", "toy", "--tol", "-1"], "--tol: expected a number of at least 0"),
        (["--method", "hybrid", "--surrogate", "toy", "--tol", "nan"], "--tol: expected a number of at least 0"),
        (
            ["--method", "surrogate", "--surrogate", "toy", "--refine", "8"],
            "the case has n = 8, cells = 8; take --refine 4",
        ),
        (
            ["--method", "surrogate", "--surrogate", "toy", "--ell", "2"],
            "the case has ell = 2; take --ell 1",
        ),
        (["--method", "surrogate", "--surrogate", "toy", "--variant", "galerkin"], "--variant, --corrected"),
        (["--method", "surrogate", "--surrogate", "toy", "--corrected"], "--variant, --corrected"),
        (
            ["--method", "lod", "--surrogate", "toy"],
            "--surrogate, --scores: expected with --method surrogate or hybrid",
        ),
        (["--scores"], "--surrogate, --scores"),
        (["--method", "magic"], "--method: expected one of 'fem', 'lod', 'surrogate', 'hybrid'"),
    ]:
        assert message in refused("solve", field, "--output", tmp_path / "out", *arguments)
    for arguments, message in [
        (["paper", "--out", tmp_path / "m.pt"], "--out: expected NAME.safetensors"),
        (["paper", "--out", tmp_path / "no" / "m.safetensors"], "in a folder that exists"),
        (["paper", "--budget", "soon"], "--budget: expected wall seconds"),
        (["paper", "--ell", "0"], "--ell: expected a whole number >= 1"),
        (["paper", "--coarse", "0"], "--coarse: expected a whole number >= 1"),
        (["clouds"], "expected a folder, module:function, file.py:function or one of paper, wide, iid-0"),
        ([tmp_path / "none.py:draw"], "none.py: expected a file with the function draw"),
    ]:
        assert message in refused("train", "surrogate", *arguments, "--refine", "2") and not (tmp_path / "no").exists()


def test_a_damaged_model_is_told(models, tmp_path):
    data = bytearray((models / "toy.safetensors").read_bytes())
    (tmp_path / "good.safetensors").write_bytes(data)
    data[-100] ^= 1
    (tmp_path / "bad.safetensors").write_bytes(data)
    problems = []
    assert shipped_models(problems, tmp_path) == {"bad": "changed", "good": "ok"}
    assert len(problems) == 1 and "expected the sha256" in problems[0]
    shipped = json.loads(skfem_ml("doctor", "--json").stdout)["models"]
    assert {"diffusion-q1-ell2-n8", "van-der-pol"} <= set(shipped) and set(shipped.values()) == {"ok"}
    assert "expected the sha256" in refused(
        "solve", "--method", "surrogate", "--surrogate", tmp_path / "bad.safetensors"
    )


def test_the_field_options_are_those_of_both_commands():
    helps = [skfem_ml(*command, "--help").stdout for command in (["solve"], ["compare", "diffusion"])]
    for option in ("--coarse", "--refine", "--extent", "--load", "--dirichlet", "--low", "--scale", "--name", "--seed"):
        assert all(option in text for text in helps)
