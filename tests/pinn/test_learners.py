"""Learners: derivatives against torch.func, hard data for any network, residuals, and what they reach."""

import numpy as np
import pytest
import torch
from skfem import Basis, ElementLineP2, ElementQuad2, ElementTriP2, MeshHex, MeshLine, MeshQuad, MeshTri

from skfem_ml.compare import compare
from skfem_ml.learning import MLP, CorruptModelError, ModelMismatchError, Optimiser, to_numpy, to_torch
from skfem_ml.learning.nn import flat_parameters, set_flat_parameters
from skfem_ml.learning.optim import adam, lbfgs, levenberg_marquardt, soap
from skfem_ml.metrics import l2_error, space_time_error
from skfem_ml.pinn import (
    LearnedSolution,
    RandomFeatures,
    box_distance,
    fe_distance,
    fe_lift,
    solver_elm,
    solver_pinn,
    solver_vpinn,
)
from skfem_ml.pinn.networks import Learner, NetworkResidual
from skfem_ml.pinn.setting import residual_of
from skfem_ml.pinn.trial import trial_of
from skfem_ml.problems import Diffusion, Heat, heat_box
from skfem_ml.reference import solver_fem
from skfem_ml.solutions import Analytic, Record

PROBLEM = heat_box()
BASIS = Basis(PROBLEM.mesh, PROBLEM.mesh.elem(), intorder=4)


def network(*widths, activation="tanh", seed=0):
    return MLP(widths, activation, generator=torch.Generator().manual_seed(seed))


def small_basis(cells=4):
    return Basis(MeshLine(np.linspace(0, 1, cells + 1)), ElementLineP2(), intorder=6)


def error(u, problem=PROBLEM, basis=BASIS):
    return space_time_error(u, problem.exact, basis, problem.t_end, relative=True)


