"""Networks on POD coefficients as steppers: reduced maps, remainders, splitting networks."""

import numpy as np
import pytest
import torch
from scipy.linalg import eigh, expm
from scipy.sparse import identity
from skfem import Basis, ElementQuad1, MeshQuad

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
from skfem_ml.stepping import IMEX, POD, ThetaMethod, allen_cahn, evolve, heat, parareal
from tests.stepping.test_pod import BASIS, RNG, M, norms, waves


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
