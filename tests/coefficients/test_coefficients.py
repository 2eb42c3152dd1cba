"""Coefficient families: ranges, statistics, and that only the position of a cell matters; the checks of `validate`."""

import warnings

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from skfem import Basis, ElementQuad0, ElementQuad1, MeshLine, MeshQuad, MeshTri

from skfem_ml.coefficients import channels, checkerboard, cracks, iid_multilevel, inclusions, log_normal, validate
from skfem_ml.meshes import locate, mesh_lattice, midpoints, widths
from skfem_ml.metrics import energy_norm
from skfem_ml.problems import Diffusion
from tests.gallery import all_kinds, l_shape, shuffled

KINDS = all_kinds()
# Each takes sizes relative to the mesh, so that one list serves all meshes.
FAMILIES = {
    "iid": lambda m, rng: iid_multilevel(m, range(4), 1.0, 5.0, rng),
    "checkerboard": lambda m, rng: checkerboard(m, 3, 0.5, 8.0),
    "log_normal": lambda m, rng: log_normal(m, 0.8, 0.3 * np.ptp(m.p, axis=1), rng),
    "channels": lambda m, rng: channels(m, 100.0, 2, 1.01 * widths(m)[-1].max(), rng),
    "cracks": lambda m, rng: cracks(m, 3, 1.01 * widths(m).max(), np.ptp(m.p) / 3, rng, level=3),
    "inclusions": lambda m, rng: inclusions(m, 0.02, 3, 1.01 * np.linalg.norm(widths(m), axis=0).max(), rng),
}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("family", FAMILIES)
@settings(max_examples=5, deadline=None)
@given(seed=st.integers(0, 2**32 - 1))
def test_field_depends_on_position_only(kind, family, seed):
    mesh, make = KINDS[kind], FAMILIES[family]
    other, order = shuffled(mesh, np.random.default_rng(seed + 1))
    a = make(mesh, np.random.default_rng(seed))
    b = make(other, np.random.default_rng(seed))
    assert a.shape == (mesh.nelements,) and a.dtype == np.float64 and (a > 0).all()
    np.testing.assert_array_equal(b, a[order])


def test_families_also_take_triangles():
    mesh = MeshTri().refined(4)
    for make in FAMILIES.values():
        assert validate(make(mesh, np.random.default_rng(0)), mesh.nelements).shape == (mesh.nelements,)


@given(st.floats(1e-3, 1e3), st.floats(1, 1e3), st.integers(0, 99), st.sets(st.integers(0, 4), min_size=1))
@settings(max_examples=30, deadline=None)
def test_iid_stays_in_its_interval(low, factor, seed, levels):
    a = iid_multilevel(KINDS["quad"], levels, low, low * factor, np.random.default_rng(seed))
    assert a.min() >= low and a.max() <= low * factor


def test_iid_levels_are_the_mean_of_single_levels():
    mesh, rng, same = l_shape(), np.random.default_rng(3), np.random.default_rng(3)
    together = iid_multilevel(mesh, [0, 2, 5], 1, 5, rng)
    single = [iid_multilevel(mesh, k, 1, 5, same) for k in (0, 2, 5)]
    np.testing.assert_allclose(together, np.mean(single, axis=0), rtol=1e-15)


def test_iid_level_is_constant_on_its_own_cells_and_on_every_refinement():
    coarse = MeshQuad().refined(3)
    a = iid_multilevel(coarse, 3, 1, 5, np.random.default_rng(0))
    assert len(np.unique(a)) == 64
    fine = coarse.refined(2)
    b = iid_multilevel(fine, 3, 1, 5, np.random.default_rng(0))
    np.testing.assert_array_equal(b, a[locate(coarse, midpoints(fine))])


def test_iid_moments_are_those_of_the_uniform_distribution():
    a = iid_multilevel(MeshQuad().refined(7), 7, 1, 5, np.random.default_rng(0))
    assert abs(a.mean() - 3) < 5 * np.sqrt(16 / 12 / a.size)
    assert a.var() == pytest.approx(16 / 12, rel=0.03)
    many = iid_multilevel(MeshQuad().refined(7), [7] * 4, 1, 5, np.random.default_rng(0))
    assert many.var() == pytest.approx(16 / 12 / 4, rel=0.03)


