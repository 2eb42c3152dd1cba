"""What localized orthogonal decomposition is by definition: identities, symmetries, limits, decay."""

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from skfem import BilinearForm, MeshHex, MeshLine, MeshQuad, condense, solve

from skfem_ml.lod import LOD
from tests.gallery import (
    diffusion,
    fine_matrix,
    graded,
    l_shaped,
    quasi_interpolation,
    random_field,
    relative,
    sloped_load,
    unit_load,
)

ENGINES = ["reference", "condensation"]
KINDS = {
    "line": (lambda: MeshLine(np.linspace(0, 1, 8) ** 1.2), 4),
    "quad": (graded, 3),
    "L": (l_shaped, 3),
    "hex": (lambda: MeshHex.init_tensor(*[np.linspace(0, 1, 4)] * 3), 2),
}


@pytest.mark.parametrize("kind", KINDS)
def test_constants_are_kept(kind):
    mesh, n = KINDS[kind][0](), KINDS[kind][1]
    lod = LOD(mesh, refine=n, ell=1)
    S = lod.local(diffusion, a=random_field(lod.coefficient_mesh, np.random.default_rng(0)))
    assert abs(S.sum(axis=1)).max() < 1e-11 * abs(S).max()  # test with the constant: columns sum to zero
    assert abs(S.sum(axis=2)).max() < 1e-11 * abs(S).max()  # the constant needs no corrector: rows sum to zero


@given(seed=st.integers(0, 2**32 - 1), factor=st.floats(1e-6, 1e6), engine=st.sampled_from(ENGINES))
@settings(max_examples=10, deadline=None)
def test_scaling_of_the_coefficient(seed, factor, engine):
    lod = LOD(MeshQuad().refined(2), refine=3, ell=1, engine=engine)
    a = random_field(lod.coefficient_mesh, np.random.default_rng(seed))
    assert relative(lod.local(diffusion, a=factor * a), factor * lod.local(diffusion, a=a)) < 1e-11


@pytest.mark.parametrize("symmetry", range(8))
@pytest.mark.parametrize("engine", ENGINES)
def test_symmetries_of_the_square(symmetry, engine):
    """Reflecting and turning the coefficient permutes elements, rows and columns."""
    cells, n, ell = 4, 3, 1
    lod = LOD(MeshQuad().refined(2), refine=n, ell=ell, engine=engine)

    def transformed(x):
        x = np.array([1 - x[0] if symmetry & 1 else x[0], 1 - x[1] if symmetry & 2 else x[1]])
        return x[::-1] if symmetry & 4 else x

    def numbers(x, count):
        index = np.floor(x * count).astype(int)
        return index[0] + count * index[1]

    def flipped(array, axes):
        y, x = axes
        array = np.flip(array, x) if symmetry & 1 else array
        return np.flip(array, y) if symmetry & 2 else array

    fine = lod.coefficient_mesh
    middle, coarse_middle = fine.p[:, fine.t].mean(axis=1), lod.coarse.mesh.p[:, lod.coarse.mesh.t].mean(axis=1)
    values = random_field(fine, np.random.default_rng(1))  # numbered x fastest on the lattice
    S = lod.local(diffusion, a=values[numbers(middle, cells * n)])
    T = lod.local(diffusion, a=values[numbers(transformed(middle), cells * n)])
    by_place = np.empty_like(S)
    by_place[numbers(coarse_middle, cells)] = S
    expected = by_place[numbers(transformed(coarse_middle), cells)].reshape(-1, 4, 4, 2, 2)
    if symmetry & 4:
        expected = expected.transpose(0, 2, 1, 4, 3)
    expected = flipped(flipped(expected, (1, 2)), (3, 4))
    assert relative(T.reshape(expected.shape), expected) < 1e-11


