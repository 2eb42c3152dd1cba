"""Semi-discretisations and their steppers: rates, energies, boundary data, periodicity, Kuramoto-Sivashinsky."""

from functools import partial

import numpy as np
import pytest
from scipy.integrate import solve_ivp
from scipy.sparse import csc_matrix
from skfem import (
    Basis,
    BilinearForm,
    ElementLineHermite,
    ElementLineP1,
    ElementLineP2,
    ElementQuad1,
    ElementTriP1,
    LinearForm,
    MeshLine,
    MeshQuad,
    MeshTri,
)

from skfem_ml.metrics import l2_error, observed_rates
from skfem_ml.stepping import (
    IMEX,
    RK4,
    Newton,
    ThetaMethod,
    allen_cahn,
    allen_cahn_energy,
    evolve,
    heat,
    kuramoto_sivashinsky,
    periodic_line,
    reaction,
    reaction_diffusion,
    semidiscrete,
)

EPS = 0.2


def line(cells, element=None, length=1.0, intorder=None):
    mesh = MeshLine(np.linspace(0, length, cells + 1))
    return Basis(mesh, ElementLineP1() if element is None else element, intorder=intorder)


def squares(refinements=3):
    return Basis(MeshQuad().refined(refinements), ElementQuad1(), intorder=3)


def smooth(basis, rng, amplitude=0.9):
    x = basis.doflocs
    waves = sum(rng.normal() * np.cos(k * np.pi * x[0]) * np.cos(l * np.pi * x[1]) for k in range(3) for l in range(3))
    return amplitude * waves / abs(waves).max()


@LinearForm
def forcing(v, w):
    """Of ``u = 1 + cos(t) sin(pi x)`` in the Allen-Cahn equation."""
    s = np.sin(np.pi * w.x[0])
    u = 1 + np.cos(w.t) * s
    return (-np.sin(w.t) * s + EPS**2 * np.pi**2 * np.cos(w.t) * s - u + u**3) * v


def manufactured(basis, **options):
    """The equation with that load and Dirichlet data 1, its exact solution at the nodes."""
    D = basis.get_dofs()
    semi = allen_cahn(basis, EPS, D=D, x=np.ones(basis.N), load=lambda t: forcing.assemble(basis, t=t))
    exact = lambda x, t: 1 + np.cos(t) * np.sin(np.pi * x[0])
    free = basis.complement_dofs(D)
    start = exact(basis.doflocs, 0)[free]
    return semi, exact, start


METHODS = {
    "euler": (lambda semi, dt: IMEX(semi, dt, "euler"), 1),
    "ars222": (lambda semi, dt: IMEX(semi, dt, "ars222"), 2),
    "ars443": (lambda semi, dt: IMEX(semi, dt), 3),
    "backward Euler": (lambda semi, dt: Newton(semi, dt, 1.0), 1),
    "trapezoidal": (lambda semi, dt: Newton(semi, dt), 2),
    "simplified Newton": (lambda semi, dt: Newton(semi, dt, at=np.ones(semi.size)), 2),
}


@pytest.mark.parametrize("name", METHODS)
def test_rates_in_time(name):
    stepper, order = METHODS[name]
    basis = line(8)
    semi, _, start = manufactured(basis)
    fine = RK4(lambda t, y: np.linalg.solve(semi.M.toarray(), semi.rhs(y, t) - semi.K @ y), 1 / 400, timed=True)
    exact = evolve(fine, start, 1.0).y[:, -1]
    steps = np.array([20, 40, 80])
    errors = [abs(evolve(stepper(semi, 1 / n), start, 1.0).y[:, -1] - exact).max() for n in steps]
    assert observed_rates(1 / steps, errors) == pytest.approx(order, abs=0.25)


