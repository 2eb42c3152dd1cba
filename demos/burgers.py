r"""Burgers' equation: a network beside finite elements
===================================================

A physics-informed network and graded P2 elements meet the front of Burgers' equation, whose exact solution is known.

On (-1, 1), for t in (0, 1),

.. math::

    u_t + u u_x = \nu u_{xx}, \qquad u(\pm 1, t) = 0, \qquad u(x, 0) = -\sin \pi x ,

a front of width :math:`\nu` forms at x = 0 (:math:`\nu = 0.01 / \pi` is the usual test of such networks; Raissi et al.
2019). The equation is a function of ``(u, w)`` as scikit-fem writes forms; initial and boundary data are built into the
network, which is trained by Levenberg-Marquardt at Gauss points of cells that are graded to the front.

The reference is the formula of Cole and Hopf, with :math:`f(y) = \exp(-\cos(\pi y) / 2 \pi \nu)`,

.. math::

    u(x, t) = - \frac{\int \sin(\pi (x - y)) \, f(x - y) \, e^{-y^2 / 4 \nu t} \, dy}
    {\int f(x - y) \, e^{-y^2 / 4 \nu t} \, dy} ,

by Gauss-Hermite quadrature. The rival is P2 elements on a mesh that is graded as the points are, and Radau's method of
order 5 in time.

Seen (CPU seconds): for :math:`\nu = 0.05` elements have 9e-6 in 0.7 s and 1.3e-7 in 3.6 s, the network 1.5e-7, 1.9e-7
and 1.5e-7 in 58, 63 and 70 s. For :math:`\nu = 0.01 / \pi` it has 4.0e-4 in 56 s, elements 8.5e-6 in 1.9 s. Elements
win. Tried there without gain: networks of 30 and 34 a layer at fewer points (1.2e-3), inputs stretched by arsinh to the
front (24 a layer 4.9e-4, 34 a layer 1.1e-2), random features on stretched inputs, damped (0.26).
"""

from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy import ndarray
from scipy.integrate import solve_ivp
from scipy.sparse.linalg import splu
from skfem import Basis, BilinearForm, ElementLineP2, LinearForm, MeshLine
from skfem.helpers import dot, grad

from skfem_ml import PDE, solver_pinn
from skfem_ml.compare import Table, compare
from skfem_ml.pictures import figure, grid, plot_work
from skfem_ml.problems import burgers as front
from skfem_ml.problems import cole_hopf, mass
from skfem_ml.solutions import probes

THIN = 0.01 / np.pi
SEEDS = (0, 1, 2)
KINDS = {"P2": lambda row: -row.error, "PINN": lambda row: row.error}  # the best elements, the worst network


@dataclass(frozen=True)
class Setting:
    """Cells to the right of the front, with eight Gauss points each, points in time, network, steps and seeds."""

    cells: tuple[float, ...]
    times: int
    widths: tuple[int, ...]
    steps: int
    seeds: tuple[int, ...] = SEEDS

    def points(self) -> Basis:
        half = np.array(self.cells)
        return Basis(MeshLine(np.unique(np.concatenate([-half, half]))), ElementLineP2(), intorder=15)


SETTINGS = {
    0.05: Setting((0.1, 0.25, 0.5, 1.0), 20, (34, 34, 34), 46),
    THIN: Setting((0.01, 0.03, 0.06, 0.12, 0.25, 0.5, 1.0), 24, (20, 20, 20), 150, (0,)),
}


@dataclass
class Result:
    problems: dict[float, PDE]
    tables: dict[float, Table]


def graded(nu: float, cells: int = 1) -> MeshLine:
    """Return cells that halve towards the front, each cut into ``cells``; the smallest has the width of the front."""
    count = max(2, int(np.ceil(np.log2(1 / (4 * nu)))))
    ends = np.concatenate([[0.0], 0.5 ** np.arange(count, -1, -1)])
    half = np.unique(np.concatenate([np.linspace(a, b, cells + 1) for a, b in pairwise(ends)]))
    return MeshLine(np.unique(np.concatenate([-half, half])))


@dataclass
class Flow:
    """Finite elements in space, and what `solve_ivp` knows of all times."""

    basis: Basis
    free: ndarray
    y: Callable[[float], ndarray]
    unknowns: int

    def __call__(self, x: ndarray, t: ndarray) -> ndarray:
        x, t = np.asarray(x, dtype=float), np.broadcast_to(t, np.shape(x)[1:]).ravel()
        P, out = probes(self.basis, x.reshape(1, -1))[:, self.free], np.empty(t.size)
        for moment in np.unique(t):
            out[t == moment] = (P[t == moment] @ self.y(moment)) if moment else -np.sin(np.pi * x.ravel()[t == moment])
        return out.reshape(x.shape[1:])


