"""Averages of fine solutions and their adjoint, and least squares on them."""

import numpy as np
import pytest
import torch
from skfem import MeshQuad, condense, solve
from skfem.models import unit_load

from skfem_ml.lod import LOD, fine_averages, on_cells, recover
from skfem_ml.problems import diffusion
from tests.gallery import random_field


def setting(**options):
    lod = LOD(MeshQuad().refined(1).with_defaults(), refine=4, ell=1, **options)
    F = np.stack([unit_load.assemble(lod.fine), lod.fine.doflocs[0] / lod.fine.N], axis=1)
    return lod, torch.from_numpy(random_field(lod.coefficient_mesh, np.random.default_rng(1), 5.0)), F


@pytest.mark.parametrize("options", [{}, {"dirichlet": ["left"]}])
def test_the_adjoint_is_the_derivative(options):
    lod, a, F = setting(**options)
    a.requires_grad_(True)
    assert torch.autograd.gradcheck(lambda a: fine_averages(lod, a, F), a, eps=1e-5, atol=1e-8)


def test_averages_are_those_of_scikit_fem():
    lod, a, F = setting(dirichlet=["left"])
    A = diffusion.assemble(lod.fine, a=a.numpy()[:, None])
    u = solve(*condense(A, F[:, 0], D=lod.fine.get_dofs("left")))
    expected = (lod.quasi_interpolation @ u) * ~lod.space.dirichlet.nodes
    assert fine_averages(lod, a, F)[0].numpy() == pytest.approx(expected, abs=1e-12)


def test_values_lie_on_the_cells_of_their_element():
    lod, _, _ = setting()
    x = lod.coarse.mesh.p[0, lod.coarse.mesh.t].mean(axis=0)
    cells = lod.coefficient_mesh.p[0, lod.coefficient_mesh.t].mean(axis=0)
    assert on_cells(lod, torch.from_numpy(x)).numpy() == pytest.approx(np.where(cells < 0.5, 0.25, 0.75))


def test_least_squares_find_a_field_from_averages():
    lod, a, F = setting()
    theta = torch.tensor([0.3, -0.2, 0.1, 0.4], dtype=torch.float64)
    model = lambda theta: fine_averages(lod, a * on_cells(lod, theta).exp(), F)
    m = model(theta).numpy()
    linear = torch.from_numpy(np.random.default_rng(0).normal(size=(6, 4)))
    found = recover(lambda x: linear @ x, (linear @ theta).numpy(), 1.0, 4, alpha=0.5, steps=60)
    G = (linear.T @ linear).numpy()
    exact = np.linalg.solve(G + 0.5 * np.eye(4), G @ theta.numpy())
    assert found == pytest.approx(exact, abs=1e-4)  # the normal equations of Tikhonov's functional
    found = recover(model, m, 1e-4 * abs(m).max(), 4, alpha=1e-6, steps=60)
    assert abs(model(torch.from_numpy(found)).numpy() - m).max() < 1e-3 * abs(m).max()


def test_what_does_not_fit_is_refused():
    lod, a, F = setting()
    with pytest.raises(ValueError, match=r"expected 4, one a coarse element, got shape \(3,\)"):
        on_cells(lod, a[:3])
    with pytest.raises(ValueError, match="expected a of"):
        fine_averages(lod, a[1:], F)
    with pytest.raises(ValueError, match="one fine cell a cell of the coefficient"):
        fine_averages(LOD(MeshQuad().refined(1), refine=4, cells=2, ell=1), a, F)
