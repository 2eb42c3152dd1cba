"""Equations of one's own: jets against known derivatives, hard data, exact solutions, inverse problems, bad input."""

import logging

import numpy as np
import pytest
import torch
from skfem import Basis, BilinearForm, ElementQuad2, ElementTriP2, ElementVector, LinearForm, MeshQuad, MeshTri
from skfem.helpers import ddot, div, dot, grad, sym_grad
from skfem.models.elasticity import lame_parameters, linear_elasticity

from skfem_ml.compare import compare
from skfem_ml.learning import MLP, ModelMismatchError
from skfem_ml.pinn import LearnedSolution, ddt, laplace, solver_elm, solver_pinn, solver_vpinn
from skfem_ml.pinn.boxes import Transfinite, interpolant
from skfem_ml.pinn.jets import Layout, Pointwise
from skfem_ml.pinn.networks import Learner, NetworkResidual
from skfem_ml.pinn.setting import residual_of
from skfem_ml.pinn.trial import trial_of
from skfem_ml.problems import PDE, Diffusion, heat_box
from skfem_ml.reference import solver_fem

UNIT = [(0, 1), (0, 1)]
SINE = lambda x: np.sin(np.pi * x).prod(axis=0)


def poisson(u, w):
    return -laplace(u) - 2 * np.pi**2 * SINE(w.x)


def burgers(u, w):
    return ddt(u) + u * grad(u)[0] - 0.2 * laplace(u)


def heat(u, w):
    return u.ddt - laplace(u)


def points(dim, n=40, seed=0):
    return np.random.default_rng(seed).uniform(0, 1, (dim, n))


def gap(u, exact, dim=2):
    x = points(dim)
    return abs(u(x) - exact(x)).max() / abs(exact(x)).max()


def test_a_jet_is_what_scikit_fem_hands_to_forms():
    layout = Layout(2, True, (1, 2)).full()
    z = points(3, 5)
    x, y, t = z
    one, zero = np.ones(5), np.zeros(5)
    # x^2 y t, (x t, y^2) with all derivatives, in the order value, x, y, t, xx, xy, xt, yy, yt, tt
    scalar = [x**2 * y * t, 2 * x * y * t, x**2 * t, x**2 * y, 2 * y * t, 2 * x * t, 2 * x * y, zero, x**2, zero]
    first = [x * t, t, zero, x, zero, zero, one, zero, zero, zero]
    second = [y**2, zero, 2 * y, zero, zero, zero, zero, 2 * one, zero, zero]
    u, v = layout.jets(np.array([scalar, first, second]), (1, 5))
    assert u.shape == (1, 5) and v.shape == (2, 1, 5)
    assert laplace(u)[0] == pytest.approx(2 * y * t) and laplace(v)[1, 0] == pytest.approx(2 * one)
    assert div(v)[0] == pytest.approx(t + 2 * y) and ddt(v)[0, 0] == pytest.approx(x)
    assert ddot(sym_grad(v), sym_grad(v))[0] == pytest.approx(t**2 + 4 * y**2)
    assert grad(ddt(u))[0, 0] == pytest.approx(2 * x * y) and ddt(ddt(u))[0] == pytest.approx(zero)


def test_a_complex_step_is_the_derivative_and_finds_what_matters():
    function = lambda fields, w: np.sin(fields[0]) * grad(fields[0])[0] - w.k * fields[0].hess[1, 1]
    F = Pointwise(function, Layout(2, False, (1,), scalars=("k",)).full(), (1, 7), {})
    layout, affine = F.probed()
    assert layout.pairs == ((1, 1),) and not affine
    U = np.random.default_rng(0).standard_normal((1, 6, 7))
    rows, slopes, others = F.linearised(U, np.array([0.7]))
    u, ux, uyy = U[0, 0], U[0, 1], U[0, 5]
    assert rows[0] == pytest.approx(np.sin(u) * ux - 0.7 * uyy)
    assert slopes[0, 0, [0, 1, 5]] == pytest.approx(np.array([np.cos(u) * ux, np.sin(u), 0 * u - 0.7]))
    assert others[0, 0] == pytest.approx(-uyy)


def test_an_interpolant_has_all_derivatives():
    f = lambda z: np.exp(z[0]) * np.cos(2 * z[1])
    g = interpolant(f, np.array([0.0, -1.0]), np.array([2.0, 1.0]), "f")
    z = np.random.default_rng(0).uniform([0, -1], [2, 1], (30, 2)).T
    assert g(z) == pytest.approx(f(z), abs=1e-12)
    assert g(z, (1, 1)) == pytest.approx(-2 * np.exp(z[0]) * np.sin(2 * z[1]), abs=1e-10)
    assert g(z, (0, 2)) == pytest.approx(-4 * f(z), abs=1e-9)
    with pytest.raises(ValueError, match=r"f: expected smooth data for hard conditions.*hard=False"):
        interpolant(lambda z: abs(z[0] - 0.3), np.zeros(1), np.ones(1), "f")


