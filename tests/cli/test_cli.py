"""The command line: files, numbers, bad input, interruption."""

import csv
import json
import os
import re
import subprocess
import sys

import meshio
import numpy as np
import pytest
from PIL import Image
from skfem import MeshHex, MeshLine, MeshQuad, MeshTri
from skfem.io.meshio import to_meshio

from skfem_ml import __version__
from skfem_ml.cli import cases, doctor
from skfem_ml.coefficients import read_raster
from skfem_ml.meshes import coarsened, default_refinement, mesh_lattice, pixel_mesh, refinements
from tests.cli.commands import ROOT, environment, program, refused, rows, skfem_ml
from tests.gallery import l_shape, shuffled, stretched

SPE10 = ROOT.parent / "shared" / "data" / "spe10_model1_permx.csv"
NAMES = ("png", "vtu", "csv", "md", "json")
SMALL = ["--ell", "1", "--json"]


def compared(*arguments):
    result = skfem_ml("compare", "diffusion", *arguments, "--json")
    assert result.exit_code == 0, result.stderr
    return json.loads(result.stdout)


def write_mesh(path, mesh, **fields):
    data = to_meshio(mesh, cell_data={name: [values] for name, values in fields.items()}, encode_cell_data=False)
    data.points = np.pad(data.points, ((0, 0), (0, 3 - data.points.shape[1])))
    data.write(path)
    return path


@pytest.fixture(scope="module")
def main_job(tmp_path_factory):
    folder = tmp_path_factory.mktemp("main")
    result = skfem_ml("compare", "diffusion", "--output", folder)
    assert result.exit_code == 0, result.output
    return folder, result.stdout


# -- the main job ------------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_main_job_writes_every_file(main_job):
    folder, text = main_job
    assert sorted(path.name for path in folder.iterdir()) == sorted(f"diffusion.{suffix}" for suffix in NAMES)
    assert (folder / "diffusion.png").read_bytes()[:4] == b"\x89PNG"
    with Image.open(folder / "diffusion.png") as picture:
        assert picture.width > 1500 and len(picture.convert("RGB").getcolors(2**24)) > 500
    for told in ("16 x 16 coarse", "LOD ell=2", "128 x 128 fine", "default", "512 x 512, 4 x 4 cells in every cell"):
        assert told in text
    assert (folder / "diffusion.md").read_text().count("\n| ") >= 20


@pytest.mark.slow
def test_main_job_shows_the_model_that_fits_and_leaves_out_the_others(main_job):
    """Finding B4: no row with error 1, no hybrid that is exact LOD; the model is chosen by its card."""
    folder, text = main_job
    for n in (8, 32):
        name = f"diffusion-q1-ell2-n{n}"
        line = f"left out: {name}, for 100% of the patches are outside its training; show it by --surrogate {name}"
        assert line in text.splitlines() and line in (folder / "diffusion.md").read_text()
    found = rows(json.loads((folder / "diffusion.json").read_text()))
    learned, exact = found["surrogate, diffusion-wide-q1-ell2-n32"], found["u_h of LOD ell=2"]
    assert abs(learned["error_l2"] - exact["error_l2"]) < 0.05 * exact["error_l2"]
    assert max(row["error_l2"] for row in found.values()) < 0.9


@pytest.mark.slow
def test_a_model_that_is_asked_for_is_shown_with_what_it_did(tmp_path):
    """Finding B4: the row of the hybrid says what it recomputed; the warning is one line with four digits."""
    options = ["--surrogate", "diffusion-q1-ell2-n8", "--ell", "1", "--output", tmp_path]
    result = skfem_ml("compare", "diffusion", *options)
    row = next(line for line in result.stdout.splitlines() if line.startswith("hybrid, "))
    assert row.endswith("100.0% of the elements recomputed exactly; the surrogate is used nowhere")
    said = result.stderr.splitlines()  # a slow machine also hears how far it is
    told = [line.removeprefix("warning: ") for line in said if line.startswith("warning: ")]
    assert told and all(line.startswith("surrogate, diffusion") for line in told) and "range of training" in told[0]
    assert not re.search(r"\d\.\d{5,}", result.stderr)
    content = json.loads((tmp_path / "diffusion.json").read_text())
    assert content["warnings"] == told and content["left out"] == [] and "fine cells" in content