@pytest.mark.parametrize("activation", ["tanh", "sigmoid", "silu"])
@pytest.mark.parametrize("widths", [(2, 7, 1), (2, 5, 6, 1), (3, 4, 5, 6, 2)])
def test_forward_derivatives_are_those_of_torch_func(widths, activation):
    net = network(*widths, activation=activation)
    d = widths[0]
    pairs = [(i, j) for i in range(d) for j in range(i, d)]
    x = torch.rand(9, d, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    value, first, second = net.jet(x, pairs)
    jacobian = torch.func.vmap(torch.func.jacrev(lambda p: net(p[None])[0]))(x)
    hessian = torch.func.vmap(torch.func.hessian(lambda p: net(p[None])[0]))(x)
    assert torch.allclose(value, net(x), atol=1e-13)
    assert torch.allclose(first.permute(1, 2, 0), jacobian, atol=1e-13)
    for k, (i, j) in enumerate(pairs):
        assert torch.allclose(second[k], hessian[:, :, i, j], atol=1e-12)


def test_random_features_are_those_of_torch_func():
    features = RandomFeatures.draw(5, np.array([-1.0, 0.0]), np.array([1.0, 2.0]), 3.0, np.random.default_rng(0))
    z = np.random.default_rng(1).uniform(0, 1, (2, 7))
    pairs = ((0, 0), (0, 1), (1, 1))
    value, first, second = features.jet(z, pairs)
    w, c = torch.as_tensor(features.w), torch.as_tensor(features.c)
    one = lambda p: torch.tanh((w * (p - c)).sum(1))
    assert value == pytest.approx(torch.func.vmap(one)(to_torch(z)).numpy())
    assert first == pytest.approx(torch.func.vmap(torch.func.jacrev(one))(to_torch(z)).permute(2, 0, 1).numpy())
    hessian = torch.func.vmap(torch.func.hessian(one))(to_torch(z))
    for k, (i, j) in enumerate(pairs):
        assert second[k] == pytest.approx(hessian[:, :, i, j].numpy())


def settings():
    plane = heat_box(MeshQuad().refined(1), 0.3)
    return {
        "strong": (PROBLEM, {"points": 5, "times": 4}),
        "strong in the plane": (plane, {"points": 4, "times": 3}),
        "weak": (PROBLEM, {"form": "weak", "points": small_basis(), "times": 3}),
        "weak, l2": (PROBLEM, {"form": "weak", "points": small_basis(), "times": 3, "norm": "l2"}),
        "weak in the plane": (plane, {"form": "weak", "points": 2, "times": 2}),
        "diffusion": (
            Diffusion(MeshQuad().refined(1), np.arange(1.0, 5.0)),
            {"form": "weak", "points": Basis(MeshQuad(), ElementQuad2())},
        ),
    }


@pytest.mark.parametrize("name", settings())
def test_jacobians_and_matrices_are_those_of_torch_func(name):
    problem, setting = settings()[name]
    if name == "diffusion":
        setting["points"] = Basis(problem.mesh, ElementQuad2())
    residual = residual_of(problem, trial_of(problem), **setting)
    tensors = NetworkResidual(residual)
    net = Learner(network(len(residual.trial.low), 6, 1), residual.start)
    r, J = tensors.jacobian(net)
    assert torch.allclose(r, tensors(net).detach(), atol=1e-13)
    theta = flat_parameters(net)

    def of(vector):
        parts = vector.split([p.numel() for p in net.parameters()])
        named = {n: v.view(p.shape) for (n, p), v in zip(net.named_parameters(), parts, strict=True)}
        return torch.func.functional_call(Wrapped(net, tensors), {f"net.{n}": v for n, v in named.items()}, ())

    expected = torch.func.jacfwd(of)(theta)
    assert torch.allclose(J, expected, atol=1e-10 * float(expected.abs().max()))


@pytest.mark.parametrize("name", settings())
def test_the_last_layer_of_a_jacobian_is_the_matrix_of_the_hidden_features(name):
    """Finding E: the last layer is linear, and the hidden one is random features with kinks where w z + b = 0."""
    problem, setting = settings()[name]
    if name == "diffusion":
        setting["points"] = Basis(problem.mesh, ElementQuad2())
    residual = residual_of(problem, trial_of(problem), **setting)
    net = network(len(residual.trial.low), 6, 1)
    torch.nn.init.uniform_(net.layers[0].bias, -1, 1, generator=torch.Generator().manual_seed(2))
    w, b = (p.detach().numpy() for p in net.layers[0].parameters())
    kinks = -b[:, None] * w / (w**2).sum(axis=1, keepdims=True)
    block = residual.blocks[0]
    value, first, second = RandomFeatures(w, kinks).jet(block.s, block.layout.pairs)
    matrix = residual.linearised([np.concatenate([value[None], first, second])], np.zeros((1, 6)), residual.start)[1]
    J = NetworkResidual(residual).jacobian(Learner(net, residual.start))[1][:, -7:-1].numpy()
    assert abs(J).max() > 1e-3 and matrix == pytest.approx(J, abs=1e-10 * abs(J).max())


class Wrapped(torch.nn.Module):
    def __init__(self, net, residual):
        super().__init__()
        self.net, self.residual = net, residual

    def forward(self):
        return self.residual(self.net)


def l_shape():
    start = Analytic(lambda x: 0 * x[0], lambda x: 0 * x)
    return Heat(MeshTri.init_lshaped().refined(3), start, f=1.0, t_end=0.2)


@pytest.mark.parametrize("problem", [PROBLEM, heat_box(MeshTri().refined(2)), l_shape()], ids=["line", "square", "L"])
def test_boundary_and_initial_data_hold_for_any_network(problem):
    dim = problem.mesh.dim()
    net = network(dim + 1, 5, 1)
    u = LearnedSolution(trial_of(problem), net, Record(1))
    edge = problem.mesh.p[:, problem.mesh.boundary_nodes()]
    inside = problem.mesh.p[:, problem.mesh.interior_nodes()]
    assert u(edge, 0.7 * problem.t_end) == pytest.approx(0, abs=1e-12)
    assert u(problem.mesh.p, 0.0) == pytest.approx(problem.initial(problem.mesh.p), abs=1e-12)
    assert abs(u(inside, 0.7 * problem.t_end) - problem.initial(inside)).max() > 1e-3
    h = 1e-6
    x = inside.mean(axis=1, keepdims=True) + 0.013 * np.arange(1, dim + 1)[:, None]
    slope = [(u(x + h * e[:, None], 0.1) - u(x - h * e[:, None], 0.1)) / (2 * h) for e in np.eye(dim)]
    assert u.grad(x, 0.1) == pytest.approx(np.array(slope), rel=1e-5, abs=1e-6)


def test_distances():
    box = box_distance([0.0, -1.0], [1.0, 1.0])
    x = np.random.default_rng(0).uniform(0, 1, (2, 5))
    z = to_torch(x).requires_grad_()
    torch_box = lambda p: 4 * p[0] * (1 - p[0]) * (p[1] + 1) * (1 - p[1])
    assert box(x) == pytest.approx(torch.func.vmap(torch_box)(z).detach().numpy())
    assert box.grad(x) == pytest.approx(to_numpy(torch.func.vmap(torch.func.grad(torch_box))(z)))
    hessian = torch.func.vmap(torch.func.hessian(torch_box))(z).detach()
    assert box.laplacian(x) == pytest.approx((hessian[:, 0, 0] + hessian[:, 1, 1]).numpy())
    mesh = MeshTri.init_lshaped().refined(3)
    d = fe_distance(mesh)
    assert d(mesh.p[:, mesh.boundary_nodes()]) == pytest.approx(0, abs=1e-12)
    assert (d(mesh.p[:, mesh.interior_nodes()]) > 0).all() and d(mesh.p).max() <= 1 + 1e-12


def test_lift_is_harmonic():
    mesh = MeshTri().refined(3)
    problem = Diffusion(mesh, np.ones(mesh.t.shape[1]), g=lambda x: x[0] ** 2 - x[1] ** 2)
    assert fe_lift(problem)(mesh.p) == pytest.approx(mesh.p[0] ** 2 - mesh.p[1] ** 2, abs=1e-10)


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_elm_reaches_ten_digits(seed):
    assert error(solver_elm(1200, 4.0, seed=seed, points=35, times=35)(PROBLEM)) < 2e-10


def test_elm_converges_exponentially():
    errors = [error(solver_elm(m, points=30, times=30)(PROBLEM)) for m in (50, 100, 200, 400)]
    assert (np.diff(np.log10(errors)) < -1).all() and errors[-1] < 1e-8


def test_elm_weak_form_and_plane():
    assert error(solver_elm(400, form="weak", points=small_basis(10), times=10)(PROBLEM)) < 1e-6
    plane = heat_box(MeshQuad().refined(2), 0.2)
    u = solver_elm(400, 2.0, points=10, times=10)(plane)
    assert error(u, plane, Basis(plane.mesh, plane.mesh.elem(), intorder=4)) < 1e-4


@pytest.mark.parametrize(("setting", "bound"), [({"points": 15, "times": 15}, 1e-7), ({"form": "weak"}, 1e-4)])
def test_source_boundary_data_and_diffusivity(setting, bound):
    start = Analytic(lambda x: 1 + x[0], lambda x: 1 + 0 * x, lambda x: 0 * x[0])
    problem = Heat(
        MeshLine(np.linspace(0, 1, 13)),
        start,
        a=2.0,
        g=lambda x: 1 + x[0],
        f=lambda x, t: np.sin(np.pi * x[0]) * (1 + 2 * np.pi**2 * t),
        exact=lambda x, t: 1 + x[0] + t * np.sin(np.pi * x[0]),
    )
    if "form" in setting:
        setting = {**setting, "points": Basis(problem.mesh, ElementLineP2(), intorder=7), "times": 8}
    basis = Basis(problem.mesh, ElementLineP2(), intorder=6)
    assert error(solver_elm(150, **setting)(problem), problem, basis) < bound


def test_derivatives_of_the_initial_value():
    x = np.random.default_rng(0).uniform(0, 1, (3, 4))
    start = heat_box(MeshHex()).initial
    value = lambda p: torch.sin(torch.pi * p).prod()
    assert start.grad(x) == pytest.approx(to_numpy(torch.func.vmap(torch.func.grad(value))(to_torch(x))))
    hessian = torch.func.vmap(torch.func.hessian(value))(to_torch(x))
    assert start.laplacian(x) == pytest.approx(torch.einsum("nii->n", hessian).numpy())


@pytest.mark.slow
def test_pinn_and_vpinn_in_short_runs():
    assert error(solver_pinn(steps=700)(PROBLEM)) < 1e-5
    assert error(solver_vpinn(small_basis(8), 8, steps=500)(PROBLEM)) < 1e-5
    assert error(solver_pinn("lm", widths=(20,), points=12, times=12, steps=80)(PROBLEM)) < 2e-2


def test_heat_on_the_l_shape_by_the_weak_form():
    problem = l_shape()
    fine = solver_fem(problem.mesh.refined(1), ElementTriP2(), scheme="gauss4", steps=20)
    coarse = Basis(problem.mesh, ElementTriP2(), intorder=4)
    solvers = {"fine": fine, "ELM": solver_elm(150, form="weak", points=coarse, times=3)}
    table = compare(problem, solvers, reference="fine")
    assert table["ELM"].error < 0.02


def test_cellwise_diffusion_by_the_weak_form():
    mesh = MeshQuad().refined(3)
    a = np.where(mesh.p[:, mesh.t].mean(axis=1)[0] > 0.5, 2.0, 1.0)
    problem = Diffusion(mesh, a, g=lambda x: x[0])
    # Smooth features cannot follow the kink at the jump: far fewer of them than test functions, and two digits.
    u = solver_elm(80, form="weak")(problem)
    fine = solver_fem(element=ElementQuad2())(problem)
    basis = Basis(mesh, ElementQuad2())
    assert l2_error(u, fine, basis, relative=True) < 1e-2
    assert u(mesh.p[:, mesh.boundary_nodes()]) == pytest.approx(mesh.p[0, mesh.boundary_nodes()], abs=1e-12)


def test_the_crossing_turns_columns_into_rows():
    x = np.arange(6.0).reshape(2, 3)
    assert to_torch(x).shape == (3, 2) and (to_numpy(to_torch(x)) == x).all()
    net = network(2, 3, 1)
    theta = flat_parameters(net)
    set_flat_parameters(net, theta + 1)
    assert torch.equal(flat_parameters(net), theta + 1)


def test_an_optimiser_of_ones_own_is_the_same_as_its_word():
    options = {"widths": (6,), "points": 5, "times": 5, "steps": 20, "warmup": 10}
    x = np.linspace(0, 1, 9)[None]
    for word, own in (("soap", soap(5e-3)), ("lbfgs", lbfgs()), ("lm", levenberg_marquardt()), ("adam", adam(5e-3))):
        by_word, by_object = (solver_pinn(choice, **options)(PROBLEM)(x, 0.2) for choice in (word, own))
        np.testing.assert_array_equal(by_word, by_object)
    sgd = Optimiser("sgd", lambda net, residual: torch.optim.SGD(net.parameters(), lr=1e-3))
    losses = solver_pinn(sgd, **options)(PROBLEM).record.history[0].losses
    assert losses[-1] < losses[0]
    with pytest.raises(TypeError, match=r"expected a word .* or an Optimiser"):
        solver_pinn(torch.optim.SGD)


def test_a_solution_from_a_file(tmp_path):
    path, x = tmp_path / "u.safetensors", np.linspace(0, 1, 9)[None]
    u = solver_pinn("adam", widths=(5,), steps=10, points=5, times=5)(PROBLEM)
    u.save(path, {"seed": 0})
    v = LearnedSolution.load(path, PROBLEM)
    np.testing.assert_array_equal(v(x, 0.3), u(x, 0.3))
    np.testing.assert_array_equal(v.grad(x, 0.3), u.grad(x, 0.3))
    assert v.record.history == u.record.history and v.record["card"]["seed"] == 0 and v.unknowns == u.unknowns
    with pytest.raises(ModelMismatchError, match="inputs: wanted 3, got 2"):
        LearnedSolution.load(path, heat_box(MeshQuad().refined(1)))
    with pytest.raises(ModelMismatchError, match="distance given: wanted True, got False"):
        LearnedSolution.load(path, PROBLEM, box_distance([0.0], [1.0]))
    w = solver_elm(10, points=5, times=5)(PROBLEM)
    w.save(tmp_path / "elm.safetensors")
    np.testing.assert_array_equal(LearnedSolution.load(tmp_path / "elm.safetensors", PROBLEM)(x, 0.3), w(x, 0.3))
    path.write_bytes(path.read_bytes()[:-3])
    with pytest.raises(CorruptModelError):
        LearnedSolution.load(path, PROBLEM)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: solver_pinn("newton"), "optimiser: expected one of"),
        (lambda: solver_pinn(form="mixed")(PROBLEM), "form"),
        (lambda: solver_elm(0), "features"),
        (lambda: solver_elm(10, radius=-1.0), "radius"),
        (lambda: solver_elm(10)(l_shape()), "box|Laplacian"),
        (lambda: solver_elm(10, points=0)(PROBLEM), "expected positive numbers"),
        (lambda: solver_elm(10, points=Basis(MeshQuad(), ElementQuad2()))(PROBLEM), "expected dimension 1"),
        (
            lambda: solver_elm(10, form="weak")(Heat(l_shape().mesh, lambda x: 0 * x[0])),
            "initial: expected solutions.Analytic",
        ),
        (lambda: solver_elm(10)(Diffusion(MeshQuad(), np.ones(1))), "expected form='weak', got 'strong'"),
        (lambda: solver_pinn(rate=0.0), "rate: expected a positive"),
        (lambda: network(2), "widths"),
        (lambda: network(2, 3, 1, activation="step"), "activation"),
        (lambda: network(2, 3, 1, activation="relu").jet(torch.zeros(1, 2)), "activation: expected a smooth one"),
    ],
)
def test_bad_input(call, message):
    with pytest.raises(ValueError, match=message):
        call()
