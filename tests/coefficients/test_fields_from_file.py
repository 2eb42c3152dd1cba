"""Fields from images, tables and mesh files: position, resampling, and an error for every kind of broken file."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from skfem import MeshHex, MeshLine, MeshQuad, MeshTri

from skfem_ml.coefficients import from_file, from_image, iid_multilevel, read_raster
from skfem_ml.meshes import mesh_lattice, raster_to_cells, widths
from skfem_ml.problems import Diffusion
from skfem_ml.reference import solver_fem
from skfem_ml.solvers import solver_pyamg
from tests.gallery import shuffled, stretched

SPE10 = Path(__file__).parents[2] / ".." / "shared" / "data" / "spe10_model1_permx.csv"
RASTER = np.arange(1.0, 13.0).reshape(3, 4)  # first row is the top


def boxes(nx, ny):
    return MeshQuad.init_tensor(np.linspace(0, 1, nx + 1), np.linspace(0, 1, ny + 1))


def on_lattice(mesh, a):
    """Return a coefficient as an array whose first row is the bottom."""
    grid = mesh_lattice(mesh)
    field = np.full(grid.shape, np.nan)
    field[tuple(grid.index)] = a
    return field.T


@pytest.fixture
def raster_files(tmp_path):
    np.save(tmp_path / "field.npy", RASTER)
    lines = "# a field\n" + "\n".join(",".join(map(str, row)) for row in RASTER) + "\n\n"
    (tmp_path / "field.csv").write_text(lines)
    return tmp_path


@pytest.mark.parametrize("file", ["field.npy", "field.csv"])
def test_first_row_of_a_raster_is_the_top(raster_files, file):
    path = raster_files / file
    np.testing.assert_array_equal(read_raster(path), RASTER[::-1])
    np.testing.assert_array_equal(read_raster(path, origin="lower"), RASTER)
    mesh = boxes(4, 3)
    np.testing.assert_array_equal(on_lattice(mesh, from_file(path, mesh)), RASTER[::-1])
    np.testing.assert_array_equal(on_lattice(mesh, from_file(path, mesh, origin="lower")), RASTER)


@pytest.mark.parametrize("resample", ["nearest", "arithmetic", "harmonic", "geometric"])
def test_refined_and_shuffled_meshes_repeat_the_pixels(raster_files, resample):
    mesh, order = shuffled(boxes(12, 6), np.random.default_rng(0))
    a = from_file(raster_files / "field.npy", mesh, resample=resample)
    np.testing.assert_allclose(on_lattice(mesh, a), np.kron(RASTER[::-1], np.ones((2, 3))), rtol=1e-13)
    np.testing.assert_allclose(a, from_file(raster_files / "field.npy", boxes(12, 6), resample=resample)[order])


def test_means_over_several_pixels_are_exact():
    values = np.array([[1.0, 4.0], [2.0, 8.0]])
    one = boxes(1, 1)
    assert raster_to_cells(values, one, "arithmetic")[0] == pytest.approx(15 / 4)
    assert raster_to_cells(values, one, "harmonic")[0] == pytest.approx(4 / (1 + 1 / 4 + 1 / 2 + 1 / 8))
    assert raster_to_cells(values, one, "geometric")[0] == pytest.approx(64 ** (1 / 4))
    # Three cells over two pixels: the middle one is half and half.
    row = raster_to_cells(np.array([[1.0, 4.0]]), MeshLine(np.linspace(0, 1, 4)), "arithmetic")
    np.testing.assert_allclose(np.sort(row), [1, 2.5, 4])


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 999), ny=st.integers(1, 9), nx=st.integers(1, 9), contrast=st.floats(1, 1e8))
def test_means_are_ordered_bounded_and_conserve_the_integral(seed, ny, nx, contrast):
    rng = np.random.default_rng(seed)
    values = contrast ** rng.random((ny, nx))
    mesh = stretched(7, 5)
    harmonic, geometric, arithmetic = (
        raster_to_cells(values, mesh, mean) for mean in ("harmonic", "geometric", "arithmetic")
    )
    slack = 1 + 1e-12
    assert (harmonic <= geometric * slack).all() and (geometric <= arithmetic * slack).all()
    assert harmonic.min() >= values.min() / slack and arithmetic.max() <= values.max() * slack
    weights = widths(mesh).prod(axis=0) / widths(mesh).prod(axis=0).sum()
    assert weights @ arithmetic == pytest.approx(values.mean())
    assert weights @ (1 / harmonic) == pytest.approx((1 / values).mean())
    assert weights @ np.log(geometric) == pytest.approx(np.log(values).mean(), abs=1e-12)


def test_means_need_boxes_and_a_fitting_dimension():
    with pytest.raises(ValueError, match=r"axis-aligned boxes of one grid, got MeshTri1.*use resample='nearest'"):
        raster_to_cells(RASTER, MeshTri().refined(2), "harmonic")
    assert raster_to_cells(RASTER, MeshTri().refined(2), "nearest").shape == (32,)
    assert set(raster_to_cells(RASTER[:2, :2], MeshTri().refined(2))) == set(RASTER[:2, :2].ravel())
    with pytest.raises(ValueError, match="dimension 3"):
        raster_to_cells(RASTER, MeshHex())
    with pytest.raises(ValueError, match="dimension 1"):
        raster_to_cells(RASTER, MeshLine())
    with pytest.raises(ValueError, match="resample: expected one of 'nearest'"):
        raster_to_cells(RASTER, boxes(2, 2), "cubic")


def test_spe10_loads_on_its_true_section(tmp_path):
    path = SPE10
    if not path.is_file():  # a stand-in of the same shape and contrast
        path = tmp_path / "permx.csv"
        values = 10 ** np.random.default_rng(0).uniform(-3, 3, (20, 100))
        values[0, 0], values[-1, -1] = 1e-3, 998.9154
        np.savetxt(path, np.clip(values, 1e-3, 998.9154), delimiter=",", header="stand-in")
    mesh = MeshQuad.init_tensor(np.linspace(0, 2500, 101), np.linspace(0, 50, 21))
    a = from_file(path, mesh)
    table = np.loadtxt(path, delimiter=",")
    assert table.shape == (20, 100)
    np.testing.assert_array_equal(on_lattice(mesh, a), table[::-1])
    assert a.max() / a.min() == pytest.approx(998.9154 / 1e-3)
    np.testing.assert_allclose(from_file(path, mesh, resample="harmonic"), a, rtol=1e-12)
    problem = Diffusion(mesh, a)
    u = solver_fem()(problem)
    # Tested with itself. (Flat cells of contrast 1e6 have no discrete maximum principle: u dips below zero.)
    assert u.y @ problem.stiffness(u.basis) @ u.y == pytest.approx(problem.load(u.basis) @ u.y, rel=1e-8)
    assert u.y.max() > 0 and abs(u.y).max() == u.y.max()  # Q1 on flat cells may dip below zero, but not far
    multigrid = solver_fem(solver=solver_pyamg())(problem)
    np.testing.assert_allclose(multigrid.y, u.y, atol=1e-7 * u.y.max())


def test_grey_levels_become_values(tmp_path):
    grey = np.array([[0, 255], [51, 102]], dtype=np.uint8)
    Image.fromarray(grey).save(tmp_path / "g.png")
    mesh = boxes(2, 2)
    expected = 1 + 4 * (grey[::-1] / 255)
    np.testing.assert_allclose(on_lattice(mesh, from_image(tmp_path / "g.png", mesh, low=1, high=5)), expected)
    np.testing.assert_allclose(on_lattice(mesh, from_file(tmp_path / "g.png", mesh, low=1, high=5)), expected)
    log = from_image(tmp_path / "g.png", mesh, low=1e-2, high=1e4, scale="log")
    np.testing.assert_allclose(on_lattice(mesh, log), 10 ** (-2 + 6 * (grey[::-1] / 255)))
    Image.fromarray(np.array([[0, 65535]], dtype=np.uint16)).save(tmp_path / "deep.png")
    np.testing.assert_allclose(read_raster(tmp_path / "deep.png", low=1, high=5), [[1, 5]])
    Image.fromarray(np.stack([grey] * 3, axis=-1)).save(tmp_path / "grey_rgb.png")
    np.testing.assert_allclose(read_raster(tmp_path / "grey_rgb.png", low=1, high=5), expected)
    Image.fromarray(grey).convert("1").save(tmp_path / "bits.png")
    assert set(np.unique(read_raster(tmp_path / "bits.png", low=1, high=5))) <= {1.0, 5.0}
    Image.fromarray(np.full((16, 16), 128, np.uint8)).save(tmp_path / "j.jpg")
    np.testing.assert_allclose(read_raster(tmp_path / "j.jpg", low=1, high=256), 129, atol=2)


def test_images_that_have_no_single_grey_level_are_refused(tmp_path):
    Image.fromarray(np.zeros((2, 2, 3), np.uint8) + np.array([9, 0, 0], np.uint8)).save(tmp_path / "red.png")
    Image.fromarray(np.full((2, 2, 4), 7, np.uint8)).save(tmp_path / "glass.png")
    mesh = boxes(2, 2)
    with pytest.raises(ValueError, match=r"colour image .*grayscale"):
        from_image(tmp_path / "red.png", mesh, low=1, high=2)
    with pytest.raises(ValueError, match="transparent"):
        from_image(tmp_path / "glass.png", mesh, low=1, high=2)
    with pytest.raises(ValueError, match="pass low= and high="):
        from_file(tmp_path / "red.png", mesh)
    with pytest.raises(ValueError, match="0 < low <= high"):
        from_image(tmp_path / "red.png", mesh, low=0, high=2)
    with pytest.raises(ValueError, match="use from_file"):
        from_image(tmp_path / "field.npy", mesh, low=1, high=2)


BAD_TABLES = {
    "empty.csv": ("", "the file is empty"),
    "comment.csv": ("# nothing\n", "no numbers found"),
    "ragged.csv": ("1,2\n3\n", "row 2 has 1 values, expected 2"),
    "words.csv": ("1,2\n3,four\n", "row 2, column 2: expected a number, got 'four'"),
    "points.csv": ("X; y; perm\n1;2;3\n", "the header names coordinates, x and y; expected a raster"),
    "half.csv": ("x,2\n1,2\n", "row 1, column 1: expected a number, got 'x'.*#"),
    "comma.csv": (",,\n1,2,3\n", "row 1, column 1: expected a number, got ''"),
    "marks.csv": ("1.234;2,5\n", "decimal commas and points in one file"),
    "words only.csv": ("a,b\nc,d\n", "row 1, column 1: expected a number, got 'c'"),
    "gap.csv": ("1,2,\n", "row 1, column 3: expected a number, got ''"),
    "nan.csv": ("1,2\n3,nan\n", "1 of 4 values are not finite, the first is nan in row 2, column 2"),
    "zero.csv": ("1,2\n0,3\n", "1 of 4 values are not positive, the first is 0.0 in row 2, column 1"),
    "field.xyz": ("x", "unknown suffix '.xyz', expected one of .*tif.*csv.*vtu"),
    "noise.tif": ("x", r"cannot be read as an image \(cannot identify image file 'noise.tif'\)"),
    "noise.png": ("not an image", "cannot be read as an image"),
    "noise.npy": ("not an array", "cannot be read as a plain .npy"),
    "noise.vtu": ("<VTKFile", "cannot be read as a mesh"),
    "noise.msh": ("what", "cannot be read as a mesh"),
    "empty.vtk": ("", "the file is empty"),
}


@pytest.mark.parametrize("file", BAD_TABLES)
def test_broken_files_say_what_is_wrong(tmp_path, file):
    text, message = BAD_TABLES[file]
    (tmp_path / file).write_text(text)
    levels = {"low": 1, "high": 2} if file.endswith("png") else {}
    with pytest.raises(ValueError, match=message):
        from_file(tmp_path / file, boxes(2, 2), **levels)


def test_broken_arrays_say_what_is_wrong(tmp_path):
    path, mesh = tmp_path / "a.npy", boxes(2, 2)
    for values, message in [
        (np.ones((2, 2, 2)), r"2-D array \(rows, columns\) with entries, got shape \(2, 2, 2\)"),
        (np.ones(4), r"got shape \(4,\); for a line"),
        (np.ones((0, 3)), r"got shape \(0, 3\)"),
        (np.ones((2, 2)) * 1j, "real numbers, got complex128"),
        (np.array([[1, np.inf]]), "first is inf in row 1, column 2"),
        (np.array([[1, None]], dtype=object), "pickled and object arrays are refused"),
    ]:
        np.save(path, values, allow_pickle=True)
        with pytest.raises(ValueError, match=message):
            from_file(path, mesh)
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(ValueError, match="cannot be read"):
        from_file(path, mesh)
    with pytest.raises(FileNotFoundError, match=r"missing\.csv: expected a file, found nothing"):
        from_file(tmp_path / "missing.csv", mesh)
    (tmp_path / "folder.vtu").mkdir()
    with pytest.raises(FileNotFoundError, match="found a folder"):
        from_file(tmp_path / "folder.vtu", mesh)


def test_arguments_that_would_be_ignored_are_refused(raster_files):
    mesh = boxes(2, 2)
    with pytest.raises(ValueError, match="low, high and scale are for images"):
        from_file(raster_files / "field.csv", mesh, low=1)
    with pytest.raises(ValueError, match=r"name= and tags= are for cell data of a mesh file; a \.csv file has one"):
        from_file(raster_files / "field.csv", mesh, name="perm")
    with pytest.raises(ValueError, match="origin: expected one of 'upper'"):
        from_file(raster_files / "field.csv", mesh, origin="top")
    (raster_files / "m.vtu").write_text("x")
    with pytest.raises(ValueError, match="expected resample=None or 'nearest' for a mesh file, got 'harmonic'"):
        from_file(raster_files / "m.vtu", mesh, resample="harmonic")
    with pytest.raises(ValueError, match="are for rasters"):
        from_file(raster_files / "m.vtu", mesh, origin="lower")
    with pytest.raises(ValueError, match="name= and tags= are for cell data"):
        from_file(raster_files / "field.csv", mesh, tags={1: 2.0})


@pytest.mark.parametrize(("nx", "ny"), [(2, 3), (6, 3), (4, 4), (5, 5), (1, 1)])
def test_nothing_is_resampled_silently(raster_files, nx, ny):
    """Finding A10: a raster whose pixels are not cells or n x n cells is refused unless it is said how to resample."""
    message = rf"field.npy: resample: .* got 4 x 3 pixels on a grid of {nx} x {ny} cells.*pixel_mesh"
    with pytest.raises(ValueError, match=message):
        from_file(raster_files / "field.npy", boxes(nx, ny))
    for rule in ("nearest", "arithmetic", "harmonic", "geometric"):
        assert from_file(raster_files / "field.npy", boxes(nx, ny), resample=rule).shape == (nx * ny,)
    assert from_file(raster_files / "field.npy", boxes(8, 9)).shape == (72,)  # integer, if not equal, along the axes


def test_coordinates_in_single_precision_are_no_resampling():
    mesh = boxes(300, 200)
    rounded = MeshQuad((10 + mesh.p).astype(np.float32).astype(float), mesh.t)
    values = np.random.default_rng(0).uniform(1, 2, (200, 300))
    np.testing.assert_array_equal(raster_to_cells(values, rounded), raster_to_cells(values, mesh))


@pytest.mark.parametrize(
    "text",
    [
        "1.5,2,3\n4,5,6e3\n",
        "a, b, c\n1.5,2,3\n4,5,6e3\n",
        "# units: mD\nleft;middle;right\n1,5;2;3\n\n4;5;6e3\n",
        "1.5; 2; 3\n4; 5; 6e3",
        "\ufeffleft;middle;right\r\n1,5;2;3\r\n4;5;6e3\r\n",
    ],
)
def test_tables_of_all_kinds(tmp_path, text):
    """Finding C: a header line, semicolons and decimal commas."""
    (tmp_path / "t.csv").write_bytes(text.encode())
    np.testing.assert_array_equal(read_raster(tmp_path / "t.csv", "lower"), [[1.5, 2, 3], [4, 5, 6e3]])


def test_errors_quote_no_long_line(tmp_path):
    """Finding C: at most 60 characters of a file are quoted."""
    for text in ("1," + "x" * 2000 + "\n", "1 2 3 " * 400 + "\n1 2\n", "1\n" + "2;" * 300 + "long\n"):
        (tmp_path / "t.csv").write_text(text)
        with pytest.raises(ValueError, match=r"t\.csv") as caught:
            read_raster(tmp_path / "t.csv")
        assert len(str(caught.value)) - len(str(tmp_path)) < 240


def test_tif(tmp_path):
    """Finding C: .tif of 8 and 16 bits between black and white, of 32-bit floats as they are."""
    levels = np.array([[0, 1], [2, 4]])
    for kind, white in ((np.uint8, 255), (np.uint16, 65535)):
        Image.fromarray((levels * (white // 4)).astype(kind)).save(tmp_path / "t.tif")
        white_is = (white // 4) * 4 / white
        expected = 1 + 7 * white_is * levels[::-1] / 4
        np.testing.assert_allclose(read_raster(tmp_path / "t.tif", low=1, high=8), expected, rtol=1e-12)
    with pytest.raises(ValueError, match="pass low= and high="):
        from_file(tmp_path / "t.tif", boxes(2, 2))
    values = np.float32([[0.1, 1e5], [2, 3]])
    Image.fromarray(values).save(tmp_path / "f.tiff")
    np.testing.assert_array_equal(read_raster(tmp_path / "f.tiff"), values[::-1])
    with pytest.raises(ValueError, match="this file holds values"):
        from_file(tmp_path / "f.tiff", boxes(2, 2), low=1, high=2)
    Image.fromarray(-values).save(tmp_path / "n.tif")
    with pytest.raises(ValueError, match=r"4 of 4 values are not positive, the first is -0\.1"):
        from_file(tmp_path / "n.tif", boxes(2, 2))
    Image.fromarray(values).save(tmp_path / "p.tif", save_all=True, append_images=[Image.fromarray(values)])
    with pytest.raises(ValueError, match="expected one picture, got 2 pages"):
        from_file(tmp_path / "p.tif", boxes(2, 2))
    (tmp_path / "cut.tif").write_bytes((tmp_path / "f.tiff").read_bytes()[:-9])
    with pytest.raises(ValueError, match="cannot be read as an image"):
        from_file(tmp_path / "cut.tif", boxes(2, 2))


def test_a_field_survives_a_round_trip_through_csv(tmp_path):
    mesh = boxes(8, 8)
    a = iid_multilevel(mesh, 3, 1, 5, np.random.default_rng(0))
    np.savetxt(tmp_path / "a.csv", on_lattice(mesh, a)[::-1], delimiter=",", fmt="%.17g")
    np.testing.assert_array_equal(from_file(tmp_path / "a.csv", mesh), a)
