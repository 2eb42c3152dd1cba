r"""Convection and diffusion with boundary layers
=============================================

Random features and finite elements meet two boundary layers, both from one statement of the equation.

On the unit square

.. math:: -\varepsilon \Delta u + u_x + u_y = X(x) + X(y), \qquad u = 0 \text{ on the boundary},

has the solution :math:`u = X(x) X(y)`, where

.. math:: X(s) = s - \frac{e^{(s - 1) / \varepsilon} - e^{-1 / \varepsilon}}{1 - e^{-1 / \varepsilon}}

solves :math:`-\varepsilon X'' + X' = 1`: layers of width :math:`\varepsilon` at x = 1 and y = 1.

The equation is a function of ``(u, w)``, written as a form of scikit-fem is. ``solver_elm`` takes it as it stands: tanh
features with random kinks, one least-squares solve, the boundary data hold exactly. A layer must be met by points and
features: points are the quadrature points of a mesh that is graded to the layers. Rivals: Q2 elements on a uniform mesh
and on the same graded mesh (Shishkin 1988), which a user would take.

Seen: for :math:`\varepsilon = 0.1` random features have 1.4e-9 in 1.1 CPU seconds (4e-11 at graded points), Q2 3e-5 in
0.2. For :math:`\varepsilon = 0.02` features of one scale do not follow the layers: 3.7e-4 at even points, 6e-2 at
graded ones, which leave too few between the layers; graded Q2 has 9e-5 in 0.2 seconds: take elements there.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy import ndarray
from skfem import Basis, BilinearForm, ElementQuad2, LinearForm, MeshQuad, condense, solve
from skfem.helpers import dot, grad

from skfem_ml import PDE, FEFunction, solver_elm
from skfem_ml.compare import Table, compare
from skfem_ml.pictures import figure, grid, plot_work
from skfem_ml.pinn import laplace
from skfem_ml.solutions import Analytic, Record

EPS = (0.1, 0.02)
FEATURES, RADIUS, CELLS = 1200, 8.0, 8  # chosen at eps = 0.03
KINDS = "Q2", "ELM"
SEED = 0


@dataclass
class Result:
    problems: dict[float, PDE]
    tables: dict[float, Table]


def profile(s: ndarray, eps: float) -> ndarray:
    return s - (np.exp((s - 1) / eps) - np.exp(-1 / eps)) / (1 - np.exp(-1 / eps))


def slope(s: ndarray, eps: float) -> ndarray:
    return 1 - np.exp((s - 1) / eps) / eps / (1 - np.exp(-1 / eps))


def problem_of(eps: float) -> PDE:
    def layers(u, w):
        return -eps * laplace(u) + grad(u)[0] + grad(u)[1] - profile(w.x, eps).sum(axis=0)

    exact = Analytic(
        lambda x: profile(x, eps).prod(axis=0),
        lambda x: slope(x, eps) * profile(x, eps)[::-1],
    )
    return PDE(layers, [(0, 1), (0, 1)], boundary=0.0, exact=exact)


def graded(cells: int, eps: float) -> MeshQuad:
    """Return ``cells`` an axis in each of the two parts that meet at the transition point of Shishkin's mesh."""
    turn = max(0.5, 1 - 2.5 * eps * np.log(2 * cells))
    line = np.unique(np.concatenate([np.linspace(0, turn, cells + 1), np.linspace(turn, 1, cells + 1)]))
    return MeshQuad.init_tensor(line, line)


def solver_q2(mesh: MeshQuad, eps: float) -> Callable[[PDE], FEFunction]:
    @BilinearForm
    def form(u, v, w):
        return eps * dot(grad(u), grad(v)) + (grad(u)[0] + grad(u)[1]) * v

    @LinearForm
    def load(v, w):
        return profile(w.x, eps).sum(axis=0) * v

    def solve_it(_: PDE) -> FEFunction:
        basis = Basis(mesh, ElementQuad2())
        system = condense(form.assemble(basis), load.assemble(basis), D=basis.get_dofs())
        return FEFunction(basis, solve(*system), Record(int(system[0].shape[0])))

    return solve_it


def compute(eps: tuple[float, ...] = EPS, features: int = FEATURES, fine: int = 48) -> Result:
    problems = {one: problem_of(one) for one in eps}
    tables = {}
    for one, problem in problems.items():
        points = Basis(graded(5, one), ElementQuad2(), intorder=11)
        solvers = {
            f"Q2, uniform, {fine} x {fine}": solver_q2(MeshQuad.init_tensor(*[np.linspace(0, 1, fine + 1)] * 2), one),
            f"Q2, graded, {fine} x {fine}": solver_q2(graded(fine // 2, one), one),
            "ELM, uniform points": solver_elm(features, RADIUS, seed=SEED, points=40),
            "ELM, graded points": solver_elm(features, RADIUS, seed=SEED, points=points),
        }
        measured_on = Basis(graded(CELLS, one), ElementQuad2(), intorder=12)
        tables[one] = compare(problem, solvers, basis=measured_on)
    return Result(problems, tables)


def visualize(result: Result | None = None):
    """Errors along a section through a layer, and errors over CPU seconds."""
    result = compute() if result is None else result
    with figure(12, 5.2 * len(result.tables)) as picture:
        rows = picture.subplots(len(result.tables), 2, squeeze=False)
        for (eps, table), (cut, work) in zip(result.tables.items(), rows, strict=True):
            s = np.unique(np.concatenate([np.linspace(0, 1, 200), 1 - eps * np.linspace(0, 6, 200)]))
            s = s[(s >= 0) & (s <= 1)]
            x = np.stack([s, np.full_like(s, 0.5)])
            good = [row for row in table.rows if not row.failure]
            for k, row in enumerate(good):
                gap = abs(table.solutions[row.name](x) - result.problems[eps].exact(x))
                cut.semilogy(s, np.maximum(gap, 1e-16), color=f"C{k}", lw=1.2)
            plot_work(work, {row.name: (row.cpu_seconds, row.error) for row in good})
            cut.set(title=f"$\\varepsilon = {eps:g}$: error along $y = 1/2$", xlabel="$x$")
            cut.set_ylabel(r"$|u_{\mathrm{method}} - u|$")
            work.set(title=f"$\\varepsilon = {eps:g}$: work and precision", xlabel="CPU seconds")
            work.set_ylabel("relative error in $L^2$")
            grid(cut)
    return picture


if __name__ == "__main__":
    result = compute()
    for eps, table in result.tables.items():
        print(f"eps = {eps:g}\n{table}")
    visualize(result).savefig("convection_diffusion.png")
    found = []
    for eps, table in result.tables.items():
        best = [
            min((row for row in table.rows if row.name.startswith(kind)), key=lambda row: row.error) for kind in KINDS
        ]
        found.append(f"eps = {eps:g}: " + ", ".join(f"{r.name} {r.error:.0e} in {r.cpu_seconds:.1f} s" for r in best))
    print("; ".join(found))