def solver_radau(mesh: MeshLine, nu: float, rtol: float) -> Callable[[PDE], Flow]:
    laplace = BilinearForm(lambda u, v, w: nu * dot(grad(u), grad(v)))
    flux = LinearForm(lambda v, w: w.u**2 / 2 * grad(v)[0])
    slope = BilinearForm(lambda u, v, w: w.u * u * grad(v)[0])

    def solve(problem: PDE) -> Flow:
        basis = Basis(mesh, ElementLineP2(), intorder=6)
        free = basis.complement_dofs(basis.get_dofs())
        K, M = laplace.assemble(basis), splu(mass.assemble(basis)[free][:, free].tocsc())

        def whole(y: ndarray) -> ndarray:
            u = np.zeros(basis.N)
            u[free] = y
            return u

        def rhs(_: float, y: ndarray) -> ndarray:
            u = whole(y)
            return M.solve((flux.assemble(basis, u=basis.interpolate(u)) - K @ u)[free])

        def jacobian(_: float, y: ndarray) -> ndarray:
            matrix = slope.assemble(basis, u=basis.interpolate(whole(y))) - K
            return M.solve(matrix[free][:, free].toarray())

        start = np.asarray(problem.initial(basis.doflocs))[free]
        ran = solve_ivp(rhs, problem.time, start, "Radau", rtol=rtol, atol=rtol, jac=jacobian, dense_output=True)
        return Flow(basis, free, ran.sol, len(free))

    return solve


def compute(settings: dict[float, Setting] = SETTINGS, cells: tuple[int, ...] = (10, 40)) -> Result:
    problems, tables = {nu: front(nu) for nu in settings}, {}
    for nu, one in settings.items():
        solvers = {f"P2, graded, {2 * n} cells an octave": solver_radau(graded(nu, n), nu, 1e-9) for n in cells}
        options = {"widths": one.widths, "steps": one.steps, "points": one.points(), "times": one.times}
        solvers |= {f"PINN, seed {seed}": solver_pinn(seed=seed, **options) for seed in one.seeds}
        tables[nu] = compare(problems[nu], solvers, basis=Basis(graded(nu, 6), ElementLineP2(), intorder=8))
    return Result(problems, tables)


def visualize(result: Result | None = None):
    """The front, errors at the end over x, and errors over CPU seconds."""
    result = compute() if result is None else result
    with figure(16, 5.4 * len(result.tables)) as picture:
        rows = picture.subplots(len(result.tables), 3, squeeze=False)
        for (nu, table), (front, gap, work) in zip(result.tables.items(), rows, strict=True):
            problem, x, good = result.problems[nu], graded(nu, 40).p, [row for row in table.rows if not row.failure]
            for t in (0.0, 0.25, 0.5, 1.0):
                front.plot(x[0], problem.exact(x, t), color=str(0.75 * (1 - t)), label=f"$t = {t:g}$")
            front.set(title=f"$\\nu = {nu:.3g}$: exact solution", xlabel="$x$", ylabel="$u$")
            front.legend()
            for k, row in enumerate(good):
                error = abs(table.solutions[row.name](x, 1.0) - problem.exact(x, 1.0))
                gap.semilogy(x[0], np.maximum(error, 1e-16), color=f"C{k}", lw=1.2)
            gap.set(title="error at $t = 1$", xlabel="$x$", ylabel=r"$|u_{\mathrm{method}} - u|$")
            plot_work(work, {row.name: (row.cpu_seconds, row.error) for row in good})
            work.set(title="work and precision", xlabel="CPU seconds", ylabel="relative error in $L^2$")
            grid(gap)
    return picture


if __name__ == "__main__":
    result = compute()
    for nu, table in result.tables.items():
        nodes = np.linspace(-1, 1, 401)[None]
        check = abs(cole_hopf(nu, 120)(nodes, 1.0) - cole_hopf(nu, 80)(nodes, 1.0)).max()
        print(f"nu = {nu:.4g}; 80 and 120 nodes of Gauss-Hermite differ by {check:.1e}\n{table}")
    visualize(result).savefig("burgers.png")
    told = []
    for nu, table in result.tables.items():
        fem, net = (max((r for r in table.rows if r.name.startswith(kind)), key=order) for kind, order in KINDS.items())
        told.append(f"nu = {nu:.2g}: network {net.error:.1e} in {net.cpu_seconds:.0f} s, "
                    f"elements {fem.error:.1e} in {fem.cpu_seconds:.1f} s")  # fmt: skip
    print("; ".join(told))
