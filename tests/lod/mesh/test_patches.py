"""Patches against a breadth-first search that knows scikit-fem's ``mesh.t`` and nothing else."""

import numpy as np
import pytest
from skfem import MeshHex, MeshLine, MeshQuad

from skfem_ml.lod import LOD
from tests.gallery import MESHES, shuffled

KINDS = {
    **MESHES,
    "line": lambda: MeshLine().refined(3),
    "hex": lambda: MeshHex().refined(2),
    "shuffled": lambda: shuffled(MESHES["U"](), np.random.default_rng(0))[0],
}


def grown(t, element, layers):
    """The cells reached from an element in so many steps over shared vertices."""
    cells = {element}
    for _ in range(layers):
        vertices = np.unique(t[:, sorted(cells)])
        cells = set(np.flatnonzero(np.isin(t, vertices).any(axis=0)).tolist())
    return cells


@pytest.mark.parametrize("ell", [1, 2])
@pytest.mark.parametrize("kind", KINDS)
def test_a_patch_is_its_element_and_ell_layers_of_neighbours(kind, ell):
    """Finding E: patches grown by ell + 1 layers pass where both engines are only compared with each other."""
    mesh = KINDS[kind]()
    patches = LOD(mesh, refine=1, ell=ell).patches
    assert patches.cells.shape == (mesh.t.shape[1], (2 * ell + 1) ** mesh.dim())
    for element, (cells, nodes) in enumerate(zip(patches.cells, patches.nodes, strict=True)):
        expected = grown(mesh.t, element, ell)
        assert sorted(cells[cells >= 0]) == sorted(expected)
        assert sorted(nodes[nodes >= 0]) == np.unique(mesh.t[:, sorted(expected)]).tolist()


def test_a_gap_is_not_stepped_over():
    """In the U a block of two layers holds cells of the other arm that no walk of two steps reaches."""
    mesh = MESHES["U"]()
    patches = LOD(mesh, refine=1, ell=2).patches
    midpoints = mesh.p[:, mesh.t].mean(axis=1)
    element = int(np.flatnonzero((midpoints.T == (2.5, 4.5)).all(axis=1))[0])
    across = int(np.flatnonzero((midpoints.T == (4.5, 4.5)).all(axis=1))[0])
    assert across not in patches.cells[element] and not patches.regular[element]


def test_a_patch_larger_than_the_domain_is_the_domain():
    mesh = MeshQuad().refined(1)
    cells = LOD(mesh, refine=1, ell=7).patches.cells
    assert all(sorted(row[row >= 0]) == [0, 1, 2, 3] for row in cells)
