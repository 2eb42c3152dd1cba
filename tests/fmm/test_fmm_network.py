"""FMMNet: equal to the H2 product where it is linear, parameter counts of the paper, gradients, a short training."""

import numpy as np
import pytest
import torch
from scipy.sparse import bsr_matrix

from skfem_ml.fmm import FMMNet, H2Operator, H2Skeleton
from skfem_ml.fmm.networks.layers import BlockSparse, Pattern, segmented
from skfem_ml.learning import fit
from skfem_ml.reference import rte_samples

DOUBLE = {"dtype": torch.float64}


def generator():
    return torch.Generator().manual_seed(0)


def line(N, leaf=10):
    return H2Skeleton((np.arange(N)[None] + 0.5) / N, leaf=leaf)


def cloud(dim, N=230, leaf=9):
    return H2Skeleton(np.random.default_rng(0).random((dim, N)), leaf=leaf)


def kernel(x, y):
    d = np.sqrt(((x - y) ** 2).sum(axis=0))
    return (1 + x[0]) / (0.1 + d)


def identity(x):
    return x


def matrices(net):
    """The last factor of each G, and the product of all of them, as scipy's BSR matrices."""
    for block in (net.close, *net.far):
        product = None
        for layer in block.layers:
            data, p = layer.weight.detach().numpy(), layer.pattern
            shape = (p.n * data.shape[1], p.n * data.shape[2])
            factor = bsr_matrix((data, p.columns.numpy(), p.bounds.numpy()), shape=shape)
            product = factor if product is None else (factor @ product).tobsr(factor.blocksize)
        yield product


@pytest.mark.parametrize("dim", [1, 2, 3])
@pytest.mark.parametrize("depth", [1, 3])
def test_with_identity_activations_it_is_the_h2_product(dim, depth):
    skeleton = cloud(dim)
    net = FMMNet(skeleton, 4, depth, activation=identity, generator=generator(), **DOUBLE)
    close, *far = matrices(net)
    bases = [[b.detach().numpy() for b in side] for side in (net.down, net.up)]
    op = H2Operator(skeleton, *bases, far, close)
    q = np.random.default_rng(1).standard_normal((7, skeleton.N))
    expected = op.matvec(q.T).T
    np.testing.assert_allclose(net(torch.as_tensor(q)).detach().numpy(), expected, atol=1e-10 * np.abs(expected).max())


