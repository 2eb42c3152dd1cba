"""Energies of elements: what they are by definition, in nested spaces, in the limit; blocks that lose nodes early."""

from itertools import pairwise

import numpy as np
import pytest
import torch
from skfem import Basis, BilinearForm, ElementQuad1, MeshQuad
from skfem.helpers import dot, grad

from skfem_ml.lod import LOD, CondensedInteriors, ExtrapolatedInteriors
from skfem_ml.lod.engine.elements import boundary_nodes, element_source
from skfem_ml.lod.engine.elements.energies import bordered_of, energies_of
from skfem_ml.lod.engine.elements.traces import TraceCondenser
from skfem_ml.lod.mesh.forms import FineForm
from tests.gallery import diffusion, graded, random_field, relative


@BilinearForm
def conduction(u, v, w):
    return w.kappa * dot(grad(u), grad(v))


def setting(n, cells=None, contrast=100.0, mesh=None, **options):
    """A space of 2 x 2 elements, and the form with a random coefficient."""
    lod = LOD(MeshQuad().refined(1) if mesh is None else mesh, n, cells=cells, ell=1, **options)
    a = random_field(lod.coefficient_mesh, np.random.default_rng(1), contrast)
    return lod.space, FineForm(lod.space, diffusion, {"a": a})


def energies(space, fine_form, refine):
    return CondensedInteriors(refine).energies(space, fine_form)(space.all_elements)


def least_energy(a, N, n, b, m):
    """The smallest energy of Q1 functions on N x N cells of the unit square with these values and moments.

    ``a`` is [y, x]; built from scikit-fem's matrices alone.
    """
    basis = Basis(MeshQuad.init_tensor(*[np.linspace(0, 1, N + 1)] * 2), ElementQuad1())
    cells, x = basis.mesh.p[:, basis.mesh.t].mean(axis=1), basis.doflocs
    A = diffusion.assemble(basis, a=a[tuple((len(a) * cells[::-1]).astype(int))][:, None]).toarray()
    M = BilinearForm(lambda u, v, w: u * v).assemble(basis).toarray()
    hats = np.stack([np.where(i, x[0], 1 - x[0]) * np.where(j, x[1], 1 - x[1]) for i in (0, 1) for j in (0, 1)])
    P = np.linalg.solve(hats @ M @ hats.T, hats @ M)
    rim = basis.get_dofs().flatten()
    inside = np.setdiff1d(np.arange(basis.N), rim)
    at = boundary_nodes(n) / n
    values = np.maximum(0, 1 - n * np.abs(x[:, rim, None] - at[:, None])).prod(axis=0) @ b
    K = np.block([[A[np.ix_(inside, inside)], P[:, inside].T], [P[:, inside], np.zeros((4, 4))]])
    v = np.zeros(basis.N)
    v[rim] = values
    right = np.concatenate([-A[inside][:, rim] @ values, m - P[:, rim] @ values])
    v[inside] = np.linalg.solve(K, right)[: len(inside)]
    return v @ A @ v


@pytest.mark.parametrize(("n", "refine", "cells"), [(3, 6, 3), (4, 8, 2), (4, 4, 4)])
def test_they_are_the_least_energies(n, refine, cells):
    space, fine_form = setting(n, cells)
    H, rng = energies(space, fine_form, refine)[0], np.random.default_rng(0)
    a = fine_form.coefficients["a"][space.coefficient_refinement.cells[0]].reshape(cells, cells)
    for _ in range(3):
        b, m = rng.normal(size=4 * n), rng.normal(size=4)
        both = torch.from_numpy(np.concatenate([b, m]))
        assert float(both @ H @ both) == pytest.approx(least_energy(a, refine, n, b, m), rel=1e-9)


def test_bordered_matrices_and_energies_are_one_another():
    space, fine_form = setting(4)
    bordered = element_source(space, fine_form).bordered(space.all_elements)[0]
    assert relative(bordered_of(energies_of(bordered)).numpy(), bordered.numpy()) < 1e-12
    with pytest.raises(ValueError, match="expected energies of elements that are positive, got 4 that are not"):
        bordered_of(-energies_of(bordered))


