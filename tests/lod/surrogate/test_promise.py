"""A hybrid that promises an error of u_h, what a certificate does to a surrogate, and what assembling says."""

import json
import logging
import pickle
import warnings
from dataclasses import replace

import numpy as np
import pytest
import torch
from skfem import BilinearForm, MeshQuad
from skfem.helpers import dot, grad

from skfem_ml.lod import LOD, Extrapolated, GeometricMean, Hybrid, Known, Surrogate
from skfem_ml.lod.surrogate import certified
from skfem_ml.lod.surrogate.certificate import recarded
from skfem_ml.lod.surrogate.conformal import CoarseSolutions, Promise, certify, relative_errors
from tests.gallery import diffusion, random_field
from tests.lod.surrogate.test_surrogate import model

PROMISE = Promise(0.9, 2.0)


@pytest.fixture(scope="module")
def lod():
    return LOD(MeshQuad().refined(3), refine=8, cells=4, ell=1)


@pytest.fixture(scope="module")
def a(lod):
    return random_field(lod.coefficient_mesh, np.random.default_rng(0), 5)


@pytest.fixture(scope="module")
def small():
    return LOD(MeshQuad().refined(2).with_defaults(), refine=4, ell=1)


def cheap():
    return Extrapolated(diffusion, (4, 8))


def hybrid(tol, promise=PROMISE):
    return Hybrid(Extrapolated(diffusion, (4, 8)), diffusion, tol, promise=promise)


def test_tolerances_from_nothing_to_all(lod, a):
    exact, coarse = lod.local(diffusion, a=a), CoarseSolutions(lod)
    whole = hybrid(np.inf).judge(lod, a=a)
    assert whole.fraction == 0 and np.array_equal(whole.matrices, lod.local(cheap(), a=a))
    fractions = []
    for tol in whole.promised * np.array([1.001, 0.7, 0.4, 0.2]):
        judged = hybrid(tol).judge(lod, a=a)
        assert judged.promised <= tol
        assert np.array_equal(judged.matrices[judged.recomputed], exact[judged.recomputed])
        assert np.array_equal(judged.matrices[~judged.recomputed], whole.matrices[~judged.recomputed])
        found = coarse.errors(coarse.solutions(judged.matrices), coarse.solutions(exact)).max()
        assert found <= judged.promised  # the certificate of extrapolated matrices is a bound here
        fractions.append(judged.fraction)
    assert fractions[0] == 0 and (np.diff(fractions) > 0).all()
    none = hybrid(0.0).judge(lod, a=a)
    assert np.array_equal(none.matrices, exact) and none.promised == 0 and none.fraction == 1
    assert abs(lod.assemble(hybrid(0.0), a=a) - lod.assemble(diffusion, a=a)).max() == 0


def test_the_choice_is_made_for_the_whole_field(lod, a):
    """Some elements are some of all; a change somewhere may change the choice elsewhere, and `update` knows."""
    tol = 0.4 * hybrid(np.inf).judge(lod, a=a).promised
    whole = hybrid(tol).judge(lod, a=a)
    assert 0 < whole.fraction < 1
    for some in ([7, 2, 11], []):
        part = hybrid(tol).judge(lod, np.array(some, int), a=a)
        assert np.allclose(part.matrices, whole.matrices[some], atol=1e-12) and part.promised == whole.promised
        assert np.array_equal(part.recomputed, whole.recomputed[some])
    other = a.copy()
    other[lod.space.coefficient_refinement.cells[:6]] *= 10 ** np.random.default_rng(1).uniform(-1, 1, size=(6, 16))
    wanted = hybrid(tol).judge(lod, a=other)
    assert (whole.recomputed != wanted.recomputed)[~(lod.patches.cells < 6).any(axis=1)].any()
    system = lod.system(hybrid(tol), a=a)
    system.matrix()
    for S in (system.update(a=other).matrix(), lod.update(lod.assemble(hybrid(tol), a=a), a, other, hybrid(tol))):
        assert abs(S - lod.assemble(hybrid(tol), a=other)).max() < 1e-12


@pytest.mark.parametrize("factor", [1e-6, 1e6])
def test_the_choice_has_no_scale(lod, a, factor):
    tol = 0.4 * hybrid(np.inf).judge(lod, a=a).promised
    here, there = hybrid(tol).judge(lod, a=a), hybrid(tol).judge(lod, a=factor * a)
    assert np.array_equal(here.recomputed, there.recomputed) and there.promised == pytest.approx(here.promised)


def test_what_says_nothing_is_exact_first(lod, a):
    class Silent(Extrapolated):
        def with_score(self, lod, elements, **coefficients):
            local, scores = super().with_score(lod, elements, **coefficients)
            local[elements == 5] = np.nan
            return local, np.where(elements % 3 == 0, np.nan, np.where(elements % 3 == 1, np.inf, scores))

    judged = Hybrid(Silent(diffusion, (4, 8)), diffusion, np.inf, promise=PROMISE).judge(lod, a=a)
    numbers = np.arange(64)
    assert np.array_equal(judged.recomputed, (numbers % 3 != 2) | (numbers == 5))
    assert np.isfinite(judged.matrices).all() and 0 < judged.promised < hybrid(np.inf).judge(lod, a=a).promised


