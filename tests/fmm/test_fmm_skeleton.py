"""H2 skeletons: the lists hold every pair exactly once, counts of the paper, and input that cannot work."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from skfem import Basis, ElementTriP1, ElementVector, MeshTri

from skfem_ml.fmm import H2Operator, H2Skeleton


def counted(skeleton):
    """How often each pair of points occurs in the lists, ``(N, N)``."""
    times = np.zeros((skeleton.N, skeleton.N), dtype=int)
    lists = [(skeleton.levels[-1], skeleton.close)] + [(level, level.far) for level in skeleton.levels]
    for level, pairs in lists:
        clusters = np.split(skeleton.order, level.starts[1:-1])
        for i, j in pairs.T:
            times[np.ix_(clusters[i], clusters[j])] += 1
    return times


@pytest.mark.filterwarnings("ignore:no two of the")
@settings(deadline=None, max_examples=60)
@given(
    dim=st.integers(1, 3),
    N=st.integers(1, 300),
    leaf=st.integers(1, 40),
    eta=st.floats(0.05, 3),
    power=st.floats(0.3, 4),
    seed=st.integers(0, 2**32 - 1),
)
def test_lists_hold_every_pair_once(dim, N, leaf, eta, power, seed):
    points = np.random.default_rng(seed).random((dim, N)) ** power  # crowded at the origin for a large power
    skeleton = H2Skeleton(points, leaf=min(leaf, N), eta=eta)
    assert (counted(skeleton) == 1).all()
    sizes = np.diff(skeleton.levels[-1].starts)
    assert sizes.max() <= leaf and np.ptp(sizes) <= 1
    index = skeleton.leaf_index()
    assert sorted(index[index < N]) == list(range(N))


@pytest.mark.parametrize("N", [320, 640, 1280])
def test_counts_of_a_uniform_grid(N):
    skeleton = H2Skeleton((np.arange(N)[None] + 0.5) / N, leaf=10)
    assert skeleton.close.shape[1] == 3 * N // 10 - 2
    for l, level in enumerate(skeleton.levels):
        assert level.n == 2**l and level.far.shape[1] == max(3 * 2**l - 6, 0)


@pytest.mark.parametrize(("N", "children"), [(1000, [1, 4, 4, 4]), (1100, [1, 9, 4, 4]), (2305, [1, 4, 4, 4, 4])])
def test_boxes_stay_square(N, children):
    skeleton = H2Skeleton(np.random.default_rng(0).random((2, N)), leaf=16)
    assert [level.children for level in skeleton.levels] == children
    leaf = skeleton.levels[-1]
    assert np.median(np.max(leaf.high - leaf.low, axis=0) / np.min(leaf.high - leaf.low, axis=0)) < 1.6


def test_lists_are_symmetric_and_bounded():
    skeleton = H2Skeleton(np.random.default_rng(1).random((2, 20000)), leaf=40)
    for level in skeleton.levels:
        assert {tuple(p) for p in level.far.T} == {tuple(p) for p in level.far[::-1].T}
    assert skeleton.close.shape[1] < 14 * skeleton.levels[-1].n
    assert skeleton.levels[-1].far.shape[1] < 40 * skeleton.levels[-1].n


def test_from_basis():
    basis = Basis(MeshTri.init_circle(4), ElementTriP1())
    skeleton = H2Skeleton.from_basis(basis, leaf=20)
    assert skeleton.N == basis.N and skeleton.compressible
    with pytest.raises(ValueError, match="vector element take one component"):
        H2Skeleton.from_basis(basis.with_element(ElementVector(ElementTriP1())))


@pytest.mark.parametrize(
    ("points", "options", "message"),
    [
        (np.array([[0.0, 1.0, 0.0]]), {"leaf": 1}, "the first are 0 and 2 at"),
        (np.array([[0.0, 1.0, np.nan]]), {"leaf": 1}, "the first is 2"),
        (np.zeros(3), {}, r"expected shape \(dim, N\)"),
        (np.zeros((4, 3)), {}, r"expected shape \(dim, N\)"),
        (np.zeros((2, 0)), {}, r"expected shape \(dim, N\)"),
        (np.arange(5.0)[None], {"leaf": 6}, "from 1 to the number of points, 5, got 6"),
        (np.arange(5.0)[None], {"leaf": 0}, "leaf"),
        (np.arange(5.0)[None], {"leaf": 2.0}, "leaf"),
        (np.arange(5.0)[None], {"leaf": 2, "eta": 0.0}, "eta: expected a positive"),
        (np.arange(5.0)[None], {"leaf": 2, "eta": -1.0}, "eta: expected a positive"),
        (np.arange(5.0)[None], {"leaf": 2, "eta": np.nan}, "eta: expected a positive"),
    ],
)
def test_bad_input(points, options, message):
    with pytest.raises(ValueError, match=message):
        H2Skeleton(points, **options)


def test_too_few_points_are_said_not_failed():
    with pytest.warns(UserWarning, match="nothing is compressed"):
        skeleton = H2Skeleton(np.random.default_rng(0).random((2, 12)), leaf=12)
    assert not skeleton.compressible and skeleton.first == len(skeleton.levels)
    assert skeleton.close.shape == (2, 1)


def test_a_mesh_with_few_nodes_is_said_not_failed():
    basis = Basis(MeshTri().refined(1), ElementTriP1())
    with pytest.warns(UserWarning, match="no two of the 1 leaves .* of 9.* take a smaller leaf or more points"):
        skeleton = H2Skeleton.from_basis(basis, leaf=9)
    op = H2Operator.from_kernel(skeleton, lambda x, y: np.exp(-((x - y) ** 2).sum(axis=0)))
    assert op.storage().ratio < 1.1 and op.error < 1e-14


def test_block_picture():
    ax = H2Skeleton(np.random.default_rng(0).random((2, 300)), leaf=20).draw()
    assert ax.get_title() and ax.get_xlabel() and ax.get_ylabel()
