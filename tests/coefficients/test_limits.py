"""What a file may cost: sizes that headers declare, blocks that unpack, loops, other files, and one door for errors."""

import base64
import io
import lzma
import re
import struct
import time
import tracemalloc
import zlib

import meshio
import numpy as np
import pytest
from PIL import Image
from skfem import MeshQuad

from skfem_ml import checks
from skfem_ml.coefficients import Limits, from_file, read_raster
from skfem_ml.coefficients.cell_data import mesh_of
from tests.coefficients.test_cell_data import GMSH, XDMF

MESH = MeshQuad().refined(1)


def npy(shape, data=b"", descr="'<f8'"):
    header = f"{{'descr': {descr}, 'fortran_order': False, 'shape': {shape}, }}".ljust(117) + "\n"
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header)) + header.encode() + data


def packed(method, blocks, declared):
    """A DataArray of base64: the header says that every block unpacks to ``declared`` bytes."""
    head = np.array([len(blocks), declared, declared, *map(len, blocks)], dtype="<u4").tobytes()
    text = (base64.b64encode(head) + base64.b64encode(b"".join(blocks))).decode()
    return f"""<VTKFile type="UnstructuredGrid" version="0.1" byte_order="LittleEndian" compressor="{method}">
<UnstructuredGrid><Piece NumberOfPoints="1" NumberOfCells="1"><Points><DataArray type="Float64" Name="Points"
NumberOfComponents="3" format="binary">{text}</DataArray></Points></Piece></UnstructuredGrid></VTKFile>"""


ZEROS = zlib.compress(bytes(2**20))
GRID = """# vtk DataFile Version 3.0
made of nothing
ASCII
DATASET STRUCTURED_POINTS
DIMENSIONS 20001 20001 2
ORIGIN 0 0 0
SPACING 1 1 1
"""
FAULTS = {
    "ten bytes.msh": ('(1 "meshio', r"cannot be read as a mesh \(no \$MeshFormat"),
    "lines.msh": (GMSH + "$ElementData\n999999999999\n", "expected names that the file's 99 bytes can hold"),
    "underscores.msh": (GMSH + "$ElementData\n1\n" + '"a"\n999_999_999_999\n', "expected times that the file's"),
    "number.msh": (GMSH.replace("\n6 2 1 0", "\n999999999 2 1 0"), "expected numbers of nodes up to"),
    "few nodes.msh": (GMSH.replace("$Nodes\n6", "$Nodes\n5000000"), "expected nodes that the file's"),
    "four.msh": (GMSH.replace("2.2 0 8", "4.0 0 8"), "expected Gmsh's format 2.2 or 4.1, got 4.0"),
    "grid.vtk": (GRID, "expected at most 100000000 cells, got 400000000"),
    "small grid.vtk": (GRID.replace("20001", "2001"), "expected a grid of cells with data that the file's"),
    "more.vtu": (
        packed("vtkZLibDataCompressor", [ZEROS], 100),
        "a block of 100 bytes as it declares, got more",
    ),
    "many.vtu": (
        packed("vtkZLibDataCompressor", [ZEROS] * 4, 2**31),
        "at most 4294967296 bytes, got 8589934592",
    ),
    "cut.vtu": (packed("vtkZLibDataCompressor", [ZEROS], 2**20).replace("</Points>", ""), "cannot be read as a mesh"),
    "entities.vtu": ('<!DOCTYPE a [<!ENTITY b "c">]><VTKFile/>', "expected XML without entities"),
    "long.xdmf": (XDMF.replace("6 2", "60000 20000"), "expected at most 4294967296 bytes, got 9600000000"),
    "lies.xdmf": (XDMF.replace("6 2", "600 200"), "expected numbers that the file's"),
    "other.xdmf": (XDMF.replace('Format="XML"', 'Format="Binary"', 1), "got the name of a binary file"),
    "passwords.xdmf": (
        XDMF.replace('Format="XML"', 'Format="HDF"').replace("0 0 1 0 2 0", "/etc/passwd:/a"),
        "expected an HDF5 file beside this one, got '/etc/passwd'",
    ),
    "header.npy": (npy((10**9, 10**9)), "expected at most 100000000 cells, got 1000000000000000000"),
    "lies.npy": (npy((9000, 9000)), "expected an array that the file's 0 bytes can hold, got 648000000 declared"),
    "token.npy": (npy("(2, 2").replace(b"'<f8'", b"'<f8"), "cannot be read as a plain .npy array"),
    "overflow.npy": (npy((2**62, 2**62, 2**62)), "expected a 2-D array"),
    "negative.npy": (npy((-1, 4), bytes(32)), "cannot be read|expected"),
    "record.npy": (npy((1, 1), bytes(8), "[('a', '<f8')]"), "expected an array of real numbers"),
    "bytes.csv": (b"\xff\xfe1,2", "not a text file"),
    "zeros.csv": (bytes(5000), "no numbers found"),
}


