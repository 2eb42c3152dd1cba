"""DeepFMMNet: a product of matrices where it is linear, parameters, determinism, files, bad input."""

import numpy as np
import pytest
import torch
from scipy.linalg import block_diag

from skfem_ml.fmm import DeepFMMNet, FMMNet, H2Skeleton
from skfem_ml.fmm.networks import load_network, save_network
from skfem_ml.fmm.networks.deep import MomentProduct
from skfem_ml.learning import SOAP, CorruptModelError, ModelMismatchError, load_model, save_model

DOUBLE = {"dtype": torch.float64}
PUBLISHED = {320: 52_920, 640: 110_256, 1280: 225_576}  # parameters of the paper's network


def generator():
    return torch.Generator().manual_seed(0)


def line(N, leaf=10):
    return H2Skeleton((np.arange(N)[None] + 0.5) / N, leaf=leaf)


def cloud(dim, N=230, leaf=9):
    return H2Skeleton(np.random.default_rng(0).random((dim, N)), leaf=leaf)


def identity(x):
    return x


def dense(layer):
    """A block-sparse layer as a dense matrix."""
    p, weight = layer.pattern, layer.weight.detach().numpy()
    _, a, b = weight.shape
    matrix = np.zeros((p.n * a, p.n * b))
    for i, j, block in zip(p.rows.tolist(), p.columns.tolist(), weight, strict=True):
        matrix[i * a : (i + 1) * a, j * b : (j + 1) * b] += block
    return matrix


def product_matrix(product: MomentProduct):
    """The H2 product, every factor of it as a dense matrix, multiplied out from the leaves up."""
    matrix = dense(product.close)
    up = down = np.eye(len(matrix))
    for level in reversed(range(len(product.far))):
        if level < len(product.up):
            up = block_diag(*product.up[level].detach().numpy()).T @ up
            down = down @ block_diag(*product.down[level].detach().numpy())
        matrix = matrix + down @ dense(product.far[level]) @ up
    return matrix


def network_matrix(net):
    """The linear part of a network with identity activations, on points in the order of the input."""
    inside = net.skeleton.leaf_index().ravel()
    gather = np.eye(net.skeleton.N + 1)[inside][:, :-1]  # the point that is not there has a zero row
    matrix = block_diag(*net.enter.detach().numpy()) @ gather
    for k, product in enumerate(net.mixers):
        A = product_matrix(product)
        matrix = matrix + A @ matrix
        if k < len(net.networks):
            F = net.networks[k]
            matrix = matrix + block_diag(*(F.outer @ F.inner).detach().numpy()) @ matrix
    return gather.T @ block_diag(*net.leave.detach().numpy()) @ matrix


@pytest.mark.parametrize("dim", [1, 2, 3])
@pytest.mark.parametrize("products", [1, 3])
def test_with_identity_activations_it_is_a_product_of_matrices(dim, products):
    net = DeepFMMNet(cloud(dim), 3, 5, products, activation=identity, generator=generator(), **DOUBLE)
    q = torch.randn(4, net.skeleton.N, generator=generator(), **DOUBLE)
    got = (net(q) - net(torch.zeros_like(q))).detach().numpy()  # biases cancel
    expected = q.numpy() @ network_matrix(net).T
    np.testing.assert_allclose(got, expected, atol=1e-10 * np.abs(expected).max())


@pytest.mark.filterwarnings("ignore:no two of the")
def test_without_admissible_pairs():
    skeleton = H2Skeleton(np.random.default_rng(0).random((2, 12)), leaf=12)
    net = DeepFMMNet(skeleton, 3, generator=generator())
    assert net(torch.ones(2, 12)).shape == (2, 12)


@pytest.mark.parametrize("N", sorted(PUBLISHED))
def test_parameters_are_counted_and_fewer_than_the_papers(N):
    net = DeepFMMNet(line(N), generator=generator())
    levels, B, r, hidden, products = int(np.log2(N / 10)), 10, 4, 24, 3
    n = 2 ** np.arange(levels + 1)
    product = ((3 * n[-1] - 2) + (3 * n[2:] - 6).sum() + 2 * n[3:].sum()) * r**2
    expected = 2 * n[-1] * B * r + products * product + (products - 1) * n[-1] * hidden * (2 * r + 1)
    assert sum(p.numel() for p in net.parameters()) == expected < PUBLISHED[N]
    assert expected == {320: 33_760, 640: 69_824, 1280: 142_240}[N]


