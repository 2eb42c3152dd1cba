"""Many fields at once: the same numbers as one `Multigrid` a field."""

import numpy as np
import pytest
import torch
from skfem import Basis, ElementQuad1, MeshHex, MeshLine, MeshQuad

from skfem_ml.coefficients import inclusions, log_normal
from skfem_ml.problems import diffusion, load
from skfem_ml.solvers import Multigrid, MultigridBatch
from skfem_ml.solvers.multigrid.blocks import BlockCholesky
from tests.gallery import random_field, relative, shuffled

DEVICES = ["cpu", pytest.param("cuda", marks=pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU"))]


def mixed(mesh, rng):
    """Rough, smooth, constant on 2 x 2 and on 8 x 8 cells, constant: some interpolate linearly on some levels."""
    coarse = [MeshQuad.init_tensor(*(np.linspace(0, 1, n + 1),) * 2) for n in (16, 4)]
    x = mesh.p[:, mesh.t].mean(axis=1)
    fields = [random_field(mesh, rng, 1000), log_normal(mesh, 1.0, 0.1, rng), inclusions(mesh, 100.0, 10, 0.1, rng)]
    fields += [random_field(c, rng)[c.element_finder()(*x)] for c in coarse]
    return np.stack([*fields, np.full(mesh.t.shape[1], 2.0)])


@pytest.mark.parametrize("device", DEVICES)
def test_it_agrees_with_one_multigrid_a_field(device):
    rng = np.random.default_rng(0)
    mesh = shuffled(MeshQuad().refined(5), rng)[0]
    fields, b = mixed(mesh, rng), load(lambda x: 1 + x[0]).assemble(Basis(mesh, ElementQuad1()))
    batch = MultigridBatch(mesh, diffusion, coarsest=100, device=device, a=fields)
    passed, completed, solved = batch.fmg(b), batch.complete(b, tol=1e-5), batch.solve(b, rtol=1e-9)
    assert batch.levels == 3 and repr(batch) == f"MultigridBatch(6 fields on 32 x 32 quads, 3 levels, on {device})"
    for k, a in enumerate(fields):
        mg = Multigrid(mesh, diffusion, coarsest=100, a=a)
        one = mg.complete(b, tol=1e-5)
        assert relative(passed[k], mg.fmg(b)) < 1e-11
        assert relative(completed.u[k], one.u) < 1e-11
        assert completed.steps[k] == one.steps
        assert completed.residual[k] == pytest.approx(one.residual, rel=1e-5)
        assert completed.energy_error[k] == pytest.approx(one.energy_error, rel=1e-5)
        assert solved.residual[k] <= 1e-9 and relative(solved.u[k], mg.solve(b, rtol=1e-12)) < 1e-7


@pytest.mark.parametrize(
    ("mesh", "dirichlet"),
    [
        (MeshLine(np.linspace(0, 1, 129)), lambda x: x[0] == 0),
        (MeshQuad.init_tensor(np.linspace(0, 1, 33), np.linspace(0, 3, 17)), lambda x: x[1] == 3),
        (MeshQuad.init_tensor(np.linspace(0, 1, 33), np.linspace(0, 1, 33)), lambda x: (x[0] == 0) & (x[1] < 0.4)),
        (MeshHex().refined(3), None),
    ],
)
def test_other_dimensions_and_parts(mesh, dirichlet):
    rng = np.random.default_rng(1)
    fields = np.stack([random_field(mesh, rng) for _ in range(2)])
    b = rng.normal(size=(2, mesh.p.shape[1]))
    batch = MultigridBatch(mesh, diffusion, dirichlet=dirichlet, coarsest=60, a=fields)
    passed = batch.fmg(b)
    for k, a in enumerate(fields):
        mg = Multigrid(mesh, diffusion, dirichlet=dirichlet, coarsest=60, a=a)
        assert batch.levels == mg.levels >= 2
        assert relative(passed[k], mg.fmg(b[k])) < 1e-11


def test_fields_that_are_done_keep_their_solution():
    """A field takes the same steps beside a harder one as alone."""
    mesh, rng = MeshQuad().refined(5), np.random.default_rng(2)
    easy, hard = np.ones(1024), random_field(mesh, rng, 1e4)
    b = np.ones(1089)
    alone = MultigridBatch(mesh, diffusion, coarsest=30, a=easy[None]).complete(b)
    both = MultigridBatch(mesh, diffusion, coarsest=30, a=np.stack([easy, hard])).complete(b)
    assert both.steps[0] == alone.steps[0] < both.steps[1]
    assert relative(both.u[0], alone.u[0]) < 1e-12
    nothing = MultigridBatch(mesh, diffusion, a=easy[None]).complete(0 * b)
    assert nothing.steps[0] == nothing.energy_error[0] == nothing.residual[0] == 0 and not nothing.u.any()


def test_the_elimination_on_the_coarsest_level():
    """L L^T of block-tridiagonal matrices against a dense solve, with fixed nodes among the others."""
    from skfem_ml.solvers.multigrid.elements import Elements
    from skfem_ml.solvers.multigrid.hierarchy import diagonals

    rng = np.random.default_rng(3)
    unit = np.array([[4, -1, -1, -2], [-1, 4, -2, -1], [-1, -2, 4, -1], [-2, -1, -1, 4]]) / 6
    a = rng.uniform(1, 10, (2, 4, 5))
    free, b = rng.uniform(size=(5, 6)) < 0.8, rng.normal(size=(2, 5, 6))
    stencil = Elements([a], 2, unit).stencil()
    u = BlockCholesky(torch.as_tensor(stencil), free)(torch.as_tensor(b)).numpy()
    for k in range(2):
        A = diagonals(np.ascontiguousarray(stencil[:, k]), 2).toarray()
        inner = np.flatnonzero(free)
        expected = np.zeros(30)
        expected[inner] = np.linalg.solve(A[np.ix_(inner, inner)], b[k].ravel()[inner])
        np.testing.assert_allclose(u[k].ravel(), expected, rtol=1e-12, atol=1e-14)