@pytest.mark.parametrize("dim", [1, 2, 3])
def test_a_transfinite_interpolant_has_the_data_on_every_side(dim):
    g = lambda z: np.cos(z.sum(axis=0)) + z[0] ** 2
    low, high = np.zeros(dim), np.arange(1.0, dim + 1)
    B = Transfinite({(axis, end): g for axis in range(dim) for end in (0, 1)}, low, high)
    for axis in range(dim):
        for end in (0, 1):
            z = points(dim) * high[:, None]
            z[axis] = (low, high)[end][axis]
            assert B(z) == pytest.approx(g(z), abs=1e-13)


def test_data_hold_for_any_network_on_a_box_whose_data_move():
    g = lambda x, t: np.cos(x[0] + 2 * x[1] + t)
    pde = PDE(heat, UNIT, time=(1, 2), boundary=g, initial=lambda x: g(x, 1.0))
    u = LearnedSolution(trial_of(pde), MLP((3, 5, 1), generator=torch.Generator().manual_seed(1)))
    x = points(2)
    assert u(x, 1.0) == pytest.approx(g(x, 1.0), abs=1e-12)
    for axis in (0, 1):
        for at in (0.0, 1.0):
            y = x.copy()
            y[axis] = at
            assert u(y, 1.7) == pytest.approx(g(y, 1.7), abs=1e-12)
    assert abs(u(x, 1.7) - g(x, 1.7)).max() > 1e-2


def test_dirichlet_data_on_some_sides_leave_the_others_free():
    pde = PDE(poisson, UNIT, boundary={"left": 1.0, "top": lambda x: 1 + x[0]})
    u = LearnedSolution(trial_of(pde), MLP((2, 5, 1), generator=torch.Generator().manual_seed(1)))
    s = np.linspace(0, 1, 9)
    assert u(np.stack([0 * s, s])) == pytest.approx(1, abs=1e-12)
    assert u(np.stack([s, 1 + 0 * s])) == pytest.approx(1 + s, abs=1e-12)
    assert abs(u(np.stack([1 + 0 * s, s])) - 1).max() > 1e-2


def all_kinds():
    def system(u, p, w):
        return ddt(u)[0] + u[0] * grad(p)[0] - w.k * p, p * div(u) + ddt(p) - laplace(u)[1] * w.q

    own = BilinearForm(lambda u, v, w: (1 + u**2) * dot(grad(u), grad(v)) + w.k * u.ddt * v)
    start = {"time": (0, 1), "initial": 0.0}
    basis = Basis(MeshQuad().refined(1), ElementQuad2(), intorder=4)
    vectors = Basis(MeshQuad().refined(1).with_defaults(), ElementVector(ElementQuad2()), intorder=4)
    lame = linear_elasticity(*lame_parameters(1.0, 0.3))
    return {
        "strong, two fields, unknown scalar and field": (
            PDE(system, UNIT, time=(0, 1), initial=(0.0, 1.0), boundary=(0.0, None), components=(2, 1),
                unknown={"k": 0.7, "q": lambda x: 1 + x[0]}, data=(points(2, 3), 0.5, points(2, 3))),
            {"points": 3, "times": 2},
        ),
        "nonlinear weak form": (
            PDE(own, UNIT, boundary=0.0, unknown={"k": 2.0}, **start), {"points": basis, "times": 2}),
        "elasticity": (PDE(lame, UNIT, boundary={"left": 0.0}, components=2), {"points": vectors}),
        "conditions": (
            PDE(burgers, [(0, 1)], boundary={"left": 0.0}, **start,
                conditions={"right": lambda u, w: grad(u)[0] * w.n[0] + u**2}),
            {"points": 4, "times": 3},
        ),
        "soft": (PDE(burgers, [(0, 1)], boundary=0.0, hard=False, **start), {"points": 4, "times": 3}),
    }  # fmt: skip


