"""Meshes that the tests share, the same mesh in another order, and a problem on them."""

import numpy as np
from skfem import MeshHex, MeshLine, MeshQuad

from skfem_ml.coefficients import iid_multilevel
from skfem_ml.problems import Diffusion


def l_shape(refinements: int = 2) -> MeshQuad:
    """(0, 2)^2 without its upper right quarter, in 3 * 4**refinements cells."""
    square = MeshQuad.init_tensor(np.linspace(0, 2, 3), np.linspace(0, 2, 3))
    missing = square.elements_satisfying(lambda x: (x[0] > 1) & (x[1] > 1))
    return square.remove_elements(missing).refined(refinements)


def stretched(nx: int = 10, ny: int = 4) -> MeshQuad:
    """A rectangle far from the unit square, with cells of different sizes."""
    x = np.linspace(0, 1, nx + 1) ** 1.3
    return MeshQuad.init_tensor(100 + 2500 * x, -3 + 50 * np.linspace(0, 1, ny + 1) ** 0.8)


def all_kinds() -> dict:
    return {
        "line": MeshLine().refined(5),
        "quad": MeshQuad().refined(4),
        "hex": MeshHex().refined(2),
        "l_shape": l_shape(),
        "stretched": stretched(),
    }


def shuffled(mesh, rng):
    """Return the same mesh with vertices and cells renumbered and quads turned, and the old number of each cell."""
    vertex_order = rng.permutation(mesh.p.shape[1])
    new_number = np.argsort(vertex_order)
    cell_order = rng.permutation(mesh.t.shape[1])
    t = new_number[mesh.t[:, cell_order]]
    if isinstance(mesh, MeshQuad):
        turns = rng.integers(0, 4, size=t.shape[1])
        t = np.take_along_axis(t, (np.arange(4)[:, None] + turns) % 4, axis=0)
    return type(mesh)(mesh.p[:, vertex_order], t), cell_order


def random_problem(refinements=3, seed=0, **kwargs):
    """Diffusion in the unit square with an iid coefficient on every cell."""
    mesh = MeshQuad().refined(refinements)
    return Diffusion(mesh, iid_multilevel(mesh, refinements, 1, 5, np.random.default_rng(seed)), **kwargs)
