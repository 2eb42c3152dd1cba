"""Conformal calibration: what is promised holds for exchangeable fields, and only what can be promised is."""

import json
import logging
from dataclasses import replace

import numpy as np
import pytest
from skfem import MeshQuad

from skfem_ml.lod import LOD, Extrapolated
from skfem_ml.lod.surrogate.conformal import (
    LOADS,
    Calibration,
    Certificate,
    CoarseSolutions,
    Measured,
    Novelty,
    Promise,
    certify,
    conformal_quantile,
    measured,
    p_values,
    path,
    pooled_quantile,
)
from skfem_ml.lod.surrogate.conformal.solution import MOST, falling, sums
from tests.gallery import diffusion, random_field

LEVELS = (0.5, 0.8, 0.9, 0.95)


def fields_of(rng, count, elements=30):
    """Errors of elements that depend on their field: a level of its own, and a size of its own."""
    sizes = rng.integers(5, elements, size=count)
    return [np.exp(rng.normal() + 0.5 * rng.normal(size=size)) for size in sizes]


@pytest.mark.parametrize("level", LEVELS)
def test_a_fresh_value_is_covered_as_promised(level):
    """Over 2000 draws of k + 1 values: level at least, and at most 1 / (k + 1) more."""
    rng, k = np.random.default_rng(0), 39
    values = rng.standard_cauchy((2000, k + 1))
    covered = np.mean([fresh <= conformal_quantile(known, level) for *known, fresh in values])
    assert level - 0.02 < covered < level + 1 / (k + 1) + 0.02


@pytest.mark.parametrize("level", LEVELS)
def test_elements_and_fields_are_covered_as_promised(level):
    """The share of elements of a fresh field, and all of them at once, over 600 calibrations on 39 fields."""
    rng, k = np.random.default_rng(1), 39
    elements, fields = [], []
    for _ in range(600):
        errors = fields_of(rng, k + 1)
        said = [np.ones(len(part)) for part in errors]
        found = Calibration.of(said[:k], errors[:k], range(k), level=level)
        fresh = found.coverage(said[k:], errors[k:], [k])
        elements.append(fresh.elements)
        fields.append(fresh.fields)
    assert level - 0.025 < np.mean(elements) < level + 1 / (k + 1) + 0.02
    assert level - 0.04 < np.mean(fields) < level + 1 / (k + 1) + 0.04


def test_quantiles_of_one_value_a_group_agree_with_those_of_values():
    values = np.random.default_rng(2).normal(size=57)
    for level in np.linspace(0.05, 0.95, 19):
        assert pooled_quantile(values[:, None], level) == conformal_quantile(values, level)
    assert pooled_quantile([*values[:, None], []], 0.9) == conformal_quantile(values, 0.9)  # empty groups say nothing


def test_the_size_of_a_group_does_not_count():
    rng = np.random.default_rng(3)
    groups = fields_of(rng, 40)
    assert pooled_quantile(groups, 0.9) == pooled_quantile([np.repeat(group, 3) for group in groups], 0.9)
    assert pooled_quantile(groups, 0.9) == pooled_quantile([groups[0].repeat(50), *groups[1:]], 0.9)


def test_factors_grow_with_the_level_and_scale_with_the_errors():
    rng = np.random.default_rng(4)
    errors = fields_of(rng, 60)
    said = [np.exp(0.1 * rng.normal(size=len(part))) for part in errors]
    found = [Calibration.of(said, errors, range(60), level=level) for level in LEVELS]
    for name in ("factor", "field_factor"):
        assert (np.diff([getattr(each, name) for each in found]) >= 0).all()
    doubled = Calibration.of([2 * part for part in said], errors, range(60), level=0.9)
    assert doubled.factor == pytest.approx(found[2].factor / 2)
    assert np.allclose(doubled.bound(2 * said[0]), found[2].bound(said[0]))
    assert found[2].factor <= found[2].field_factor


def test_ties_count_as_covered():
    same = Calibration.of([np.ones(5)] * 20, [np.full(5, 2.0)] * 20, range(20))
    assert same.factor == same.field_factor == 2
    assert same.coverage([np.ones(5)], [np.full(5, 2.0)], [20]).elements == 1


