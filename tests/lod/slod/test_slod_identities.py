"""What super-localised functions are by definition: responses, the choice among them, symmetries, both matrices."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from skfem import Basis, BilinearForm, ElementQuad0, LinearForm, MeshQuad

from skfem_ml.lod import SLOD
from tests.gallery import (
    diffusion,
    fine_matrix,
    graded,
    l_shaped,
    moved,
    random_field,
    reaction_diffusion,
    relative,
    tensor_diffusion,
    u_shaped,
    unit_load,
)

MESHES = {
    "square": (lambda: MeshQuad().refined(2), None),
    "natural": (graded, ["left", "top"]),
    "L": (l_shaped, None),
    "U": (u_shaped, ["bottom"]),
}


def small(kind="square", ell=1, refine=3, contrast=10.0, **options):
    mesh, dirichlet = MESHES[kind]
    slod = SLOD(mesh(), refine, ell=ell, dirichlet=dirichlet, **options)
    return slod, random_field(slod.coefficient_mesh, np.random.default_rng(3), contrast)


def element_loads(slod):
    """The loads 1_K / |K| on the fine mesh as columns, by scikit-fem alone: ``(fine.N, nelems)``."""
    basis0 = slod.fine.with_element(ElementQuad0())
    mixed = BilinearForm(lambda u, v, w: u * v).assemble(basis0, slod.fine)
    parents = np.zeros((basis0.N, len(slod.patches)))
    parents[np.arange(basis0.N), slod.space.refinement.parent] = 1
    columns = mixed @ parents
    return columns / columns.sum(axis=0)


@pytest.mark.parametrize("kind", MESHES)
@pytest.mark.parametrize("ell", [1, 2])
def test_functions_are_responses_that_leave_something_on_rims_alone(kind, ell):
    """A phi_T = sum of g_T on elements, everywhere but on the rim of the patch of T and on Gamma_D."""
    slod, a = small(kind, ell)
    system = slod.system(diffusion, a=a)
    A, B, G = fine_matrix(slod, a=a), system.basis(), system.matrix()
    left = A @ B - element_loads(slod) @ G.toarray()
    grid, n = slod.space.grid, slod.space.n
    at = slod.space.fine_grid.nodes
    for T in range(len(slod.patches)):
        low = n * (grid.cells[:, T] - ell)[:, None]
        inside = ((at > low) & (at < low + n * (2 * ell + 1))).all(axis=0)
        free = inside & ~slod.space.fine_dirichlet
        assert abs(left[free, T]).max() < 1e-12 * abs(A @ B).max()
        closed = ((at >= low) & (at <= low + n * (2 * ell + 1))).all(axis=0)
        assert abs(B[~closed, T]).sum() == 0
    assert abs(B[slod.space.fine_dirichlet]).sum() == 0


@pytest.mark.parametrize("kind", MESHES)
def test_the_choice_is_the_damped_minimiser(kind):
    """W by dense algebra on every patch, and g by numpy's least squares."""
    slod, a = small(kind, ell=1, epsilon=1e-2)
    L = element_loads(slod)
    G = slod.system(diffusion, a=a).matrix().toarray()
    space = slod.space
    holders = np.bincount(space.refinement.nodes.ravel(), minlength=slod.fine.N)
    for T, patch in enumerate(slod.patches):
        members = patch[patch >= 0]
        cells = space.refinement.cells[members].ravel()
        nodes, count = np.unique(space.refinement.nodes[members], return_counts=True)
        free = nodes[~space.fine_dirichlet[nodes]]
        inner = nodes[(count == holders[nodes]) & ~space.fine_dirichlet[nodes]]
        rim = np.setdiff1d(free, inner)
        K = diffusion.assemble(Basis(space.fine_mesh, slod.fine.elem, elements=cells), a=a[cells, None]).toarray()
        loads = L[:, members]
        response = np.linalg.solve(K[np.ix_(inner, inner)], loads[inner])
        R = loads[rim] - K[np.ix_(rim, inner)] @ response
        X = K[np.ix_(rim, rim)] - K[np.ix_(rim, inner)] @ np.linalg.solve(
            K[np.ix_(inner, inner)], K[np.ix_(inner, rim)]
        )
        X += np.diag(robin(slod, a, T, members, rim))
        W = np.linalg.solve(np.linalg.cholesky(X), R)
        damped = np.vstack([W, 1e-2 * np.linalg.norm(W, 2) * np.eye(len(members))])
        own = members == T
        g = np.linalg.lstsq(damped[:, ~own], -damped[:, own], rcond=None)[0][:, 0]
        assert relative(G[members[~own], T], g) < 1e-9
        assert G[T, T] == 1 and not G[np.setdiff1d(np.arange(len(G)), members), T].any()