def test_a_corrected_element_has_the_energies_that_were_given():
    lod = LOD(MeshQuad().refined(1), 4, ell=1, interiors=16)
    space = lod.space
    a = random_field(lod.coefficient_mesh, np.random.default_rng(1))
    fine_form = FineForm(space, diffusion, {"a": a})
    source = element_source(space, fine_form)
    K = np.zeros((25, 25))
    corners = space.fine_corners_in_cell
    for rows, block in zip(corners, fine_form.matrices(space.refinement.cells[0]), strict=True):
        K[np.ix_(rows, rows)] += block
    K += source.correction(np.array([0]))[0]
    D = np.concatenate([np.eye(25)[source.outer], source.border.numpy().T])
    least = np.linalg.inv(D @ np.linalg.pinv(K) @ D.T + 1e6)  # the constant's part is taken out by a large shift
    wanted = np.linalg.inv(np.linalg.pinv(source.given(np.array([0]))[0].numpy()) + 1e6)
    assert relative(least, wanted) < 1e-5


def test_they_fall_as_the_spaces_grow():
    space, fine_form = setting(4)
    H = {N: energies(space, fine_form, N) for N in (4, 8, 16, 32)}
    for N in (4, 8, 16):
        gap = torch.linalg.eigvalsh(H[N] - H[2 * N])
        assert (gap[:, 0] > -1e-12 * gap[:, -1]).all() and (gap[:, -1] > 1e-3).all()


@pytest.mark.parametrize("cells", [1, 4])
def test_extrapolation_meets_the_limit_of_a_constant(cells):
    """Energies of a coefficient that is constant converge as N^-2, and extrapolated ones are closer to the limit."""
    space = LOD(MeshQuad().refined(1), 4, cells=cells, ell=1).space
    fine_form = FineForm(space, diffusion, {"a": 1.0})
    H = {N: energies(space, fine_form, N) for N in (8, 16, 32, 64)}
    gaps = [float((H[N] - H[2 * N]).norm()) for N in (8, 16, 32)]
    assert all(3.5 < one / other < 4.5 for one, other in pairwise(gaps))
    limit = H[64] + (H[64] - H[32]) / 3
    extrapolated = ExtrapolatedInteriors(32).energies(space, fine_form)(space.all_elements)
    assert float((extrapolated - limit).norm()) < float((H[32] - limit).norm()) / 8


@pytest.mark.parametrize(
    ("n", "refine", "cells"), [(4, 8, 4), (4, 16, 1), (4, 16, 2), (6, 24, 6), (6, 12, 3), (5, 10, 5), (4, 4, 4)]
)
def test_nodes_that_go_early_are_those_that_go_late(n, refine, cells):
    """A form whose coefficient has another name is condensed from its element matrices, and restricted at the end."""
    space, fine_form = setting(n, cells)
    one = TraceCondenser(space, fine_form, refine)
    other = TraceCondenser(space, FineForm(space, conduction, {"kappa": fine_form.coefficients["a"]}), refine)
    assert one.first is not None and other.first is None
    got, wanted = (each.bordered(space.all_elements).numpy() for each in (one, other))
    assert relative(got, wanted) < 1e-11
    assert one.bordered(space.all_elements[:0]).shape == (0, 4 * n + 4, 4 * n + 4)


def test_cells_of_unequal_size_and_chunks(monkeypatch):
    """Elements one by one are elements at once."""
    from skfem_ml.lod.engine.elements import traces

    for mesh in (MeshQuad().refined(1), graded()):
        space, fine_form = setting(4, 4, mesh=mesh)
        whole = energies(space, fine_form, 8)
        monkeypatch.setattr(traces, "CHUNK_BYTES", 1)
        assert relative(energies(space, fine_form, 8).numpy(), whole.numpy()) < 1e-12
        monkeypatch.undo()