def test_too_few_fields_promise_nothing_and_say_so(caplog):
    with caplog.at_level(logging.INFO, "skfem_ml"):
        few = Calibration.of([np.ones(50)] * 8, [np.ones(50)] * 8, range(8))
    assert np.isinf(few.factor) and np.isinf(few.field_factor) and "8 fields are too few" in caplog.text
    assert np.isinf(few.bound([0.1, 0.2])).all()
    assert Calibration.of([np.ones(50)] * 9, [np.ones(50)] * 9, range(9)).factor == 1
    assert np.isinf(Promise.of([np.ones((1, 1))] * 8, [np.ones((1, 1))] * 8, range(8)).factor)
    assert Promise(0.9, np.inf).recomputed(np.ones((1, 5)), 0.1).all()


def test_one_promise_more_or_less_and_ties_of_what_was_kept():
    """Promises kept to the last digit are kept; what is promised stands in the text, one after the other."""
    made = Certificate(Calibration(0.9, 1.0, 2.0), Promise(0.9, 2.0))
    sums, true = np.ones((1, 1)), np.full((1, 1), 2.0)
    found = Measured([np.ones(2)] * 2, [np.ones(2), np.array([2.0, 1.0])], [sums] * 2, [true] * 2)
    assert made.kept(found) == {"elements": 0.75, "fields": 1.0, "solution": 1.0, "fields tested": 2}
    assert repr(made).count("), Promise(90% of fields, 4 loads, factor 2)") == 1
    assert repr(Certificate()) == "Certificate(nothing is promised)"
    for part in (Calibration(0.9, np.inf, np.inf, ("a",), "iid"), Promise(0.9, np.inf, names=("a",))):
        assert type(part).from_json(json.loads(json.dumps(part.to_json()))) == part


def test_fields_that_were_used_before_are_refused():
    data = [np.ones(3)] * 10
    with pytest.raises(ValueError, match=r"1 that were used before \(first '4'"):
        Calibration.of(data, data, range(10), used=[4, 77])
    with pytest.raises(ValueError, match="1 twice"):
        Calibration.of(data, data, [*range(9), 0])
    with pytest.raises(ValueError, match="not calibrated on"):
        Calibration.of(data, data, range(10)).coverage(data[:1], data[:1], [3])
    with pytest.raises(ValueError, match="used before"):
        Novelty.of([np.ones((4, 2))], [np.ones((4, 2))], ["a 1"], used=["a 1"])
    with pytest.raises(ValueError, match="new and different"):
        Promise.of([np.ones((1, 1))] * 2, [np.ones((1, 1))] * 2, ["a", "a"])


def test_what_says_nothing_is_trusted_nowhere():
    said = [np.array([1.0, np.inf, np.nan, 1.0])] * 20
    errors = [np.array([2.0, 100.0, 100.0, np.nan])] * 20
    found = Calibration.of(said, errors, range(20))
    assert np.isinf(found.factor)  # half of what is said of has an error that is no number
    fine = Calibration.of(said, [np.array([2.0, 9.0, 9.0, 2.0])] * 20, range(20))
    assert fine.factor == 2 and fine.bound([np.nan, np.inf, 0.5]).tolist() == [np.inf, np.inf, 1.0]
    assert conformal_quantile([np.nan] * 20, 0.5) == np.inf
    assert p_values([np.nan], np.arange(99.0)).tolist() == [0.01]
    with pytest.raises(ValueError, match="not negative"):
        Calibration.of([np.array([-1.0])], [np.ones(1)], [0])
    with pytest.raises(ValueError, match="level"):
        conformal_quantile([1.0], 1.0)


def test_p_values_are_as_small_as_they_say():
    rng = np.random.default_rng(5)
    small = np.mean([p_values(rng.normal(), rng.normal(size=99)) <= 0.05 for _ in range(4000)])
    assert 0.03 < small < 0.07
    assert p_values([0.5, 5.0], [1.0, 2.0, 3.0]).tolist() == [1.0, 0.25]