def robin(slod, a, T, members, rim):
    """Length x mean of a / diameter, the length that of the block's outline around a fine node."""
    grid, n = slod.space.grid, slod.space.n
    edges = [np.concatenate([np.repeat(np.diff(line) / n, n)]) for line in grid.lines]
    low = np.maximum(grid.cells[:, T] - 1, 0)
    high = np.minimum(grid.cells[:, T] + 2, grid.shape)
    out = np.zeros(len(rim))
    for axis in (0, 1):
        position, across = slod.space.fine_grid.nodes[axis, rim], slod.space.fine_grid.nodes[1 - axis, rim]
        ends = np.pad(edges[axis], 1)
        start, stop = n * low[axis], n * high[axis]
        before = np.where(position > start, ends[position], 0)
        after = np.where(position < stop, ends[position + 1], 0)
        block = n * (grid.cells[1 - axis, T] + np.array([-1, 2]))
        out += np.isin(across, block) * (before + after) / 2
    x = np.stack([grid.lines[axis][[low[axis], high[axis]]] for axis in (0, 1)])
    area = np.array([np.prod([np.diff(grid.lines[i])[grid.cells[i, K]] for i in (0, 1)]) for K in members])
    means = a[slod.space.refinement.cells[members]].mean(axis=1)
    return out * (means @ area / area.sum()) / np.ptp(x, axis=1).max()


@pytest.mark.parametrize("kind", MESHES)
def test_both_matrices(kind):
    slod, a = small(kind)
    system = slod.system(diffusion, a=a)
    B, A, Ac = system.basis(), fine_matrix(slod, a=a), system.matrix("galerkin")
    assert relative(Ac.toarray(), (B.T @ A @ B).toarray()) < 1e-12
    assert abs(Ac - Ac.T).max() == 0 and np.linalg.eigvalsh(Ac.toarray())[0] > 0
    G, local = system.matrix(), system.elemental().tolocal()
    assert local.shape == (len(slod.patches), 9, 1) and (G.diagonal() == 1).all()
    T = len(slod.patches) // 2
    there = slod.patches[T] >= 0
    assert (G.toarray()[slod.patches[T][there], T] == local[T, there, 0]).all() and not local[T, ~there].any()


@given(seed=st.integers(0, 2**32 - 1), factor=st.floats(1e-6, 1e6))
@settings(max_examples=8, deadline=None)
def test_scaling_of_the_coefficient(seed, factor):
    """a -> c a leaves the loads and divides the functions by c."""
    slod = SLOD(MeshQuad().refined(2), 3, ell=1)
    a = random_field(slod.coefficient_mesh, np.random.default_rng(seed))
    one, scaled = slod.system(diffusion, a=a), slod.system(diffusion, a=factor * a)
    assert relative(scaled.matrix().toarray(), one.matrix().toarray()) < 1e-10
    assert relative(factor * scaled.basis().toarray(), one.basis().toarray()) < 1e-10


@pytest.mark.parametrize("number", range(8))
def test_symmetries_of_the_square(number):
    slod = SLOD(MeshQuad().refined(2), 4, ell=1)
    a = random_field(slod.coefficient_mesh, np.random.default_rng(4))
    coarse = SLOD(MeshQuad().refined(2), 2, ell=1)
    cells, _ = moved(slod, number)
    mid = coarse.coarse.mesh.p[:, coarse.coarse.mesh.t].mean(axis=1)
    image = np.flipud(mid) if number & 4 else mid
    image = np.stack([1 - x if number & 1 << axis else x for axis, x in enumerate(image)])
    elements = np.array([np.flatnonzero(np.isclose(mid.T, p).all(axis=1))[0] for p in image.T])
    G, H = (slod.system(diffusion, a=values).matrix().toarray() for values in (a, a[cells]))
    assert relative(H, G[np.ix_(elements, elements)]) < 1e-10


@pytest.mark.parametrize("cells", [1, 2, 4])
def test_coarser_coefficients_are_the_same_as_repeated_ones(cells):
    given_, fine = SLOD(graded(), 4, cells=cells), SLOD(graded(), 4)
    a = random_field(given_.coefficient_mesh, np.random.default_rng(5), 20.0)
    f = LinearForm(lambda v, w: np.cos(9 * w.x[0]) * v)
    u = given_.system(diffusion, a=a).solution(f)
    assert relative(u, fine.system(diffusion, a=a[given_.space.coefficient_cell]).solution(f)) < 1e-11


def test_cells_are_found_by_position():
    slod, a = small("L", ell=2)
    order = np.random.default_rng(6).permutation(slod.coarse.mesh.nelements)
    mesh = slod.coarse.mesh
    shuffled = SLOD(MeshQuad(mesh.p, mesh.t[:, order]), fine=slod.space.fine_mesh, ell=2)
    G, H = (one.system(diffusion, a=a).matrix().toarray() for one in (slod, shuffled))
    assert relative(H, G[np.ix_(order, order)]) < 1e-11


def test_other_forms():
    """Tensors and reaction terms are solved exactly where patches are the domain; a tensor a I is a."""
    slod, a = small("natural", ell=5)
    eye = np.eye(2)[:, :, None]
    cases = [
        (reaction_diffusion, {"a": a, "c": a / 7}),
        (tensor_diffusion, {"a": a * np.array([[2.0, 0.5], [0.5, 1.0]])[:, :, None]}),
    ]
    for form, coefficients in cases:
        A, b = fine_matrix(slod, form, **coefficients), unit_load.assemble(slod.fine)
        free = np.flatnonzero(~slod.space.fine_dirichlet)
        u = np.zeros(slod.fine.N)
        u[free] = np.linalg.solve(A[free][:, free].toarray(), b[free])
        assert relative(slod.system(form, **coefficients).solution(unit_load), u) < 1e-11
    slod, a = small("natural", ell=1)
    G, H = (slod.system(*c[:1], a=c[1]).matrix().toarray() for c in ((diffusion, a), (tensor_diffusion, a * eye)))
    assert relative(G, H) < 1e-10