@pytest.mark.parametrize("name", all_kinds())
def test_jacobians_are_those_of_differences(name):
    pde, setting = all_kinds()[name]
    trial = trial_of(pde)
    residual = residual_of(pde, trial, **setting)
    tensors = NetworkResidual(residual)
    net = MLP((len(trial.low), 5, 4, len(trial.zetas)), generator=torch.Generator().manual_seed(0))
    learner = Learner(net, residual.start)
    r, J = tensors.jacobian(learner)
    theta = torch.nn.utils.parameters_to_vector(learner.parameters()).detach()
    h, rng = 1e-6, np.random.default_rng(0)
    for _ in range(3):
        d = torch.as_tensor(rng.standard_normal(len(theta)))
        moved = []
        for sign in (1, -1):
            torch.nn.utils.vector_to_parameters(theta + sign * h * d, learner.parameters())
            moved.append(tensors(learner).detach())
        slope = (moved[0] - moved[1]) / (2 * h)
        assert torch.allclose(J @ d, slope, atol=1e-7 * float(slope.abs().max()))
    torch.nn.utils.vector_to_parameters(theta, learner.parameters())
    loss = tensors.loss(learner)
    loss.backward()
    gradient = torch.cat([p.grad.reshape(-1) for p in learner.parameters()])
    assert torch.allclose(gradient, 2 * J.T @ r, atol=1e-9 * float(gradient.abs().max()))


def test_poisson_three_ways_and_in_compare():
    pde = PDE(poisson, UNIT, boundary=0.0, exact=SINE)
    weak = PDE(
        BilinearForm(lambda u, v, w: dot(grad(u), grad(v))), UNIT, boundary=0.0, exact=SINE,
        load=LinearForm(lambda v, w: 2 * np.pi**2 * SINE(w.x) * v),
    )  # fmt: skip
    tests = Basis(MeshQuad.init_tensor(*[np.linspace(0, 1, 7)] * 2), ElementQuad2(), intorder=7)
    assert gap(solver_elm(200, points=20)(pde), SINE) < 1e-6
    assert gap(solver_elm(100, points=tests)(weak), SINE) < 1e-4
    assert gap(solver_elm(100, form="weak", points=tests)(pde), SINE) < 1e-4  # the strong residual, tested
    few = Basis(MeshQuad.init_tensor(*[np.linspace(0, 1, 5)] * 2), ElementQuad2(), intorder=6)
    assert gap(solver_vpinn(few, widths=(8, 8), steps=15)(weak), SINE) < 2e-2
    table = compare(pde, {"ELM": solver_elm(200, points=20), "PINN": solver_pinn(widths=(16, 16), points=12, steps=40)})
    assert table["ELM"].error < 1e-6 and table["PINN"].error < 1e-2


def test_the_equations_with_classes_of_their_own_are_instances():
    x, t = points(1), 0.3
    own = PDE(heat, [(0, 1)], time=(0, 1), initial=lambda x: np.sin(np.pi * x[0]), boundary=0.0)
    options = {"features": 150, "points": 15, "times": 15}
    ours, theirs = solver_elm(**options)(own), solver_elm(**options)(heat_box())
    assert ours(x, t) == pytest.approx(theirs(x, t), abs=1e-7)
    rng = np.random.default_rng(0)
    mesh = MeshTri().refined(2)
    a = rng.uniform(1, 2, mesh.t.shape[1])
    form = BilinearForm(lambda u, v, w: w.a * dot(grad(u), grad(v)))
    pde = PDE(form, mesh, boundary=0.0, load=LinearForm(lambda v, w: 1.0 * v), coefficients={"a": a})
    basis, y = Basis(mesh, ElementTriP2(), intorder=5), points(2)
    one = solver_elm(20, form="weak", points=basis)(Diffusion(mesh, a))
    two = solver_elm(20, points=basis)(pde)
    assert two(y) == pytest.approx(one(y), abs=1e-8) and abs(one(y)).max() > 1e-2


def test_burgers_against_the_formula_and_nonlinear_features():
    exact = lambda x, t: -2 * nu * np.pi * np.exp(-nu * np.pi**2 * t) * np.sin(np.pi * x[0]) / (
        -2 - np.exp(-nu * np.pi**2 * t) * np.cos(np.pi * x[0]))  # fmt: skip
    nu = 0.2
    pde = PDE(burgers, [(0, 1)], time=(0, 1), initial=lambda x: exact(x, 0.0), boundary=0.0, exact=exact)
    elm = solver_elm(200, points=15, times=15)(pde)
    assert len(elm.record["residuals"]) > 2 and abs(elm(points(1), 0.8) - exact(points(1), 0.8)).max() < 1e-4
    pinn = solver_pinn(widths=(12, 12), points=12, times=12, steps=40)(pde)
    assert abs(pinn(points(1), 0.8) - exact(points(1), 0.8)).max() < 1e-3