def clouds(rng, count, shift=0.0, size=40):
    """Fields of features with a scatter of their own."""
    return [np.exp(0.3 * rng.normal()) * rng.normal(size=(size, 6)) + shift for _ in range(count)]


def test_false_alarms_are_as_rare_as_stated_and_strangers_are_told():
    rng = np.random.default_rng(6)
    test = Novelty.of(clouds(rng, 50), clouds(rng, 300), range(300), element_rate=0.02, field_rate=0.1)
    own = [test.judge(part) for part in clouds(rng, 400)]
    assert np.mean([found.elements.mean() for found in own]) < 0.03
    assert 0.01 < np.mean([found.field for found in own]) < 0.13
    assert all(test.judge(part).everywhere for part in clouds(rng, 20, shift=5.0))
    one = clouds(rng, 1)[0]
    one[7] += 100  # one element: the field is novel, not everywhere
    found = test.judge(one)
    assert found.field and found.far[7] and found.far.sum() == 1 and not found.everywhere
    one[7] = np.nan
    assert test.judge(one).elements[7] and np.isinf(test.judge(one).scores[7])


def test_a_score_at_its_limit_is_not_novel_and_constant_features_count_in_their_own_units():
    rng = np.random.default_rng(14)
    known = [np.column_stack([part, np.full(len(part), 7.0)]) for part in clouds(rng, 12)]
    test, field = Novelty.of(known[:4], known[4:], range(8)), known[5].copy()
    limit = np.sort(test.scores(field))[-1]
    found = replace(test, element_limit=limit, largest_limit=limit, share_limit=0.0).judge(field)
    assert not found.elements.any() and not found.far.any() and not found.field
    assert replace(test, element_limit=limit * (1 - 1e-12), largest_limit=limit).judge(field).elements.sum() == 1
    field[3, 6] += 2.5  # nothing known has another value there
    assert test.scores(field)[3] == pytest.approx(np.hypot(2.5, test.scores(known[5])[3]))


def test_points_are_as_many_as_asked_for_and_a_field_without_elements_is_not_novel():
    rng = np.random.default_rng(13)
    test = Novelty.of(clouds(rng, 3), [*clouds(rng, 150), np.zeros((0, 6))], range(151), points=90)
    assert test.points.shape == (90, 6) and np.isfinite([test.largest_limit, test.share_limit]).all()
    nothing = test.judge(np.zeros((0, 6)))
    assert not nothing.field and not nothing.everywhere and nothing.scores.shape == (0,)
    # Known elements, each the furthest from those before: chosen points are their own neighbours.
    assert len(np.unique(test.points, axis=0)) == 90
    assert len(Novelty.of(clouds(rng, 1, size=7), clouds(rng, 2), range(2)).points) == 7


def test_a_novelty_is_the_same_after_its_card():
    rng = np.random.default_rng(7)
    test, asked = Novelty.of(clouds(rng, 10), clouds(rng, 30), range(30)), clouds(rng, 1)[0]
    again = Novelty.from_json(json.loads(json.dumps(test.to_json())))
    assert np.array_equal(again.scores(asked), test.scores(asked)) and again.to_json() == test.to_json()
    assert np.isinf(test.element_limit) and again.judge(np.full((2, 6), np.nan)).elements.all()  # few fields
    with pytest.raises(ValueError, match=r"features: expected \(elements, 6\)"):
        test.scores(np.ones((3, 5)))
    assert test.points.ndim == 2 and len(test.centre) == 6
    for wrong in ({"points": None}, {"points": [[1.0]]}, {"centre": ["x"]}, {"element_rate": None},
                  {"points": [[np.nan] * 6]}, {"centre": [[0.0] * 6]}, {"directions": []}):  # fmt: skip
        with pytest.raises(ValueError, match="card"):
            Novelty.from_json({**test.to_json(), **wrong})


@pytest.mark.parametrize("entry", [{"elements": 3}, {"surprise": {}}, {"elements": {}}, {"tested": {"elements": "x"}}])
def test_a_certificate_that_is_none_is_refused(entry):
    with pytest.raises(ValueError, match="card"):
        Certificate.from_json(entry)