@pytest.mark.slow
def test_main_job_has_the_right_numbers(main_job):
    content = json.loads((main_job[0] / "diffusion.json").read_text())
    found = rows(content)
    assert not any(row["failure"] for row in content["rows"])
    assert found["fine FEM"]["error_l2"] == 0 and found["fine FEM"]["unknowns"] == 513**2
    for name in ("fine FEM, AMG-CG", "multigrid", "LOD ell=2, completed"):
        assert found[name]["error_energy"] < 1e-6
    assert found["multigrid, one pass"]["error_energy"] < 1e-2 < found["FEM, a cell of the field"]["error_energy"]
    null = [row for name, row in found.items() if name.startswith("coarse FEM")]
    lod, coarse = ([found[f"{name} ell={ell}"] for ell in (1, 2)] for name in ("LOD", "u_h of LOD"))
    assert len(null) == 4 and {row["unknowns"] for row in lod + coarse} == {17**2}
    for key in ("error_l2", "error_energy"):
        assert lod[1][key] < 0.3 * lod[0][key] < 0.3 * min(row[key] for row in null if row[key] is not None)
    # The energy of a coarse answer with another coefficient says nothing, and is not told.
    assert [row["error_energy"] is None for row in null] == [False, True, True, True]
    assert all(row["error_energy"] is None for row in coarse)
    assert content["advice"].startswith("for this, use multigrid")
    assert content["coefficient"]["contrast"] == pytest.approx(92, rel=1e-2)
    with open(main_job[0] / "diffusion.csv", newline="") as file:
        table = list(csv.DictReader(file))
    assert [float(row["error_l2"]) for row in table] == [row["error_l2"] for row in content["rows"]]


@pytest.mark.slow
def test_vtu_has_the_same_numbers(main_job):
    content = json.loads((main_job[0] / "diffusion.json").read_text())
    data = meshio.read(main_job[0] / "diffusion.vtu")
    assert set(content["vtu"].values()) <= set(data.point_data)
    corners = data.points[data.cells_dict["quad"]]
    values = read_raster(cases.shipped_field())
    middle = corners.mean(axis=1)
    expected = values[(middle[:, 1] * 128).astype(int), (middle[:, 0] * 128).astype(int)]
    assert np.array_equal(data.cell_data["coefficient"][0], expected)
    fine = data.point_data["u_fine_FEM"]
    for name in ("coarse FEM", "LOD ell=2"):
        u, error = (data.point_data[prefix + content["vtu"][name][2:]] for prefix in ("u_", "error_"))
        assert np.allclose(u - fine, error, atol=1e-15)
        # Nodal values against the integrated norm: close, not equal.
        assert np.linalg.norm(error) / np.linalg.norm(fine) == pytest.approx(rows(content)[name]["error_l2"], rel=0.1)


@pytest.mark.slow
def test_existing_files_are_replaced_and_nothing_else_is_left(tmp_path):
    (tmp_path / "diffusion.json").write_text("old")
    (tmp_path / "kept.txt").write_text("kept")
    values = tmp_path / "field.npy"
    np.save(values, np.random.default_rng(0).uniform(1, 2, (8, 8)))
    content = compared(values, "--ell", "1", "--output", tmp_path)
    assert json.loads((tmp_path / "diffusion.json").read_text()) == content
    assert {path.name for path in tmp_path.iterdir()} == {"kept.txt", "field.npy", *(f"diffusion.{s}" for s in NAMES)}


@pytest.mark.slow
def test_quiet_prints_nothing_and_galerkin_adds_rows(tmp_path):
    np.save(tmp_path / "a.npy", np.random.default_rng(0).uniform(1, 9, (16, 16)))
    options = ("--quiet", "--ell", "2,9", "--galerkin", "--output", tmp_path)
    result = skfem_ml("compare", "diffusion", tmp_path / "a.npy", *options)
    # --ell 9 is more than fits into four coarse cells.
    assert result.exit_code == 0 and result.stdout == "" and result.stderr.startswith("warning: --ell: 9 layers")
    assert result.stderr.count("\n") == 1
    found = rows(json.loads((tmp_path / "diffusion.json").read_text()))
    assert found["LOD ell=9"]["error_l2"] < 1e-9 < found["LOD ell=2"]["error_l2"]
    assert found["LOD ell=9, Galerkin"]["error_energy"] < 1e-9  # which is of another way, to the same


