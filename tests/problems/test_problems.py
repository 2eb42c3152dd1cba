"""Problem statements and their forms."""

import numpy as np
import pytest
from skfem import (
    Basis,
    ElementQuad1,
    MeshQuad,
)

from skfem_ml.problems import Diffusion, diffusion, load, mass
from skfem_ml.reference import solver_fem
from tests.gallery import stretched


def test_problems_refuse_what_they_cannot_honour():
    mesh = MeshQuad().refined(2)
    a = np.ones(16)
    with pytest.raises(ValueError, match=r"first is -1\.0 in cell 0"):
        Diffusion(mesh, -a)
    with pytest.raises(ValueError, match=r"expected shape \(16,\), one value per cell, got 25 values"):
        Diffusion(mesh, np.ones(25))
    with pytest.raises(ValueError, match=r"got shape \(3, 3, 16\); tensor coefficients are \(2, 2, 16\)"):
        Diffusion(mesh, np.tile(np.eye(3)[:, :, None], 16))
    with pytest.raises(ValueError, match=r"got \['left'\]; the mesh has none"):
        Diffusion(mesh, a, dirichlet="left")
    with pytest.raises(ValueError, match=r"got \['west'\]; the mesh has \['bottom', 'left', 'right', 'top'\]"):
        Diffusion(mesh.with_defaults(), a, dirichlet="west")
    with pytest.raises(ValueError, match=r"expected names of boundaries, got \[\]"):
        Diffusion(mesh.with_defaults(), a, dirichlet=())
    with pytest.raises(ValueError, match="f: expected a finite number"):
        Diffusion(mesh, a, f=np.nan)
    with pytest.raises(ValueError, match=r"f\(x\): expected shape"):
        solver_fem()(Diffusion(mesh, a, f=lambda x: x))
    with pytest.raises(ValueError, match=r"f\(x\): expected finite values"), np.errstate(divide="ignore"):
        solver_fem()(Diffusion(mesh, a, g=lambda x: 1 / x[0]))
    with pytest.warns(UserWarning, match="contrast"):
        Diffusion(mesh, np.r_[1e-12, np.ones(15)])


def test_forms_have_their_kernels_and_integrals():
    basis = Basis(stretched(), ElementQuad1())
    a = np.random.default_rng(0).uniform(1, 5, basis.nelems)
    A, M = diffusion.assemble(basis, a=a[:, None]), mass.assemble(basis)
    one, x = np.ones(basis.N), basis.doflocs[0]
    area = basis.dx.sum(axis=1)
    assert abs(A @ one).max() < 1e-9 * abs(A).max()
    assert x @ A @ x == pytest.approx(a @ area)
    assert one @ M @ one == pytest.approx(area.sum())
    assert load(2.0).assemble(basis).sum() == pytest.approx(2 * area.sum())
    np.testing.assert_allclose(load(lambda x: x[0]).assemble(basis), M @ x, rtol=1e-10)
    tensor = diffusion.assemble(basis, a=(np.eye(2)[:, :, None] * a)[..., None])
    assert abs(tensor - A).max() < 1e-14 * abs(A).max()