# The error of u_h.


@pytest.fixture(scope="module")
def lod():
    return LOD(MeshQuad().refined(3), refine=4, ell=1)


def spoiled(local, rng, size):
    """Local matrices with errors of a relative size each element, rows and columns still summing to zero."""
    noise = rng.normal(size=local.shape) * (local != 0)
    noise -= noise.mean(axis=2, keepdims=True) * (local != 0)
    noise *= (size * np.linalg.norm(local, axis=(1, 2)) / np.linalg.norm(noise, axis=(1, 2)))[:, None, None]
    return local + noise


def test_influence_is_the_dual_weighted_residual(lod):
    """One element off: the part of the error along u_h is at most what is said, and of its order for rank one."""
    a = random_field(lod.coefficient_mesh, np.random.default_rng(8), 5)
    exact, coarse = lod.local(diffusion, a=a), CoarseSolutions(lod)
    u = coarse.solutions(exact)
    weights = coarse.influence(exact)
    assert weights.shape == (len(LOADS), 64) and (weights >= 0).all()
    for element in (0, 9, 36):
        got = exact.copy()
        got[element] *= 1 + 1e-5
        along = np.abs(np.einsum("li,li->l", coarse.solutions(got) - u, u @ coarse.mass)) / coarse.norms(u) ** 2
        assert (along <= 1.001 * 1e-5 * weights[:, element]).all() and along.max() > 0
    # All elements off by one factor: the error of u_h is that factor, and the sum of all parts is above it.
    assert np.allclose(coarse.errors(coarse.solutions(1.01 * exact), u), 1 - 1 / 1.01)
    assert (sums(0.01 * weights, 1.0) >= 0.0099).all()


def test_influence_scales_with_nothing(lod):
    a = random_field(lod.coefficient_mesh, np.random.default_rng(9), 5)
    exact, coarse = lod.local(diffusion, a=a), CoarseSolutions(lod)
    assert np.allclose(coarse.influence(1e5 * exact), coarse.influence(exact))
    moved = CoarseSolutions(LOD(MeshQuad().refined(3).scaled(7.0), refine=4, ell=1))
    assert np.allclose(moved.influence(exact), coarse.influence(exact))
    away = CoarseSolutions(LOD(MeshQuad().refined(3).translated((2.0, -3.0)), refine=4, ell=1))
    assert np.allclose(away.loads, coarse.loads) and np.allclose(away.influence(exact), coarse.influence(exact))


def test_influence_of_what_cannot_be_solved_is_infinite(lod):
    exact, coarse = lod.local(diffusion, a=1.0), CoarseSolutions(lod)
    indefinite, nan = exact.copy(), exact.copy()
    indefinite[20] *= -50
    nan[3, 0, 0] = np.nan
    assert np.isinf(coarse.influence(indefinite)).all() and np.isinf(coarse.influence(nan)).all()
    assert Promise(0.9, 1.0).recomputed(coarse.influence(nan), 0.5).all()
    with pytest.raises(ValueError, match="Dirichlet"):
        CoarseSolutions(LOD(MeshQuad().refined(1), refine=2, ell=1, dirichlet=[]))


def test_a_load_of_nothing_has_no_influence(lod):
    exact = lod.local(diffusion, a=1.0)
    nothing = CoarseSolutions(lod, {"0": lambda x: 0 * x[0], "1": lambda x: 1 + 0 * x[0]})
    weights = nothing.influence(exact)
    assert (weights[0] == 0).all() and weights[1].max() > 0
    assert np.array_equal(nothing.errors(nothing.solutions(2 * exact), nothing.solutions(exact)), [0, 0.5])
    assert Promise(0.9, 1.0).recomputed(np.full((1, 5), 1e-30), 0.0).all()  # of few elements


