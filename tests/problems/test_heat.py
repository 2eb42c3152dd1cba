"""Heat: observed rates of FD and FEM in space and time, the published FD error, boundary data, bad input."""

import numpy as np
import pytest
from skfem import Basis, ElementLineP1, ElementLineP2, ElementQuad2, ElementTriP1, MeshLine, MeshQuad, MeshTri

from skfem_ml.compare import compare
from skfem_ml.metrics import observed_rates, space_time_error
from skfem_ml.pinn.setting import one_cell
from skfem_ml.problems import Heat, heat_box
from skfem_ml.reference import solver_fd, solver_fem
from skfem_ml.solutions import Analytic

SEGMENT = heat_box(t_end=0.25)
X = np.linspace(0.02, 0.98, 49)[None]


def line(n):
    return MeshLine(np.linspace(0, 1, n + 1))


def l2_at_end(u, problem):
    basis = Basis(u.record["basis"].mesh, ElementLineP2(), intorder=12)
    x = np.asarray(basis.global_coordinates())
    error = u(x, problem.t_end) - problem.exact(x, problem.t_end)
    return np.sqrt((error**2 * basis.dx).sum())


def nodal_at_end(u, problem):
    grid = u.record["grid"][None]
    return abs(u(grid, problem.t_end) - problem.exact(grid, problem.t_end)).max()


@pytest.mark.parametrize("scheme", ["explicit", "cn"])
def test_fd_is_second_order_in_space(scheme):
    n = np.array([8, 16, 32])
    dt = 1e-5 if scheme == "explicit" else 1e-3
    errors = [nodal_at_end(solver_fd(k, dt, scheme)(SEGMENT), SEGMENT) for k in n]
    assert observed_rates(1 / n, errors) == pytest.approx(2, abs=0.1)


@pytest.mark.parametrize(("scheme", "order", "steps"), [("explicit", 1, (1000, 2000, 4000)), ("cn", 2, (20, 40, 80))])
def test_fd_in_time(scheme, order, steps):
    # Against the exact solution of the semi-discrete equation, of which sin(pi x) is an eigenvector.
    n = 20
    rate = 4 * n**2 * np.sin(np.pi / (2 * n)) ** 2
    grid = np.linspace(0, 1, n + 1)[None]
    exact = np.exp(-rate * SEGMENT.t_end) * np.sin(np.pi * grid)
    steps = np.array(steps)
    errors = [abs(solver_fd(n, SEGMENT.t_end / k, scheme)(SEGMENT)(grid, SEGMENT.t_end) - exact).max() for k in steps]
    assert observed_rates(1 / steps, errors) == pytest.approx(order, abs=0.1)


@pytest.mark.parametrize(("element", "order"), [(ElementLineP1(), 2), (ElementLineP2(), 3)])
def test_fem_in_space(element, order):
    n = np.array([8, 16, 32])
    solve = [solver_fem(line(k), element, scheme="gauss4", steps=400) for k in n]
    errors = [l2_at_end(s(SEGMENT), SEGMENT) for s in solve]
    assert observed_rates(1 / n, errors) == pytest.approx(order, abs=0.1)


@pytest.mark.parametrize(("scheme", "order", "steps"), [("cn", 2, (20, 40, 80)), ("gauss4", 4, (4, 8, 16))])
def test_fem_in_time(scheme, order, steps):
    steps = np.array(steps)
    fine = solver_fem(line(50), ElementLineP2(), scheme="gauss4", steps=400)(SEGMENT)(X, SEGMENT.t_end)
    solve = [solver_fem(line(50), ElementLineP2(), scheme=scheme, steps=k) for k in steps]
    errors = [abs(s(SEGMENT)(X, SEGMENT.t_end) - fine).max() for s in solve]
    assert observed_rates(1 / steps, errors) == pytest.approx(order, abs=0.1)


def test_fem_in_the_plane():
    quads, triangles = heat_box(MeshQuad().refined(3), 0.1), heat_box(MeshTri().refined(4), 0.1)
    table = compare(quads, {"Q2": solver_fem(element=ElementQuad2(), scheme="gauss4", steps=20)})
    assert table["Q2"].error < 1e-3 and table.headings[1] == "error at t_end"
    assert compare(triangles, {"P1": solver_fem(scheme="cn", steps=40)})["P1"].error < 0.02


@pytest.mark.parametrize(("n", "expected"), [(10, (0.197, 0.482)), (100, (0.0198, 0.058))])
def test_fd_as_published_over_diffuses(n, expected):
    u = solver_fd(n, 2e-5, spacing="as published")(heat_box(t_end=0.3))
    for t, value in zip((0.1, 0.3), expected, strict=True):
        x = u.record["grid"][None, 1:-1]
        error = abs(u(x, t) / SEGMENT.exact(x, t) - 1)
        assert error.max() == pytest.approx(value, rel=0.01)
        assert np.ptp(error) < 1e-3 * error.max()  # the same everywhere: the rate of decay is wrong