def test_checkerboard_alternates_and_takes_its_low_value_at_the_lower_corner():
    mesh = MeshQuad.init_tensor(np.linspace(0, 1, 7), np.linspace(0, 1, 5))
    grid = mesh_lattice(mesh)
    board = np.zeros(grid.shape)
    board[tuple(grid.index)] = checkerboard(mesh, (3, 2), 1, 9)
    assert board[0, 0] == 1 and board[1, 1] == 1 and board[2, 0] == 9 and board[0, 2] == 9 and board[2, 2] == 1
    assert (board == 1).mean() == 0.5


@pytest.mark.parametrize(
    ("covariance", "expected"), [("exponential", lambda r: np.exp(-r)), ("gaussian", lambda r: np.exp(-(r**2) / 2))]
)
def test_log_normal_has_the_stated_moments_and_correlation(covariance, expected):
    mesh, rng, sigma = MeshQuad().refined(5), np.random.default_rng(0), 0.7
    grid = mesh_lattice(mesh)
    fields = np.empty((400, 32, 32))
    for field in fields:
        a = log_normal(mesh, sigma, (1 / 8, 1 / 16), rng, mean=0.3, covariance=covariance)
        field[tuple(grid.index)] = (np.log(a) - 0.3) / sigma
    assert abs(fields.mean()) < 0.03
    assert (fields**2).mean() == pytest.approx(1, abs=0.03)
    for r in (0.5, 1, 2):
        x, y = int(4 * r), int(2 * r)
        assert (fields[:, :-x] * fields[:, x:]).mean() == pytest.approx(expected(r), abs=0.03)
        assert (fields[:, :, :-y] * fields[:, :, y:]).mean() == pytest.approx(expected(r), abs=0.03)
        diagonal = (fields[:, :-x, :-y] * fields[:, x:, y:]).mean()
        assert diagonal == pytest.approx(expected(np.sqrt(2) * r), abs=0.03)
    assert (fields[:, :, 0] * fields[:, :, -1]).mean() == pytest.approx(0, abs=0.05)  # nothing wraps around


def test_log_normal_limits_and_scaling():
    mesh = MeshQuad().refined(3)
    np.testing.assert_allclose(log_normal(mesh, 0, 0.1, np.random.default_rng(0), mean=2), np.exp(2))
    a = log_normal(mesh, 1, 0.1, np.random.default_rng(0))
    np.testing.assert_allclose(log_normal(mesh, 1, 0.1, np.random.default_rng(0), mean=1), np.e * a)
    np.testing.assert_allclose(log_normal(mesh, 2, 0.1, np.random.default_rng(0)), a**2)
    flat = log_normal(MeshLine().refined(4), 1, 50.0, np.random.default_rng(0), covariance="gaussian")
    assert np.ptp(np.log(flat)) < 0.2


def test_channels_run_through_the_whole_domain():
    mesh = MeshQuad().refined(5)
    grid = mesh_lattice(mesh)
    field = np.zeros(grid.shape)
    field[tuple(grid.index)] = channels(mesh, 1e4, 3, 2 / 32, np.random.default_rng(1))
    assert set(np.unique(field)) == {1.0, 1e4}
    assert (field == field[:1]).all()
    assert 2 <= (field[0] > 1).sum() <= 6 + 3
    field[tuple(grid.index)] = channels(mesh, 1e4, 3, 2 / 32, np.random.default_rng(1), axis=1)
    assert (field == field[:, :1]).all() and field.max() == 1e4


def test_cracks_lie_on_the_stated_background():
    mesh = MeshQuad().refined(6)
    none = cracks(mesh, 0, 1 / 64, 0.3, np.random.default_rng(5), level=6)
    np.testing.assert_array_equal(none, iid_multilevel(mesh, 6, 1, 2, np.random.default_rng(5)))
    a = cracks(mesh, 4, 1 / 64, 0.3, np.random.default_rng(5), level=6)
    cracked = a != none
    assert (a[cracked] >= 4).all() and (a[cracked] <= 5).all() and len(np.unique(a[cracked])) <= 4
    # Every segment covers about length * width, less what leaves the domain or is covered twice.
    assert 0.3 * 64 / 2 < cracked.sum() < 4 * (0.3 * 64 * 1.5 + 2)


def test_inclusions_cover_the_area_of_a_disc():
    mesh = MeshQuad().refined(7)
    rng = np.random.default_rng(0)
    areas = []
    for _ in range(40):
        a = inclusions(mesh, 50, 1, 0.02, rng)
        assert set(np.unique(a)) == {1.0, 50.0}
        areas.append((a == 50).mean())
    assert np.max(areas) == pytest.approx(np.pi * 0.02**2, rel=0.25)
    np.testing.assert_array_equal(inclusions(mesh, 50, 0, 0.02, rng), 1.0)


