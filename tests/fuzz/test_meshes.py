"""Random meshes of boxes and unions of their cells, in any order: both engines agree, and what must vanish vanishes."""

import numpy as np
from hypothesis import strategies as st
from skfem import Basis, ElementQuad1, MeshHex, MeshLine, MeshQuad

from skfem_ml.lod import LOD
from skfem_ml.problems import diffusion
from skfem_ml.solvers import Multigrid, solver_direct
from tests.gallery import shuffled, unit_load

TOLERANCE = 1e-10


def mesh_of(dim, counts, graded, share, seed):
    """A tensor mesh of some cells along each axis, graded, of whose cells a share is taken, in any order."""
    rng = np.random.default_rng(seed)
    lines = [np.concatenate([[0.0], np.cumsum(rng.uniform(1 / (1 + graded), 1, count))]) for count in counts[:dim]]
    mesh = {1: MeshLine, 2: MeshQuad.init_tensor, 3: MeshHex.init_tensor}[dim](*lines)
    kept = np.flatnonzero(rng.random(mesh.nelements) < share)
    if 0 < len(kept) < mesh.nelements:
        mesh = mesh.restrict(kept)
    return shuffled(mesh, rng)[0] if dim == 2 else mesh


MESHES = st.builds(
    mesh_of,
    st.sampled_from((1, 2, 2, 2, 2, 3)),
    st.tuples(st.integers(1, 6), st.integers(1, 5), st.integers(1, 2)),
    st.sampled_from((0.0, 1.0, 30.0)),
    st.sampled_from((0.3, 0.6, 0.9, 1.0)),
    st.integers(0, 2**32),
)
CONTRASTS, SEEDS = st.sampled_from((1.0, 1e2, 1e5)), st.integers(0, 2**32)
EMPTY_LINE = MeshQuad.init_tensor(np.arange(6.0), np.arange(4.0)).restrict([0, 1, 2, 9, 10, 11])


def unions(mesh, refine, ell, contrast, seed):
    """An LOD, or an error in our own words (where cells touch in a corner only, where no node is free)."""
    refine = min(refine, 2) if mesh.dim() == 3 else refine
    try:
        lod = LOD(mesh, refine, ell=ell)
    except (ValueError, TypeError) as error:
        assert "expected" in str(error), error
        return
    a = contrast ** np.random.default_rng(seed).random(lod.coefficient_mesh.nelements)
    system = lod.system(diffusion, a=a)
    local = system.local()
    size = np.abs(local).max()
    assert np.isfinite(local).all() and np.abs(local.sum(axis=2)).max() < TOLERANCE * size * contrast**0.5
    if mesh.dim() == 2:
        other = LOD(mesh, refine, ell=ell, engine="reference").system(diffusion, a=a)
        assert np.abs(other.local() - local).max() < TOLERANCE * size * contrast**0.5
    if not lod.space.fixed.all():
        u = system.prolong(system.solve(unit_load, corrected=True), load=unit_load)
        assert u.shape == (lod.fine.N,) and np.isfinite(u).all()


def grids(mesh, contrast, seed):
    """Multigrid solves what elimination solves, on the same mesh refined twice."""
    mesh = mesh.refined(2) if mesh.dim() < 3 else mesh.refined(1)
    a = contrast ** np.random.default_rng(seed).random(mesh.nelements)
    try:
        mg = Multigrid(mesh, diffusion, a=a, coarsest=30)
    except (ValueError, TypeError) as error:
        assert "expected" in str(error), error
        return
    basis = Basis(mesh, mesh.elem()) if mesh.dim() != 2 else Basis(mesh, ElementQuad1())
    A, b, free = diffusion.assemble(basis, a=a[:, None]), unit_load.assemble(basis), mg.free_dofs
    if len(free):
        expected = solver_direct()(A[free][:, free], b[free])
        assert np.abs(mg.solve(b, rtol=1e-12)[free] - expected).max() < 1e-8 * np.abs(expected).max()


# Found by these: an empty line of a grid (finding G9), constraints that are rounding alone, one cell across.
UNIONS = [(EMPTY_LINE, 2, 1, 10.0, 0), (MeshQuad.init_tensor(np.arange(3.0), np.arange(5.0)), 1, 1, 1.0, 0)]
GRIDS = [(MeshHex.init_tensor([0.0, 1.0], np.arange(5.0), np.arange(3.0)), 1.0, 0)]


def test_random_unions_of_cells(explored):
    explored(unions, MESHES, st.integers(1, 4), st.integers(1, 2), CONTRASTS, SEEDS, examples=25, seeds=UNIONS)


def test_random_grids(explored):
    explored(grids, MESHES, CONTRASTS, SEEDS, examples=25, seeds=GRIDS)