@pytest.mark.parametrize(("n", "dt", "expected"), [(10, 2e-4, (0.0072, 0.022)), (100, 2e-5, (1.6e-5, 4.9e-5))])
def test_fd_with_the_right_spacing(n, dt, expected):
    u = solver_fd(n, dt)(heat_box(t_end=0.3))
    x = u.record["grid"][None, 1:-1]
    errors = [abs(u(x, t) / SEGMENT.exact(x, t) - 1).max() for t in (0.1, 0.3)]
    assert errors == pytest.approx(expected, rel=0.03)


def test_slices_are_interpolated_in_time():
    u = solver_fem(line(50), ElementLineP2(), scheme="gauss4", steps=50)(SEGMENT)
    assert u(X, 0.1234) == pytest.approx(SEGMENT.exact(X, 0.1234), abs=1e-6)
    t = np.linspace(0, 0.25, X.shape[1])
    assert u(X, t) == pytest.approx(SEGMENT.exact(X, t), abs=1e-5)
    with pytest.raises(ValueError, match=r"expected between 0 and 0\.25"):
        u(X, 0.3)


def test_boundary_data_and_source():
    start = Analytic(lambda x: 1 + x[0], lambda x: 1 + 0 * x, lambda x: 0 * x[0])
    problem = Heat(
        line(40), start, g=lambda x: 1 + x[0], t_end=0.5,
        f=lambda x, t: np.sin(np.pi * x[0]) * (1 + np.pi**2 * t),
        exact=lambda x, t: 1 + x[0] + t * np.sin(np.pi * x[0]),
    )  # fmt: skip
    solvers = {
        "fem": solver_fem(element=ElementLineP2(), scheme="gauss4", steps=10),
        "cn": solver_fem(element=ElementLineP2(), scheme="cn", steps=10),
        "fd": solver_fd(40, scheme="cn", dt=0.05),
    }
    table = compare(problem, solvers)
    assert table["fem"].error < 1e-5 and table["cn"].error < 1e-5 and table["fd"].error < 1e-3


def test_space_time_error_against_a_known_integral():
    basis = one_cell([0.0], [1.0], 10)
    error = space_time_error(lambda x, t: t * x[0], lambda x, t: 0 * x[0], basis, 2.0)
    assert error == pytest.approx(np.sqrt(8 / 3 / 3))


def test_unstable_step_is_refused_with_the_largest_one():
    with pytest.raises(ValueError, match=r"dt: expected at most 5e-05 = dx\^2 / \(2 a\).*got 0.0002"):
        solver_fd(100, 2e-4)(SEGMENT)
    with pytest.raises(ValueError, match=r"expected at most 2\.5e-05"):
        solver_fd(100, 5e-5)(Heat(line(10), SEGMENT.initial, a=2.0))


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: solver_fd(10)(heat_box(MeshQuad())), "expected a segment, got a mesh of dimension 2"),
        (lambda: solver_fem(MeshQuad(), scheme="cn")(SEGMENT), "expected dimension 1, .*got 2"),
        (lambda: solver_fem(line(4).scaled(2.0), scheme="cn")(SEGMENT), "expected a mesh of the problem's domain"),
        (lambda: Heat(line(4), lambda x: 1 + x[0], g=1.0), r"contradict.* at 1 boundary .*\[1.0\]: g = 1, initial = 2"),
        (lambda: Heat(line(4), lambda x: 0 * x[0], a=-1.0), "a: expected one positive finite number, got -1.0"),
        (lambda: Heat(line(4), lambda x: 0 * x[0], t_end=np.inf), "t_end: expected one positive"),
        (lambda: Heat(line(4), 1.0), r"initial: expected a callable u0\(x\)"),
        (lambda: heat_box(MeshTri.init_lshaped()), "expected a mesh of the unit box"),
        (lambda: solver_fem(scheme="euler"), "scheme"),
        (lambda: solver_fem()(SEGMENT), "expected scheme='cn' or 'gauss4', got None"),
        (lambda: solver_fem(scheme="cn", mean="harmonic"), "leave them out"),
        (lambda: solver_fem(scheme="cn", steps=0), "steps: expected at least 1"),
        (lambda: solver_fd(1), "expected at least 2 intervals"),
        (lambda: solver_fd(10, dt=0.0007, scheme="cn")(SEGMENT), "whole number of steps"),
    ],
)
def test_bad_input(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def test_any_element_on_triangles():
    u = solver_fem(MeshTri().refined(2), ElementTriP1(), scheme="cn", steps=5)(heat_box(MeshTri(), 0.1))
    assert u(np.array([[0.5], [0.5]]), 0.0) == pytest.approx(1.0)
