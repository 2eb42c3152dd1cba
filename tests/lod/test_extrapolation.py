"""`Extrapolated`: the formula, orders, the certificate, and `Hybrid` with it; any form, lines, quads and hexes."""

import pickle

import numpy as np
import pytest
from skfem import BilinearForm, LinearForm, MeshHex, MeshLine, MeshQuad
from skfem.helpers import dot, grad

from skfem_ml.coefficients import checkerboard
from skfem_ml.learning.storage import ModelMismatchError
from skfem_ml.lod import LOD, Extrapolated, GeometricMean, Hybrid
from skfem_ml.metrics import l2_error
from skfem_ml.problems import diffusion
from tests.gallery import MESHES, random_field, reaction_diffusion, relative, small_lod, tensor_diffusion, unit_load


@BilinearForm
def conduction(u, v, w):
    return w.kappa * dot(grad(u), grad(v))


def field_on(lod, contrast=50.0, seed=0):
    return random_field(lod.coefficient_mesh, np.random.default_rng(seed), contrast)


def norms(matrices):
    return np.linalg.norm(matrices, axis=(1, 2))


def tensors(lod):
    out = np.tile(np.eye(2)[..., None], lod.coefficient_mesh.t.shape[1]) * field_on(lod)
    out[0, 1] = out[1, 0] = 0.3 * out[0, 0]
    return out


# Mesh, numbers of fine cells, options of the LOD, form, coefficients.
KINDS = {
    "line": (lambda: MeshLine(np.linspace(0, 1, 7) ** 1.2), (2, 4), {"refine": 2}, diffusion, {"a": field_on}),
    "L": (MESHES["L"], (2, 6), {"refine": 2, "ell": 2}, conduction, {"kappa": field_on}),
    "U": (MESHES["U"], (4, 8), {"refine": 4, "cells": 4}, reaction_diffusion, {"a": field_on, "c": lambda lod: 3.0}),
    "graded": (MESHES["graded"], (2, 4), {"refine": 2, "dirichlet": ["left"]}, tensor_diffusion, {"a": tensors}),
    "hex": (lambda: MeshHex().refined(1), (1, 2), {"refine": 1}, diffusion, {"a": field_on}),
}


@pytest.mark.parametrize("kind", KINDS)
def test_the_formula(kind):
    """S_2 + (S_2 - S_1) / (q^p - 1) of exact matrices, for any form; how far it is from S_2 is the certificate."""
    mesh, refines, options, form, draws = KINDS[kind]
    lod = LOD(mesh(), **{"ell": 1, **options})
    given = {name: draw(lod) for name, draw in draws.items()}
    coarse, fine = (lod.with_fine(refine).local(form, **given) for refine in refines)
    for order in (2.0, 1.0):
        wanted = fine + (fine - coarse) / ((refines[1] / refines[0]) ** order - 1)
        found = Extrapolated(form, refines, order).judge(lod, **given)
        assert relative(found.matrices, wanted) < 1e-12 and (found.orders == order).all()
        assert np.allclose(found.absolute, norms(wanted - fine), rtol=1e-9)
        assert np.allclose(found.scores * norms(wanted), found.absolute, rtol=1e-12)
        S = lod.assemble(Extrapolated(form, refines, order), **given)
        assert relative(S.toarray(), lod.sum(wanted).tocsr().toarray()) < 1e-12


def test_the_order_of_every_element_from_three_meshes():
    """Two where the coefficient is constant, near one at the corners of a checkerboard, within bounds where neither."""
    lod = LOD(MeshQuad().refined(2), 16, cells=2, ell=1)
    three = Extrapolated(diffusion, (4, 8, 16))
    S = [lod.with_fine(n).local(diffusion, a=1.0) for n in (4, 8, 16)]
    found = three.judge(lod, a=1.0)
    wanted = np.log2(norms(S[1] - S[0]) / norms(S[2] - S[1])).clip(1, 2)
    assert np.allclose(found.orders, wanted) and found.orders.min() > 1.8
    assert relative(found.matrices, S[2] + (S[2] - S[1]) / (2**wanted - 1)[:, None, None]) < 1e-12
    rough = three.judge(lod, a=checkerboard(lod.coefficient_mesh, 8, 1.0, 30.0))
    assert rough.orders.min() == 1 and np.median(rough.orders) < 1.3
    line = LOD(MeshLine().refined(3), 4, cells=1, interpolation="nodal")  # exact on any mesh: nothing to extrapolate
    assert Extrapolated(diffusion, (2, 4, 8)).judge(line, a=field_on(line)).scores.max() < 1e-12


@pytest.mark.parametrize("seed", range(3))
def test_closer_than_its_certificate_and_than_the_finer_mesh(seed):
    """Against exact matrices on 32 x 32 cells, for values of contrast 30 on 8 x 8 cells in each of 16 elements."""
    lod = LOD(MeshQuad().refined(2), 32, cells=8, ell=1)
    a = field_on(lod, 30.0, seed)
    exact, S16 = lod.local(diffusion, a=a), lod.with_fine(16).local(diffusion, a=a)
    found = Extrapolated(diffusion).judge(lod, a=a)
    gaps = norms(found.matrices - exact)
    assert (gaps <= found.absolute).all() and (gaps < norms(S16 - exact) / 2).all()
    u, wanted = (lod.system(chosen, a=a).solve(unit_load) for chosen in (Extrapolated(diffusion), diffusion))
    plain = lod.with_fine(16).system(diffusion, a=a).solve(unit_load)
    assert l2_error(u, wanted, lod.coarse) < l2_error(plain, wanted, lod.coarse) / 3


