r"""Navier-Stokes' equations: random features beside Taylor-Hood elements
======================================================================

Kovasznay's flow behind a grid, three unknown fields in one statement, by random features, a network and elements.

On (-1/2, 1) x (-1/2, 1/2), with Re = 40,

.. math::

    (u \cdot \nabla) u - \mathrm{Re}^{-1} \Delta u + \nabla p = 0, \qquad \nabla \cdot u = 0,

with the velocity given on the boundary, has the solution (Kovasznay 1948)

.. math::

    u = \Bigl( 1 - e^{\lambda x} \cos 2 \pi y, \; \frac{\lambda}{2 \pi} e^{\lambda x} \sin 2 \pi y \Bigr), \qquad
    p = - \tfrac12 e^{2 \lambda x} + \text{const}, \qquad
    \lambda = \frac{\mathrm{Re}}{2} - \sqrt{\frac{\mathrm{Re}^2}{4} + 4 \pi^2} .

The equations are a function of ``(u, p, w)`` that returns one array a field. `solver_elm` solves them by Gauss-Newton
steps in the output weights of random features, `solver_pinn` trains a network by Levenberg-Marquardt; the velocity
holds exactly on the boundary, the mean of the pressure is taken out before errors are measured. The rivals are elements
of Taylor and Hood, degrees 2 to 6 for the velocity and one less for the pressure, with Newton's method.

Seen: 100 random features have 5e-8 to 5e-7 (three seeds) in 0.2 CPU seconds, 200 have 6e-11 to 5e-10 in 3.5 to 4.9;
Q6/Q5 elements 3e-7 in 2.8 to 3.8 and 1.6e-8 in 10.7 to 12.5 seconds, the network 2e-9 to 8e-9 in 30 to 39. The
flow is smooth and the domain a rectangle: there random features win.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy import ndarray
from skfem import Basis, BilinearForm, LinearForm, MeshQuad, bmat, condense, solve
from skfem.element import Element, ElementQuad1, ElementQuad2, ElementQuadP, ElementVector
from skfem.helpers import ddot, div, dot, grad, mul

from skfem_ml import PDE, solver_elm, solver_pinn
from skfem_ml.compare import best_of
from skfem_ml.pictures import colour_bar, figure
from skfem_ml.pinn import laplace

RE = 40.0
LAMBDA = RE / 2 - np.sqrt(RE**2 / 4 + 4 * np.pi**2)
BOX = [(-0.5, 1.0), (-0.5, 0.5)]
SEEDS = (0, 1, 2)
KINDS = {"elements": "Q", "random features": "random", "network": "network"}  # a word in the names of rows
Solution = Callable[[ndarray], ndarray]  # (u_x, u_y, p) at x


def exact(x: ndarray) -> ndarray:
    e, angle = np.exp(LAMBDA * x[0]), 2 * np.pi * x[1]
    return np.stack([1 - e * np.cos(angle), LAMBDA / (2 * np.pi) * e * np.sin(angle), -(e**2) / 2])


def flow(u, p, w):
    return mul(grad(u), u) - laplace(u) / RE + grad(p), div(u)


PROBLEM = PDE(flow, BOX, components=(2, 1), boundary=(lambda x: exact(x)[:2], None))


viscous = BilinearForm(lambda u, v, w: ddot(grad(u), grad(v)) / RE)
pressure_term = BilinearForm(lambda u, q, w: -div(u) * q)
carried = LinearForm(lambda v, w: dot(mul(grad(w.u), w.u), v))


@BilinearForm
def convection(u, v, w):
    return dot(mul(grad(u), w.u) + mul(grad(w.u), u), v)


def element(degree: int) -> Element:
    return {1: ElementQuad1(), 2: ElementQuad2()}.get(degree) or ElementQuadP(degree)


def taylor_hood(cells: int, degree: int, steps: int = 12) -> Solution:
    """Velocities of a degree, pressures of one less on 3/2 cells x cells rectangles; Newton's method from zero."""
    mesh = MeshQuad.init_tensor(np.linspace(*BOX[0], 3 * cells // 2 + 1), np.linspace(*BOX[1], cells + 1))
    velocity = Basis(mesh, ElementVector(element(degree)), intorder=2 * degree + 1)
    pressure = velocity.with_element(element(degree - 1))
    A, B = viscous.assemble(velocity), pressure_term.assemble(velocity, pressure)
    walls, n = velocity.get_dofs().flatten(), velocity.N
    given, x = np.zeros(n + pressure.N), np.zeros(n + pressure.N)
    given[:n] = velocity.boundary().project(lambda x: exact(x)[:2])
    for _ in range(steps):
        u = velocity.interpolate(x[:n])
        matrix = bmat([[A + convection.assemble(velocity, u=u), B.T], [B, None]], "csr")
        rhs = np.append(carried.assemble(velocity, u=u), np.zeros(pressure.N))
        new = solve(*condense(matrix, rhs, x=given, D=np.append(walls, n)))  # one pressure is fixed
        change, x = np.linalg.norm(new - x), new
        if change < 1e-12 * np.linalg.norm(x):
            break
    u, p = velocity.interpolator(x[:n]), pressure.interpolator(x[n:])
    return lambda at: np.concatenate([u(at), p(at)[None]])


@dataclass
class Row:
    """Relative errors in L2 of velocity and pressure (its mean taken out), CPU seconds."""

    name: str
    velocity: float
    pressure: float
    seconds: float
    solution: Solution


def measured(name: str, solver: Callable[[], Solution]) -> Row:
    solution, spent = best_of(solver)
    basis = Basis(MeshQuad.init_tensor(np.linspace(*BOX[0], 31), np.linspace(*BOX[1], 21)), ElementQuad1(), intorder=7)
    x, dx = np.asarray(basis.global_coordinates()), basis.dx
    gap, truth = solution(x.reshape(2, -1)).reshape(3, *dx.shape) - exact(x), exact(x)
    for values in (gap[2], truth[2]):
        values -= (dx * values).sum() / dx.sum()
    size = [np.sqrt((dx * values**2).sum()) for values in (gap[:2], truth[:2], gap[2], truth[2])]
    return Row(name, size[0] / size[1], size[2] / size[3], spent.cpu, solution)


def compute(
    grids: tuple[tuple[int, int], ...] = ((8, 2), (16, 2), (32, 2), (4, 4), (8, 4), (2, 6), (4, 6), (6, 6)),
    features: tuple[int, ...] = (50, 100, 200),
    seeds: tuple[int, ...] = SEEDS,
    steps: int = 60,
) -> list[Row]:
    rows = [measured(f"Q{k}/Q{k - 1}, {3 * n // 2} x {n}", lambda n=n, k=k: taylor_hood(n, k)) for n, k in grids]
    for seed in seeds:
        for m in features:
            elm = solver_elm(m, 2.0, seed=seed, points=24)
            rows.append(measured(f"{m} random features, seed {seed}", lambda elm=elm: elm(PROBLEM)))
        pinn = solver_pinn(steps=steps, seed=seed, points=20)
        rows.append(measured(f"network, seed {seed}", lambda pinn=pinn: pinn(PROBLEM)))
    return rows


def best(rows: list[Row], word: str) -> Row:
    """The best of a kind, of its seeds the worst."""
    name = min((row for row in rows if word in row.name), key=lambda row: row.velocity).name.partition(", seed")[0]
    return max((row for row in rows if row.name.startswith(name)), key=lambda row: row.velocity)


def visualize(rows: list[Row] | None = None):
    """Streamlines and pressure, the error of random features (the worst seed), errors over CPU seconds."""
    rows = compute() if rows is None else rows
    grid = np.stack(np.meshgrid(np.linspace(*BOX[0], 121), np.linspace(*BOX[1], 81)))
    u, chosen = exact(grid), best(rows, "random")
    gap = chosen.solution(grid.reshape(2, -1)).reshape(3, *grid.shape[1:])[:2] - u[:2]
    with figure(14, 4.4) as picture:
        flow_at, error_at, work = picture.subplots(1, 3, width_ratios=[1.1, 1.1, 1])
        drawn = flow_at.pcolormesh(*grid, u[2], shading="gouraud")
        flow_at.streamplot(*grid, *u[:2], color="w", linewidth=0.7, density=1.1, arrowsize=0.7)
        colour_bar(flow_at, drawn, "$p$")
        drawn = error_at.pcolormesh(*grid, np.linalg.norm(gap, axis=0), shading="gouraud", cmap="magma")
        colour_bar(error_at, drawn, r"$|u_{\mathrm{method}} - u|$")
        error_at.set_title(f"{chosen.name}: error {chosen.velocity:.0e}")
        flow_at.set_title("exact flow and pressure")
        for ax in (flow_at, error_at):
            ax.set(xlabel="$x$", ylabel="$y$", aspect="equal", xlim=BOX[0], ylim=BOX[1])
        for marker, (label, word) in zip("os^", KINDS.items(), strict=True):
            found = [(row.seconds, row.velocity) for row in rows if word in row.name]
            work.loglog(*zip(*found, strict=True), marker, label=label)
        work.set(title="work and precision", xlabel="CPU seconds", ylabel="relative error of the velocity in $L^2$")
        work.legend()
    return picture


if __name__ == "__main__":
    rows = compute()
    for row in rows:
        print(f"{row.name:30s} velocity {row.velocity:.1e}  pressure {row.pressure:.1e}  {row.seconds:.2f} CPU s")
    visualize(rows).savefig("kovasznay.png")
    found = [best(rows, word) for word in KINDS.values()]
    print("; ".join(f"{row.name} {row.velocity:.0e} in {row.seconds:.1f} s" for row in found))