@pytest.mark.slow
def test_costs_are_reckoned_for_many_loads_and_fields(tmp_path):
    """``--loads 100``: a basis for many loads joins, totals are by stage, and one sentence says what to use."""
    np.save(tmp_path / "a.npy", np.random.default_rng(0).uniform(1, 9, (16, 16)))
    options = ("--loads", 100, "--fields", 3, "--within", 0.05, "--ell", 2, "--output", tmp_path)
    text = skfem_ml("compare", "diffusion", tmp_path / "a.npy", *options).stdout
    content = json.loads((tmp_path / "diffusion.json").read_text())
    found = rows(content)
    assert found["SLOD ell=2"]["error_energy"] < 0.05 and content["loads"] == 100 and content["fields"] == 3
    for row in found.values():
        stages = [row[f"cpu_s_{stage}"] for stage in ("mesh", "field", "load")]
        assert row["cpu_seconds"] == pytest.approx(stages[0] + 3 * (stages[1] + 100 * stages[2]))
    last = text.strip().splitlines()[-3]
    assert last == content["advice"] and last.startswith("for this, use ") and "3 coefficient(s) of 100 load(s)" in text
    assert "no function on the 16 coarse cells is nearer to the first fine solution than" in text
    assert refused("compare", "diffusion", tmp_path / "a.npy", "--within", 0).startswith("error: --within: expected")


def test_a_warning_of_the_library_is_one_line(tmp_path):
    np.save(tmp_path / "a.npy", np.where(np.eye(8) > 0, 1e11, 1.0))
    result = skfem_ml("solve", tmp_path / "a.npy", "--method", "fem", "--output", tmp_path)
    assert result.exit_code == 0 and result.stderr.count("\n") == 1 and result.stderr.startswith("warning: a: contrast")


# -- fields ------------------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_spe10_or_a_stand_in_on_its_rectangle(tmp_path):
    path = SPE10
    if not path.is_file():
        path = tmp_path / "stand_in.csv"
        layers = np.repeat(10.0 ** np.random.default_rng(3).uniform(-3, 3, (20, 10)), 10, axis=1)
        np.savetxt(path, layers, delimiter=",")
    content = compared(path, "--extent", "2500x50", "--output", tmp_path)
    assert content["extent"] == pytest.approx([2500, 50]) and content["fine grid"] == "100 x 20"
    assert content["refine"] == 5 and content["coarse grid"] == "20 x 4"
    found = rows(content)
    null = min(row["error_l2"] for name, row in found.items() if name.startswith("coarse FEM"))
    assert found["LOD ell=2"]["error_l2"] < 0.5 * null
    data = meshio.read(tmp_path / "diffusion.vtu")
    assert data.points.max(axis=0)[:2] == pytest.approx([2500, 50])


@pytest.mark.slow
def test_an_image_with_mixed_boundary(tmp_path):
    grey = np.random.default_rng(0).integers(0, 256, (12, 24)).astype(np.uint8)
    Image.fromarray(grey).save(tmp_path / "field.png")
    content = compared(
        tmp_path / "field.png",
        "--low",
        1,
        "--high",
        10,
        "--refine",
        3,
        "--dirichlet",
        "left,top",
        "--load",
        2,
        "--output",
        tmp_path,
        "--ell",
        2,
    )
    assert content["fine grid"] == "24 x 12" and content["coarse grid"] == "8 x 4" and content["extent"] == [1, 0.5]
    assert content["dirichlet"] == ["left", "top"] and content["coefficient"]["min"] >= 1
    assert rows(content)["LOD ell=2"]["error_l2"] < 0.1
    u = meshio.read(tmp_path / "diffusion.vtu")
    right = u.points[:, 0] > 1 - 1e-9
    assert u.point_data["u_LOD_ell_2"][right & (u.points[:, 1] < 0.4)].min() > 0


