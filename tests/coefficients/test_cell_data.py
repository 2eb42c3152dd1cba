"""Cell data of mesh files: position, choice by name, and an error for what cannot be read."""

import sys

import meshio
import numpy as np
import pytest
from skfem import MeshHex, MeshLine, MeshQuad, MeshTri

from skfem_ml.coefficients import from_file
from skfem_ml.meshes import midpoints
from tests.gallery import l_shape, shuffled, stretched

MESHIO_TYPES = {MeshLine: "line", MeshTri: "triangle", MeshQuad: "quad", MeshHex: "hexahedron"}


def write_cells(path, mesh, **fields):
    kind = next(name for cls, name in MESHIO_TYPES.items() if isinstance(mesh, cls))
    points = np.zeros((mesh.p.shape[1], 3))
    points[:, : mesh.dim()] = mesh.p.T
    # scikit-fem and VTK number the corners of a hexahedron differently
    order = [0, 3, 5, 2, 1, 6, 7, 4] if kind == "hexahedron" else slice(None)
    cells = [(kind, mesh.t[order].T)]
    options = {"file_format": "gmsh22", "binary": True} if path.suffix == ".msh" else {}
    meshio.Mesh(points, cells, cell_data={k: [v] for k, v in fields.items()}).write(path, **options)


@pytest.mark.parametrize("suffix", [".vtu", ".vtk", ".msh"])
@pytest.mark.parametrize(
    "mesh", [l_shape(), stretched(), MeshTri().refined(3), MeshLine().refined(4), MeshHex().refined(1)]
)
def test_cell_data_is_read_by_position(tmp_path, mesh, suffix):
    rng = np.random.default_rng(0)
    a = rng.uniform(1, 5, mesh.nelements)
    source, order = shuffled(mesh, rng)
    write_cells(tmp_path / f"m{suffix}", source, perm=a[order])
    np.testing.assert_array_equal(from_file(tmp_path / f"m{suffix}", mesh), a)
    finer = mesh.refined(1)
    b = from_file(tmp_path / f"m{suffix}", finer, name="perm")
    distance = np.linalg.norm(midpoints(finer)[:, :, None] - midpoints(mesh)[:, None], axis=0)
    if not isinstance(mesh, MeshTri) and mesh.nelements != stretched().nelements:
        np.testing.assert_array_equal(b, a[distance.argmin(axis=1)])
    assert np.isin(b, a).all() and b.mean() == pytest.approx(a.mean())


XDMF = """<?xml version="1.0"?><Xdmf Version="3.0"><Domain><Grid Name="Grid">
<Geometry GeometryType="XY"><DataItem DataType="Float" Dimensions="6 2" Format="XML" Precision="8">
0 0 1 0 2 0 0 1 1 1 2 1</DataItem></Geometry>
<Topology TopologyType="Quadrilateral" NumberOfElements="2"><DataItem DataType="Int" Dimensions="2 4" Format="XML"
Precision="8">1 2 5 4 0 1 4 3</DataItem></Topology>
<Attribute Name="perm" AttributeType="Scalar" Center="Cell"><DataItem DataType="Float" Dimensions="2" Format="XML"
Precision="8">7 3</DataItem></Attribute></Grid></Domain></Xdmf>"""


def test_xdmf_is_read_by_position(tmp_path):
    pytest.importorskip("h5py", reason="meshio needs h5py for every XDMF file")
    mesh = MeshQuad.init_tensor(np.linspace(0, 2, 5), np.linspace(0, 1, 3))
    (tmp_path / "m.xdmf").write_text(XDMF)
    np.testing.assert_array_equal(from_file(tmp_path / "m.xdmf", mesh), np.where(midpoints(mesh)[0] < 1, 3.0, 7.0))


def test_a_library_that_a_format_needs_is_named(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "h5py", None)  # as if it were not installed
    (tmp_path / "m.xdmf").write_text(XDMF)
    with pytest.raises(ImportError, match=r"m\.xdmf: meshio reads \.xdmf files with h5py, .* pip install h5py"):
        from_file(tmp_path / "m.xdmf", MeshQuad())


def test_cell_data_is_chosen_by_name(tmp_path):
    mesh = MeshQuad.init_tensor(*[np.linspace(0, 1, 4)] * 2)
    write_cells(tmp_path / "two.vtu", mesh, perm=np.ones(9), porosity=np.full(9, 0.2))
    with pytest.raises(ValueError, match="several fields of cell data, choose one by name=: perm, porosity"):
        from_file(tmp_path / "two.vtu", mesh)
    with pytest.raises(ValueError, match="no cell data called 'k'; the file has perm, porosity"):
        from_file(tmp_path / "two.vtu", mesh, name="k")
    np.testing.assert_array_equal(from_file(tmp_path / "two.vtu", mesh, name="porosity"), 0.2)
    write_cells(tmp_path / "none.vtu", mesh)
    with pytest.raises(ValueError, match="no cell data found"):
        from_file(tmp_path / "none.vtu", mesh)
    write_cells(tmp_path / "vector.vtu", mesh, velocity=np.ones((9, 3)))
    with pytest.raises(ValueError, match=r"cell data 'velocity' has shape \(9, 3\)"):
        from_file(tmp_path / "vector.vtu", mesh)
    write_cells(tmp_path / "bad.vtu", mesh, perm=np.r_[np.ones(8), 0])
    with pytest.raises(ValueError, match=r"1 of 9 values are not positive, the first is 0.0 in cell 8"):
        from_file(tmp_path / "bad.vtu", mesh)