def test_neumann_and_robin_are_penalised_and_said(caplog):
    exact = lambda x: np.exp(x[0])
    pde = PDE(
        lambda u, w: laplace(u) - u, [(0, 1)], boundary={"left": 1.0},
        conditions={"right": lambda u, w: grad(u)[0] * w.n[0] + 2 * u - 3 * np.e},
    )  # fmt: skip
    with caplog.at_level(logging.INFO, logger="skfem_ml"):
        assert gap(solver_elm(40, points=20)(pde), exact, 1) < 1e-8
    assert "penalised by 100, not built in: conditions on right" in caplog.text
    with caplog.at_level(logging.INFO, logger="skfem_ml"):
        soft = PDE(poisson, UNIT, boundary=0.0, hard=False)
        assert gap(solver_elm(250, points=20)(soft), SINE) < 1e-5
    assert "boundary and initial data" in caplog.text


def test_a_system_with_two_components():
    """A rotation of two species with diffusion: (u, v) = e^(-pi^2 t) sin(pi x) (cos t, sin t)."""
    turn = lambda u, w: ddt(u) - laplace(u) + np.stack([u[1], -u[0]])
    start = lambda x: np.stack([np.sin(np.pi * x[0]), 0 * x[0]])
    pde = PDE(turn, [(0, 1)], time=(0, 0.5), components=2, initial=start, boundary=0.0)
    u = solver_elm(150, points=15, times=15)(pde)
    x, t = points(1), 0.4
    exact = np.exp(-(np.pi**2) * t) * np.sin(np.pi * x[0]) * np.array([[np.cos(t)], [np.sin(t)]])
    assert u(x, t).shape == (2, 40) and u.grad(x, t).shape == (2, 1, 40)
    assert u(x, t) == pytest.approx(exact, abs=1e-6)


def test_an_unknown_number_and_an_unknown_field(tmp_path):
    x = points(1, 30)
    pde = PDE(lambda u, w: -w.k * laplace(u) - np.pi**2 * np.sin(np.pi * w.x[0]), [(0, 1)], boundary=0.0,
              unknown={"k": 1.0}, data=(x, np.sin(np.pi * x[0]) / 0.7))  # fmt: skip
    elm, pinn = solver_elm(30, points=20)(pde), solver_pinn(widths=(10, 10), points=20, steps=30)(pde)
    for u in (elm, pinn):
        assert u.unknown["k"] == pytest.approx(0.7, abs=1e-4)
    pinn.save(tmp_path / "u.safetensors")
    again = LearnedSolution.load(tmp_path / "u.safetensors", pde)
    assert again.unknown == pinn.unknown and "k = 0.7" in repr(again)
    np.testing.assert_array_equal(again(x), pinn(x))
    with pytest.raises(ModelMismatchError, match="unknown: wanted"):
        LearnedSolution.load(tmp_path / "u.safetensors", PDE(lambda u, w: laplace(u), [(0, 1)], boundary=0.0))
    field = PDE(lambda u, w: grad(w.a)[0] * grad(u)[0] + w.a * laplace(u) - (2 + 6 * w.x[0]), [(0, 1)],
                boundary=lambda x: x[0] ** 2, unknown={"a": lambda x: 1 + 0 * x[0]}, data=(x, x[0] ** 2))  # fmt: skip
    # (a u')' = 2 + 6 x for u = x^2 has a = 1 + 3 x / 2 where u' is not 0.
    found = solver_elm(30, points=20)(field).unknown["a"]
    assert found(x[:, x[0] > 0.2]) == pytest.approx(1 + 1.5 * x[0, x[0] > 0.2], abs=1e-4)


def test_a_mesh_that_is_no_box_takes_the_weak_form():
    mesh = MeshTri.init_lshaped().refined(3)
    form = BilinearForm(lambda u, v, w: dot(grad(u), grad(v)))
    pde = PDE(form, mesh, boundary=lambda x: x[0], load=LinearForm(lambda v, w: 1.0 * v))
    u = solver_elm(60)(pde)
    fem = solver_fem(element=ElementTriP2())(Diffusion(mesh, np.ones(mesh.t.shape[1]), g=lambda x: x[0]))
    edge = mesh.p[:, mesh.boundary_nodes()]
    assert u(edge) == pytest.approx(edge[0], abs=1e-10)
    assert np.linalg.norm(u(mesh.p) - fem(mesh.p)) < 0.01 * np.linalg.norm(fem(mesh.p))