def test_rows_inside_the_patch_are_multipliers():
    """S_T[i, :] = mu_i at coarse nodes interior to the patch; checked against a dense saddle-point solve."""
    lod = LOD(MeshQuad().refined(3), refine=3, ell=1)
    a = random_field(lod.coefficient_mesh, np.random.default_rng(2))
    T = int(np.flatnonzero((lod.space.grid.cells == 3).all(axis=0))[0])
    nodes = np.unique(lod.space.refinement.nodes[lod.patches.cells[T]])
    outside = np.setdiff1d(np.arange(len(lod.space.grid.corners)), lod.patches.cells[T])
    free = np.setdiff1d(nodes, np.unique(lod.space.refinement.nodes[outside]))
    K = fine_matrix(lod, a=a)[free][:, free].toarray()
    rows = lod.patches.nodes[T]
    C = quasi_interpolation(lod)[rows][:, free]
    own = np.zeros(lod.fine.mesh.t.shape[1])
    own[lod.space.refinement.cells[T]] = a[lod.space.refinement.cells[T]]
    b = (fine_matrix(lod, a=own) @ lod.space.prolongation[:, lod.space.grid.corners[T]])[free].toarray()
    saddle = np.block([[K, C.T], [C, np.zeros((len(C), len(C)))]])
    mu = np.linalg.solve(saddle, np.vstack([b, np.zeros((len(C), 4))]))[len(free) :]
    inner = np.flatnonzero(np.pad(np.ones((2, 2), bool), 1).ravel())
    assert relative(lod.local(diffusion, [T], a=a)[0][inner], mu[inner]) < 1e-11


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("mesh", [graded, l_shaped])
def test_correctors_lie_in_the_fine_space_and_are_orthogonal(engine, mesh):
    """I_h Q = 0, Q vanishes on Gamma_D, and a((1 - Q) lambda_j, w) = 0 for w in W when patches are the domain."""
    rng = np.random.default_rng(4)
    lod = LOD(mesh(), refine=3, ell=9, engine=engine, dirichlet=["left", "bottom"])
    a = random_field(lod.coefficient_mesh, rng)
    Q = lod.correctors(diffusion, a=a)
    I = quasi_interpolation(lod)[~lod.space.dirichlet.nodes]
    assert abs(I @ Q).max() < 1e-11
    fixed = lod.fine.get_dofs(["left", "bottom"]).flatten()
    assert abs(Q[fixed]).max() == 0
    free = np.setdiff1d(np.arange(lod.fine.N), fixed)
    w = rng.standard_normal((len(free), 5))
    w -= np.linalg.pinv(I[:, free]) @ (I[:, free] @ w)
    K = fine_matrix(lod, a=a)
    assert abs(w.T @ (K @ (lod.space.prolongation - Q))[free]).max() < 1e-9 * abs(K).max()


@pytest.mark.parametrize("engine", ENGINES)
def test_ideal_method_is_the_inverse_of_compressed_inverse(engine):
    """With patches the whole domain, S = (I_h A_f^-1 I_h^T)^-1 on inner nodes, symmetric."""
    lod = LOD(MeshQuad().refined(2), refine=4, ell=4, engine=engine)
    a = random_field(lod.coefficient_mesh, np.random.default_rng(5))
    inner, fine_inner = lod.coarse.complement_dofs(lod.coarse.get_dofs()), lod.fine.complement_dofs(lod.fine.get_dofs())
    S = lod.assemble(diffusion, a=a)[inner][:, inner].toarray()
    I = quasi_interpolation(lod)[np.ix_(inner, fine_inner)]
    A = fine_matrix(lod, a=a)[fine_inner][:, fine_inner].toarray()
    ideal = np.linalg.inv(I @ np.linalg.solve(A, I.T))
    assert relative(S, ideal) < 1e-11
    assert relative(S, S.T) < 1e-11


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("engine", ENGINES)
def test_ideal_method_with_corrected_load_is_the_fine_solution(kind, engine):
    mesh, n = KINDS[kind][0](), KINDS[kind][1]
    if engine == "condensation" and kind in ("line", "hex"):
        engine = "auto"
    lod = LOD(mesh, refine=n, ell=9, engine=engine)
    a = random_field(lod.coefficient_mesh, np.random.default_rng(6))
    S = lod.assemble(diffusion, a=a)
    b = lod.load(sloped_load, corrected=True, bilinear=diffusion, a=a)
    u = solve(*condense(S, b, D=lod.coarse.get_dofs()))
    on_fine = lod.prolong(u, diffusion, a=a, load=sloped_load)
    D = lod.fine.get_dofs()
    reference = solve(*condense(fine_matrix(lod, a=a), sloped_load.assemble(lod.fine), D=D))
    assert relative(on_fine, reference) < 1e-10