@pytest.mark.parametrize("file", FAULTS)
def test_what_a_file_may_not_cost(tmp_path, file):
    """Findings G1, G2, G6: refused with the path, quickly and without memory, and nothing on the screen."""
    content, message = FAULTS[file]
    (tmp_path / file).write_bytes(content.encode() if isinstance(content, str) else content)
    tracemalloc.start()
    start = time.process_time()
    with pytest.raises(ValueError, match=message) as caught:
        from_file(tmp_path / file, MESH)
    assert str(caught.value).startswith(f"{tmp_path / file}: ") and len(str(caught.value)) < 300 + len(str(tmp_path))
    assert time.process_time() - start < 10 and tracemalloc.get_traced_memory()[1] < 30e6
    tracemalloc.stop()


def test_connectivity_out_of_range(tmp_path, capfd):
    """Finding G6: an IndexError of numpy; and meshio printed to stdout."""
    points, cells = np.array([[0, 0, 0], [1, 0, 0], [1, 1, 0], [0, 1, 0]], float), np.array([[0, 1, 2, 9]])
    for suffix in (".vtu", ".vtk"):
        meshio.Mesh(points, [("quad", cells)], cell_data={"a": [np.ones(1)]}).write(tmp_path / f"m{suffix}")
        capfd.readouterr()
        with pytest.raises(ValueError, match=r"expected corners of cells among the 4 points, got 0 to 9"):
            from_file(tmp_path / f"m{suffix}", MESH)
    (tmp_path / "text.vtk").write_text("nothing\n")
    with pytest.raises(ValueError, match="cannot be read as a mesh"):
        from_file(tmp_path / "text.vtk", MESH)
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("compressor", ["zlib", "lzma"])
def test_honest_blocks_are_counted_once(tmp_path, compressor):
    """Limits are compared with what is there to the byte: one less is refused, as much is read."""
    mesh = MeshQuad().refined(3)
    points = np.pad(mesh.p.T, ((0, 0), (0, 1)))
    data = meshio.Mesh(points, [("quad", mesh.t.T)], cell_data={"perm": [np.arange(1.0, 65)]})
    data.write(tmp_path / "m.vtu", compression=compressor)
    bits = re.findall(rb'<DataArray type="[A-Za-z]+(\d+)"', (tmp_path / "m.vtu").read_bytes())
    counts = (3 * 81, 4 * 64, 64, 64, 64)  # points; corners, offsets, types and values of cells
    size = sum(count * int(width) // 8 for count, width in zip(counts, bits, strict=True))
    assert fits(tmp_path / "m.vtu", mesh, size) and not fits(tmp_path / "m.vtu", mesh, size - 1)
    np.testing.assert_array_equal(from_file(tmp_path / "m.vtu", mesh), np.arange(1.0, 65))


def fits(path, mesh, size):
    try:
        from_file(path, mesh, limits=Limits(bytes=size))
    except ValueError as error:
        assert "raise it by limits=Limits(bytes=...)" in str(error)
        return False
    return True


def test_a_raw_appended_file_is_looked_at_too(tmp_path):
    blocks = np.array([1, 2**31, 2**31, len(ZEROS)], dtype="<u4").tobytes() + ZEROS
    (tmp_path / "raw.vtu").write_bytes(
        b'<VTKFile type="UnstructuredGrid" version="0.1" byte_order="LittleEndian" compressor="vtkZLibDataCompressor">'
        b'<UnstructuredGrid><Piece NumberOfPoints="1" NumberOfCells="0"><Points>'
        b'<DataArray type="Float64" NumberOfComponents="3" format="appended" offset="0"/><DataArray format="appended"'
        b' type="Float64" offset="0"/></Points></Piece></UnstructuredGrid><AppendedData encoding="raw">_'
        + blocks + b"\n</AppendedData></VTKFile>"
    )  # fmt: skip
    with pytest.raises(ValueError, match="expected at most 1000000 bytes, got 2147483648"):
        from_file(tmp_path / "raw.vtu", MESH, limits=Limits(bytes=10**6))


@pytest.mark.parametrize(("mode", "most"), [("L", 9.0), ("1", 9.0), ("RGB", 12.0), ("LA", 12.0)])
def test_a_grey_picture_costs_nine_bytes_a_pixel(tmp_path, mode, most):
    """Finding G2: 79 kB of zeros took 38 bytes a pixel; the picture itself (a byte a channel) is Pillow's."""
    size = 1500
    Image.new(mode, (size, size), 255 if mode in "L1" else None).save(tmp_path / "p.png")
    if mode == "LA":
        Image.new("LA", (size, size), (7, 255)).save(tmp_path / "p.png")
    tracemalloc.start()
    values = read_raster(tmp_path / "p.png", low=1, high=5)
    channels = {"RGB": 3, "LA": 4}.get(mode, 1)  # as Pillow holds them
    peak = tracemalloc.get_traced_memory()[1] / size**2 + channels
    tracemalloc.stop()
    assert values.shape == (size, size) and peak < most + 1.2  # strips of 65536 pixels, independent of the size


def test_pixels_are_limited_before_the_picture_is_unpacked(tmp_path):
    """Finding G2, G6: Pillow's DecompressionBombError and its warning; a limit of one's own."""
    picture = io.BytesIO()
    Image.new("1", (13000, 13000)).save(picture, "png")
    (tmp_path / "p.png").write_bytes(picture.getvalue())
    tracemalloc.start()
    with pytest.raises(ValueError, match=r"p\.png: expected at most 100000000 cells, got 169000000; raise it by"):
        read_raster(tmp_path / "p.png", low=1, high=2)
    assert tracemalloc.get_traced_memory()[1] < 5e6
    tracemalloc.stop()
    Image.new("L", (20, 10)).save(tmp_path / "q.png")
    with pytest.raises(ValueError, match="at most 199 cells, got 200"):
        read_raster(tmp_path / "q.png", low=1, high=2, limits=Limits(cells=199))
    assert read_raster(tmp_path / "q.png", low=1, high=2, limits=Limits(cells=200)).shape == (10, 20)
    assert Image.MAX_IMAGE_PIXELS is not None


def test_other_formats_behind_a_suffix_are_not_opened(tmp_path):
    """What is EPS inside would be handed to Ghostscript."""
    Image.new("L", (4, 4)).save(tmp_path / "a.gif")
    (tmp_path / "a.png").write_bytes((tmp_path / "a.gif").read_bytes())
    (tmp_path / "b.png").write_bytes(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n")
    for name in "ab":
        with pytest.raises(ValueError, match="cannot be read as an image"):
            read_raster(tmp_path / f"{name}.png", low=1, high=2)


def test_tables_are_limited_by_cells(tmp_path):
    (tmp_path / "a.csv").write_text("1,2,3\n" * 50)
    np.save(tmp_path / "a.npy", np.ones((50, 3)))
    for name in ("a.csv", "a.npy"):
        with pytest.raises(ValueError, match=f"{name}: expected at most 149 cells, got 150"):
            read_raster(tmp_path / name, limits=Limits(cells=149))
        assert read_raster(tmp_path / name, limits=Limits(cells=150)).shape == (50, 3)
    with pytest.raises(ValueError, match="expected at most 100 bytes"):
        read_raster(tmp_path / "a.csv", limits=Limits(bytes=100))


def test_a_sparse_file_is_not_read(tmp_path):
    """Finding G2: a file without contents may seem to be of any size."""
    for name in ("a.csv", "a.vtu", "a.png"):
        with open(tmp_path / name, "wb") as file:
            file.truncate(2**34)
        tracemalloc.start()
        with pytest.raises(ValueError, match="expected at most 4294967296 bytes, got 17179869184"):
            from_file(tmp_path / name, MESH, **({"low": 1, "high": 2} if name == "a.png" else {}))
        assert tracemalloc.get_traced_memory()[1] < 1e6
        tracemalloc.stop()


@pytest.mark.parametrize("kind", ["gmsh", "gmsh22"])
@pytest.mark.parametrize("binary", [True, False])
def test_honest_gmsh_files_pass(tmp_path, kind, binary):
    mesh = MeshQuad().refined(2)
    points, tags = np.pad(mesh.p.T, ((0, 0), (0, 1))), np.full(16, 3)
    data = {"perm": [np.arange(1.0, 17)], "gmsh:physical": [tags], "gmsh:geometrical": [tags]}
    if not binary:  # meshio writes such data in a way that it cannot read
        del data["perm"]
    of_points = {"gmsh:dim_tags": np.tile([2, 3], (25, 1))} if kind == "gmsh" else {}
    source = meshio.Mesh(points, [("quad", mesh.t.T)], of_points, data)
    source.write(tmp_path / "m.msh", kind, binary=binary)
    expected, asked = (np.arange(1.0, 17), {}) if binary else (np.full(16, 7.0), {"tags": {3: 7}})
    np.testing.assert_array_equal(from_file(tmp_path / "m.msh", mesh, **asked), expected)
    assert mesh_of(tmp_path / "m.msh", Limits()).nelements == 16


ERRORS = [
    MemoryError(),
    IndexError("list index"),
    RecursionError(),
    SystemExit(1),
    OverflowError("too large"),
    KeyError(),
]


@pytest.mark.parametrize("error", ERRORS, ids=lambda error: type(error).__name__)
def test_one_door(error):
    @checks.reads("a field", "is it complete?")
    def read(path):
        exec(compile("raise error", "library.py", "exec"), {"__name__": "library", "error": error})

    kind = type(error).__name__
    with pytest.raises(ValueError, match=rf"^a\.x: cannot be read as a field \({kind}.*\); is it complete\?$"):
        read("a.x")


def test_what_a_function_in_c_raises_is_no_error_of_ours():
    """Its frame is ours, its words are not."""
    with pytest.raises(ValueError, match=r"^a\.x: cannot be read as a field \(LZMAError: .*\); is it complete\?$"):
        checks.reads("a field", "is it complete?")(lambda path: lzma.decompress(b"1"))("a.x")


def test_the_door_leaves_what_is_told_well():
    @checks.reads("a field", "is it complete?")
    def read(path, error):
        raise error

    for error in (FileNotFoundError(2, "No such file", "b.x"), KeyboardInterrupt()):
        with pytest.raises(type(error)) as caught:
            read("a.x", error)
        assert caught.value is error
    with pytest.raises(OSError, match=r"a\.x"):  # the system's error gets the name of the file
        read("a.x", OSError(28, "No space left on device"))
