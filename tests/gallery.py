"""Meshes, forms, problems, small LODs and checks of pictures that the tests share."""

import numpy as np
from skfem import Basis, BilinearForm, LinearForm, MeshHex, MeshLine, MeshQuad
from skfem.helpers import dot, grad, mul

from skfem_ml.coefficients import channels, iid_multilevel
from skfem_ml.lod import LOD
from skfem_ml.lod.mesh.loads import FineLoad
from skfem_ml.problems import Diffusion, Sequence


@BilinearForm
def diffusion(u, v, w):
    return w.a * dot(grad(u), grad(v))


@BilinearForm
def reaction_diffusion(u, v, w):
    return w.a * dot(grad(u), grad(v)) + w.c * u * v


@BilinearForm
def tensor_diffusion(u, v, w):
    return dot(mul(w.a, grad(u)), grad(v))


@LinearForm
def unit_load(v, w):
    return 1.0 * v


@LinearForm
def sloped_load(v, w):
    return (1 + w.x[0]) * v


def graded(nx=6, ny=5):
    """A rectangle with cells of unequal size and named sides."""
    return MeshQuad.init_tensor(
        np.linspace(0, 1, nx + 1) ** 1.3, 0.7 * np.linspace(0, 1, ny + 1) ** 0.8
    ).with_defaults()


def without(mesh, condition):
    """The mesh without the cells whose midpoint fulfils the condition."""
    x = mesh.p[:, mesh.t].mean(axis=1)
    return mesh.restrict(np.flatnonzero(~condition(x)))


def l_shaped():
    return without(graded(), lambda x: (x[0] > 0.5) & (x[1] > 0.3))


def u_shaped():
    """Two arms with a gap of one cell, over which blocks of cells reach but patches do not."""
    mesh = MeshQuad.init_tensor(np.arange(8.0), np.arange(6.0)).with_defaults()
    return without(mesh, lambda x: (x[0] > 3) & (x[0] < 4) & (x[1] > 1))


MESHES = {
    "square": lambda: MeshQuad().refined(2).with_defaults(),
    "flat": lambda: MeshQuad.init_tensor(10 * np.arange(7.0), np.arange(6.0)).with_defaults(),
    "graded": graded,
    "L": l_shaped,
    "U": u_shaped,
}


def random_field(mesh, rng, contrast=100.0):
    """Log-uniform values on the cells of a mesh, of the given contrast."""
    return np.exp(rng.uniform(0, np.log(contrast), mesh.t.shape[1]))


def relative(x, y):
    """Largest difference of two arrays over the largest entry of the second."""
    return abs(x - y).max() / abs(y).max()


def fine_matrix(lod, form=diffusion, **coefficients):
    """The matrix of a form on the fine basis, assembled by scikit-fem alone (one coefficient cell a fine cell)."""
    arguments = {k: v if np.isscalar(v) else v[..., None] for k, v in coefficients.items()}
    return form.assemble(lod.fine, **arguments)


def quasi_interpolation(lod):
    """I_h as a dense matrix ``(coarse.N, fine.N)``, built from element mass matrices, independently of the library."""
    space = lod.space
    out = np.zeros((lod.coarse.N, lod.fine.N))
    x = lod.fine.mesh.p
    count = np.bincount(space.grid.corners.ravel(), minlength=lod.coarse.N)
    mass_form = BilinearForm(lambda u, v, w: u * v)
    for T, corners in enumerate(space.grid.corners):
        cells = space.refinement.cells[T]
        mesh = lod.fine.mesh.restrict(cells)
        basis = Basis(mesh, type(lod.fine.elem)())
        mass = mass_form.assemble(basis).toarray()
        low, high = mesh.p.min(axis=1), mesh.p.max(axis=1)
        s = (mesh.p - low[:, None]) / (high - low)[:, None]
        hats = np.ones((len(corners), mesh.p.shape[1]))
        for c in range(len(corners)):
            for axis in range(len(s)):
                hats[c] *= s[axis] if c >> axis & 1 else 1 - s[axis]
        projection = np.linalg.solve(hats @ mass @ hats.T, hats @ mass)
        nodes = [np.flatnonzero(np.isclose(x, p[:, None], atol=1e-12).all(axis=0))[0] for p in mesh.p.T]
        out[np.ix_(corners, nodes)] += projection / count[corners][:, None]
    return out


def both_engines(mesh, **options):
    """The same space with each engine."""
    return LOD(mesh, engine="reference", **options), LOD(mesh, engine="condensation", **options)


def moved(lod, number):
    """Which cell and which coarse node come to lie at each, when symmetry ``number`` (0 to 7) moves the unit square."""

    def origin(p):
        p = np.flipud(p) if number & 4 else p
        return np.stack([1 - x if number & 1 << axis else x for axis, x in enumerate(p)])

    def places(x):
        return np.array([np.flatnonzero(np.isclose(x.T, p).all(axis=1))[0] for p in origin(x).T])

    mesh = lod.coefficient_mesh
    return places(mesh.p[:, mesh.t].mean(axis=1)), places(lod.coarse.doflocs)


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


def check_figure(figure):
    """A matplotlib Figure, every panel of it with a title and both axes labelled; colour bars labelled as well."""
    from matplotlib.figure import Figure

    assert isinstance(figure, Figure)
    bars = [axes for axes in figure.axes if axes.get_label() == "<colorbar>"]
    panels = [axes for axes in figure.axes if axes not in bars]
    assert panels
    for axes in panels:
        assert axes.get_title() and axes.get_xlabel() and axes.get_ylabel()
    for axes in bars:
        assert axes.get_ylabel() or axes.get_xlabel()
    figure.canvas.draw()


def small_lod(**options):
    """4 x 4 coarse cells with named sides, 4 x 4 fine cells in each, one layer."""
    return LOD(**{"coarse": MeshQuad().refined(2).with_defaults(), "refine": 4, "ell": 1, **options})


KINDS_OF_MESH = (lambda: MeshLine(np.linspace(0, 1, 7) ** 1.2), graded, l_shaped, lambda: MeshHex().refined(1))


def crossing_channels(mesh, contrast, seed=0):
    """Twelve channels of width 1/64 along both axes: S loses definiteness from a contrast of about 100 on."""
    rng = np.random.default_rng(seed)
    return np.maximum(*(channels(mesh, contrast, 6, 1 / 64, rng, axis=axis) for axis in (0, 1)))


def orbit(frames=60, more=10):
    """Two decaying waves: exactly linear."""
    t = np.arange(frames + more)
    z = np.exp((-0.01 + 0.3j) * t), np.exp((-0.005 + 0.7j) * t)
    return Sequence("linear", np.stack([f(w) for w in z for f in (np.real, np.imag)], axis=1), frames, 1.0)


def engine_answers(engine, space):
    """Local matrices, rows of a load, and a weighted sum of correctors with that load, two columns."""
    elements, rng = space.in_rows(space.all_elements), np.random.default_rng(4)
    loads = FineLoad(space, sloped_load, {}).split[:, :, None]
    weights = rng.normal(size=(*space.grid.corners.shape, 2))
    S, b = (np.zeros((len(elements), space.patches.nodes.shape[1], k)) for k in (4, 1))
    for at, rows in engine.local(elements):
        S[at] = rows
    for at, rows in engine.local(elements, loads):
        b[at] = rows
    return S, b, engine.correct_sum(elements, weights, np.concatenate([loads, 2 * loads], axis=2))
