"""What FMMNet is compared with: parameters of the literature, linear limits, regressions, H2 products, bad input."""

import sys
import types

import numpy as np
import pytest
import torch

from skfem_ml.baselines import (
    FNO,
    MNNH2,
    ConvNet,
    solver_affine_ridge,
    solver_constant,
    solver_conv,
    solver_kernel_ridge,
    solver_mnn,
)
from skfem_ml.baselines.multiscale import Window
from skfem_ml.compare import compare
from skfem_ml.fmm import (
    FMMNet,
    H2Operator,
    H2Skeleton,
    Learned,
    Recipe,
    solver_deep,
    solver_fmmnet,
    solver_h2,
    solver_h2_ridge,
)
from skfem_ml.learning.optim import adam
from skfem_ml.metrics import mean_residual
from skfem_ml.problems import OperatorSamples
from skfem_ml.reference import custom_kernel, custom_samples, transfer_samples

PARTS = {"validation": 30, "test": 60}


def generator():
    return torch.Generator().manual_seed(0)


def count(net):
    return sum(p.numel() for p in net.parameters())


@pytest.fixture(scope="module")
def transfer():
    return transfer_samples(300, 64, np.random.default_rng(0), **PARTS)


@pytest.fixture(scope="module")
def custom():
    return custom_samples(300, 64, np.random.default_rng(0), **PARTS)


# -- networks ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("N", "lc", "mix"), [(320, 198_384, 20_754), (640, 276_144, 26_064), (1280, 575_664, 38_934)])
def test_parameters_of_mnn_are_those_of_fan_et_al(N, lc, mix):
    assert count(MNNH2(N, "LC", generator=generator())) == lc
    assert count(MNNH2(N, "Mix", generator=generator())) == mix


def test_a_shared_window_is_a_convolution():
    layer = Window(12, 3, 2, 5, True, generator=generator())
    x = torch.randn(12, 2, 4, generator=generator())
    weight = layer.weight[0].reshape(3, 5, 2).transpose(1, 2)
    expected = torch.nn.functional.conv1d(x.permute(2, 1, 0), weight, padding=2).permute(2, 1, 0)
    torch.testing.assert_close(layer(x), expected)


@pytest.mark.parametrize("kind", ["LC", "Mix"])
def test_mnn_sees_far_points_through_boxes_alone(kind):
    """The output at a point depends on all inputs; without the far part on those of adjacent boxes only."""
    net = MNNH2(128, kind, levels=4, channels=4, depth=1, generator=generator())
    q = torch.rand(1, 128, generator=generator(), requires_grad=True)
    (all_of_them,) = torch.autograd.grad(net(q)[0, 50], q)
    assert (all_of_them != 0).sum() > 64
    torch.nn.init.zeros_(net.leave.weight)
    (near,) = torch.autograd.grad(net(q)[0, 50], q)
    assert set(near[0].nonzero().flatten().tolist()) <= set(range(40, 64))  # box 6 of 8 points, and its neighbours


def test_networks_are_deterministic():
    q = torch.rand(3, 64, generator=generator())
    for make in (lambda: MNNH2(64, generator=generator()), lambda: ConvNet(generator=generator())):
        assert torch.equal(make()(q), make()(q)) and make()(q).shape == (3, 64)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: MNNH2(64, "other", generator=generator()), "kind: expected one of"),
        (lambda: MNNH2(100, generator=generator()), "N: expected a multiple of 2\\^levels = 64, got 100"),
        (lambda: MNNH2(64, levels=1, generator=generator()), "levels, channels, depth: expected"),
        (lambda: MNNH2(64, depth=0, generator=generator()), "levels, channels, depth: expected"),
        (lambda: ConvNet(window=4, generator=generator()), "an odd window"),
        (lambda: ConvNet((0,), generator=generator()), "expected positive sizes"),
        (lambda: MNNH2(64, generator=generator())(torch.ones(2, 65)), r"q: expected shape \(n, 64\)"),
        (lambda: ConvNet(generator=generator())(torch.ones(64)), r"q: expected shape \(n, N\)"),
        (lambda: Recipe(optimiser="sgd"), "optimiser: expected one of 'adam', 'soap'"),
        (lambda: Recipe(optimiser=adam(), rate=1e-2), "rate: expected None beside an Optimiser"),
        (lambda: Recipe(rate=0.0), "rate: expected None or a positive number, got 0.0"),
        (lambda: FNO(modes=0), "modes, width, depth: expected at least 1"),
        (lambda: solver_kernel_ridge(0), "centres: expected at least one"),
    ],
)
def test_bad_settings(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def test_fno_names_its_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "neuralop.models", None)
    with pytest.raises(ImportError, match=r"pip install 'skfem-ml\[bench\]'"):
        FNO()