def test_a_hybrid_recomputes_what_the_certificate_tells():
    lod = LOD(MeshQuad().refined(2), 16, cells=4, ell=1)
    a, cheap = field_on(lod), Extrapolated(diffusion, (4, 8))
    exact, found = lod.local(diffusion, a=a), cheap.judge(lod, a=a)
    tol = float(np.median(found.scores))
    judged = Hybrid(cheap, diffusion, element_tol=tol).judge(lod, a=a)
    assert np.array_equal(judged.recomputed, found.scores > tol) and 0 < judged.fraction < 1
    assert np.array_equal(judged.scores, cheap.doubt(lod, lod.space.all_elements, a=a))
    assert relative(judged.matrices[judged.recomputed], exact[judged.recomputed]) < 1e-12
    assert np.array_equal(judged.matrices[~judged.recomputed], found.matrices[~judged.recomputed])
    assert np.array_equal(lod.local(Hybrid(cheap, diffusion, element_tol=0.0), a=a), exact)
    assert np.array_equal(lod.local(Hybrid(cheap, diffusion, element_tol=np.inf), a=a), found.matrices)

    def third(lod, elements, a):
        return (elements == 3).astype(float)

    own = Hybrid(cheap, diffusion, element_tol=0.5, score=third).judge(lod, a=a)
    assert np.flatnonzero(own.recomputed).tolist() == [3]
    assert (
        repr(Hybrid(cheap, diffusion, element_tol=0.02))
        == "Hybrid(Extrapolated(diffusion, refines=(4, 8)), element_tol=0.02)"
    )


def test_a_hybrid_takes_maps_with_scores_of_that_form():
    with pytest.raises(ModelMismatchError, match="give Hybrid the form of Extrapolated"):
        Hybrid(Extrapolated(conduction), diffusion, element_tol=0.02)
    with pytest.raises(TypeError, match="surrogate: expected a Surrogate, Extrapolated or a local map with with_score"):
        Hybrid(GeometricMean(), diffusion, element_tol=0.02)


def test_the_engine_patches_and_boundary_of_the_lod_count_and_nothing_else_of_it():
    a = field_on(small_lod())
    wanted = small_lod().local(Extrapolated(diffusion, (4, 8)), a=a)
    for options in ({"refine": 8, "cells": 4}, {"interiors": 16}, {"engine": "reference"}, {"workers": 2}):
        assert relative(small_lod(**options).local(Extrapolated(diffusion, (4, 8)), a=a), wanted) < 1e-10
    told = []
    small_lod(progress=lambda *what: told.append(what)).local(Extrapolated(diffusion, (4, 8)), a=a)
    assert told[-1][:2] == (16, 16) and len([what for what in told if what[0] == 16]) == 2


def test_copies_updates_and_names():
    lod, cheap = small_lod(), Extrapolated(diffusion, (4, 8))
    a, b = field_on(lod), field_on(lod)
    b[lod.space.coefficient_refinement.cells[5]] *= 3
    again = pickle.loads(pickle.dumps(cheap))
    assert again.form is diffusion and np.array_equal(lod.local(again, a=a), lod.local(cheap, a=a))
    system = lod.system(cheap, a=a)
    system.matrix()
    assert relative(system.update(a=b).matrix().toarray(), lod.assemble(cheap, a=b).toarray()) < 1e-12
    assert repr(Extrapolated(diffusion, (4, 8), 1.5)) == "Extrapolated(diffusion, refines=(4, 8), order=1.5)"
    assert repr(Extrapolated(diffusion, (4, 8, 16))) == "Extrapolated(diffusion, refines=(4, 8, 16))"


def test_what_is_refused():
    for refines in ((8,), (16, 8), (8, 8), (4, 8, 12), (2, 4, 8, 16)):
        with pytest.raises(ValueError, match="refines: expected two growing numbers of fine cells"):
            Extrapolated(diffusion, refines)
    with pytest.raises(ValueError, match="refines: expected a whole number >= 1, got 0"):
        Extrapolated(diffusion, (0, 8))
    with pytest.raises(ValueError, match="order: expected a positive, finite number, got 0"):
        Extrapolated(diffusion, order=0)
    with pytest.raises(TypeError, match="form: expected a BilinearForm, got LinearForm"):
        Extrapolated(LinearForm(lambda v, w: v))
    lod = small_lod()
    with pytest.raises(ValueError, match="cells: expected a divisor of refine = 6, got 4"):
        lod.assemble(Extrapolated(diffusion, (6, 12)), a=1.0)
    with pytest.raises(ValueError, match=r"a: 1 of 256 values are not positive"):
        lod.assemble(Extrapolated(diffusion, (4, 8)), a=np.append(np.ones(255), -1.0))
