"""Gradients of functionals of the coarse solution: against differences, through exact matrices and a surrogate."""

import numpy as np
import pytest
import torch
from skfem import MeshQuad, condense, solve
from skfem.models import unit_load

from skfem_ml.lod import LOD, FieldNetwork, Surrogate, coarse_solution, surrogate_matrices
from skfem_ml.lod.surrogate import Setting
from tests.gallery import diffusion, random_field


@pytest.fixture(scope="module")
def lod():
    return LOD(MeshQuad().refined(2).with_defaults(), refine=2, ell=1, dirichlet=["left", "bottom"])


@pytest.fixture(scope="module")
def a(lod):
    return random_field(lod.coefficient_mesh, np.random.default_rng(0), 5)


def surrogate(lod, **options):
    g = torch.Generator().manual_seed(0)
    net = FieldNetwork(2, 1, encoding=2, outer=1, width=1, generator=g).double()
    with torch.no_grad():
        for p in net.parameters():
            p.add_(0.02 * torch.randn(p.shape, generator=g))
    return Surrogate(net, Setting.of(lod), **options)


def test_the_solution_is_the_hosts(lod, a):
    b = unit_load.assemble(lod.coarse)
    u = coarse_solution(lod, torch.tensor(lod.local(diffusion, a=a)), b)
    fixed = lod.coarse.get_dofs(["left", "bottom"])
    wanted = solve(*condense(lod.assemble(diffusion, a=a), b, D=fixed))
    assert abs(u.numpy() - wanted).max() < 1e-12 * abs(wanted).max()


def test_gradients_in_the_matrices(lod, a):
    b = unit_load.assemble(lod.coarse)
    local = torch.tensor(lod.local(diffusion, a=a)).requires_grad_()
    assert torch.autograd.gradcheck(lambda x: coarse_solution(lod, x, b), local, fast_mode=True)


@pytest.mark.parametrize("symmetric", [False, True])
def test_gradients_in_the_coefficient_through_a_surrogate(lod, a, symmetric):
    b = unit_load.assemble(lod.coarse)
    model = surrogate(lod, symmetric=symmetric)
    field = torch.tensor(a).requires_grad_()

    def solution(x):
        return coarse_solution(lod, surrogate_matrices(model, lod, x), b)

    assert torch.autograd.gradcheck(solution, field, fast_mode=True)
    assert np.allclose(surrogate_matrices(model, lod, field).detach(), lod.local(model, a=a), atol=1e-14)
    # u(c a) = u(a) / c, so that the gradient along a is -u: exact, and no difference quotient.
    (slope,) = torch.autograd.grad(solution(field).sum(), field)
    assert abs((slope * field).sum() + solution(field).sum()) < 1e-12 * abs(solution(field).sum())


def test_input(lod, a):
    b = unit_load.assemble(lod.coarse)
    local = torch.tensor(lod.local(diffusion, a=a))
    for bad, message in [(local[:3], "local: expected"), (local.float(), "of torch.float32")]:
        with pytest.raises(ValueError, match=message):
            coarse_solution(lod, bad, b)
    with pytest.raises(ValueError, match="b: expected"):
        coarse_solution(lod, local, b[:2])
    with pytest.raises(ValueError, match="positive"):
        surrogate_matrices(surrogate(lod), lod, -torch.tensor(a))
    free = LOD(lod.coarse, refine=2, ell=1, dirichlet=np.zeros(0, int))
    with pytest.raises(ValueError, match="S is singular"):
        coarse_solution(free, local, b)
