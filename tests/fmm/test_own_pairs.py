"""Pairs of functions of one's own: trained, saved, loaded and used in twelve lines, by every solver alike."""

import importlib.util

import numpy as np
import pytest

from skfem_ml.baselines import (
    solver_additive_ridge,
    solver_affine_ridge,
    solver_constant,
    solver_conv,
    solver_fno,
    solver_kernel_ridge,
    solver_mnn,
)
from skfem_ml.compare import compare
from skfem_ml.fmm import H2Operator, H2Skeleton, Recipe, solver_deep, solver_fmmnet, solver_h2, solver_h2_ridge
from skfem_ml.fmm import solver_h2no as solver_neural
from skfem_ml.learning import CorruptModelError, ModelMismatchError, load_model, save_model
from skfem_ml.problems import OperatorSamples
from skfem_ml.problems.operators import regular_grid, usual_parts

SHORT = Recipe(6, batch=16, optimiser="adam", every=3)
needs_neuralop = pytest.mark.skipif(importlib.util.find_spec("neuralop") is None, reason="neuraloperator is missing")
SOLVERS = {
    "deep": lambda: solver_deep(SHORT),
    "neural": lambda: solver_neural(SHORT),
    "fmmnet": lambda: solver_fmmnet(SHORT),
    "mnn": lambda: solver_mnn(SHORT, kind="Mix"),
    "conv": lambda: solver_conv(SHORT),
    "constant": lambda: solver_constant(),
    "additive": lambda: solver_additive_ridge(),
    "affine": lambda: solver_affine_ridge(),
    "kernel": lambda: solver_kernel_ridge(40, components=(4,), lengths=(1.0,), ridges=(1e-6,)),
    "h2 ridge": lambda: solver_h2_ridge(),
    "h2": lambda: solver_h2(lambda x, y: np.exp(-np.abs(x - y)[0])),
}
NAMES = [*SOLVERS, pytest.param("fno", marks=needs_neuralop)]
TWELVE = """
import numpy as np
from skfem_ml import OperatorSamples, load_operator
from skfem_ml.metrics import mean_residual

data = OperatorSamples.from_file("pairs.npz")
u = solver(data)
q, w = data.part("test")
error = mean_residual(u(q), w)
u.save("mine.safetensors", {"who": "a test", "error": error})
again = load_operator("mine.safetensors")
result = again(q)
"""


def pairs(n=60, N=64):
    rng = np.random.default_rng(0)
    q = rng.standard_normal((n, N))
    return (np.arange(N)[None] + 0.5) / N, q, np.tanh(np.cumsum(q, axis=1) / N) + 1


@pytest.mark.parametrize("name", NAMES)
def test_twelve_lines(name, tmp_path, monkeypatch):
    """Train, save, load and use; with the library of FNO in an environment of its own (`neuraloperator`) that too."""
    assert len(TWELVE.strip().splitlines()) <= 12
    monkeypatch.chdir(tmp_path)
    points, q, w = pairs()
    np.savez("pairs.npz", points=points, inputs=q, outputs=w)
    found = {"solver": solver_fno(SHORT, modes=4, width=3, depth=2) if name == "fno" else SOLVERS[name]()}
    exec(TWELVE, found)
    u, again = found["u"], found["again"]
    np.testing.assert_array_equal(found["result"], u(found["q"]))
    assert type(again) is type(u) and again.unknowns == u.unknowns
    assert again.card["who"] == "a test" and again.card["error"] == found["error"] and np.isfinite(found["error"])
    assert getattr(again, "settings", "") == getattr(u, "settings", "")


