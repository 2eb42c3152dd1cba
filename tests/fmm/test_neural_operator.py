"""H2NeuralOperator: additive with one layer, products of low rank between far clusters, equivariant units, files."""

import numpy as np
import pytest
import torch

from skfem_ml.fmm import H2NeuralOperator, H2Skeleton, load_network, save_network
from skfem_ml.fmm.networks.neural import ChannelProducts

DOUBLE = {"dtype": torch.float64}
N = 150


def generator():
    return torch.Generator().manual_seed(0)


def cloud(dim=2):
    return H2Skeleton(np.random.default_rng(0).random((dim, N)), leaf=9 if dim < 3 else 3)


def network(dim=2, **options):
    return H2NeuralOperator(
        cloud(dim), **{"rank": 3, "channels": 3, "hidden": 5, **options}, generator=generator(), **DOUBLE
    )


def mixed_difference(net, i, j):
    """``w(q + e_i + e_j) - w(q + e_i) - w(q + e_j) + w(q)``: zero where w is a sum of functions of one entry."""
    q = torch.randn(1, N, generator=generator(), **DOUBLE)
    a, b = torch.zeros(2, 1, N, **DOUBLE)
    a[0, i], b[0, j] = 1.0, 1.0
    with torch.no_grad():
        return float((net(q + a + b) - net(q + a) - net(q + b) + net(q)).abs().max())


@pytest.mark.parametrize("dim", [1, 2, 3])
def test_one_layer_is_a_sum_of_functions_of_one_entry_and_two_are_not(dim):
    assert mixed_difference(network(dim), 3, 80) < 1e-12
    assert mixed_difference(network(dim, layers=2), 3, 80) > 1e-6


@pytest.mark.parametrize("dim", [1, 2, 3])
def test_products_of_channels_have_low_rank_between_far_clusters(dim):
    skeleton, rank = cloud(dim), 2
    product = ChannelProducts(skeleton, 2, rank, generator=generator(), **DOUBLE)
    n, width = skeleton.levels[-1].n, skeleton.width
    unit = torch.eye(2 * n * width, **DOUBLE).reshape(2 * n, width, -1)
    with torch.no_grad():
        matrix = product(unit).reshape(2 * n * width, -1).numpy()
    half = n * width
    assert np.abs(matrix[:half, half:]).max() == np.abs(matrix[half:, :half]).max() == 0  # channels do not mix
    for level in skeleton.levels:
        size = half // level.n
        for i, j in level.far.T[:20]:
            block = matrix[half + i * size : half + (i + 1) * size, half + j * size : half + (j + 1) * size]
            assert np.linalg.matrix_rank(block, tol=1e-10) == min(rank, size)
    for i, j in skeleton.close.T[:20]:
        part = slice(i * width, (i + 1) * width), slice(j * width, (j + 1) * width)
        weight = product.close.weight[np.flatnonzero(((i, j) == skeleton.close.T).all(axis=1))[0]]
        np.testing.assert_allclose(matrix[part], weight.detach(), atol=1e-12)


def test_its_parameters_are_counted():
    net = network(layers=2)
    s, c, r, h = net.skeleton, 3, 3, 5
    levels = s.levels[s.first :]
    bases = levels[-1].n * s.width * r + sum(b.n * r * r for b in levels[1:])
    product = s.close.shape[1] * s.width**2 + sum(level.far.shape[1] for level in levels) * r**2 + 2 * bases
    pointwise = (h * (1 + 1 + c - 1)) + (h * (2 * c + 1 + c))
    assert sum(p.numel() for p in net.parameters()) == 2 * c * product + pointwise


def test_normalisation_moves_units_out_of_the_network():
    rng = np.random.default_rng(0)
    q, w = rng.random((50, N)), rng.random((50, N))
    outputs = []
    for factor, shift in ((1.0, 0.0), (1e-5, 3.0)):
        net = network(layers=2)
        net.normalise(factor * q + shift, factor * w - shift)
        outputs.append((net(torch.as_tensor(factor * q + shift)).detach().numpy() + shift) / factor)
    np.testing.assert_allclose(outputs[1], outputs[0], rtol=0, atol=1e-8)


@pytest.mark.filterwarnings("ignore:no two of the")
def test_without_admissible_pairs():
    skeleton = H2Skeleton(np.random.default_rng(0).random((2, 12)), leaf=12)
    assert H2NeuralOperator(skeleton, generator=generator())(torch.ones(2, 12)).shape == (2, 12)


def test_gradients_reach_every_parameter():
    net = network(layers=2)
    net(torch.randn(4, N, generator=generator(), **DOUBLE)).square().sum().backward()
    assert all(p.grad is not None and p.grad.abs().max() > 0 for p in net.parameters())


def test_file(tmp_path):
    net, path = network(layers=2), tmp_path / "net.safetensors"
    net.normalise(np.random.default_rng(0).random((9, N)), np.random.default_rng(1).random((9, N)))
    save_network(path, net, {"seed": 0})
    again, card = load_network(path, N=N)
    q = torch.randn(3, N, generator=generator(), **DOUBLE)
    assert torch.equal(net(q), again(q)) and card["kind"] == "H2NeuralOperator" and repr(again) == repr(net)


@pytest.mark.parametrize("change", [{"rank": 0}, {"channels": 1}, {"hidden": 0}, {"layers": 0}])
def test_bad_sizes(change):
    with pytest.raises(ValueError, match="rank, channels, hidden, layers: expected at least"):
        network(**change)


def test_another_N():
    with pytest.raises(ValueError, match=r"q: expected shape \(n, 150\)"):
        network()(torch.ones(3, 81, **DOUBLE))
