"""Mutated fields of every suffix: a coefficient, or an error in our own words that names the file; nothing else."""

import functools
import io
import tempfile
import time
import warnings
from pathlib import Path

import meshio
import numpy as np
from hypothesis import strategies as st
from PIL import Image
from skfem import MeshQuad

from skfem_ml.coefficients import from_file
from tests.coefficients.test_cell_data import GMSH, XDMF
from tests.coefficients.test_limits import FAULTS
from tests.fuzz.mutations import mutated, mutations

MESH = MeshQuad.init_tensor(np.linspace(0, 1, 4), np.linspace(0, 1, 4))
POINTS, TAGS = np.pad(MESH.p.T, ((0, 0), (0, 1))), np.full(9, 3)
SECONDS = 10  # of the processor for one input
OWN = (ValueError, TypeError, OSError)


def pictures():
    grey = np.arange(9, dtype=np.uint8).reshape(3, 3) * 20
    for name, image, options in [
        ("grey.png", Image.fromarray(grey), {}),
        ("deep.png", Image.fromarray(grey.astype(np.uint16) * 200), {}),
        ("palette.png", Image.fromarray(grey).convert("P"), {}),
        ("grey.jpg", Image.fromarray(grey), {}),
        ("grey.tif", Image.fromarray(grey), {"compression": "tiff_deflate"}),
        ("float.tif", Image.fromarray(grey.astype(np.float32) + 1), {}),
    ]:
        file = io.BytesIO()
        image.save(file, {"jpg": "jpeg", "tif": "tiff"}.get(name[-3:], "png"), **options)
        yield name, file.getvalue()


def meshes(folder):
    data = {"perm": [np.arange(1.0, 10)], "gmsh:physical": [TAGS], "gmsh:geometrical": [TAGS]}
    tagged = {name: data[name] for name in ("gmsh:physical", "gmsh:geometrical")}
    point_data = {"gmsh:dim_tags": np.tile([2, 3], (16, 1))}
    for name, kind, options, cell_data in [
        ("zlib.vtu", "vtu", {}, {"perm": data["perm"]}),
        ("lzma.vtu", "vtu", {"compression": "lzma"}, {"perm": data["perm"]}),
        ("plain.vtu", "vtu", {"compression": None}, {"perm": data["perm"]}),
        ("text.vtu", "vtu", {"binary": False}, {"perm": data["perm"]}),
        ("new.vtk", "vtk", {}, {"perm": data["perm"]}),
        ("text.vtk", "vtk", {"binary": False}, {"perm": data["perm"]}),
        ("old.vtk", "vtk42", {}, {"perm": data["perm"]}),
        ("new.msh", "gmsh", {}, data),
        ("text.msh", "gmsh", {"binary": False}, tagged),
        ("old.msh", "gmsh22", {}, data),
    ]:
        path = folder / f"source.{name[-3:]}"
        points = {**point_data} if kind == "gmsh" else {}
        mesh = meshio.Mesh(POINTS, [("quad", MESH.t.T)], points, cell_data)
        if path.suffix == ".vtk":
            mesh.write(path, "vtk42" if kind == "vtk42" else "vtk", **options)
        else:
            mesh.write(path, kind, **options)
        yield name, path.read_bytes()
    yield "structured.vtk", STRUCTURED.encode()
    yield "groups.msh", GMSH.encode()
    yield "m.xdmf", XDMF.encode()


STRUCTURED = """# vtk DataFile Version 3.0
title
ASCII
DATASET STRUCTURED_POINTS
DIMENSIONS 4 4 1
ORIGIN 0 0 0
SPACING 0.3333 0.3333 1
CELL_DATA 9
SCALARS perm double 1
LOOKUP_TABLE default
1 2 3 4 5 6 7 8 9
"""


@functools.cache
def sources():
    """Name -> a sound file of 3 x 3 values."""
    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        files = dict(pictures()) | dict(meshes(Path(folder)))
    array = io.BytesIO()
    np.save(array, np.arange(1.0, 10).reshape(3, 3))
    table = b"left,middle,right\n1,2,3\n4,5,6\n7,8,9\n"
    return files | {"a.npy": array.getvalue(), "a.csv": table, "b.csv": table[18:].replace(b",", b";")}


NAMES = sorted(["a.npy", "a.csv", "b.csv", *dict(pictures()), "structured.vtk", "groups.msh", "m.xdmf"])
NAMES += ["zlib.vtu", "lzma.vtu", "plain.vtu", "text.vtu", "new.vtk", "text.vtk", "old.vtk", "new.msh", "text.msh"]
NAMES += ["old.msh"]


def read(name, data):
    """Read a file; whatever comes of it is a coefficient or one of our errors, in time."""
    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        path = Path(folder) / name
        path.write_bytes(data)
        levels = {"low": 1.0, "high": 5.0} if name.endswith(("png", "jpg")) or name == "grey.tif" else {}
        start = time.process_time()
        try:
            a = from_file(path, MESH, resample="nearest", **levels)
        except OWN as error:
            assert str(path) in str(error), f"no path: {error!r}"
        except ImportError as error:
            assert name.endswith("xdmf") and "pip install h5py" in str(error)
        else:
            assert a.shape == (9,) and np.isfinite(a).all() and (a > 0).all()
        assert time.process_time() - start < SECONDS, "too slow"


def test_the_sources_are_sound():
    assert sorted(sources()) == sorted(NAMES)
    for name in NAMES:
        if name not in ("m.xdmf", "groups.msh", "text.msh"):  # h5py, tags, tags
            with tempfile.TemporaryDirectory() as folder:
                path = Path(folder) / name
                path.write_bytes(sources()[name])
                pictured = name.endswith(("png", "jpg")) or name == "grey.tif"
                assert from_file(path, MESH, **({"low": 1, "high": 5} if pictured else {})).shape == (9,), name


def files(name, changes):
    read(name, mutated(sources()[name], changes))


def mixed(name, other, upto, start):
    """The beginning of one file and the end of another."""
    one, two = sources()[name], sources()[other]
    read(name, one[: int(upto * len(one))] + two[int(start * len(two)) :])


def anything(suffix, data):
    read(f"any.{suffix}", data)


# Found by this fuzzer.
CORRUPT = [
    ("number", 0.87, b"1e400"),
    ("number", 0.13, b"9223372036854775807"),
    ("number", 0.87, b"99999999999999999999"),
]
# A picture of 100 bytes that declares millions of pixels: 600 MB and more.
WIDE_FLOATS = [("byte", 0.19068527457940643, b"\xfe"), ("number", 0.7907969621589307, b'"')]
# A value of 10^8 elements, of which the file has nine.
MANY = [("number", 0.9375, b"100000000")]
SEEDS = [("lzma.vtu", CORRUPT), ("float.tif", WIDE_FLOATS), ("new.msh", MANY)]


def test_mutated_files(explored):
    explored(files, st.sampled_from(NAMES), mutations, examples=400, seeds=SEEDS)


def test_mixed_files(explored):
    explored(mixed, st.sampled_from(NAMES), st.sampled_from(NAMES), st.floats(0, 1), st.floats(0, 1), examples=100)


def test_arbitrary_bytes(explored):
    suffixes = sorted({name.rpartition(".")[2] for name in NAMES})
    explored(anything, st.sampled_from(suffixes), st.binary(max_size=300), examples=100)


def test_the_faults_that_were_found():
    """The inputs of findings G1, G2 and G6 as seeds."""
    for name, (content, _) in FAULTS.items():
        read(name, content.encode() if isinstance(content, str) else content)
