"""The demos of the surrogate with short settings: a number each claims, and its picture."""

import numpy as np
import pytest
from skfem import MeshQuad
from skfem.models import unit_load

from demos import certified, inverse, other_meshes, own_family, uncertainty
from demos.benchmarks import uncertainty as study
from skfem_ml.lod import LOD
from tests.gallery import check_figure


def test_uncertainty():
    sample = uncertainty.compute("iid-8", count=12, level=3)
    added = {name: abs(sample.bias(name, uncertainty.EXACT)) for name in (uncertainty.SURROGATE, uncertainty.NULL)}
    assert added[uncertainty.SURROGATE].max() < 1 and added[uncertainty.NULL].min() > 8
    assert abs(sample.bias(uncertainty.PASS)).max() < 0.5  # a pass has the fine solution
    assert abs(sample.bias(uncertainty.EXACT)).min() > 5  # which no function on 8 x 8 elements has
    left = [sample.corrected(uncertainty.SURROGATE, few) for few in (5, 10, uncertainty.STUDY)]
    assert (left[0] > left[1]).all() and left[1].min() > 0 and left[2].max() == 0
    mean, spread = sample.errors(uncertainty.SURROGATE, uncertainty.EXACT)
    assert mean < 1e-3 and spread < 0.05 < sample.errors(uncertainty.NULL, uncertainty.EXACT)[1]
    assert sample.errors(uncertainty.PASS)[0] < sample.sampling() / 3 and sample.sampling() < 0.01
    assert f"\n{uncertainty.SURROGATE} " in study.report(sample)
    check_figure(uncertainty.visualize({"iid-8": sample}))


def test_uncertainty_with_labels_below_the_cells():
    sample = study.sample_of("iid-8", 32, count=3, level=2)
    off = {name: sample.errors(name)[0] for name in sample.seconds}
    assert off[uncertainty.PASS] < 1e-3 and off[study.RICHARDSON] < off[study.CHEAP] / 5
    for name in (uncertainty.SURROGATE, study.SUPER, study.EXTRAPOLATED, study.INTERIORS):
        assert sample.errors(name, uncertainty.EXACT)[0] < 2e-3 < sample.errors(uncertainty.NULL, uncertainty.EXACT)[0]
    report = study.report(sample)
    assert all(f"\n{name} " in report for name in sample.seconds)


def test_solutions_of_coarser_meshes_are_passed_on():
    lod = LOD(MeshQuad().refined(1), refine=32, cells=8, ell=1)
    field = np.ones((1, lod.coefficient_mesh.t.shape[1]))
    coarser = lod.with_fine(8)
    own = uncertainty.levels(coarser)(field[0]).complete(unit_load.assemble(coarser.fine), tol=1e-6).u
    fine = study.passed(coarser, lod)(field)[0]
    at = coarser.fine.probes(lod.fine.doflocs.clip(1e-9, 1 - 1e-9))
    np.testing.assert_allclose(fine, at @ own, atol=1e-8)


@pytest.mark.slow
def test_inverse():
    result = inverse.compute(level=2, loads=2, iterations=6)
    exact, got = (result.found[name] for name in (inverse.EXACT, inverse.SURROGATE))
    assert inverse.relative(got, exact) < 0.05
    assert result.gradient_error(inverse.SURROGATE, inverse.EXACT) < 0.02
    assert 0.005 < result.gradient_error(inverse.SURROGATE, inverse.EXACT, cellwise=True) < 0.05
    assert result.gradient_error(inverse.SUPER, inverse.EXACT, cellwise=True) < 0.25
    assert result.error(inverse.FINE) < result.error(inverse.SURROGATE) < 0.5 < 1 < result.error(inverse.NULL)
    assert result.error(inverse.SUPER) < 0.5
    report = inverse.report(result)
    assert all(f"\n{name} " in report for name in result.found)
    check_figure(inverse.visualize(result))


@pytest.fixture(scope="module")
def certificate(tmp_path_factory):
    """On 16 x 16 elements; the certificate is of 32 x 32."""
    path = tmp_path_factory.mktemp("spe10") / "permx.csv"
    np.savetxt(path, np.geomspace(1e-3, 1e3, 2000).reshape(20, 100), delimiter=",")
    return certified.promises(4, (1e-3, 2e-4)), certified.table(4, path)


@pytest.mark.slow
def test_promises_are_kept(certificate):
    kept, _ = certificate
    assert all(one.promised <= one.tol for one in kept)
    assert np.mean([one.true <= one.promised + 1e-12 for one in kept]) >= 0.8
    loose, tight = ([one.share for one in kept if one.tol == tol] for tol in (1e-3, 2e-4))
    assert (np.array(loose) <= tight).all() and np.mean(loose) < 0.5


@pytest.mark.slow
def test_what_the_certificate_says(certificate):
    kept, rows = certificate
    own, *others = rows
    assert own.uncovered < 0.2 and own.surrogate < 1e-3 and own.novel < 0.2
    for row in others:
        assert row.hybrid <= certified.TOL, row.name
        assert row.said or row.surrogate < 0.05, row.name  # no silent failure
    by_name = {row.name: row for row in rows}
    assert by_name["checkerboard, 4.99"].novel == 1 and by_name["checkerboard, 4.99"].surrogate > 0.1
    assert by_name["channels, 1000"].surrogate > 0.5 and by_name["channels, 1000"].said
    assert "SPE10" in certified.report(kept, rows)
    check_figure(certified.visualize(kept, rows))


def test_other_meshes():
    meshes = {"L": other_meshes.l_shape(8), "2:1": other_meshes.rectangle(8, 4), "cross": other_meshes.cross(8)}
    assert [mesh.t.shape[1] for mesh in meshes.values()] == [48, 32, 48]
    cases = {name: other_meshes.compute(mesh) for name, mesh in meshes.items()}
    for case in cases.values():
        assert case.surrogate < 2e-3 and case.null > 5 * case.surrogate
    check_figure(other_meshes.visualize({"L": cases["L"]}))
    found = {("L", field): other_meshes.compute(meshes["L"], field) for field in other_meshes.FIELDS}
    assert other_meshes.report(found).count("\nL ") == 2


@pytest.mark.slow
def test_own_family():
    """Within a budget that any machine has; what it shows does not depend on how far the training came."""
    result = own_family.compute(level=2, count=20, budget="25s")
    verdict, rows = result.model.verdict, result.model.verdict.table
    assert result.fields.count == 20 and 0.15 < result.new.min() < 0.25 and 5 < result.new.max() < 5.3
    assert rows["this model"]["error u_h"] < rows["exact, n = 8"]["error u_h"] / 5
    assert verdict.sentence() in own_family.report(result)
    check_figure(own_family.visualize(result))