def test_a_matrix_that_is_not_definite_promises_nothing(lod, a, caplog):
    class Wrong(Extrapolated):
        def with_score(self, lod, elements, **coefficients):
            local, scores = super().with_score(lod, elements, **coefficients)
            return local * np.where(elements == 27, -60.0, 1.0)[:, None, None], scores

    with caplog.at_level(logging.INFO, "skfem_ml"):
        judged = Hybrid(Wrong(diffusion, (4, 8)), diffusion, 0.5, promise=PROMISE).judge(lod, a=a)
    assert judged.fraction == 1 and judged.promised == 0 and "all 64 elements are exact" in caplog.text


def test_input_of_a_hybrid(lod):
    for options, told in (
        ({}, "one of the two"),
        ({"tol": 0.1, "element_tol": 0.1}, "one of the two"),
        ({"tol": -1.0}, "tol: expected a number of at least 0"),
        ({"tol": np.nan}, "tol: expected"),
        ({"element_tol": -1.0}, "element_tol: expected"),
        ({"tol": 0.1}, "promise of u_h"),
        ({"tol": 0.1, "promise": PROMISE, "score": lambda *x, a: 0}, "score: expected with element_tol"),
    ):
        with pytest.raises(ValueError, match=told):
            Hybrid(cheap(), diffusion, **options)
    with pytest.raises(TypeError, match="with_score"):
        Hybrid(GeometricMean(), diffusion, 0.1, promise=PROMISE)
    with pytest.raises(ValueError, match="Dirichlet"):
        open_ = LOD(MeshQuad().refined(1), refine=8, cells=4, ell=1, dirichlet=[])
        hybrid(0.1).judge(open_, a=1.0)


def test_extrapolated_matrices_of_diffusion_come_with_a_promise(lod):
    known = Hybrid(Extrapolated(diffusion), diffusion, 0.01)
    assert known.promise is not None and 0 < known.promise.factor < np.inf and len(known.promise.names) > 30
    for other in (Extrapolated(diffusion, (4, 8)), Extrapolated(diffusion, order=1.0), Extrapolated(reaction)):
        with pytest.raises(ValueError, match="which has none"):
            Hybrid(other, other.form, 0.01)


@BilinearForm
def reaction(u, v, w):
    return w.a * dot(grad(u), grad(v)) + w.c * u * v


def test_a_promising_hybrid_pickles_before_and_after_use(lod, a):
    made = hybrid(0.01)
    wanted = pickle.loads(pickle.dumps(made)).judge(lod, a=a)
    made.judge(lod, a=a)
    again = pickle.loads(pickle.dumps(made)).judge(lod, a=a)
    assert np.array_equal(again.matrices, wanted.matrices) and again.promised == wanted.promised


# A surrogate with a certificate. Its network is random: its errors are what they are, and so is what it says.


def drawn(lod, first, count):
    return {
        f"iid {k}": random_field(lod.coefficient_mesh, np.random.default_rng(k), 5) for k in range(first, first + count)
    }


@pytest.fixture(scope="module")
def made(small):
    """A model with a certificate of 70 fields, 15 of them labelled."""
    known = [random_field(small.coefficient_mesh, np.random.default_rng([9, k]), 5) for k in range(30)]
    return certified(model(small), small, drawn(small, 0, 15), known=known, fresh=drawn(small, 100, 120), family="iid")


def test_a_certificate_goes_with_the_file(small, made, tmp_path):
    made.save(tmp_path / "model.safetensors")
    loaded = Surrogate.load(tmp_path / "model.safetensors")
    assert loaded.certificate.to_json() == made.certificate.to_json()
    assert json.loads(json.dumps(made.card.to_json()["certificate"])) == made.card.certificate
    a = drawn(small, 500, 1)["iid 500"]
    for one, other in zip(*(each.with_score(small, np.arange(16), a=a) for each in (made, loaded)), strict=True):
        assert np.array_equal(one, other)


def test_the_doubt_is_calibrated(small, made):
    """Scaled by the factor; it covers most elements of other fields, whatever the network had said."""
    bare = recarded(made, replace(made.certificate, elements=None))
    everything, covered = small.space.all_elements, []
    for a in drawn(small, 600, 12).values():
        raw, said = (each.doubt(small, everything, a=a) for each in (bare, made))
        assert np.allclose(said, made.certificate.elements.factor * raw)
        got, _ = made.raw(small, everything, a=a)
        covered.append(relative_errors(got, small.local(diffusion, a=a)) <= said)
    assert np.mean(covered) > 0.75


