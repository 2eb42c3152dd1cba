"""POD in the mass inner product, and networks on its coefficients as steppers."""

import numpy as np
import pytest
import torch
from scipy.linalg import eigh, expm
from scipy.sparse import identity
from skfem import Basis, ElementQuad1, ElementTriP2, MeshQuad, MeshTri

from skfem_ml.hits import (
    FlowMap,
    HiTS,
    ReducedMap,
    Remainder,
    SplittingNet,
    allen_cahn_reaction,
    hybrid,
    remainder_pairs,
)
from skfem_ml.learning import MLP
from skfem_ml.problems import mass
from skfem_ml.stepping import IMEX, POD, ThetaMethod, allen_cahn, evolve, heat, parareal

BASIS = Basis(MeshQuad().refined(3), ElementQuad1(), intorder=3)
M = mass.assemble(BASIS)
RNG = np.random.default_rng


def waves(count, rng, modes=4):
    """Random combinations of products of cosines, ``(count, n)``."""
    x = BASIS.doflocs
    shapes = [np.cos(k * np.pi * x[0]) * np.cos(l * np.pi * x[1]) for k in range(modes) for l in range(modes)]
    return rng.normal(size=(count, modes**2)) @ np.array(shapes) / modes


def norms(u, matrix=M):
    return np.sqrt(((matrix @ u.T).T * u).sum(axis=1))


@pytest.mark.parametrize("lifted", [False, True])
def test_modes_are_orthonormal_and_the_error_is_the_tail(lifted):
    snapshots = waves(30, RNG(0)) @ np.diag(1 + BASIS.doflocs[0])
    lift = snapshots.mean(axis=0) if lifted else None
    for r in (1, 5, 12):
        pod = POD(M, r, lift).fit(snapshots)
        assert pod.modes.T @ M @ pod.modes == pytest.approx(np.eye(r), abs=1e-13)
        error = norms(snapshots - pod.decode(pod.encode(snapshots)))
        assert np.sqrt((error**2).sum()) == pytest.approx(pod.tail, rel=1e-10)


def test_no_other_subspace_is_better():
    rng = RNG(1)
    snapshots = waves(20, rng)
    pod = POD(M, 6).fit(snapshots)
    other = POD(M, 6).fit(waves(40, rng))
    assert np.sqrt((norms(snapshots - other.decode(other.encode(snapshots))) ** 2).sum()) > pod.tail


def test_small_modes_keep_their_digits():
    # Singular values over eleven decades; the eigenvalues of the Gram matrix would lose half of them.
    full = POD(M, 16).fit(waves(16, RNG(2)))
    snapshots = (RNG(3).normal(size=(40, 16)) * 10.0 ** -np.linspace(0, 11, 16)) @ full.modes.T
    pod = POD(M, 16).fit(snapshots)
    expected = np.linalg.svd(full.encode(snapshots), compute_uv=False)
    assert pod.singular_values[:16] == pytest.approx(expected, rel=1e-3)
    assert pod.modes.T @ M @ pod.modes == pytest.approx(np.eye(16), abs=1e-12)


def test_coefficients_go_there_and_back():
    pod = POD(M, 5, lift=np.ones(BASIS.N)).fit(waves(9, RNG(4)) + 1)
    c = RNG(5).normal(size=(3, 5))
    assert pod.encode(pod.decode(c)) == pytest.approx(c) and pod.encode(pod.decode(c[0])) == pytest.approx(c[0])
    small, u = pod.truncated(2), pod.decode(c)
    assert small.encode(u) == pytest.approx(c[:, :2]) and small.tail > pod.tail
    assert small.decode(c[:, :2]).shape == u.shape