def test_fno_hands_over_shapes(monkeypatch):
    class Fake(torch.nn.Conv1d):
        def __init__(self, n_modes, in_channels, out_channels, hidden_channels, n_layers):
            assert (n_modes, hidden_channels, n_layers) == ((5,), 7, 2)
            super().__init__(in_channels, out_channels, 1)

    models = types.ModuleType("neuralop.models")
    models.FNO = Fake
    monkeypatch.setitem(sys.modules, "neuralop.models", models)
    state = torch.get_rng_state()
    nets = [FNO(5, 7, 2, seed=3) for _ in range(2)]
    q = torch.ones(3, 20)
    assert nets[0](q).shape == (3, 20) and torch.equal(nets[0](q), nets[1](q))
    assert torch.equal(torch.get_rng_state(), state)
    with pytest.raises(ValueError, match=r"q: expected shape \(n, N\)"):
        nets[0](torch.ones(20))


# -- regressions -------------------------------------------------------------------------------------------------------


def test_affine_ridge_finds_an_affine_map():
    rng = np.random.default_rng(0)
    A, b, q = rng.random((20, 20)), rng.random(20), rng.standard_normal((90, 20))
    data = OperatorSamples(rng.random((1, 20)), q, q @ A.T + b, 10, 20)
    solution = solver_affine_ridge()(data)
    assert mean_residual(solution(data.part("test")[0]), data.exact) < 1e-9
    assert solution.unknowns == 20 * 21 and solution.settings == "ridge 1e-12"


def test_the_constant_is_the_mean_of_the_training_outputs(transfer):
    solution = solver_constant()(transfer)
    np.testing.assert_array_equal(solution(np.ones((3, 64)))[2], transfer.part("train")[1].mean(axis=0))


def test_kernel_ridge_interpolates_and_beats_the_line(transfer):
    table = compare(transfer, {"line": solver_affine_ridge(), "kernel": solver_kernel_ridge(210)})
    assert table["kernel"].error < table["line"].error / 3 and table["kernel"]["residual train"] < 1e-3
    assert table.headings == ("residual test", "residual train") and "210 for training" in str(table)


def test_a_map_of_another_shape_leaves_a_row_with_its_error(transfer):
    table = compare(transfer, {"short": lambda data: lambda q: q[:, 1:], "nan": lambda data: lambda q: q * np.nan})
    assert "expected shape (60, 64), one row per sample, got (60, 63)" in table["short"].failure
    assert "expected finite numbers" in table["nan"].failure


@pytest.mark.parametrize("N", [320, 640, 1280])
def test_h2_product_and_network_of_the_custom_kernel(N):
    data = custom_samples(20, N, np.random.default_rng(0), validation=1, test=18)
    q, w = data.part("test")
    assert mean_residual(solver_h2(custom_kernel(N))(data)(q), w) < 1e-6
    skeleton = H2Skeleton(data.points, 10)
    op = H2Operator.from_kernel(skeleton, custom_kernel(N), tol=None, rank=6)
    net = FMMNet(skeleton, depth=0, variant="linear", linear=op, generator=generator(), dtype=torch.float64)
    assert mean_residual(Learned(net)(q), w) < 1e-6


def test_h2_from_samples(custom):
    q, w = custom.part("test")
    assert mean_residual(solver_h2_ridge()(custom)(q), w) < 1e-3


# -- samples -----------------------------------------------------------------------------------------------------------


def test_the_diagonal_of_the_custom_kernel():
    x = (np.arange(10)[None] + 0.5) / 10
    diagonal = custom_kernel(10)(x, x)
    np.testing.assert_allclose(diagonal, 4 * x[0] ** 2 / 10**4)
    np.testing.assert_allclose(custom_kernel(10)(x[:, :1], x[:, 3:4]), (x[0, 0] + x[0, 3]) ** 2 / 10**5 / 0.3)
    with pytest.raises(ValueError, match="N: expected at least one"):
        custom_kernel(0)