def test_as_few_as_possible_are_recomputed():
    rng = np.random.default_rng(10)
    parts = rng.exponential(size=(3, 200))
    promise = Promise(0.9, 2.0, power=1.5)
    whole = promise.estimate(parts)
    for tol in whole * np.array([1.0001, 0.8, 0.5, 0.2]):
        again = promise.recomputed(parts, tol)
        order = falling(parts)
        assert set(np.flatnonzero(again)) == set(order[: again.sum()])
        assert promise.estimate(parts[:, ~again]) <= tol
        if again.any():  # one less would be too few
            assert promise.estimate(parts[:, order[again.sum() - 1 :]]) > tol
    assert not promise.recomputed(parts, 1.0001 * whole).any()
    assert promise.recomputed(parts, 1e-3 * whole).all() and promise.recomputed(parts, 0.0).all()
    assert promise.recomputed(parts, 0.2 * whole).mean() <= MOST
    parts[1, 17] = np.nan
    assert promise.recomputed(parts, whole)[17]
    assert not Promise(0.9, 0.0).recomputed(np.ones((1, 5)), 0.1).any()  # no field of the calibration had an error


def test_the_promise_of_a_solution_is_kept(lod):
    """Noise that depends on the field: calibrated on 30 fields, kept on most of 40 others, and for other loads."""
    rng = np.random.default_rng(11)
    coarse = CoarseSolutions(lod)
    other = CoarseSolutions(lod, {"peak": lambda x: np.exp(-50 * np.square(x - 0.7).sum(axis=0)), "y": lambda x: x[1]})
    estimates, errors, others = [], [], []
    for _ in range(70):
        exact = lod.local(diffusion, a=random_field(lod.coefficient_mesh, rng, 5))
        said = 0.02 * np.exp(0.5 * rng.normal(size=64))
        got = spoiled(exact, rng, said * np.exp(0.3 * rng.normal(size=64)))
        estimate, error = path(coarse, got, exact, said)
        assert (np.diff(estimate, axis=0) <= 0).all()
        estimates.append(estimate)
        errors.append(error)
        others.append(other.errors(other.solutions(got), other.solutions(exact)))
    promise = Promise.of(estimates[:30], errors[:30], range(30))
    kept = [(error <= promise.factor * sums).all() for sums, error in zip(estimates[30:], errors[30:], strict=True)]
    assert 0.75 <= np.mean(kept) <= 1
    beyond = [
        error.max() <= promise.factor * sums[0].max() for sums, error in zip(estimates[30:], others[30:], strict=True)
    ]
    assert np.mean(beyond) >= 0.75


def test_certify_a_map_without_a_network():
    """Extrapolated matrices: what `certify` gives is what its parts give, and it holds for most new fields."""
    lod, rng = LOD(MeshQuad().refined(2), refine=8, cells=2, ell=1), np.random.default_rng(12)
    fields = {f"iid {number}": random_field(lod.coefficient_mesh, rng, 5) for number in range(24)}
    known, new = (dict(list(fields.items())[part]) for part in (slice(12), slice(12, None)))
    cheap = Extrapolated(diffusion, (2, 4))
    told: list[tuple] = []
    novelty = Novelty.of(clouds(rng, 2), clouds(rng, 2), range(2))
    made = certify(cheap, lod, known, family="iid", novelty=novelty, progress=lambda *now: told.append(now))
    assert made.novelty is novelty and told == [(k + 1, 12, "calibration") for k in range(12)]
    made = replace(made, novelty=None)
    assert 0 < made.elements.factor < made.elements.field_factor < np.inf and made.elements.family == "iid"
    found = measured(cheap, lod, known)
    again = Promise.of([part * made.elements.factor for part in found.sums], found.true, known, family="iid")
    assert made.solution == again
    fresh = measured(cheap, lod, new)
    kept = made.elements.coverage(fresh.said, fresh.errors, new)
    assert kept.elements > 0.8
    said = [made.elements.bound(part) for part in fresh.said]
    tested = made.kept(fresh._replace(said=said, sums=[part * made.elements.factor for part in fresh.sums]))
    assert tested["elements"] == pytest.approx(kept.elements) and tested["fields"] == pytest.approx(kept.fields)
    assert tested["solution"] >= 0.7 and tested["fields tested"] == 12
    with pytest.raises(ValueError, match="used before"):
        certify(cheap, lod, known, used=["iid 3"])
    assert Certificate.from_json(json.loads(json.dumps(made.to_json()))) == made