def test_a_nonlinear_weak_form_on_a_box():
    """(1 + u^2) grad u: Kirchhoff's w = u + u^3 / 3 is harmonic but for the load."""
    form = BilinearForm(lambda u, v, w: (1 + u**2) * dot(grad(u), grad(v)))
    load = LinearForm(lambda v, w: 2 * np.pi**2 * SINE(w.x) * v)
    tests = Basis(MeshQuad.init_tensor(*[np.linspace(0, 1, 7)] * 2), ElementQuad2(), intorder=8)
    u = solver_elm(100, points=tests)(PDE(form, UNIT, boundary=0.0, load=load))
    x = points(2)
    assert u(x) + u(x) ** 3 / 3 == pytest.approx(SINE(x), abs=1e-3)


BAD = [
    (lambda: PDE(poisson, [(1, 0)]), ValueError, r"domain: expected a mesh, or one pair \(low, high\)"),
    (lambda: PDE(poisson, UNIT, time=(1, 1)), ValueError, r"time: expected \(start, end\)"),
    (lambda: PDE(lambda u: u, UNIT), TypeError, r"residual: expected 2 arguments \(u0, w\).*got 1"),
    (lambda: PDE(poisson, UNIT, components=(2, 1)), TypeError, "expected 3 arguments"),
    (lambda: PDE(heat, UNIT, time=(0, 1)), ValueError, "initial: expected a number or callable"),
    (lambda: PDE(poisson, UNIT, initial=0.0), ValueError, "initial: expected none without time"),
    (lambda: PDE(poisson, UNIT, boundary={"north": 0.0}), ValueError, "expected sides among left, right, bottom, top"),
    (lambda: PDE(poisson, UNIT, unknown={"x": 1.0}), ValueError, "unknown: expected names of their own"),
    (lambda: PDE(poisson, UNIT, load=LinearForm(lambda v, w: v)), TypeError, "load: expected none"),
    (lambda: PDE(poisson, UNIT, data=(points(2), np.zeros(3))), ValueError, r"data: expected x \(2, n\)"),
    (lambda: PDE(poisson, UNIT, data=(points(2), np.full(40, np.nan))), ValueError, "data: expected finite"),
]
SOLVED = [
    (PDE(lambda u, w: u.ddt, UNIT, boundary=0.0), AttributeError, "the problem has no time"),
    (PDE(lambda u, w: grad(u), UNIT, boundary=0.0), None, ""),
    (PDE(lambda u, w: np.sum(u), UNIT, boundary=0.0), ValueError, "expected an array of the points' shape"),
    (PDE(lambda u, w: laplace(u) / (0 * w.x[0]), UNIT, boundary=0.0), ValueError, "residual: expected finite"),
    (PDE(lambda u, w: laplace(u) + abs(u), UNIT, boundary=0.0), ValueError, "must be analytic in u"),
    (PDE(poisson, UNIT, boundary=lambda x: np.zeros((3, 2))), ValueError, r"expected values of shape \(\d+,\)"),
    (PDE(poisson, UNIT, boundary=lambda x: 1 / (x[0] - 0.5) ** 2), ValueError, "boundary: expected"),
    (PDE(heat, [(0, 1)], time=(0, 1), initial=1.0, boundary=0.0), ValueError, "data that agree at the start"),
    (PDE(poisson, MeshTri.init_lshaped(), boundary=0.0), ValueError, "needs a box"),
    (PDE(poisson, UNIT, boundary=(0.0, 0.0)), ValueError, "expected a tuple of 1"),
]  # fmt: skip


@pytest.mark.parametrize(("call", "kind", "message"), BAD)
def test_a_statement_that_does_not_fit_together(call, kind, message):
    with pytest.raises(kind, match=message):
        call()


@pytest.mark.filterwarnings("ignore:divide by zero", "ignore:invalid value", "ignore:Casting complex")
@pytest.mark.parametrize(("pde", "kind", "message"), SOLVED)
def test_a_statement_that_cannot_be_solved(pde, kind, message):
    if kind is None:
        assert solver_elm(5, points=4)(pde).unknowns == 5  # a gradient is two rows
        return
    with pytest.raises(kind, match=message):
        solver_elm(5, points=4)(pde)


def test_points_of_ones_own_and_what_is_no_problem():
    assert gap(solver_elm(150, points=points(2, 400, 3))(PDE(poisson, UNIT, boundary=0.0)), SINE) < 1e-4
    with pytest.raises(ValueError, match=r"points: expected an array \(2, n\)"):
        solver_elm(5, points=points(3))(PDE(poisson, UNIT, boundary=0.0))
    with pytest.raises(TypeError, match="expected a PDE, Heat or Diffusion, got str"):
        solver_elm(5)("heat")
    assert "u(x, t) on (0, 1) x (0, 1)" in repr(PDE(heat, UNIT, time=(0, 1), initial=0.0))