@pytest.mark.parametrize("command", [["solve"], ["compare", "diffusion", "--ell", "1"]])
def test_one_coarse_cell_is_refused_with_the_remedy(command, tmp_path):
    """Finding A9: a --refine as large as the field left u = 0 and exit code 0."""
    np.save(tmp_path / "a.npy", np.random.default_rng(0).uniform(1, 9, (8, 32)))
    message = refused(*command, tmp_path / "a.npy", "--refine", "8", "--output", tmp_path / "out")
    assert message.startswith("error: --refine: expected coarse cells with a node off the Dirichlet part, got 4 x 1")
    assert message.endswith("so that u_h = 0; take a smaller one: 2, 4\n") and not (tmp_path / "out").exists()
    for option in ("--refine", "--coarse"):
        number = {"--refine": "128", "--coarse": "1"}[option]
        assert "got 1 x 1 coarse cells of 128" in refused(*command, option, number)
    # With free nodes on two sides there is something to compute.
    options = ["--refine", "8", "--dirichlet", "left,right", "--json", "--output", tmp_path]
    result = skfem_ml("solve", tmp_path / "a.npy", *options)
    assert result.exit_code == 0 and json.loads(result.stdout)["max"] > 0, result.stderr


@pytest.mark.slow
def test_an_ell_that_is_clipped_is_told(tmp_path):
    """Finding A9: ell was clipped from 2 to 1 silently."""
    np.save(tmp_path / "a.npy", np.random.default_rng(0).uniform(1, 9, (8, 8)))
    for command in (["solve"], ["compare", "diffusion", "--ell", "1,2"]):
        result = skfem_ml(*command, tmp_path / "a.npy", "--refine", "4", "--output", tmp_path)
        assert result.exit_code == 0 and result.stderr.startswith("warning: --ell: 2 layers are more than fit")
        assert result.stderr.count("\n") == 1 and "ell = 1" in result.stderr


@pytest.mark.slow
@pytest.mark.parametrize("shape", [(64, 64), (20, 30)])
def test_no_field_is_resampled_and_the_commands_say_so(shape, tmp_path):
    """Finding A10: one cell a pixel, whatever the shape; values are those of the file."""
    values = np.random.default_rng(0).uniform(1, 9, shape)
    np.save(tmp_path / "a.npy", values)
    fine = f"{shape[1]} x {shape[0]}"
    for command in (["solve"], ["compare", "diffusion", "--ell", "1"]):
        text = skfem_ml(*command, tmp_path / "a.npy", "--output", tmp_path).stdout
        assert f"fine mesh: one cell per pixel, values unchanged; {fine} fine" in text
    cells = meshio.read(tmp_path / "solve_lod.vtu").cell_data["coefficient"][0]
    assert np.array_equal(np.sort(cells), np.sort(values, axis=None))


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["l_shape", "stretched", "hex"])
def test_a_mesh_file_is_its_own_fine_mesh(kind, tmp_path):
    mesh = {
        "l_shape": shuffled(l_shape(3), np.random.default_rng(1))[0],
        "stretched": MeshQuad.init_tensor(np.linspace(3, 9, 17), np.linspace(0, 1, 9)),
        "hex": MeshHex().refined(2),
    }[kind]
    a = np.random.default_rng(0).uniform(1, 20, mesh.t.shape[1])
    path = write_mesh(tmp_path / "field.vtu", mesh, perm=a, other=-a)
    content = compared(path, "--name", "perm", "--refine", 2, "--ell", 9, "--output", tmp_path)
    assert content["fine cells"] == mesh.t.shape[1] == content["coarse cells"] * 2 ** mesh.dim()
    assert rows(content)["LOD ell=9"]["error_l2"] < 1e-9
    data = meshio.read(tmp_path / "diffusion.vtu")
    assert np.allclose(data.cell_data["coefficient"][0], a)
    assert np.allclose(data.points[:, : mesh.dim()], mesh.p.T)


