"""Gradients through exact LOD in the coefficient: against differences, in every dimension and at every boundary."""

import numpy as np
import pytest
import torch
from skfem import BilinearForm, MeshHex, MeshLine, MeshQuad
from skfem.helpers import dot, grad

from demos import recover_coefficient
from skfem_ml.lod import LOD, coarse_solution, exact_matrices, matrix_gradient
from tests.gallery import diffusion, random_field, reaction_diffusion, u_shaped, unit_load

LINE = MeshLine(np.linspace(0, 1, 6)).with_boundaries({"left": lambda x: x[0] == 0})
SQUARE = MeshQuad().refined(2).with_defaults()
CASES = {
    "line": lambda: LOD(MeshLine(np.linspace(0, 1, 7) ** 1.2), refine=4, ell=2),
    "line, one end free": lambda: LOD(LINE, refine=3, ell=1, dirichlet="left"),
    "square": lambda: LOD(SQUARE, refine=2, ell=1),
    "square, fine below cells": lambda: LOD(SQUARE, refine=4, cells=2, ell=1),
    "square, mixed": lambda: LOD(SQUARE, refine=2, ell=2, dirichlet=["left", "bottom"]),
    "square, nothing fixed": lambda: LOD(SQUARE, refine=2, ell=3, dirichlet=np.zeros(0, int)),
    "square, clement": lambda: LOD(SQUARE, refine=2, ell=1, interpolation="clement"),
    "gap": lambda: LOD(u_shaped(), refine=2, ell=1, dirichlet="left"),
    "cube": lambda: LOD(MeshHex().refined(1).with_defaults(), refine=2, ell=1, dirichlet="left"),
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_slopes_of_all_entries_are_those_of_differences(name):
    """A random functional of the matrices along a random direction; differences of fourth order."""
    lod, rng = CASES[name](), np.random.default_rng(0)
    a = random_field(lod.coefficient_mesh, rng, 20)
    direction, G = a * rng.standard_normal(len(a)), rng.standard_normal(lod.local(diffusion, a=a).shape)
    step = 1e-3
    J = [np.vdot(G, lod.local(diffusion, a=a + k * step * direction)) for k in (-2, -1, 1, 2)]
    wanted = (J[0] - 8 * J[1] + 8 * J[2] - J[3]) / (12 * step)
    gradient = matrix_gradient(lod, diffusion, G, a=a)
    assert gradient.shape == a.shape
    assert gradient @ direction == pytest.approx(wanted, rel=1e-7, abs=1e-9 * np.linalg.norm(gradient * a))


@pytest.mark.parametrize("T", [0, 5], ids=["corner", "interior"])
def test_one_patch_and_every_cell(T):
    """The gradient of one local matrix is local to its patch, and right in each cell of it."""
    lod = CASES["square"]()
    a = random_field(lod.coefficient_mesh, np.random.default_rng(1), 5)
    G = np.zeros(lod.local(diffusion, a=a).shape)
    G[T] = np.random.default_rng(2).standard_normal(G[T].shape)
    gradient, step = matrix_gradient(lod, diffusion, G, a=a), 1e-5
    wanted = np.zeros_like(a)
    for c in range(len(a)):
        plus, minus = a.copy(), a.copy()
        plus[c] += step
        minus[c] -= step
        wanted[c] = np.vdot(G[T], lod.local(diffusion, [T], a=plus)[0] - lod.local(diffusion, [T], a=minus)[0])
    assert abs(gradient - wanted / (2 * step)).max() < 1e-8 * abs(gradient).max()
    outside = np.setdiff1d(np.arange(16), lod.patches.cells[T])
    assert len(outside) and (gradient[lod.space.coefficient_refinement.cells[outside]] == 0).all()


def test_the_matrices_are_homogeneous_of_degree_one():
    """S(ca) = cS(a), so that the slope along a is S itself: no difference quotient."""
    lod = CASES["square, mixed"]()
    a = random_field(lod.coefficient_mesh, np.random.default_rng(3), 1e4)
    S = lod.local(diffusion, a=a)
    for i, j, T in [(7, 0, 5), (14, 3, 0), (14, 2, 15)]:
        G = np.zeros_like(S)
        G[T, i, j] = 1
        assert matrix_gradient(lod, diffusion, G, a=a) @ a == pytest.approx(S[T, i, j], rel=1e-9, abs=1e-12)


def test_a_form_with_a_reaction():
    lod, rng = CASES["square"](), np.random.default_rng(4)
    a = random_field(lod.coefficient_mesh, rng, 5)
    c = rng.uniform(0, 10, len(a))
    field = torch.tensor(a, requires_grad=True)
    assert torch.autograd.gradcheck(
        lambda x: exact_matrices(lod, x, reaction_diffusion, c=c), field, fast_mode=True, atol=1e-6
    )


@pytest.mark.parametrize("name", ["line, one end free", "square, mixed"])
def test_gradients_of_the_coarse_solution(name):
    lod = CASES[name]()
    field = torch.tensor(random_field(lod.coefficient_mesh, np.random.default_rng(0), 5), requires_grad=True)
    b = unit_load.assemble(lod.coarse)

    def solution(x):
        return coarse_solution(lod, exact_matrices(lod, x), b)

    assert torch.autograd.gradcheck(solution, field, fast_mode=True, atol=1e-6)
    (slope,) = torch.autograd.grad(solution(field).square().sum(), field)
    # u(c a) = u(a) / c
    assert float(slope @ field.detach()) == pytest.approx(
        -2 * float(solution(field).detach().square().sum()), rel=1e-10
    )


def test_input():
    lod = CASES["square"]()
    a = random_field(lod.coefficient_mesh, np.random.default_rng(0), 5)
    G = np.ones(lod.local(diffusion, a=a).shape)
    for bad in (torch.tensor(a)[:-1], torch.tensor(a).float(), torch.tensor(a)[None]):
        with pytest.raises(ValueError, match="a: expected 64 values"):
            exact_matrices(lod, bad)
    with pytest.raises(ValueError, match="not positive"):
        exact_matrices(lod, -torch.tensor(a))
    with pytest.raises(ValueError, match="shape of the local matrices"):
        matrix_gradient(lod, diffusion, G[:3], a=a)
    with pytest.raises(ValueError, match="one value a cell"):
        matrix_gradient(lod, diffusion, G, a=2.0)
    squared = BilinearForm(lambda u, v, w: w.a**2 * dot(grad(u), grad(v)))
    with pytest.raises(ValueError, match="affine in a"):
        matrix_gradient(lod, squared, G, a=a)
    assert (matrix_gradient(lod, diffusion, 0 * G, a=a) == 0).all()


def test_the_demo_recovers_a_coefficient_where_coarse_elements_do_not():
    result = recover_coefficient.compute(level=2, refine=8, ell=2, loads=2, iterations=8)
    assert result.errors["LOD"] < 0.6 < 0.9 < result.errors["coarse FEM, geometric mean"]
    figure = recover_coefficient.visualize(result)
    panels = [axes for axes in figure.axes if axes.get_title()]
    assert len(panels) == 4 and all(axes.get_xlabel() and axes.get_ylabel() for axes in panels)
    assert [bar.get_ylabel() for axes in panels for bar in axes.child_axes] == ["$a$", r"$\exp \theta_T$"]