@pytest.mark.parametrize(("element", "order"), [(ElementLineP1, 2), (ElementLineP2, 3)])
def test_rates_in_space(element, order):
    cells, errors = np.array([8, 16, 32]), []
    for n in cells:
        basis = line(n, element(), intorder=8)
        semi, exact, start = manufactured(basis)
        u = semi.full(evolve(IMEX(semi, 1 / 100), start, 0.5).y[:, -1])
        assert u[basis.get_dofs().flatten()] == pytest.approx(1)
        errors.append(l2_error(u, partial(exact, t=0.5), basis))
    assert observed_rates(1 / cells, errors) == pytest.approx(order, abs=0.2)


def test_the_linear_equation_is_the_theta_method():
    basis = squares()
    semi = heat(basis, np.linspace(1, 2, 64), D=basis.get_dofs())
    u = np.random.default_rng(0).normal(size=(3, semi.size))
    expected = ThetaMethod(semi.M, semi.K, 0.1).step(u)
    assert Newton(semi, 0.1).step(u) == pytest.approx(expected, abs=1e-12)
    expected = ThetaMethod(semi.M, semi.K, 0.1, theta=1.0).step(u)
    assert IMEX(semi, 0.1, "euler").step(u) == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize(
    "stepper", [lambda s: Newton(s, 0.25, 1.0), lambda s: IMEX(s, 0.25), lambda s: Newton(s, 0.25)]
)
def test_allen_cahn_loses_energy_and_batches_are_rows(stepper):
    basis = Basis(MeshTri().refined(3), ElementTriP1())
    semi, energy = allen_cahn(basis, 0.1), allen_cahn_energy(basis, 0.1)
    rng = np.random.default_rng(1)
    starts = np.stack([smooth(basis, rng), smooth(basis, rng, 0.5)])
    result = evolve(stepper(semi), starts, 5.0)
    for k in range(2):
        energies = np.array([energy(u) for u in result.y[k].T])
        assert (np.diff(energies) < 0).all() and energies[-1] < 0.7 * energies[0]
        assert evolve(stepper(semi), starts[k], 5.0).y == pytest.approx(result.y[k], abs=1e-8)


def test_the_flow_is_the_gradient_of_the_energy_and_the_jacobian_its_derivative():
    basis = squares(2)
    basis = basis.with_element(ElementQuad1())
    semi, energy = allen_cahn(basis, EPS), allen_cahn_energy(basis, EPS)
    rng = np.random.default_rng(2)
    u, v, h = rng.normal(size=semi.size), rng.normal(size=semi.size), 1e-5
    slope = (energy(u + h * v) - energy(u - h * v)) / (2 * h)
    assert (semi.K @ u - semi.rhs(u)) @ v == pytest.approx(slope, rel=1e-8)
    directional = (semi.rhs(u + h * v) - semi.rhs(u - h * v)) / (2 * h)
    assert semi.jacobian(u) @ v == pytest.approx(directional, rel=1e-6, abs=1e-8)


def test_constant_states_follow_the_ordinary_equation():
    semi = allen_cahn(squares(2), EPS)
    u = evolve(IMEX(semi, 0.01), np.full(semi.size, 0.3), 1.0).y[:, -1]
    exact = 0.3 * np.e / np.sqrt(1 + 0.3**2 * (np.exp(2) - 1))
    assert u == pytest.approx(exact, abs=1e-6)


LENGTH, MODES = 22.0, 32