def test_physical_groups_of_a_mesh_that_gmsh_wrote(tmp_path):
    path = ROOT / "tests" / "data" / "gmsh41.msh"
    for tags in ("matrix=1,inclusion=50", " 1 = 1, inclusion=5e1"):
        result = skfem_ml("solve", path, "--tags", tags, "--dirichlet", "left,right", "--output", tmp_path, "--json")
        assert result.exit_code == 0, result.stderr
        assert json.loads(result.stdout)["coefficient"] == {"min": 1, "max": 50, "contrast": 50}
    for tags, message in [
        (None, "its physical groups are 1 ('matrix'), 2 ('inclusion'): give each a value by --tags"),
        ("matrix", "--tags: expected GROUP=VALUE joined by commas, such as rock=1,ore=50, got 'matrix'"),
        ("matrix=x", "expected GROUP=VALUE"),
        ("matrix=1", "tags: no value for 2 ('inclusion')"),
    ]:
        more = [] if tags is None else ["--tags", tags]
        assert message in refused("solve", path, *more, "--output", tmp_path)


def test_a_single_row_is_a_line(tmp_path):
    np.save(tmp_path / "row.npy", np.random.default_rng(0).uniform(1, 20, (1, 32)))
    content = compared(tmp_path / "row.npy", "--ell", 1, "--output", tmp_path)
    assert content["fine grid"] == "32" and rows(content)["LOD ell=1"]["error_l2"] < 0.1


def test_a_drawn_field_is_the_shipped_one_for_its_seed(tmp_path):
    assert np.array_equal(cases.drawn_field(2), np.load(cases.shipped_field()))
    assert cases.shipped_field().stat().st_size < 100_000
    drawn = cases.read_case(None, cases.FieldOptions(seed=5))
    assert drawn.facts["field"] == "discs on noise, drawn with seed 5"
    assert drawn.problem.a.max() == 100 and not np.array_equal(
        drawn.problem.a, cases.read_case(None, cases.FieldOptions()).problem.a
    )


# -- meshes for fields -------------------------------------------------------------------------------------------------


def test_pixels_keep_their_values_and_places():
    values = np.arange(1.0, 13).reshape(3, 4)
    mesh, a = pixel_mesh(values, (8, 30))
    grid = mesh_lattice(mesh)
    assert np.array_equal(a, values[grid.index[1], grid.index[0]])
    assert mesh.p.max(axis=1).tolist() == [8, 30] and set(mesh.boundaries) == {"left", "right", "bottom", "top"}
    line, a = pixel_mesh(values[:1])
    assert line.dim() == 1 and np.array_equal(a, values[0]) and set(line.boundaries) == {"left", "right"}


@pytest.mark.parametrize(
    ("shape", "n"), [((100, 20), 5), ((128, 128), 8), ((12, 8), 2), ((60, 220), 5), ((64,), 8), ((6, 6), 2)]
)
def test_default_refinement(shape, n):
    assert default_refinement(shape) == n and n in refinements(shape)


@pytest.mark.parametrize(
    ("shape", "advice"), [((101, 20), r"100 x 20 \(n = 5\)"), ((7, 7), r"6 x 6 \(n = 3\)"), ((1, 1), "at least 4")]
)
def test_sizes_that_do_not_split_are_refused_with_advice(shape, advice):
    with pytest.raises(ValueError, match=advice):
        default_refinement(shape)


def test_coarsening_refuses_what_does_not_fit():
    assert coarsened(l_shape(2), 2).t.shape[1] == 12
    with pytest.raises(ValueError, match="these do: 2, 4, 8"):
        coarsened(l_shape(2), 3)
    with pytest.raises(ValueError, match="partly outside"):
        coarsened(l_shape(2), 8)
    with pytest.raises(ValueError, match="unequal ones on axis 0"):
        coarsened(stretched(10, 4), 2)
    with pytest.raises(TypeError, match="axis-parallel boxes"):
        coarsened(MeshTri().refined(2), 2)
    assert coarsened(MeshLine().refined(3), 4).t.shape[1] == 2


# -- solve -------------------------------------------------------------------------------------------------------------


