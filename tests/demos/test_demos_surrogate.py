"""The demos of the surrogate with short settings: a number each claims, and its picture."""

import numpy as np
import pytest

from demos import certified, inverse, other_meshes, own_family, uncertainty
from tests.gallery import check_figure


def test_uncertainty():
    sample = uncertainty.compute("iid-8", count=12, level=3)
    assert abs(sample.bias(uncertainty.SURROGATE)).max() < 0.5 < 2 < abs(sample.bias(uncertainty.NULL)).min()
    assert abs(sample.corrected(12)).max() < 1e-9  # with all of them exact there is nothing left
    mean, spread = sample.errors(uncertainty.SURROGATE)
    assert mean < 1e-3 and spread < 0.05 < sample.errors(uncertainty.NULL)[1]
    assert mean < sample.sampling() / 3 and sample.sampling() < 0.01
    assert f"\n{uncertainty.SURROGATE} " in uncertainty.report(sample)
    check_figure(uncertainty.visualize({"iid-8": sample}))


def test_inverse():
    result = inverse.compute(level=2, loads=2, iterations=6)
    exact, got = (result.found[name] for name in (inverse.EXACT, inverse.SURROGATE))
    assert inverse.relative(got, exact) < 0.05
    assert inverse.relative(result.gradients[inverse.SURROGATE], result.gradients[inverse.EXACT]) < 0.05
    assert result.error(inverse.SURROGATE) < 0.5 < 1 < result.error(inverse.NULL)
    assert "prior" in inverse.report(result)
    check_figure(inverse.visualize(result))


@pytest.fixture(scope="module")
def curves():
    shares = (0.0, 0.5, 1.0)
    return {name: certified.compute(3, name, shares) for name in (certified.IN_RANGE, certified.OUT)}


def test_errors_fall_to_those_of_exact_lod(curves):
    inside = curves[certified.IN_RANGE]
    assert inside.flagged == 0 < curves[certified.OUT].flagged
    for order, errors in inside.l2.items():
        assert errors[2] < 1e-12 and inside.spectral[order][2] == 0
        assert errors[1] < errors[0] < 1e-3 and inside.spectral[order][1] < inside.spectral[order][0]
    assert inside.l2[certified.ORACLE][1] < inside.l2[certified.RANDOM][1]
    check_figure(certified.visualize(curves, (0.0, 0.5, 1.0)))


def test_what_the_certificate_says(tmp_path):
    np.savetxt(tmp_path / "permx.csv", np.geomspace(1e-3, 1e3, 2000).reshape(20, 100), delimiter=",")
    rows = {row.name: row for row in certified.table(3, tmp_path / "permx.csv")}
    for name, row in rows.items():
        assert 0 <= row.flagged <= row.recomputed <= 1, name
        if row.contrast < 6:
            assert row.flagged == 0 and row.hybrid < row.null / 5
        else:
            assert row.flagged > 0 and row.hybrid < 0.05 and row.hybrid < row.surrogate
    # In range and far off, which no value tells: the features of the network do.
    pattern = rows["checkerboard of fine cells, 1 and 4.99"]
    assert pattern.recomputed == 1 and pattern.surrogate > 0.1 and np.isnan(pattern.above)
    # Trusted and further off than the network says, which the spot check finds.
    assert rows["40 cracks, U[1, 2] and U[4, 5]"].above > 0.5 > rows[certified.IN_RANGE].above
    assert "SPE10" in certified.report(list(rows.values()))


def test_other_meshes():
    meshes = {"L": other_meshes.l_shape(8), "2:1": other_meshes.rectangle(8, 4), "cross": other_meshes.cross(8)}
    assert [mesh.t.shape[1] for mesh in meshes.values()] == [48, 32, 48]
    cases = {name: other_meshes.compute(mesh) for name, mesh in meshes.items()}
    for case in cases.values():
        assert case.surrogate < 2e-3 and case.null > 5 * case.surrogate
    check_figure(other_meshes.visualize({"L": cases["L"]}))
    assert other_meshes.report({"L": meshes["L"]}).count("\nL ") == 2


def test_own_family():
    """Within a budget that any machine has; what it shows does not depend on how far the training came."""
    result = own_family.compute(level=2, count=20, budget="25s")
    verdict, rows = result.model.verdict, result.model.verdict.table
    assert result.fields.count == 20 and 0.15 < result.new.min() < 0.25 and 5 < result.new.max() < 5.3
    assert rows["this model"]["error u_h"] < rows["exact, n = 8"]["error u_h"] / 5
    assert verdict.sentence() in own_family.report(result)
    check_figure(own_family.visualize(result))