def test_normalisation_moves_units_out_of_the_network():
    rng = np.random.default_rng(0)
    q, w = rng.random((50, 80)), rng.random((50, 80))
    outputs = []
    for factor, shift in ((1.0, 0.0), (1e-5, 3.0)):
        net = DeepFMMNet(line(80), generator=generator(), **DOUBLE)
        net.normalise(factor * q + shift, factor * w - shift)
        outputs.append((net(torch.as_tensor(factor * q + shift)).detach().numpy() + shift) / factor)
    np.testing.assert_allclose(outputs[1], outputs[0], rtol=0, atol=1e-8)


def test_it_is_deterministic():
    results = []
    for _ in range(2):
        net = DeepFMMNet(cloud(2), generator=generator())
        optimiser = SOAP(net.parameters(), lr=1e-2, frequency=1)

        def closure(net=net, optimiser=optimiser):
            optimiser.zero_grad()
            loss = net(torch.randn(8, 230, generator=generator())).square().mean()
            loss.backward()
            return loss

        for _ in range(3):
            optimiser.step(closure)
        results.append([p.detach().clone() for p in net.parameters()])
    assert all(torch.equal(a, b) for a, b in zip(*results, strict=True))


def test_soap_on_a_batch_is_soap_on_each_matrix():
    # The target moves: a gradient that is diagonal in its own basis would leave rounding for Adam to divide by itself.
    start, *targets = torch.randn(6, 3, 4, 4, generator=generator(), **DOUBLE)
    together = start.clone().requires_grad_()
    apart = [one.clone().requires_grad_() for one in start]
    for parameters, whole in (([together], lambda: together), (apart, lambda: torch.stack(apart))):
        optimiser = SOAP(parameters, lr=0.1)
        for target in targets:

            def closure(optimiser=optimiser, whole=whole, target=target):
                optimiser.zero_grad()
                loss = (whole() - target).square().sum()
                loss.backward()
                return loss

            optimiser.step(closure)
    assert (together - start).abs().max() > 0.1
    torch.testing.assert_close(together, torch.stack(apart), rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("option", ["rank", "hidden", "products"])
def test_bad_sizes(option):
    with pytest.raises(ValueError, match="rank, hidden, products: expected at least 1"):
        DeepFMMNet(line(80), generator=generator(), **{option: 0})


def test_another_N():
    net = DeepFMMNet(line(80), generator=generator())
    with pytest.raises(ValueError, match=r"q: expected shape \(n, 80\)"):
        net(torch.ones(3, 81))
    with pytest.raises(ValueError, match=r"outputs: expected shape \(n, 80\)"):
        net.normalise(np.ones((3, 80)), np.ones((3, 79)))


def test_file(tmp_path):
    net = DeepFMMNet(cloud(2), 3, 5, 2, generator=generator())
    net.normalise(np.random.default_rng(0).random((9, 230)), np.random.default_rng(1).random((9, 230)))
    path = tmp_path / "net.safetensors"
    save_network(path, net, {"seed": 0})
    again, card = load_network(path, N=230)
    q = torch.randn(3, 230, generator=generator())
    assert torch.equal(net(q), again(q)) and card["seed"] == 0 and card["kind"] == "DeepFMMNet"
    with pytest.raises(ModelMismatchError, match="N: wanted 81, got 230"):
        load_network(path, N=81)
    path.write_bytes(path.read_bytes()[:-7])
    with pytest.raises(CorruptModelError):
        load_network(path)


def test_a_network_with_another_activation_is_not_written(tmp_path):
    for net in (
        DeepFMMNet(line(80), activation=identity, generator=generator()),
        FMMNet(line(80), 3, activation=identity, generator=generator()),
    ):
        with pytest.raises(ValueError, match="expected its own activation, got another"):
            save_network(tmp_path / "net.safetensors", net)
        assert "80 points" in repr(net)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"kind": "other"}, ModelMismatchError, "kind: wanted 'DeepFMMNet or FMMNet or H2NeuralOperator', got 'other'"),
        ({"rank": 4}, CorruptModelError, "tensors do not fit the card"),
        ({"rank": 10**9}, CorruptModelError, "out of range"),
        ({"leaf": "9"}, CorruptModelError, "out of range"),
        ({"eta": "1"}, CorruptModelError, "leaf, eta: expected"),
        ({"sort": 1}, CorruptModelError, "unexpected keyword"),
        ({"hidden": None}, CorruptModelError, "out of range"),
    ],
)
def test_a_sound_file_with_a_wrong_card(tmp_path, change, error, message):
    path = tmp_path / "net.safetensors"
    save_network(path, DeepFMMNet(line(80), 3, generator=generator()))
    tensors, card = load_model(path)
    changed = {**card, **change} if "kind" in change else {**card, "sizes": {**card["sizes"], **change}}
    save_model(path, tensors, changed)
    with pytest.raises(error, match=message):
        load_network(path)