def test_solve_by_both_methods(tmp_path):
    np.save(tmp_path / "a.npy", np.random.default_rng(0).uniform(1, 9, (16, 16)))
    summaries = {}
    for method, more in (("fem", []), ("lod", ["--ell", "9", "--corrected"])):
        result = skfem_ml("solve", tmp_path / "a.npy", "--method", method, "--json", "--output", tmp_path, *more)
        assert result.exit_code == 0, result.stderr
        summaries[method] = json.loads(result.stdout)
        assert (tmp_path / f"solve_{method}.png").read_bytes()[:4] == b"\x89PNG"
    fem, lod = (meshio.read(tmp_path / f"solve_{method}.vtu").point_data["u"] for method in ("fem", "lod"))
    assert abs(fem - lod).max() < 1e-9 * fem.max()
    assert summaries["lod"]["unknowns"] < summaries["fem"]["unknowns"] == 289
    assert summaries["fem"]["norm_energy"] == pytest.approx(summaries["lod"]["norm_energy"])
    text = skfem_ml("solve", tmp_path / "a.npy", "--output", tmp_path).stdout
    assert "method: lod, ell = 2, petrov-galerkin; 25 unknowns" in text and "solve_lod.vtu" in text


# -- doctor, demos, version --------------------------------------------------------------------------------------------


def test_doctor_finds_everything_in_order():
    result = skfem_ml("doctor", "--json")
    content = json.loads(result.stdout)
    assert result.exit_code == 0 and content["problems"] == []
    assert content["files"] == {"inclusions.npy": "ok", "cylinder.npz": "ok"} and content["self-test"][
        "LOD engines"
    ].startswith("agree")
    assert "cpu" in content["devices"] and content["versions"]["skfem-ml"] == __version__
    assert "everything in order" in skfem_ml("doctor").stdout


def test_doctor_reports_a_changed_file_and_a_failing_self_test(tmp_path, monkeypatch):
    manifest = {"inclusions.npy": "0" * 64, "gone.npy": "1" * 64}
    (tmp_path / "manifest.json").write_text(json.dumps(manifest))
    (tmp_path / "inclusions.npy").write_bytes(b"x")
    problems = []
    room = doctor
    assert room.shipped_files(problems, tmp_path) == {"inclusions.npy": "changed", "gone.npy": "missing"}
    assert len(problems) == 2
    monkeypatch.setattr(room, "AGREEMENT", -1.0)
    result = skfem_ml("doctor")
    assert result.exit_code == 1 and "the engines of LOD differ" in result.stderr


def test_version_and_help():
    assert skfem_ml("--version").stdout == f"skfem-ml {__version__}\n"
    assert "compare" in skfem_ml().stdout and "--refine" in skfem_ml("compare", "diffusion", "--help").stdout


# -- bad input ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["nowhere.npy"], "expected a file, found nothing"),
        (["--ell", "0"], "--ell: expected different whole numbers >= 1"),
        (["--ell", "one"], "such as 1,2,3, got 'one'"),
        (["--coarse", "5"], "expected one of 1, 2, 4, 8, 16, 32, 64"),
        (["--refine", "3"], "these do: 2, 4, 8, 16, 32, 64, 128"),
        (["--refine", "2", "--coarse", "2"], "--coarse, --refine: expected one of them, got both"),
        (["--refine", "two"], "--refine"),
        (["--engine", "fast"], "--engine: expected one of 'auto', 'condensation', 'reference', got"),
        (["--extent", "1x"], "such as 2500x50, got '1x'"),
        (["--extent", "1x2x3"], "expected 2 lengths"),
        (["--extent", "0x1"], "expected a positive"),
        (["--load", "nan"], "--load: expected a finite number"),
        (
            ["--dirichlet", "north"],
            "--dirichlet: expected sides joined by commas, of bottom, left,",
        ),
        (["--low", "1"], "--low, --high and --scale are for images"),
        (["--name", "perm"], "leave out --name"),
        (["--tags", "rock=1"], "--tags: maps physical groups of a mesh file; a raster has one field"),
        (["--nonsense"], "--nonsense"),
        (["--output", os.devnull + "/folder"], "output: cannot write into"),
    ],
)
def test_bad_options_end_in_one_line(arguments, message):
    assert message in refused("compare", "diffusion", *arguments)