def test_a_kernel_that_is_not_finite_is_refused():
    skeleton = H2Skeleton((np.arange(64)[None] + 0.5) / 64, 10)
    with np.errstate(divide="ignore"), pytest.raises(ValueError, match="has to return the diagonal entry"):
        H2Operator.from_kernel(skeleton, lambda x, y: 1 / np.abs(x - y)[0])
    with pytest.raises(ValueError, match="points: expected distinct points"):
        H2Skeleton(np.zeros((1, 3)), 1)


def test_parts_are_disjoint_and_complete(transfer):
    parts = [transfer.part(name)[0] for name in ("train", "validation", "test")]
    np.testing.assert_array_equal(np.concatenate(parts), transfer.inputs)
    assert [len(part) for part in parts] == [210, 30, 60] and transfer.exact is not None
    with pytest.raises(KeyError):
        transfer.part("all")


def bad(**change):
    good = {
        "points": np.ones((1, 4)),
        "inputs": np.ones((9, 4)),
        "outputs": np.ones((9, 4)),
        "validation": 2,
        "test": 3,
    }
    return OperatorSamples(**{**good, **change})


def with_entry(value):
    values = np.ones((9, 4))
    values[5] = value
    return values


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"points": np.ones(4)}, r"points: expected shape \(dim, N\)"),
        ({"inputs": np.ones((9, 5))}, r"inputs: expected shape \(n, 4\)"),
        ({"outputs": np.ones(4)}, r"outputs: expected shape \(n, 4\)"),
        ({"outputs": np.ones((8, 4))}, "expected one number of samples, got 9 and 8"),
        ({"inputs": with_entry(np.nan)}, "inputs: expected finite values, 1 samples have others, first 5"),
        ({"outputs": with_entry(0.0)}, "zero everywhere, got sample 5"),
        ({"test": 0}, "validation, test: expected at least 1 sample"),
        ({"test": 7}, "got 2, 7 and 0 for training"),
    ],
)
def test_bad_samples(change, message):
    with pytest.raises(ValueError, match=message):
        bad(**change)


def test_residuals_need_one_shape():
    assert mean_residual(np.array([[3.0, 0.0], [0.0, 1.0]]), np.array([[2.0, 0.0], [0.0, 1.0]])) == 0.25
    with pytest.raises(ValueError, match=r"got: expected shape \(2, 3\)"):
        mean_residual(np.ones((2, 2)), np.ones((2, 3)))


# -- training ----------------------------------------------------------------------------------------------------------


def test_a_short_training_beats_the_line(transfer):
    table = compare(transfer, {"line": solver_affine_ridge(), "deep": solver_deep(Recipe(400, batch=64, every=20))})
    assert table["deep"].error < table["line"].error / 1.5, str(table)
    history = table.solutions["deep"].history
    assert history.steps[-1] == 400 and history.best == min(history.losses)


@pytest.mark.parametrize("make", [solver_fmmnet, solver_conv, solver_mnn, lambda r: solver_mnn(r, kind="Mix")])
def test_published_networks_learn_whatever_the_unit(make, custom):
    """Outputs are of size 1e-6 here; steps of Adam are of size 2.5e-3."""
    data = custom
    q, w = data.part("validation")
    histories = [make(Recipe(30, optimiser="adam", every=10))(data).history.losses for _ in range(2)]
    assert histories[0] == histories[1] and histories[0][-1] < 1.0
    assert np.abs(w).max() < 1e-4 and len(q) == 30


def test_a_training_goes_on_from_its_checkpoint(transfer, tmp_path):
    whole = solver_deep(Recipe(20, every=5))(transfer)
    checkpoint = tmp_path / "net.pt"

    class Stop(Exception):
        pass

    def stop(step, steps, value):
        if step == 10:
            raise Stop

    with pytest.raises(Stop):
        solver_deep(Recipe(20, every=5, checkpoint=checkpoint, progress=stop))(transfer)
    again = solver_deep(Recipe(20, every=5, checkpoint=checkpoint))(transfer)
    assert again.history.losses == whole.history.losses
    q = transfer.part("test")[0]
    np.testing.assert_array_equal(again(q), whole(q))


def test_a_training_that_diverges_says_so(transfer):
    with pytest.raises(RuntimeError, match="take a smaller rate"):
        solver_fmmnet(Recipe(200, optimiser="adam", rate=1e12))(transfer)