BAD_CALLS = {
    "interval": (lambda m, r: iid_multilevel(m, 1, 5, 1, r), "low <= high, got low=5"),
    "zero": (lambda m, r: checkerboard(m, 2, 0, 1), "0 < low"),
    "level": (lambda m, r: iid_multilevel(m, -1, 1, 5, r), "levels: expected a whole number >= 0, got -1"),
    "no level": (lambda m, r: iid_multilevel(m, [], 1, 5, r), "at least one level"),
    "axes": (lambda m, r: checkerboard(m, (2, 2, 2), 1, 2), "2 integers, one per axis, got 3"),
    "sigma": (lambda m, r: log_normal(m, -1, 0.1, r), "sigma >= 0"),
    "length": (lambda m, r: log_normal(m, 1, 0.0, r), "correlation_length: expected a positive"),
    "too long": (lambda m, r: log_normal(m, 1, 1e5, r), "shorter correlation length"),
    "covariance": (lambda m, r: log_normal(m, 1, 0.1, r, covariance="matern"), "expected one of 'exponential'"),
    "thin channel": (lambda m, r: channels(m, 10, 1, 0.01, r), "width: expected at least 0.0625"),
    "wide channel": (lambda m, r: channels(m, 10, 1, 1.5, r), "at most the extent"),
    "channel axis": (lambda m, r: channels(m, 10, 1, 0.1, r, axis=2), "axis: expected one of 0..1, got 2"),
    "thin crack": (lambda m, r: cracks(m, 1, 0.01, 0.3, r), "width: expected at least 0.0625"),
    "small disc": (lambda m, r: inclusions(m, 10, 1, 0.03, r), "2 . radius: expected at least"),
    "contrast": (lambda m, r: inclusions(m, -10, 1, 0.3, r), "contrast: expected a positive"),
    "number": (lambda m, r: inclusions(m, 10, 1.5, 0.3, r), "number: expected a whole number >= 0, got 1.5"),
}


@pytest.mark.parametrize("case", BAD_CALLS)
def test_bad_parameters_are_named(case):
    call, message = BAD_CALLS[case]
    with pytest.raises(ValueError, match=message):
        call(KINDS["quad"], np.random.default_rng(0))


def test_a_seed_in_place_of_a_generator_is_refused():
    with pytest.raises(TypeError, match="numpy Generator, got int"):
        iid_multilevel(KINDS["quad"], 1, 1, 5, 0)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, 0.0, -0.0, -2.5])
def test_validate_names_the_first_bad_cell_its_value_and_the_count(value):
    a = np.ones(50)
    a[[17, 30]] = value
    what = "not positive" if np.isfinite(value) else "not finite"
    with pytest.raises(ValueError, match=rf"kappa: 2 of 50 values are {what}, the first is {value} in cell 17"):
        validate(a, 50, name="kappa")


def test_validate_names_expected_and_given_shapes():
    with pytest.raises(ValueError, match=r"expected shape \(64,\), one value per cell, got 81 values"):
        validate(np.ones(81), 64)
    with pytest.raises(ValueError, match=r"values at quadrature points, shape \(64, 9\)"):
        validate(np.ones((64, 9)), 64)
    with pytest.raises(ValueError, match=r"got shape \(\)"):
        validate(1.0, 64)
    with pytest.raises(ValueError, match="real numbers, got dtype complex128"):
        validate(np.ones(64) * 1j, 64)
    with pytest.raises(ValueError, match="dtype object"):
        validate(np.array([1.0, None]), 2)


def test_validate_warns_of_extreme_contrast_only():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert validate([1, 10**10], 2).dtype == np.float64
    with pytest.warns(UserWarning, match=r"a: contrast 1\.100e\+10 \(from 1\.000e\+00 to"):
        validate([1, 1.1e10], 2)
    with pytest.warns(UserWarning, match="contrast inf"):
        validate([1e-300, 1e300], 2)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        validate([-1e-300, 1e300], 2, positive=False)