@pytest.mark.parametrize(
    ("name", "content", "more", "message"),
    [
        ("odd.npy", np.ones((21, 101)), [], "for example to 100 x 20 (n = 5)"),
        ("negative.npy", -np.ones((4, 4)), [], "16 of 16 values are not positive"),
        ("cube.npy", np.ones((4, 4, 4)), [], "expected a 2-D array"),
        ("text.csv", "1,2\n3,x\n", [], "row 2, column 2"),
        ("field.xyz", "1", [], ".vtk, .xdmf, .msh, got .xyz"),
        ("broken.vtu", "no mesh", [], "cannot be read as a mesh"),
        ("fine.npy", np.ones((4, 4)), ["--seed", "1"], "leave out --seed or FIELD"),
    ],
)
def test_bad_fields_end_in_one_line(tmp_path, name, content, more, message):
    if isinstance(content, str):
        (tmp_path / name).write_text(content)
    else:
        np.save(tmp_path / name, content)
    assert message in refused("compare", "diffusion", tmp_path / name, "--output", tmp_path / "out", *more)


def test_bad_images_and_meshes_end_in_one_line(tmp_path):
    Image.fromarray(np.zeros((8, 8), dtype=np.uint8)).save(tmp_path / "grey.png")
    assert "give --low and --high" in refused("compare", "diffusion", tmp_path / "grey.png", "--output", tmp_path)
    triangles = write_mesh(tmp_path / "triangles.vtu", MeshTri().refined(2), a=np.ones(32))
    assert "axis-parallel boxes" in refused("compare", "diffusion", triangles, "--output", tmp_path)
    quads = write_mesh(tmp_path / "quads.vtu", MeshQuad().refined(2), a=np.ones(16), b=np.ones(16))
    assert "choose one by --name: a, b" in refused("compare", "diffusion", quads, "--output", tmp_path)
    assert "leave out --extent" in refused("compare", "diffusion", quads, "--extent", "1x1", "--output", tmp_path)


def test_wrong_commands_end_in_one_line(tmp_path):
    assert "see skfem-ml --help" in refused_by_program("bla")
    assert "issing command" in refused("compare")
    assert "--method: expected one of 'fem', 'lod', 'surrogate', 'hybrid', got 'x'" in refused("solve", "--method", "x")
    (tmp_path / "solve_fem.png").mkdir()
    assert "is a folder" in refused("solve", "--method", "fem", "--output", tmp_path)


def test_debug_shows_the_traceback_wherever_it_stands():
    bad = ["compare", "diffusion", "--ell", "0"]
    for arguments in (["--debug", *bad], [*bad, "--debug"]):
        assert isinstance(skfem_ml(*arguments).exception, ValueError)


def test_a_bug_ends_in_one_line_with_code_1(monkeypatch):
    def broken(*_):
        raise ZeroDivisionError("by zero")

    monkeypatch.setattr(cases, "read_case", broken)
    result = skfem_ml("solve")
    assert result.exit_code == 1
    assert result.stderr == "error: unexpected ZeroDivisionError: by zero; add --debug for the traceback\n"


def test_a_failed_row_is_told_and_ends_with_code_1(tmp_path, monkeypatch):
    room = sys.modules["skfem_ml.cli.compare.diffusion"]
    whole = room.diffusion_rows
    monkeypatch.setattr(room, "diffusion_rows", lambda *a: whole(*a[:3], {"broken": lambda problem: 1 / 0}))
    np.save(tmp_path / "a.npy", np.ones((8, 8)))
    result = skfem_ml("compare", "diffusion", tmp_path / "a.npy", "--output", tmp_path)
    assert result.exit_code == 1 and "broken: ZeroDivisionError" in result.stderr and "LOD ell=1" in result.stdout
    assert (tmp_path / "diffusion.json").is_file()


# -- the real program --------------------------------------------------------------------------------------------------


def refused_by_program(*arguments):
    result = subprocess.run(program(*arguments), capture_output=True, text=True, env=environment(), check=False)
    assert result.returncode == 2 and result.stderr.count("\n") == 1
    return result.stderr


@pytest.mark.slow
def test_the_program_from_another_folder(tmp_path):
    np.save(tmp_path / "a.npy", np.random.default_rng(0).uniform(1, 9, (8, 8)))
    result = subprocess.run(
        program("compare", "diffusion", "a.npy"),
        capture_output=True,
        text=True,
        cwd=tmp_path,
        env=environment(),
        check=False,
    )
    assert result.returncode == 0, result.stderr
    assert result.stderr == "" and "LOD ell=2" in result.stdout
    assert sorted(path.suffix[1:] for path in (tmp_path / "skfem_ml_output").iterdir()) == sorted(NAMES)