def test_fields_of_the_family_are_rarely_novel_and_others_are(small, made):
    alarms = [made.novelty(small, a=a) for a in drawn(small, 700, 60).values()]
    assert np.mean([found.field for found in alarms]) <= 0.15
    assert np.mean([found.elements.mean() for found in alarms]) <= 0.05
    rng = np.random.default_rng(3)
    two = rng.choice([1.0, 4.9], size=small.coefficient_mesh.t.shape[1])  # two phases, values in range
    smooth = 1 + small.coefficient_mesh.p[:, small.coefficient_mesh.t].mean(axis=1)[0]
    for other in (two, smooth):
        found = made.novelty(small, a=other)
        assert found.field and found.everywhere
        assert np.isinf(made.doubt(small, np.array([3, 4]), a=other)).all()
        with pytest.warns(UserWarning, match=r"a: 16 of 16 patches .*by the(ir)? pattern"):
            small.local(made, a=other)
        judged = Hybrid(made, diffusion, 0.3).judge(small, a=other)
        assert judged.fraction == 1 and judged.promised == 0


def test_one_strange_element_is_told_and_recomputed(small, made):
    a = drawn(small, 800, 1)["iid 800"].copy()
    before = made.novelty(small, a=a)
    block = small.space.coefficient_refinement.cells[5]
    a[block] = np.where(np.arange(16) % 2, 1.0, 4.9)  # stripes in one element
    found = made.novelty(small, a=a)
    near = (small.patches.cells == 5).any(axis=1)
    assert found.far[5] and found.field and not before.field and not found.everywhere
    assert Hybrid(made, diffusion, np.inf).judge(small, a=a).recomputed[5]
    assert np.array_equal(found.scores[~near], before.scores[~near])
    assert np.isinf(made.doubt(small, np.array([5]), a=a)).all()


def test_some_elements_of_a_field_are_told_what_all_are(small, made):
    a = drawn(small, 900, 1)["iid 900"]
    whole = made.doubt(small, small.space.all_elements, a=a)
    assert np.allclose(made.doubt(small, np.array([9, 2]), a=a), whole[[9, 2]])


def test_a_certificate_says_of_which_fields(small, made):
    assert made.certificate.elements.family == made.certificate.solution.family == "iid"
    again = certified(model(small), small, drawn(small, 0, 2))
    assert again.certificate.elements.family == "" and again.certificate.novelty is None
    assert again.certificate.elements.names == ("iid 0", "iid 1")


def test_used_fields_are_refused(small):
    with pytest.raises(ValueError, match="used before"):
        certified(model(small), small, drawn(small, 0, 3), used=["iid 1"])
    fresh = drawn(small, 5, 3)
    with pytest.raises(ValueError, match="used before"):
        certified(model(small), small, drawn(small, 0, 3), known=[np.ones(256)], fresh=fresh, used=["iid 6"])


@pytest.mark.parametrize("where", ["head.weight", "affine.weight", "doubt.2.bias", "doubt.0.weight"])
def test_weights_that_are_no_numbers_are_trusted_nowhere(small, made, where):
    """A NaN in the matrices is an error, one in the doubt a warning; a hybrid recomputes everything."""
    surrogate = recarded(model(small), made.certificate)
    assert where in dict(surrogate.net.named_parameters())
    with torch.no_grad():
        surrogate.net.get_parameter(where).view(-1)[:] = torch.nan
    a = drawn(small, 800, 1)["iid 800"]
    surrogate = Surrogate(surrogate.net, replace(surrogate.card, doubt={"quantile": 0.9, "trusted": 0.1}))
    if where.startswith("doubt"):
        with pytest.warns(UserWarning, match="16 by a doubt above 0.1"):
            small.assemble(surrogate, a=a)
    else:
        with pytest.raises(ValueError, match="not finite for 16 of 16 patches"):
            small.assemble(surrogate, a=a)
    assert np.isinf(surrogate.doubt(small, small.space.all_elements, a=a)).all()
    for options in ({"tol": 0.5}, {"element_tol": 1e9}):
        judged = Hybrid(surrogate, diffusion, **options).judge(small, a=a)
        assert judged.fraction == 1 and np.array_equal(judged.matrices, small.local(diffusion, a=a))


# S itself.


def test_the_matrix_of_a_guess_is_checked(small):
    a = random_field(small.coefficient_mesh, np.random.default_rng(5), 5)
    local = small.local(diffusion, a=a)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        small.assemble(Known(local))
    nan, indefinite = local.copy(), local.copy()
    nan[3, 7, 1] = np.nan
    indefinite[5] *= -30
    with pytest.raises(ValueError, match="S: expected finite entries, got 1 of"):
        small.assemble(Known(nan))
    with pytest.warns(UserWarning, match="not positive definite"):  # at any contrast
        small.assemble(Known(indefinite))

    class Leaky(GeometricMean):
        def local(self, lod, elements, **coefficients):
            return super().local(lod, elements, **coefficients) + 0.01

    with pytest.warns(UserWarning, match="its rows sum to"):
        small.assemble(Leaky(), a=a)


def test_certify_refuses_before_it_computes(lod, a):
    class Costly(Extrapolated):
        def with_score(self, lod, elements, **coefficients):
            raise AssertionError

    with pytest.raises(ValueError, match="used before"):
        certify(Costly(diffusion, (4, 8)), lod, {"x": a}, used=["x"])