@pytest.mark.parametrize(("dim", "symmetric"), [(1, True), (2, False), (3, True)])
def test_an_h2_operator_comes_back_from_its_file(dim, symmetric, tmp_path):
    skeleton = H2Skeleton(np.random.default_rng(0).random((dim, 300)), leaf=12)
    scale = 1.0 if symmetric else 2.0
    op = H2Operator.from_kernel(
        skeleton, lambda x, y: np.exp(-((x - scale * y) ** 2).sum(axis=0)), tol=1e-3, symmetric=symmetric
    )
    q = np.random.default_rng(1).standard_normal((300, 3))
    for one in (op, op.T):
        one.save(tmp_path / "op.safetensors", {"who": "a test"})
        again = H2Operator.load(tmp_path / "op.safetensors")
        np.testing.assert_allclose(again @ q, one @ q, rtol=0, atol=1e-12 * np.abs(one @ q).max())
        assert again.storage() == one.storage() and repr(again) == repr(one)


@pytest.mark.parametrize(
    ("change", "arrays", "message"),
    [
        ({"sizes": {"leaf": 10, "eta": 1.0}}, {}, "error"),
        ({"sizes": {"leaf": "10", "eta": 1.0, "error": None}}, {}, "leaf, eta, error: expected"),
        ({"sizes": {"leaf": 20, "eta": 1.0, "error": None}}, {}, "expected shape"),
        ({}, {"close": np.zeros((2, 3, 3))}, "blocks: expected shape"),
        ({}, {"rows 0": np.zeros((2, 3, 3))}, "bases: expected shape"),
        ({}, {"centre": np.zeros(3)}, "centre, mean: expected shape"),
    ],
)
def test_sound_files_with_wrong_arrays(change, arrays, message, tmp_path):
    import torch

    data, path = OperatorSamples(*pairs(), **usual_parts(60)), tmp_path / "map.safetensors"
    solver_h2_ridge()(data).save(path)
    tensors, card = load_model(path)
    save_model(path, {**tensors, **{name: torch.as_tensor(held) for name, held in arrays.items()}}, {**card, **change})
    from skfem_ml import load_operator

    with pytest.raises(CorruptModelError, match=message):
        load_operator(path)
    with pytest.raises(ModelMismatchError, match="kind: wanted 'H2Operator'"):
        H2Operator.load(path)


@pytest.mark.parametrize("kind", ["AdditiveMap", "AffineMap", "KernelMap", "MeanMap"])
def test_regressions_with_wrong_arrays(kind, tmp_path):
    import torch

    from skfem_ml import load_operator

    path = tmp_path / "map.safetensors"
    wrong = {"matrix": torch.zeros(2, 3), "centre": torch.zeros(2), "mean": torch.zeros(2)}
    save_model(path, wrong, {"kind": kind, "settings": "", "sizes": {}})
    with pytest.raises(CorruptModelError, match=f"expected the arrays of {kind}"):
        load_operator(path)


def test_another_model_is_refused(tmp_path):
    from skfem_ml import load_operator

    save_model(tmp_path / "x.safetensors", {}, {"kind": "surrogate"})
    with pytest.raises(ModelMismatchError, match="kind: wanted 'DeepFMMNet or"):
        load_operator(tmp_path / "x.safetensors")


# -- points ------------------------------------------------------------------------------------------------------------


def test_a_grid_is_found_in_any_order():
    x, y = np.meshgrid(np.linspace(0, 1, 5), np.linspace(2, 5, 4), indexing="ij")
    mixed = np.random.default_rng(0).permutation(20)
    points = np.stack([x.ravel(), y.ravel()])[:, mixed]
    shape, order = regular_grid(points)
    assert shape == (5, 4)
    np.testing.assert_array_equal(points[0][order].reshape(shape), x)
    np.testing.assert_array_equal(points[1][order].reshape(shape), y)
    for wrong in (points[:, 1:], points**2, np.random.default_rng(0).random((2, 20))):
        with pytest.raises(ValueError, match="points: expected a regular grid"):
            regular_grid(wrong)