def test_decay_in_ell():
    """||S_ell - S_inf|| / ||S_inf|| falls by about ten with every layer (8 x 8 coarse, 64 x 64, iid U[1, 5])."""
    mesh, a = MeshQuad().refined(3), np.random.default_rng(7).uniform(1, 5, 64**2)
    S = {ell: LOD(mesh, refine=8, ell=ell).assemble(diffusion, a=a).toarray() for ell in (1, 2, 3, 4, 8)}
    error = [np.linalg.norm(S[ell] - S[8], 2) / np.linalg.norm(S[8], 2) for ell in (1, 2, 3, 4)]
    assert error[0] < 5e-2
    assert all(later < 0.2 * earlier for earlier, later in pairwise(error))


def test_nodal_interpolation_in_one_dimension_gives_harmonic_means():
    """Then S_T = (mean of 1/a on T)^-1 / |T| [[1, -1], [-1, 1]], whatever ell."""
    mesh = MeshLine(np.linspace(0, 1, 7) ** 1.4)
    lod = LOD(mesh, refine=5, ell=1, interpolation="nodal")
    a = random_field(lod.coefficient_mesh, np.random.default_rng(8))
    harmonic = 1 / (1 / a[lod.space.refinement.cells]).mean(axis=1)
    stiffness = (harmonic / np.abs(np.diff(mesh.p[0, lod.space.grid.corners], axis=1)[:, 0]))[:, None, None]
    S = lod.local(diffusion, a=a)
    assert relative(S[:, 1:3], stiffness * np.array([[1, -1], [-1, 1]])) < 1e-11
    assert abs(S[:, [0, 3]]).max() < 1e-11 * abs(S).max()


@pytest.mark.parametrize("interpolation", ["projection", "clement"])
def test_order_of_convergence(interpolation):
    """Finding E: the prolonged solution is of second order in L2 and of first in energy, unresolved as the field is."""
    fine = MeshQuad().refined(6)
    a = random_field(fine, np.random.default_rng(9), contrast=10)
    l2, energy = [], []
    for level in (2, 3, 4):
        lod = LOD(MeshQuad().refined(level), fine=fine, ell=level, interpolation=interpolation)
        u = solve(*condense(lod.assemble(diffusion, a=a), unit_load.assemble(lod.coarse), D=lod.coarse.get_dofs()))
        if not l2:
            K, M = fine_matrix(lod, a=a), BilinearForm(lambda u, v, w: u * v).assemble(lod.fine)
            reference = solve(*condense(K, unit_load.assemble(lod.fine), D=lod.fine.get_dofs()))
        e = lod.prolong(u, diffusion, a=a) - reference
        l2.append(np.sqrt(e @ M @ e))
        energy.append(np.sqrt(e @ K @ e))
    for errors, order in ((l2, 2), (energy, 1)):
        rates = np.log2(np.array(errors[:-1]) / errors[1:])
        assert (rates > order - 0.1).all() and (rates < order + 0.8).all()  # above it as H comes near the fine mesh


def test_galerkin_variant_is_symmetric_and_exact_in_the_limit():
    lod = LOD(graded(), refine=3, ell=9, dirichlet="left")
    a = random_field(lod.coefficient_mesh, np.random.default_rng(10))
    S = lod.assemble(diffusion, a=a, variant="galerkin")
    assert relative(S.toarray(), S.toarray().T) < 1e-12
    inner = np.flatnonzero(~lod.space.dirichlet.nodes)
    ideal = lod.assemble(diffusion, a=a).toarray()
    assert relative(S.toarray()[np.ix_(inner, inner)], ideal[np.ix_(inner, inner)]) < 1e-10
    b = lod.load(unit_load, variant="galerkin", bilinear=diffusion, a=a)
    assert b.sum() == pytest.approx(lod.load(unit_load).sum())  # Q kills constants


@pytest.mark.parametrize("mesh", [graded, l_shaped])
def test_quasi_interpolation_matrix(mesh):
    """I_h, built independently, is the library's; it is a projection: I_h P = 1."""
    lod = LOD(mesh(), refine=3, ell=1)
    assert relative(lod.quasi_interpolation.toarray(), quasi_interpolation(lod)) < 1e-12
    assert abs(lod.quasi_interpolation @ lod.prolongation - np.eye(lod.coarse.N)).max() < 1e-12