def fourier_ks(u0, t_end):
    """Kuramoto-Sivashinsky by Fourier modes, dealiased, to a tolerance of 1e-9; values at 4 MODES points."""
    points = 4 * MODES
    k = 2 * np.pi / LENGTH * np.arange(points // 2 + 1)
    kept = np.arange(len(k)) < MODES

    def rhs(t, y):
        modes = np.zeros(len(k), complex)
        modes[kept] = y[:MODES] + 1j * y[MODES:]
        square = np.fft.rfft(np.fft.irfft(modes, points) ** 2)
        slope = ((k**2 - k**4) * modes - 0.5j * k * square)[kept]
        return np.concatenate([slope.real, slope.imag])

    modes = np.fft.rfft(u0(np.arange(points) * LENGTH / points))[kept]
    end = solve_ivp(rhs, (0, t_end), np.concatenate([modes.real, modes.imag]), method="DOP853", rtol=1e-9, atol=1e-9)
    modes = np.zeros(len(k), complex)
    modes[kept] = end.y[:MODES, -1] + 1j * end.y[MODES:, -1]
    return np.fft.irfft(modes, points)


def test_kuramoto_sivashinsky_agrees_with_fourier():
    q = 2 * np.pi / LENGTH
    u0 = lambda x: np.cos(q * x) * (1 + np.sin(2 * q * x))
    slope = lambda x: q * (-np.sin(q * x) * (1 + np.sin(2 * q * x)) + 2 * np.cos(q * x) * np.cos(2 * q * x))
    expected, t_end = fourier_ks(u0, 4.0), 4.0
    errors = []
    for cells in (32, 64):
        basis = line(cells, ElementLineHermite(), LENGTH, intorder=8)
        semi = kuramoto_sivashinsky(basis)
        start = np.empty(basis.N)
        start[basis.nodal_dofs[0]], start[basis.nodal_dofs[1]] = u0(basis.mesh.p[0]), slope(basis.mesh.p[0])
        first = start[: semi.size]
        assert semi.full(first) == pytest.approx(start, abs=1e-12)
        end = semi.full(evolve(IMEX(semi, 0.01), first, t_end).y[:, -1])[basis.nodal_dofs[0, :-1]]
        errors.append(abs(end - expected[:: 4 * MODES // cells]).max() / abs(expected).max())
    assert errors[0] < 2e-3 and errors[1] < 1e-4
    stiff = Newton(semi, 0.02, at=first).step(first)
    assert stiff == pytest.approx(evolve(IMEX(semi, 0.0025), first, 0.02).y[:, -1], abs=1e-4)


def test_kuramoto_sivashinsky_keeps_the_mean():
    basis = line(24, ElementLineHermite(), LENGTH, intorder=8)
    semi = kuramoto_sivashinsky(basis)
    rng = np.random.default_rng(0)
    u = evolve(IMEX(semi, 0.05), 0.1 * rng.normal(size=semi.size), 1.0).y
    ones = np.zeros(semi.size)
    ones[basis.nodal_dofs[0, :-1]] = 1
    means = ones @ (semi.M @ u)
    assert means == pytest.approx(means[0], abs=1e-10)


def test_a_periodic_line_turns_with_its_data():
    basis = line(16, ElementLineP2())
    E = periodic_line(basis)
    semi = reaction_diffusion(basis, 0.01, lambda u: u - u**3, lambda u: 1 - 3 * u**2).restrict(E)
    place = (E.T @ basis.doflocs[0]) / np.asarray(E.sum(axis=0)).ravel() % 1.0
    place[E.indices[basis.nodal_dofs[0, 0]]] = 0.0  # the mean of both ends
    u0 = lambda s: np.sin(2 * np.pi * s) + 0.3 * np.cos(4 * np.pi * s)
    first, turned = (evolve(IMEX(semi, 0.1), u0(place + s), 1.0).y[:, -1] for s in (0.0, 0.25))
    order = [np.flatnonzero(np.isclose(place, (s + 0.25) % 1.0))[0] for s in place]
    assert turned == pytest.approx(first[order], abs=1e-12)


def test_a_dense_restriction_is_the_galerkin_projection():
    semi = allen_cahn(squares(2), EPS)
    V = np.linalg.qr(np.random.default_rng(0).normal(size=(semi.size, 5)))[0]
    lift = np.full(semi.size, 0.1)
    small = semi.restrict(V, lift)
    c = np.random.default_rng(1).normal(size=(2, 5))
    y = c @ V.T + lift
    assert small.full(c) == pytest.approx(y)
    assert small.rhs(c) - (small.K @ c.T).T == pytest.approx((semi.rhs(y) - (semi.K @ y.T).T) @ V)
    assert small.jacobian(c[0]) == pytest.approx(V.T @ (semi.jacobian(y[0]) @ V))
    assert IMEX(small, 0.1).step(c).shape == Newton(small, 0.1).step(c).shape == (2, 5)


def test_bad_input():
    basis = squares(2)
    semi = allen_cahn(basis, EPS)
    with pytest.raises(ValueError, match=r"u: expected \(25,\) or \(batch, 25\), got \(24,\)"):
        IMEX(semi, 0.1).step(np.zeros(24))
    with pytest.raises(ValueError, match=r"u: expected \(25,\) or \(batch, 25\), got \(3, 4, 25\)"):
        Newton(semi, 0.1).step(np.zeros((3, 4, 25)))
    for dt in (0.0, -1.0, np.nan):
        with pytest.raises(ValueError, match="dt: expected a positive finite number"):
            IMEX(semi, dt)
        with pytest.raises(ValueError, match="dt: expected a positive finite number"):
            Newton(semi, dt)
    with pytest.raises(ValueError, match=r"scheme: expected one of \['ars222', 'ars443', 'euler'\] or a Tableau"):
        IMEX(semi, 0.1, "rk4")
    with pytest.raises(ValueError, match=r"theta, tol, maxiter: expected in \[0\.5, 1\]"):
        Newton(semi, 0.1, theta=0.2)
    with pytest.raises(ValueError, match=r"at: expected \(25,\)"):
        Newton(semi, 0.1, at=np.zeros(3))
    with pytest.raises(ValueError, match="eps: expected a positive"):
        allen_cahn(basis, -1.0)
    with pytest.raises(ValueError, match="16 of 16 values are not positive"):
        heat(basis, 0.0)
    with pytest.raises(ValueError, match="x: expected D with it"):
        heat(basis, x=np.zeros(basis.N))
    with pytest.raises(ValueError, match=r"x: expected finite values \(25,\)"):
        heat(basis, D=basis.get_dofs(), x=np.full(basis.N, np.nan))
    with pytest.raises(ValueError, match="at least one free unknown, got all 25"):
        semi.lifted(np.arange(25))
    with pytest.raises(ValueError, match=r"E: expected 25 rows, one an unknown, got shape \(24, 2\)"):
        semi.restrict(np.zeros((24, 2)))
    with pytest.raises(ValueError, match="M, K: expected square matrices of one size"):
        semidiscrete(semi.M, semi.K[:3, :3])
    with pytest.raises(ValueError, match="K: expected finite entries"):
        semidiscrete(semi.M, csc_matrix(np.full((25, 25), np.nan)))
    with pytest.raises(TypeError, match="expected ElementLineHermite"):
        kuramoto_sivashinsky(line(4))
    with pytest.raises(TypeError, match="expected one dimension, got 2"):
        periodic_line(basis)


def test_what_does_not_converge_or_is_not_finite_is_told():
    semi = allen_cahn(squares(2), EPS)
    with pytest.raises(RuntimeError, match=r"change .* after 2 iterations, expected below 1e-10; take a smaller dt"):
        Newton(semi, 0.5, at=np.zeros(25), maxiter=2).step(np.ones(25) * 2)
    with np.errstate(over="ignore", invalid="ignore"):
        result = evolve(IMEX(semi, 0.5), np.full(25, 50.0), 5.0)
    assert result.status == -1 and "not finite at step" in result.message
    states = np.stack([np.full(25, np.nan), np.full(25, 0.5)])
    for at in (None, states[1]):
        after = Newton(semi, 0.1, at=at).step(states)
        assert np.isnan(after[0]).all() and after[1] == pytest.approx(Newton(semi, 0.1).step(states[1]))


def test_a_term_with_a_derivative_is_the_weak_form():
    basis = line(6, ElementLineHermite(), intorder=8)
    u = np.random.default_rng(0).normal(size=basis.N)
    form = LinearForm(lambda v, w: w.u**2 / 2 * v.grad[0])
    term = reaction(basis, lambda u: u * u / 2, lambda u: u, derivative=True)
    assert term(u) == pytest.approx(form.assemble(basis, u=basis.interpolate(u)))
    slope = BilinearForm(lambda du, v, w: w.u * du * v.grad[0]).assemble(basis, u=basis.interpolate(u))
    assert abs(term.jacobian(u) - slope).max() < 1e-12