@pytest.mark.parametrize("dim", [1, 2, 3])
def test_it_starts_as_its_linear_operator(dim):
    skeleton = cloud(dim)
    op = H2Operator.from_kernel(skeleton, kernel, tol=1e-6)
    net = FMMNet(skeleton, depth=2, variant="linear", linear=op, generator=generator(), **DOUBLE)
    q = np.random.default_rng(1).standard_normal((7, skeleton.N))
    np.testing.assert_allclose(net(torch.as_tensor(q)).detach().numpy(), op.matvec(q.T).T, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize(("N", "one", "three"), [(320, 22888, 52920), (640, 47632, 110256), (1280, 97336, 225576)])
def test_parameter_counts_are_the_papers(N, one, three):
    def count(net):
        return sum(p.numel() for p in net.parameters())

    levels, B, r = int(np.log2(N / 10)), 10, 6
    n = 2 ** np.arange(levels + 1)
    blocks = (3 * n[-1] - 2) * B**2 + (3 * n[2:] - 6).sum() * r**2
    bases = 2 * (n[-1] * B * r + n[3:].sum() * r**2)
    for depth, published in ((1, one), (3, three)):
        assert count(FMMNet(line(N), r, depth, generator=generator())) == published == depth * blocks + bases
    linear = FMMNet(line(N), r, 2, variant="linear", generator=generator())
    assert count(linear) == 3 * blocks + bases + N + n[2:].sum() * r  # and one layer of biases


@pytest.mark.parametrize("a", [2, 4])  # square blocks take another way
def test_gradients(a):
    pairs = np.array([[0, 0, 2, 2, 2], [1, 2, 0, 1, 2]])  # a row and a column of blocks without and with many
    layer = BlockSparse(Pattern(pairs, 3), a, 4, bias=True, generator=generator(), **DOUBLE)
    x = torch.randn(3, 4, 5, generator=generator(), requires_grad=True, **DOUBLE)
    weight = layer.weight.detach().requires_grad_()

    def call(w, x):
        return torch.func.functional_call(layer, {"weight": w}, (x,))

    assert torch.autograd.gradcheck(call, (weight, x))
    p = layer.pattern
    torch.testing.assert_close(segmented(p.bounds, p.columns, weight, x) + layer.bias, layer(x))


def test_it_is_deterministic():
    results = []
    for _ in range(2):
        net = FMMNet(cloud(2), 4, 2, generator=generator())
        loss = net(torch.randn(8, 230, generator=generator())).square().mean()
        loss.backward()
        results.append([p.grad.clone() for p in net.parameters()])
    assert all(torch.equal(a, b) for a, b in zip(*results, strict=True))


@pytest.mark.filterwarnings("ignore:no two of the")
def test_without_admissible_pairs():
    skeleton = H2Skeleton(np.random.default_rng(0).random((2, 12)), leaf=12)
    net = FMMNet(skeleton, 3, 1, generator=generator())
    assert net(torch.ones(2, 12)).shape == (2, 12) and not len(net.far)


def test_training_from_data_beats_its_start():
    q, w = rte_samples(400, 80, np.random.default_rng(0))
    net = FMMNet.from_data(line(80), q[:300], w[:300], ridge=1e-6, generator=generator(), **DOUBLE)
    tensors = [torch.as_tensor(a) for a in (q, w)]

    def error(net, data):
        return ((net(data[0]) - data[1]).norm(dim=1) / data[1].norm(dim=1)).mean()

    train, test = [[t[part] for t in tensors] for part in (slice(300), slice(300, 400))]
    before = float(error(net, test).detach())
    constant = float(((train[1].mean(dim=0) - test[1]).norm(dim=1) / test[1].norm(dim=1)).mean())
    assert before < constant / 2
    fit(net, error, train, optimiser=torch.optim.Adam(net.parameters(), 2e-3), steps=150, batch=100)
    assert float(error(net, test).detach()) < before / 2


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"rank": 4, "variant": "other"}, "variant: expected one of"),
        ({"rank": 4, "depth": 0}, "depth: expected at least 1"),
        ({"rank": 4, "depth": -1, "variant": "linear"}, "depth: expected at least 0"),
        ({"rank": None}, "rank: expected at least 1"),
        ({"rank": 0}, "rank: expected at least 1"),
    ],
)
def test_bad_options(options, message):
    with pytest.raises(ValueError, match=message):
        FMMNet(line(80), generator=generator(), **options)


def test_mismatches():
    op = H2Operator.from_kernel(line(80), kernel)
    for options, message in (
        ({"variant": "linear"}, "same skeleton"),
        ({"variant": "paper"}, "no linear part"),
        ({"variant": "linear", "rank": 4}, "rank: expected None"),
    ):
        with pytest.raises(ValueError, match=message):
            FMMNet(line(80), linear=op, generator=generator(), **options)
    net = FMMNet(line(80), 4, generator=generator())
    with pytest.raises(ValueError, match=r"expected shape \(n, 80\)"):
        net(torch.ones(3, 81))
    with pytest.raises(ValueError, match=r"inputs: expected shape \(n, 80\)"):
        net.normalise(np.ones((3, 81)), np.ones((3, 80)))
    with pytest.raises(ValueError, match=r"inputs: expected shape \(samples, 80\)"):
        FMMNet.from_data(line(80), np.ones((3, 81)), np.ones((3, 80)), generator=generator())