def test_boundary_data_are_lifted():
    basis = Basis(MeshTri().refined(2), ElementTriP2())
    D = basis.get_dofs().flatten()
    data = 1 + basis.doflocs[0]
    semi = heat(basis, D=D, x=data)
    rng = RNG(6)
    snapshots = np.stack([semi.full(rng.normal(size=semi.size)) for _ in range(8)])
    pod = POD(mass.assemble(basis), 4, lift=semi.lift).fit(snapshots)
    assert abs(pod.modes[D]).max() < 1e-12
    assert pod.decode(rng.normal(size=(5, 4)))[:, D] == pytest.approx(np.tile(data[D], (5, 1)))


def test_a_full_basis_makes_the_projected_equation_the_equation():
    semi = allen_cahn(BASIS, 0.2)
    pod = POD(M, BASIS.N).fit(RNG(7).normal(size=(BASIS.N + 5, BASIS.N)))
    small = semi.restrict(pod.modes, pod.lift)
    assert abs(small.M - np.eye(BASIS.N)).max() < 1e-10
    u = waves(2, RNG(8))
    reduced = ReducedMap(pod, IMEX(small, 0.1))
    assert reduced.step(u) == pytest.approx(IMEX(semi, 0.1).step(u), abs=1e-9)


def affine(matrix, dt):
    """The flow map ``c -> c + matrix c`` as a network without hidden layers."""
    net = MLP((len(matrix), len(matrix)), generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        net.layers[0].weight.copy_(torch.as_tensor(matrix))
    return FlowMap(net, dt)


def test_a_remainder_that_is_exact_gives_the_exact_step():
    # Of the heat equation, on its lowest eigenfunctions, Crank-Nicolson after backward Euler.
    semi = heat(BASIS)
    # Symmetric, so that the vectors of a double eigenvalue are independent whatever the BLAS kernel (finding B3).
    vectors = eigh(semi.K.toarray(), M.toarray(), subset_by_index=(0, 5))[1]
    dt = 0.02
    wanted, linear = ThetaMethod(semi.M, semi.K, dt), ThetaMethod(semi.M, semi.K, dt, theta=1.0)
    pod = POD(M, 6).fit((vectors * np.arange(6, 0, -1)).T)
    u = RNG(9).normal(size=(7, 6)) @ vectors.T
    c, target = remainder_pairs(linear, u, wanted.step(u), pod)
    matrix = np.linalg.lstsq(c, target - c, rcond=None)[0].T
    stepper = Remainder(linear, affine(matrix, dt), pod)
    assert stepper.step(u) == pytest.approx(wanted.step(u), abs=1e-12)
    assert stepper.step(u[0]) == pytest.approx(wanted.step(u[0]), abs=1e-12)
    # What is orthogonal to the modes is carried by the linear step alone.
    v = RNG(10).normal(size=(2, BASIS.N))
    v = v - pod.decode(pod.encode(v))
    assert stepper.step(v) == pytest.approx(linear.step(v), abs=1e-12)


def test_a_remainder_on_coefficients_alone():
    linear = ThetaMethod(identity(3, format="csc"), identity(3, format="csc"), 0.5, theta=1.0)
    before, after = RNG(11).normal(size=(2, 8, 3))
    x, y = remainder_pairs(linear, before, after)
    assert y - x == pytest.approx(after - before / 1.5)
    stepper = Remainder(linear, affine(np.diag([1.0, 2.0, 3.0]), 0.5))
    assert stepper.step(before) == pytest.approx(before / 1.5 + before * [1, 2, 3])


def test_parareal_with_a_poor_network_reaches_the_fine_stepper():
    semi = allen_cahn(BASIS, 0.2)
    fine = IMEX(semi, 0.05)
    u0 = waves(3, RNG(12)) / 4
    exact = evolve(fine, u0, 2.0).y[..., -1]
    pod = POD(M, 4).fit(waves(20, RNG(13)))
    coarse = Remainder(ThetaMethod(semi.M, semi.K, 0.25, theta=1.0), affine(0.2 * np.eye(4), 0.25), pod)
    result = parareal(coarse, fine, (0, 2), u0, slices=8)
    errors = [abs(iterate[..., -1] - exact).max() for iterate in result.iterates]
    assert errors[0] > 0.01 and errors[4] < errors[0] / 30 and errors[-1] < 1e-13
    hierarchy = HiTS([coarse, ReducedMap(pod, affine(0.05 * np.eye(4), 0.125))])
    assert hierarchy.solve((0, 1), u0).y.shape == (3, BASIS.N, 9)


def test_bad_snapshots():
    with pytest.raises(ValueError, match=r"snapshots: expected at least r = 5 rows \(k, 81\), got \(4, 81\)"):
        POD(M, 5).fit(waves(4, RNG(0)))
    with pytest.raises(ValueError, match=r"expected at least r = 5 independent ones, got 2"):
        POD(M, 5).fit(np.tile(waves(2, RNG(0)), (5, 1)))
    with pytest.raises(ValueError, match=r"independent ones, got 0"):
        POD(M, 1).fit(np.zeros((5, 81)))
    with pytest.raises(ValueError, match=r"snapshots: expected \(81,\) or \(batch, 81\), got \(4, 80\)"):
        POD(M, 2).fit(np.ones((4, 80)))
    wrong = waves(6, RNG(0))
    wrong[2:4, 3] = np.nan
    with pytest.raises(ValueError, match=r"finite values, got 2 rows with NaN, the first is 2"):
        POD(M, 2).fit(wrong)


def test_bad_arguments_of_pod():
    for r in (0, 82):
        with pytest.raises(ValueError, match=r"r: expected 1 to n = 81 modes"):
            POD(M, r)
    with pytest.raises(ValueError, match="M: expected a symmetric matrix"):
        POD(M[:, :80], 2)
    with pytest.raises(ValueError, match=r"lift: expected finite values \(81,\)"):
        POD(M, 2, np.ones(80))
    with pytest.raises(TypeError, match="expected a positive definite matrix"):
        POD(-M, 2).fit(waves(4, RNG(0)))
    with pytest.raises(ValueError, match=r"expected fit\(snapshots\) before"):
        POD(M, 2).encode(np.ones(81))
    pod = POD(M, 2).fit(waves(4, RNG(0)))
    with pytest.raises(ValueError, match=r"u: expected \(81,\) or \(batch, 81\), got \(80,\)"):
        pod.encode(np.ones(80))
    with pytest.raises(ValueError, match=r"c: expected \(2,\) or \(batch, 2\), got \(3,\)"):
        pod.decode(np.ones(3))
    with pytest.raises(ValueError, match="r: expected at most 2"):
        pod.truncated(3)


def test_bad_steppers():
    semi = heat(BASIS)
    pod = POD(M, 2).fit(waves(4, RNG(0)))
    with pytest.raises(ValueError, match=r"expected a stepper of the network's dt = 0.5, got dt = 0.25"):
        Remainder(ThetaMethod(semi.M, semi.K, 0.25, theta=1.0), affine(np.eye(2), 0.5), pod)
    other = heat(Basis(MeshQuad().refined(2), ElementQuad1()))
    with pytest.raises(ValueError, match=r"expected a stepper of states \(81,\) as the POD has, got \(25,\)"):
        Remainder(IMEX(other, 0.5, "euler"), affine(np.eye(2), 0.5), pod)
    linear = ThetaMethod(semi.M, semi.K, 0.5, theta=1.0)
    with pytest.raises(ValueError, match=r"expected one shape"):
        remainder_pairs(linear, np.ones((3, 81)), np.ones((2, 81)), pod)
    with pytest.raises(ValueError, match="expected finite states"):
        remainder_pairs(linear, np.full((3, 81), np.nan), np.ones((3, 81)), pod)
    with pytest.raises(ValueError, match=r"y0: expected \(81,\) or \(batch, 81\), got \(80,\)"):
        HiTS([Remainder(linear, affine(np.eye(2), 0.5), pod)]).solve((0, 1), np.ones(80))


def splitting(pod, blocks, flow, eps=0.2, dt=0.5):
    """Untrained, in double precision, with the quadrature of the basis."""
    semi = allen_cahn(BASIS, eps)
    at = semi.terms[0].trial @ pod.modes
    K = pod.modes.T @ (semi.K @ pod.modes)
    return SplittingNet(at, BASIS.dx.ravel(), K, dt, blocks, flow, torch.float64)


def test_an_untrained_splitting_net_is_the_strang_splitting():
    semi = allen_cahn(BASIS, 0.2)
    pod = POD(M, 6).fit(waves(20, RNG(14), modes=3) / 2)
    c = pod.encode(waves(4, RNG(15), modes=3) / 2)
    exact = evolve(IMEX(semi.restrict(pod.modes), 0.005), c, 0.5).y[..., -1]
    errors = [
        abs(FlowMap(splitting(pod, blocks, allen_cahn_reaction), 0.5).step(c) - exact).max() for blocks in (8, 16, 32)
    ]
    assert np.log2(np.divide(errors[:2], errors[1:])) == pytest.approx(1, abs=0.1) and errors[0] < 2e-3


def test_a_splitting_net_on_the_constants_is_the_reaction():
    pod = POD(M, 1).fit(np.ones((1, BASIS.N)))
    flow = FlowMap(splitting(pod, 2, allen_cahn_reaction), 0.5)
    expected = allen_cahn_reaction(torch.tensor([0.3], dtype=torch.float64), 0.5).numpy()
    assert ReducedMap(pod, flow).step(np.full(BASIS.N, 0.3)) == pytest.approx(np.full(BASIS.N, expected))


def test_without_a_reaction_a_splitting_net_is_the_exponential():
    pod = POD(M, 6).fit(waves(20, RNG(16), modes=3))
    net = splitting(pod, 3, lambda u, h: u)
    K = pod.modes.T @ (heat(BASIS, 0.04).K @ pod.modes)
    c = RNG(17).normal(size=(2, 6))
    assert FlowMap(net, 0.5).step(c) == pytest.approx(c @ expm(-0.5 * K), abs=1e-12)


def test_the_reaction_flow_solves_its_equation():
    u = torch.linspace(-2, 2, 9, dtype=torch.float64)
    twice = allen_cahn_reaction(allen_cahn_reaction(u, 0.3), 0.4)
    assert twice.numpy() == pytest.approx(allen_cahn_reaction(u, 0.7).numpy())
    slope = (allen_cahn_reaction(u, 1e-6) - allen_cahn_reaction(u, -1e-6)) / 2e-6
    assert slope.numpy() == pytest.approx((u - u**3).numpy(), abs=1e-7)


def test_bad_arguments_of_a_splitting_net():
    for values, weights in ((np.ones((5, 2)), np.ones(4)), (np.ones(5), np.ones(5))):
        with pytest.raises(ValueError, match=r"expected \(points, r\), \(points,\), \(r, r\)"):
            SplittingNet(values, weights, np.eye(2), 0.5, 1, allen_cahn_reaction)
    with pytest.raises(ValueError, match=r"expected dt > 0 and blocks >= 1, got 0\.5, 0"):
        SplittingNet(np.ones((5, 2)), np.ones(5), np.eye(2), 0.5, 0, allen_cahn_reaction)


def test_the_hybrid_fills_in_with_finite_elements():
    semi = allen_cahn(BASIS, 0.2)
    fine = IMEX(semi, 0.1)
    pod = POD(M, 16).fit(waves(40, RNG(18)) / 2)
    net = FlowMap(splitting(pod, 4, allen_cahn_reaction), 0.5)
    u0 = waves(2, RNG(19), modes=3) / 2
    result = hybrid([ReducedMap(pod, net)], fine).solve((0, 2), u0)
    exact = evolve(fine, u0, 2.0).y
    assert result.y.shape == exact.shape and result.success
    assert result.y[..., :5] == pytest.approx(exact[..., :5], abs=1e-12)  # before the first knot
    assert norms(result.y[..., -1] - exact[..., -1]).max() < 0.02 * norms(exact[..., -1]).min()
