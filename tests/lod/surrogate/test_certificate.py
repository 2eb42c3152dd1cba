"""The shipped surrogate: identities that it keeps by construction, and what its certificate catches and what not."""

import numpy as np
import pytest
import torch
from skfem import MeshQuad, condense, solve
from skfem.models import unit_load

from skfem_ml.coefficients import checkerboard, cracks
from skfem_ml.coefficients.families import paper_field
from skfem_ml.learning import ModelMismatchError
from skfem_ml.lod import LOD, Hybrid, Surrogate
from skfem_ml.lod.surrogate import feature_range
from skfem_ml.lod.surrogate.certificate import beyond
from skfem_ml.lod.surrogate.inputs import blocks, place_of
from skfem_ml.metrics import l2_error
from tests.gallery import diffusion, moved

MODEL = "diffusion-q1-ell2-n8"


@pytest.fixture(scope="module")
def surrogate():
    return Surrogate.load(MODEL)


@pytest.fixture(scope="module")
def lod():
    return LOD(MeshQuad().refined(3), refine=8, ell=2)


@pytest.fixture(scope="module")
def a(lod):
    return paper_field(lod.coefficient_mesh, "iid-6", 1000)


def test_identities(lod, a, surrogate, recwarn):
    exact, got = lod.assemble(diffusion, a=a), lod.assemble(surrogate, a=a)
    assert not recwarn.list
    assert type(got) is type(exact) and got.dtype == exact.dtype == np.float64
    assert np.array_equal(got.indptr, exact.indptr) and np.array_equal(got.indices, exact.indices)
    for axis in (0, 1):
        assert abs(got.sum(axis=axis)).max() < 1e-13 * abs(got).max()
    assert abs(lod.assemble(surrogate, a=1e6 * a) - 1e6 * got).max() < 1e-5 * 1e6 * abs(got).max()
    assert abs(got - exact).max() < 0.02 * abs(exact).max()


@pytest.mark.parametrize("number", range(1, 8))
def test_the_eight_symmetries(lod, a, surrogate, number):
    cells, nodes = moved(lod, number)
    there, here = (lod.assemble(surrogate, a=field).toarray() for field in (a[cells], a))
    assert abs(there - here[np.ix_(nodes, nodes)]).max() < 1e-5 * abs(here).max()


def test_cracks_of_contrast_100_are_caught(surrogate):
    lod = LOD(MeshQuad().refined(4), refine=8, ell=2)
    rng = np.random.default_rng(3)
    a = cracks(lod.coefficient_mesh, 1, 1 / 64, 0.2, rng, (1.0, 1.4), (90.0, 100.0), level=7)
    touched = (lod.gather(a) > 50).any(axis=1)
    assert 0.1 < touched.mean() < 0.7
    assert np.array_equal(surrogate.excess(lod, lod.space.all_elements, a=a) > 0, touched)
    with pytest.warns(UserWarning, match=f"a: {touched.sum()} of 256 patches are outside"):
        wrong = lod.assemble(surrogate, a=a)
    hybrid = Hybrid(surrogate, diffusion, 0.01)
    exact, got = lod.local(diffusion, a=a), lod.local(hybrid, a=a)
    assert np.array_equal(hybrid.scores > 0.01, touched) and hybrid.fraction == touched.mean()
    assert abs(got[touched] - exact[touched]).max() < 1e-12 * abs(exact).max()
    b, D = unit_load.assemble(lod.coarse), lod.coarse.get_dofs()
    u, v, w = (solve(*condense(S, b, D=D)) for S in (lod.sum(exact).tocsr(), lod.sum(got).tocsr(), wrong))
    assert l2_error(v, u, lod.coarse, relative=True) < 1e-3 < 0.1 < l2_error(w, u, lod.coarse, relative=True)


def test_tolerance_zero_is_exact_to_the_bit(lod, a, surrogate):
    hybrid = Hybrid(surrogate, diffusion, 0)
    assert abs(lod.assemble(hybrid, a=a) - lod.assemble(diffusion, a=a)).max() == 0 and hybrid.fraction == 1


def test_errors_fall_with_the_fraction_recomputed(lod, a, surrogate):
    exact = lod.local(diffusion, a=a)
    hybrid = Hybrid(surrogate, diffusion, np.inf)
    lod.local(hybrid, a=a)
    errors, fractions = [], []
    for tol in (np.inf, *np.quantile(hybrid.scores, [0.75, 0.5, 0.25]), 0):
        part = Hybrid(surrogate, diffusion, tol)
        errors.append(np.linalg.norm(lod.local(part, a=a) - exact))
        fractions.append(part.fraction)
    assert fractions[0] == 0 and fractions[-1] == 1 and (np.diff(fractions) > 0).all()
    assert errors[-1] == 0 and (np.diff(errors) < 0).all()


def test_the_doubt_is_about_the_error(lod, surrogate):
    """On an unseen field of the family: calibrated for a quantile of 0.9."""
    a = paper_field(lod.coefficient_mesh, "iid-8", 1000)
    exact, got = lod.local(diffusion, a=a), lod.local(surrogate, a=a)
    error = np.linalg.norm(got - exact, axis=(1, 2)) / np.linalg.norm(exact, axis=(1, 2))
    doubt = surrogate.doubt(lod, lod.space.all_elements, a=a)
    assert 0.6 < (error <= doubt).mean() <= 1 and 0.5 < np.median(error / doubt) < 1.2


def test_a_pattern_like_nothing_in_training_is_caught(lod, a, surrogate):
    """Values in range, but a checkerboard of the fine cells: the features of the network are far from those seen."""
    cells = round(len(a) ** 0.5)
    board = checkerboard(lod.coefficient_mesh, cells, 1.0, 4.99)
    elements = lod.space.all_elements
    assert surrogate.excess(lod, elements, a=board).max() == 0
    assert np.isinf(surrogate.doubt(lod, elements, a=board)).all()
    assert np.isfinite(surrogate.doubt(lod, elements, a=a)).all()
    for family in ("iid-0", "iid-3", "iid-8", "multiscale"):
        field = paper_field(lod.coefficient_mesh, family, 1000)
        assert np.isfinite(surrogate.doubt(lod, elements, a=field)).all()
    blind = Surrogate(surrogate.net, {key: value for key, value in surrogate.card.items() if key != "features"})
    assert np.isfinite(blind.doubt(lod, elements, a=board)).all()


def test_range_of_features(lod, a, surrogate):
    place = place_of(lod, lod.space.all_elements)
    seen = feature_range(surrogate.net, [(blocks(lod, np.stack([a, 2 * a])), place)])
    features = surrogate.net.invariants(surrogate.net.look(blocks(lod, a), place))[0].detach()
    assert beyond(features, seen).max() < 1e-5
    width = np.array(seen["high"]) - seen["low"]
    outside = torch.tensor(seen["high"], dtype=torch.float64) + torch.from_numpy(
        np.where(np.arange(64) == 5, width / 2, 0)
    )
    assert beyond(outside, seen) == pytest.approx(0.5)
    with pytest.raises(ValueError, match="at least one"):
        feature_range(surrogate.net, [])


def test_another_lod_is_refused(surrogate):
    with pytest.raises(ModelMismatchError, match="n: wanted 4, got 8"):
        LOD(MeshQuad().refined(2), refine=4, ell=2).assemble(surrogate, a=1.0)
    with pytest.raises(ModelMismatchError, match="ell: wanted 1, got 2"):
        LOD(MeshQuad().refined(2), refine=8, ell=1).assemble(surrogate, a=1.0)