def test_validate_checks_tensors():
    a = np.tile(np.array([[2.0, 1.0], [1.0, 2.0]])[:, :, None], 6)
    np.testing.assert_array_equal(validate(a, 6), a)
    cases = [
        ([[2, 1], [1, np.nan]], "not finite"),
        ([[2, 1], [0, 2]], "not symmetric"),
        ([[1, 2], [2, 1]], "not positive definite"),
    ]
    for k, (tensor, what) in enumerate(cases):
        bad = a.copy()
        bad[:, :, k + 1] = tensor
        with pytest.raises(ValueError, match=f"1 of 6 tensors are {what}.* in cell {k + 1}"):
            validate(bad, 6)
    wide = a.copy()
    wide[:, :, 0] = np.diag([1, 1e11])
    with pytest.warns(UserWarning, match="contrast"):
        validate(wide, 6)


MESH = MeshQuad().refined(2)
P0 = Basis(MESH, ElementQuad0())


def test_the_idioms_of_the_host_are_cellwise():
    """Finding C: ``a[:, None]`` and a piecewise constant ``basis0.interpolate(a)`` are one value per cell."""
    a = np.linspace(1, 2, 16)
    np.testing.assert_array_equal(validate(a[:, None], 16), a)
    np.testing.assert_array_equal(validate(P0.interpolate(a), 16), a)
    assert type(validate(P0.interpolate(a), 16)) is np.ndarray
    tensor = np.eye(2)[:, :, None] * a
    np.testing.assert_array_equal(validate(tensor[..., None], 16, dim=2), tensor)
    np.testing.assert_array_equal(Diffusion(MESH, P0.interpolate(a)).a, a)
    with pytest.raises(ValueError, match=r"constant in every cell, got one that varies in 8 of 16 cells.*ElementQuad0"):
        nodal = Basis(MESH, ElementQuad1(), quadrature=P0.quadrature)
        validate(nodal.interpolate(np.maximum(nodal.doflocs[0], 0.5)), 16)
    with pytest.raises(ValueError, match=r"1 of 16 values are not positive, the first is -1.0 in cell 3"):
        validate(P0.interpolate(np.where(np.arange(16) == 3, -1.0, 1.0)), 16)


def test_a_callable_is_refused_with_the_remedy():
    """Finding C: a callable coefficient is told what to do, not "dtype object"."""
    with pytest.raises(TypeError, match=r"kappa: .*got a callable.*kappa\(mesh.p\[:, mesh.t\].mean\(axis=1\)\)"):
        validate(lambda x: 1 + x[0], 16, "kappa")


def test_tensors_have_the_dimension_of_the_mesh():
    """Finding G8: tensors of another dimension than the mesh are refused, (1, 1, N) on quads too."""
    for d in (1, 3):
        tensor = np.eye(d)[:, :, None] * np.ones(16)
        assert validate(tensor, 16).shape == (d, d, 16)
        with pytest.raises(ValueError, match=rf"got shape \({d}, {d}, 16\); tensor coefficients are \(2, 2, 16\)"):
            validate(tensor, 16, dim=2)
        with pytest.raises(ValueError, match="tensor coefficients are"):
            Diffusion(MESH, tensor)
        with pytest.raises(ValueError, match="tensor coefficients are"):
            energy_norm(np.ones((2, 16, 1)), P0, tensor)


def test_terms_that_allow_any_sign():
    b = np.array([-1.0, 0.0, 2.0])
    np.testing.assert_array_equal(validate(b, 3, "b", positive=False), b)
    turn = np.array([[0.0, -1.0], [1.0, 0.0]])[:, :, None] * np.ones(3)
    np.testing.assert_array_equal(validate(turn, 3, "b", positive=False), turn)
    with pytest.raises(ValueError, match=r"b: 1 of 3 values are not finite.*give every cell a finite value"):
        validate([1, np.inf, 2], 3, "b", positive=False)
    with pytest.raises(ValueError, match=r"b: 3 of 3 tensors are not finite.*a finite tensor"):
        validate(turn * np.nan, 3, "b", positive=False)


@settings(max_examples=50, deadline=None)
@given(st.lists(st.floats(1e-4, 1e4), min_size=1, max_size=40), st.data())
def test_validate_returns_good_values_unchanged_and_finds_any_bad_one(values, data):
    np.testing.assert_array_equal(validate(values, len(values)), values)
    cell = data.draw(st.integers(0, len(values) - 1))
    values[cell] = data.draw(st.sampled_from([0.0, -1.0, np.nan, np.inf]))
    with pytest.raises(ValueError, match=f"in cell {cell};"):
        validate(values, len(values))