GMSH = """$MeshFormat
2.2 0 8
$EndMeshFormat
$PhysicalNames
3
1 1 "inlet"
2 7 "sand"
2 9 "rock"
$EndPhysicalNames
$Nodes
6
1 0 0 0
2 1 0 0
3 2 0 0
4 0 1 0
5 1 1 0
6 2 1 0
$EndNodes
$Elements
3
1 1 2 1 1 1 4
2 3 2 9 1 2 3 6 5
3 3 2 7 1 1 2 5 4
$EndElements
"""


def test_physical_groups_get_values_by_a_map(tmp_path):
    """Finding C: a map from Gmsh's physical groups, by name or number, to values."""
    path = tmp_path / "m.msh"
    path.write_text(GMSH)
    mesh = MeshQuad.init_tensor(np.linspace(0, 2, 5), np.linspace(0, 1, 3))
    expected = np.where(midpoints(mesh)[0] < 1, 10.0, 3.0)
    for tags in ({"sand": 10, "rock": 3}, {7: 10, 9: 3}, {np.int64(7): 10, "rock": 3}):
        np.testing.assert_array_equal(from_file(path, mesh, tags=tags), expected)
    there = r"the file has 7 \('sand'\), 9 \('rock'\)"
    for tags, message in [
        ({"sand": 10}, rf"tags: no value for 9 \('rock'\); {there}"),
        ({"sand": 10, "rock": 3, "clay": 1}, f"tags: no cell has 'clay'; {there}"),
        ({7: 10, 9: 3, 8: 1}, f"tags: no cell has 8; {there}"),
        ({"sand": 10, "rock": -3}, "4 of 8 values are not positive"),
    ]:
        with pytest.raises(ValueError, match=message):
            from_file(path, mesh, tags=tags)
    with pytest.raises(ValueError, match=r"no cell data found.*groups are 7 \('sand'\), 9 \('rock'\): give.*tags="):
        from_file(path, mesh)


def test_whole_numbers_of_cell_data_are_mapped_too(tmp_path):
    mesh = MeshQuad().refined(1)
    write_cells(tmp_path / "m.vtu", mesh, material=np.array([1, 2, 1, 2]), perm=np.array([1.5, 1, 1, 1]))
    a = from_file(tmp_path / "m.vtu", mesh, name="material", tags={1: 0.5, 2: 8})
    np.testing.assert_array_equal(a, [0.5, 8, 0.5, 8])
    with pytest.raises(ValueError, match="'perm' holds numbers that are not whole"):
        from_file(tmp_path / "m.vtu", mesh, name="perm", tags={1: 0.5})
    with pytest.raises(ValueError, match=r"physical groups, the file has none; .*name=: material, perm"):
        from_file(tmp_path / "m.vtu", mesh, tags={1: 0.5})


@pytest.mark.parametrize(
    "target", [MeshQuad().refined(1), MeshTri().refined(2), MeshQuad.init_tensor(*[np.linspace(0, 1, 4)] * 2)]
)
def test_no_cell_data_is_resampled_silently(tmp_path, target):
    """Finding A10, for mesh files: a cell over several source cells is refused unless the midpoint is asked for."""
    source = MeshQuad().refined(3)
    write_cells(tmp_path / "m.vtu", source, perm=np.arange(1.0, 65))
    with pytest.raises(ValueError, match=r"cells reach over several of the file's 64 cells; .* resample='nearest'"):
        from_file(tmp_path / "m.vtu", target)
    assert from_file(tmp_path / "m.vtu", target, resample="nearest").shape == (target.nelements,)


def test_a_msh_that_makes_meshio_read_for_ever(tmp_path):
    """Finding G1: read as ANSYS, which shares the suffix, ten bytes never end."""
    (tmp_path / "m.msh").write_text('(1 "meshio')
    with pytest.raises(ValueError, match="cannot be read as a mesh"):
        from_file(tmp_path / "m.msh", MeshQuad())


def test_cells_without_a_source_are_named(tmp_path):
    write_cells(tmp_path / "l.vtu", l_shape(1), perm=np.ones(12))
    square = MeshQuad.init_tensor(np.linspace(0, 2, 5), np.linspace(0, 2, 5))
    with pytest.raises(ValueError, match=r"4 of 16 cells have no source cell, the first is cell \d+ with midpoint"):
        from_file(tmp_path / "l.vtu", square)
    with pytest.raises(ValueError, match="expected cells of type tetra or hexahedron, got quad"):
        from_file(tmp_path / "l.vtu", MeshHex())
