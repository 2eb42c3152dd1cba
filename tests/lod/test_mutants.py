"""What one changed line in the assembler would leave unseen elsewhere: each test here is red for such a line."""

import numpy as np
import pytest
from skfem import MeshQuad, condense, solve

from skfem_ml.lod import LOD
from tests.gallery import diffusion, fine_matrix, graded, random_field, relative, sloped_load
from tests.lod.mesh.test_patches import grown


class Recording:
    """The local map of a form, with a list of the elements that it was asked for."""

    def __init__(self, form):
        self.form, self.asked = form, []

    def local(self, lod, elements, **coefficients):
        self.asked.append(np.asarray(elements).tolist())
        return lod.local(self.form, elements, **coefficients)


@pytest.mark.parametrize("cell", [0, -1])
def test_update_asks_for_the_patches_that_hold_a_changed_cell_and_no_other(cell):
    """Finding E: the mark -1 of a place outside the domain is no cell; as an index it would be the last one."""
    mesh = graded()
    lod = LOD(mesh, refine=2, ell=1)
    old = random_field(lod.coefficient_mesh, np.random.default_rng(0))
    changed = range(mesh.t.shape[1])[cell]
    new = old.copy()
    new[lod.space.coefficient_refinement.cells[changed]] *= 3
    form = Recording(diffusion)
    local = lod.elemental(form, a=old)
    form.asked.clear()
    updated = lod.update(local, old, new, form)
    assert [sorted(elements) for elements in form.asked] == [sorted(grown(mesh.t, changed, 1))]
    assert relative(updated.tocsr().toarray(), lod.assemble(diffusion, a=new).toarray()) < 1e-12


def test_the_galerkin_load_is_tested_with_the_multiscale_basis():
    """Finding E: F((1 - Q) lambda_i), not F(lambda_i): B^T F with the fine load that scikit-fem assembles.

    With it the Galerkin solution is the best of the multiscale space: its error is orthogonal to the space in energy.
    """
    lod = LOD(MeshQuad().refined(2), refine=4, ell=1)
    a = random_field(lod.coefficient_mesh, np.random.default_rng(1))
    F, B = sloped_load.assemble(lod.fine), lod.basis(diffusion, a=a)
    b = lod.load(sloped_load, variant="galerkin", bilinear=diffusion, a=a)
    assert relative(b, B.T @ F) < 1e-12
    assert relative(lod.load(sloped_load), B.T @ F) > 1e-2
    S = lod.assemble(diffusion, variant="galerkin", a=a)
    u = solve(*condense(S, b, D=lod.coarse.get_dofs()))
    defect = B.T @ (F - fine_matrix(lod, a=a) @ (B @ u))
    assert abs(defect[~lod.space.dirichlet.nodes]).max() < 1e-12 * abs(F).sum()
