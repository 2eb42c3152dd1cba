"""The shipped surrogate: identities that it keeps by construction, and what its certificate catches and what not."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from skfem import MeshQuad, condense, solve
from skfem.models import unit_load

from skfem_ml.coefficients import checkerboard, cracks
from skfem_ml.coefficients.families import paper_field
from skfem_ml.learning import ModelMismatchError
from skfem_ml.lod import LOD, Hybrid, Surrogate
from skfem_ml.lod.surrogate import RECIPES, feature_range
from skfem_ml.lod.surrogate.certificate import beyond, pattern_range, recarded, relative_errors, strange
from skfem_ml.lod.surrogate.conformal import Certificate
from skfem_ml.lod.surrogate.inputs import blocks, place_of
from skfem_ml.lod.surrogate.networks.place import Inputs
from skfem_ml.lod.surrogate.patterns import patterns
from skfem_ml.lod.surrogate.recipe.labelling.parts import shipped_draw, shipped_lod
from skfem_ml.metrics import l2_error
from tests.gallery import diffusion, moved

MODEL = "diffusion-q1-ell2-n8"


@pytest.fixture(scope="module")
def surrogate():
    return Surrogate.load(MODEL)


@pytest.fixture(scope="module", name="certified")
def with_certificate(surrogate):
    assert surrogate.certificate.novelty is not None
    return surrogate


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


def test_cracks_of_contrast_100_are_caught(certified):
    """By the range of values alone; the certificate knows that the background is another as well."""
    surrogate = recarded(certified, Certificate())
    lod = LOD(MeshQuad().refined(4), refine=8, ell=2)
    rng = np.random.default_rng(3)
    a = cracks(lod.coefficient_mesh, 1, 1 / 64, 0.2, rng, (1.0, 1.4), (90.0, 100.0), level=7)
    touched = (lod.gather(a) > 50).any(axis=1)
    assert 0.1 < touched.mean() < 0.7
    assert np.array_equal(surrogate.excess(lod, lod.space.all_elements, a=a) > 0, touched)
    with pytest.warns(UserWarning, match=f"a: {touched.sum()} of 256 patches are outside"):
        wrong = lod.assemble(surrogate, a=a)
    with pytest.warns(UserWarning, match=f"{touched.sum()} by their values, .* by the pattern of the field"):
        lod.local(certified, a=a)
    hybrid = Hybrid(surrogate, diffusion, element_tol=0.01)
    exact, (got, scores, recomputed, _) = lod.local(diffusion, a=a), hybrid.judge(lod, a=a)
    assert np.array_equal(scores > 0.01, touched) and np.array_equal(recomputed, touched)
    assert abs(got[touched] - exact[touched]).max() < 1e-12 * abs(exact).max()
    b, D = unit_load.assemble(lod.coarse), lod.coarse.get_dofs()
    u, v, w = (solve(*condense(S, b, D=D)) for S in (lod.sum(exact).tocsr(), lod.sum(got).tocsr(), wrong))
    assert l2_error(v, u, lod.coarse, relative=True) < 1e-3 < 0.1 < l2_error(w, u, lod.coarse, relative=True)
    judged = Hybrid(certified, diffusion, 0.01).judge(lod, a=a)
    assert judged.fraction == 1 and judged.promised == 0


def test_tolerance_zero_is_exact_to_the_bit(lod, a, surrogate):
    hybrid = Hybrid(surrogate, diffusion, element_tol=0)
    assert abs(lod.assemble(hybrid, a=a) - lod.assemble(diffusion, a=a)).max() == 0
    assert hybrid.judge(lod, a=a).fraction == 1


def test_errors_fall_with_the_fraction_recomputed(lod, a, surrogate):
    exact = lod.local(diffusion, a=a)
    scores = Hybrid(surrogate, diffusion, element_tol=np.inf).judge(lod, a=a).scores
    errors, fractions = [], []
    for tol in (np.inf, *np.quantile(scores, [0.75, 0.5, 0.25]), 0):
        judged = Hybrid(surrogate, diffusion, element_tol=tol).judge(lod, a=a)
        errors.append(np.linalg.norm(judged.matrices - exact))
        fractions.append(judged.fraction)
    assert fractions[0] == 0 and fractions[-1] == 1 and (np.diff(fractions) > 0).all()
    assert errors[-1] == 0 and (np.diff(errors) < 0).all()


def test_the_doubt_covers_the_quantile(surrogate):
    """Finding E: on unseen fields of the families, on the mesh of training (4096 patches), 0.9 are covered."""
    recipe = RECIPES[MODEL]
    lod = shipped_lod(recipe, "test")
    draw, elements, ratios = shipped_draw(recipe, "test", lod.coefficient_mesh), lod.space.all_elements, []
    for index in range(4):
        a = draw(index)
        got, doubt = surrogate.with_score(lod, elements, a=a)
        exact = lod.local(diffusion, a=a)
        ratios.append(np.linalg.norm(got - exact, axis=(1, 2)) / np.linalg.norm(exact, axis=(1, 2)) / doubt)
    assert 0.86 < (np.array(ratios) <= 1).mean() < 0.94
    assert surrogate.card.doubt["covered, new fields"] == pytest.approx(0.9, abs=0.04)


def test_a_pattern_like_nothing_in_training_is_caught(lod, a, surrogate):
    """Values in range, but a checkerboard of the fine cells: the features of the network are far from those seen."""
    cells = round(len(a) ** 0.5)
    board = checkerboard(lod.coefficient_mesh, cells, 1.0, 4.99)
    elements = lod.space.all_elements
    assert surrogate.excess(lod, elements, a=board).max() == 0
    assert np.isinf(surrogate.doubt(lod, elements, a=board)).all()
    assert np.isfinite(surrogate.doubt(lod, elements, a=a)).all()
    for family in ("iid-0", "iid-3", "iid-6"):
        field = paper_field(lod.coefficient_mesh, family, 1000)
        assert np.isfinite(surrogate.doubt(lod, elements, a=field)).mean() > 0.9  # a few are called novel
    nothing = {"features": None, "patterns": None, "certificate": None}
    blind = Surrogate(surrogate.net, replace(surrogate.card, **nothing))
    assert np.isfinite(blind.doubt(lod, elements, a=board)).all()
    for what in nothing:  # each of the three sees it
        one = replace(surrogate.card, **{**nothing, what: getattr(surrogate.card, what)})
        assert np.isinf(Surrogate(surrogate.net, one).doubt(lod, elements, a=board)).all()


def test_range_of_features(lod, a, surrogate):
    place = place_of(lod, lod.space.all_elements)
    seen = feature_range(surrogate.net, [Inputs(blocks(lod, np.stack([a, 2 * a])), place)])
    features = surrogate.net.invariants(surrogate.net.look(blocks(lod, a), place))[0].detach()
    assert beyond(features, seen).max() < 1e-5
    width = np.array(seen["high"]) - seen["low"]
    outside = torch.tensor(seen["high"], dtype=torch.float64) + torch.from_numpy(
        np.where(np.arange(64) == 5, width / 2, 0)
    )
    assert beyond(outside, seen) == pytest.approx(0.5)
    low, high = (torch.tensor(seen[side], dtype=torch.float64) for side in ("low", "high"))
    for share, odd in ((0.08, False), (0.12, True)):  # finding E: a tenth of the range, on both sides
        for edge, sign in ((high, 1), (low, -1)):
            assert bool(strange(edge + sign * share * (high - low), seen)) is odd
    assert bool(strange(torch.full((64,), torch.nan), seen)) and not strange(outside, None)
    with pytest.raises(ValueError, match="at least one"):
        feature_range(surrogate.net, [])
    edges = torch.tensor([[0.1], [0.7]], dtype=torch.float64)
    assert (beyond(edges, {"low": [0.1], "high": [0.7]}) == 0).all()  # in double precision: the ends are inside


def test_relative_errors_are_those_of_single_patches():
    rng = np.random.default_rng(0)
    exact, change = rng.normal(size=(2, 3, 16, 4)), 1e-3 * rng.normal(size=(2, 3, 16, 4))
    found = relative_errors(torch.from_numpy(exact + change), torch.from_numpy(exact))
    for field, element in np.ndindex(2, 3):
        wanted = np.linalg.norm(change[field, element]) / np.linalg.norm(exact[field, element])
        assert float(found[field, element]) == pytest.approx(wanted)


def test_range_of_patterns(lod, a):
    place, fields = place_of(lod, lod.space.all_elements), blocks(lod, np.stack([a, a[::-1] ** 2]))
    seen, found = pattern_range([Inputs(fields, place)]), patterns(fields, place).flatten(0, 1)
    assert np.allclose(seen["low"], found.amin(dim=0)) and np.allclose(seen["high"], found.amax(dim=0))
    assert pattern_range([Inputs(fields[:1], place), Inputs(fields[1:], place)]) == seen
    with pytest.raises(ValueError, match=r"^fields: expected at least one, got none$"):
        pattern_range([])


def test_another_lod_is_refused(surrogate):
    with pytest.raises(ModelMismatchError, match="n: wanted 4, got 8"):
        LOD(MeshQuad().refined(2), refine=4, ell=2).assemble(surrogate, a=1.0)
    with pytest.raises(ModelMismatchError, match="ell: wanted 1, got 2"):
        LOD(MeshQuad().refined(2), refine=8, ell=1).assemble(surrogate, a=1.0)


def spoiled(mesh, name):
    """Fields that no value tells from those of training, or hardly any, and whose patterns do."""
    cells, rng = round(mesh.t.shape[1] ** 0.5), np.random.default_rng(0)
    kind, high = name.split()
    if kind == "Bernoulli":
        return rng.choice([1.0, float(high)], mesh.t.shape[1])
    return checkerboard(mesh, cells // (2 if kind == "checkerboard-2" else 1), 1.0, float(high))


@pytest.mark.parametrize("model", [MODEL, "diffusion-wide-q1-ell2-n32"])
@pytest.mark.parametrize(
    "name", ["checkerboard 4.99", "checkerboard 10", "checkerboard-2 10", "Bernoulli 100", "Bernoulli 1000"]
)
def test_regular_patterns_and_too_rough_ones_are_told(model, name):
    """Finding A6: assembling warns of all patches, and the hybrid recomputes all."""
    surrogate = Surrogate.load(model)
    lod = LOD(MeshQuad().refined(3), refine=surrogate.setting.n, cells=8, ell=2)
    a, elements = spoiled(lod.coefficient_mesh, name), np.array([0, 9, 27])
    with pytest.warns(
        UserWarning, match=r"a: 3 of 3 patches are outside the range of training \(.*, Hybrid recomputes"
    ):
        lod.local(surrogate, elements, a=a)
    assert np.isinf(surrogate.doubt(lod, elements, a=a)).all()
    assert Hybrid(surrogate, diffusion, element_tol=0.5).judge(lod, elements, a=a).fraction == 1


def test_fields_like_those_of_training_are_not_warned_of(surrogate, recwarn):
    """Of fields that were not trained on, on the mesh of training; one patch in a thousand may be at the edge."""
    recipe = RECIPES[MODEL]
    lod = shipped_lod(recipe, "test")
    draw, told = shipped_draw(recipe, "test", lod.coefficient_mesh), 0
    for index in range(10, 20):
        answer = surrogate.raw(lod, lod.space.all_elements, a=draw(index))[1]
        told += int(
            ((answer.excess > 0) | answer.strange.patches | (answer.doubt > surrogate.card.doubt["trusted"])).sum()
        )
    assert told <= 10


def test_a_doubt_that_is_larger_than_tested_is_told(lod, a, surrogate):
    """Finding A6: a doubt above what the card trusts, in range and of a usual pattern."""
    doubt = surrogate.doubt(lod, lod.space.all_elements, a=a)
    low = Surrogate(surrogate.net, replace(surrogate.card, doubt={"quantile": 0.9, "trusted": float(np.median(doubt))}))
    with pytest.warns(UserWarning, match=r"a: 32 of 64 patches .*\(32 by a doubt above 0\.00\d{2,4}\)"):
        lod.local(low, a=a)


def test_patterns_are_what_they_say():
    """Independent cells, stripes, checkerboards, smooth and constant fields: at two lengths, whatever the scale."""
    lod = LOD(MeshQuad().refined(3), refine=8, ell=2)
    mesh, place = lod.coefficient_mesh, place_of(lod, lod.space.all_elements)
    x, y = mesh.p[:, mesh.t].mean(axis=1)

    def of(a):
        found = patterns(blocks(lod, a), place)[0]
        assert torch.allclose(patterns(blocks(lod, 1e6 * a), place)[0], found, atol=1e-8)
        return found.mean(dim=0).numpy()

    rough = of(np.exp(np.random.default_rng(0).normal(size=mesh.t.shape[1])))
    assert np.allclose(rough, [2, 3, 2, 0.5, 3, 2], rtol=0.05)
    assert np.allclose(of(checkerboard(mesh, 64, 1.0, np.e)), [1, 4, 4, 0, 0, 0], atol=0.05)
    stripes = of(np.where((64 * x).astype(int) % 2, 1.0, np.e))
    assert np.allclose(stripes, [0.5, 4, 0, 0, 0, 0], atol=0.08)
    assert np.allclose(of(np.exp(x + y)), [1 / 64**2, 0, 0, 1 / 32**2, 0, 0], atol=1e-9)
    assert (of(np.full(len(x), 3.0)) == 0).all()
    assert patterns(torch.ones(1, 4, 4), place._replace(cells=torch.tensor([[0]]))).shape == (1, 1, 0)
