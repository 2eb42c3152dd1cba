"""LOD against matrices computed with the public reference implementation (8 x 8 coarse, 64 x 64 fine, ell = 1)."""

from pathlib import Path

import numpy as np
import pytest
from skfem import Basis, ElementQuad1, MeshQuad, condense, solve

from skfem_ml.lod import LOD
from tests.gallery import diffusion, relative, shuffled, unit_load

DATA = Path(__file__).parents[1] / "data" / "lod_c8_iid_l1.npz"


def lattice_numbers(x, count, width):
    """Numbers in the data of points on a lattice with ``count`` intervals: x fastest, ``width`` per row."""
    index = np.floor(x * count + 1e-6).astype(int)
    return index[0] + width * index[1]


@pytest.fixture(scope="module")
def data():
    with np.load(DATA) as file:
        return dict(file)


@pytest.mark.parametrize("engine", ["reference", "condensation"])
@pytest.mark.parametrize("order", ["plain", "shuffled"])
def test_matrices_and_solutions(data, engine, order):
    mesh = MeshQuad().refined(3)
    fine = MeshQuad().refined(6)
    if order == "shuffled":
        rng = np.random.default_rng(3)
        mesh, fine = shuffled(mesh, rng)[0], shuffled(fine, rng)[0]
    lod = LOD(Basis(mesh, ElementQuad1()), fine=fine, ell=1, engine=engine)
    a = data["a"][lattice_numbers(fine.p[:, fine.t].mean(axis=1), 64, 64)]
    element = lattice_numbers(mesh.p[:, mesh.t].mean(axis=1), 8, 8)
    node = lattice_numbers(mesh.p, 8, 9)

    assert relative(lod.local(diffusion, a=a), data["local_matrices"][element]) < 1e-12
    assert relative(lod.elemental(diffusion, a=a).tolocal(), data["local_matrices"][element]) < 1e-12
    S = lod.assemble(diffusion, a=a)
    assert relative(S.toarray(), data["global_matrix"][np.ix_(node, node)]) < 1e-12
    u = solve(*condense(S, unit_load.assemble(lod.coarse), D=lod.coarse.get_dofs()))
    assert relative(u, data["u"][node]) < 1e-12
    on_fine = data["u_fine"][lattice_numbers(fine.p, 64, 65)]
    error = lod.prolong(u, diffusion, a=a) - on_fine
    assert np.linalg.norm(error) < 0.02 * np.linalg.norm(on_fine)