@needs_neuralop
def test_fno_stands_on_a_grid_in_any_order(tmp_path):
    """With the library itself; see test_samples.test_the_real_fno_is_trained for how that is had."""
    from skfem_ml import load_operator

    x, y = np.meshgrid(np.linspace(0, 1, 6), np.linspace(0, 2, 5), indexing="ij")
    points, rng = np.stack([x.ravel(), y.ravel()]), np.random.default_rng(0)
    q = rng.standard_normal((40, 30))
    w, mixed, results = np.tanh(q) + 1, rng.permutation(30), []
    for order in (np.arange(30), mixed):
        data = OperatorSamples(points[:, order], q[:, order], w[:, order], 5, 10)
        u = solver_fno(SHORT, modes=3, width=4, depth=1)(data)
        u.save(tmp_path / "fno.safetensors")
        again = load_operator(tmp_path / "fno.safetensors")
        np.testing.assert_array_equal(again(q[:, order]), u(q[:, order]))
        assert "6 x 5 points" in repr(again.net)
        results.append(u(q[:, order]))
    np.testing.assert_allclose(results[1], results[0][:, mixed], rtol=0, atol=1e-4)
    with pytest.raises(ValueError, match="points: expected a regular grid"):
        solver_fno(SHORT)(OperatorSamples(rng.random((2, 30)), q, w, 5, 10))


@pytest.mark.parametrize("make", [solver_mnn, solver_conv])
def test_windows_want_a_line(make):
    _, q, w = pairs()
    for points in (np.random.default_rng(0).random((2, 64)), (np.arange(64)[None, ::-1] + 0.5) / 64):
        with pytest.raises(ValueError, match="points: expected"):
            make(SHORT)(OperatorSamples(points, q, w, 4, 20))


# -- inputs of many parameters -----------------------------------------------------------------------------------------


def rough(n=1800, N=90):
    """A linear operator after the same non-linear map at every point, of inputs with as many parameters as points."""
    rng = np.random.default_rng(3)
    points = rng.random((2, N))
    d = np.linalg.norm(points[:, :, None] - points[:, None], axis=0)
    q = 1.5 * rng.standard_normal((n, N))
    return OperatorSamples(points, q, 0.3 + np.tanh(2 * q) @ np.exp(-d / 0.3) * 5 / N, **usual_parts(n))


def test_maps_at_points_beat_the_line_where_inputs_are_rough():
    """Finding F: on inputs that are not of five parameters DeepFMMNet was no better than affine ridge regression."""
    data = rough()
    table = compare(
        data,
        {
            "affine": solver_affine_ridge((1e-6, 1e-4, 1e-2)),
            "additive": solver_additive_ridge(),
            "neural": solver_neural(Recipe(800, batch=64, every=200), leaf=6, rank=3, channels=2, hidden=16),
        },
    )
    assert table["additive"].error < table["affine"].error / 4, str(table)
    assert table["neural"].error < table["affine"].error / 2, str(table)


# -- files of pairs ----------------------------------------------------------------------------------------------------


def test_a_file_says_its_parts_and_points_may_come_from_a_mesh(tmp_path):
    points, q, w = pairs()
    np.savez(tmp_path / "own.npz", inputs=q, outputs=w, validation=7, test=9)
    data = OperatorSamples.from_file(tmp_path / "own.npz", points)
    assert (data.validation, data.test, data.name) == (7, 9, "own")
    with pytest.raises(ValueError, match=r"own.npz: expected arrays inputs, outputs and points, found no 'points'"):
        OperatorSamples.from_file(tmp_path / "own.npz")


@pytest.mark.parametrize("data", [b"", b"PK\x03\x04", b"\x93NUMPY", b"rubbish"])
def test_broken_files_are_told_by_name(data, tmp_path):
    (tmp_path / "x.npz").write_bytes(data)
    with pytest.raises(ValueError, match=r"x\.npz: expected"):
        OperatorSamples.from_file(tmp_path / "x.npz")
    with pytest.raises(FileNotFoundError, match=r"expected a \.npz file"):
        OperatorSamples.from_file(tmp_path / "y.npz")
