r"""One's own weak form
===================

Helmholtz' equation with a varying speed: the same two forms of scikit-fem for finite elements and for learners.

On the unit square, for all v,

.. math::

    \int \nabla u \cdot \nabla v - k^2 (1 + x) \, u v \; dx = \int f v \; dx, \qquad u = 0 \text{ on the boundary},

with f a bump off the centre: waves that are shorter at the right. The two forms are a ``BilinearForm`` and a
``LinearForm``; the same two objects are assembled on elements, and taken by ``solver_elm`` and ``solver_vpinn``, which
test with the functions of any scikit-fem basis. A form may be nonlinear in u there; then ``solver_elm`` does
Gauss-Newton steps in the place of one least-squares solve.

Learners minimise the residual in the norm dual to H¹ on the test space: that space limits them as it limits elements.
The reference is of degree 6. Seen: 250 random features on test functions of 12 x 12 Q2 cells have 6e-6 to 7e-6 in half
a second, where Q2 on 64 x 64 has 4e-5; elements of degree 4 have 4e-6 in a third of the time: smooth waves like high
order. The network has 3e-4 after 38 seconds.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from skfem import Basis, BilinearForm, ElementQuad2, ElementQuadP, LinearForm, MeshQuad, condense, solve
from skfem.helpers import dot, grad

from skfem_ml import PDE, FEFunction, solver_elm, solver_vpinn
from skfem_ml.compare import Table, compare
from skfem_ml.pictures import colour_bar, figure, shared_norm
from skfem_ml.solutions import Record

K = 10.0
CENTRE, WIDTH = (0.35, 0.6), 0.15
SEEDS = (0, 1, 2)


@BilinearForm
def helmholtz(u, v, w):
    return dot(grad(u), grad(v)) - K**2 * (1 + w.x[0]) * u * v


@LinearForm
def bump(v, w):
    return 100 * np.exp(-((w.x[0] - CENTRE[0]) ** 2 + (w.x[1] - CENTRE[1]) ** 2) / WIDTH**2) * v


@dataclass
class Result:
    table: Table
    problem: PDE


def square(cells: int) -> MeshQuad:
    return MeshQuad.init_tensor(np.linspace(0, 1, cells + 1), np.linspace(0, 1, cells + 1))


def solver_fe(cells: int, degree: int) -> Callable[[PDE], FEFunction]:
    def solve_it(_: PDE) -> FEFunction:
        basis = Basis(square(cells), ElementQuad2() if degree == 2 else ElementQuadP(degree), intorder=2 * degree + 3)
        system = condense(helmholtz.assemble(basis), bump.assemble(basis), D=basis.get_dofs())
        return FEFunction(basis, solve(*system), Record(int(system[0].shape[0])))

    return solve_it


def compute(fine: int = 16, cells: int = 12, features: int = 250, steps: int = 120) -> Result:
    problem = PDE(helmholtz, [(0, 1), (0, 1)], boundary=0.0, load=bump)
    tests = Basis(square(cells), ElementQuad2(), intorder=7)
    solvers = {
        f"Q6, {fine} x {fine}": solver_fe(fine, 6),
        "Q2, 12 x 12": solver_fe(12, 2),
        "Q2, 64 x 64": solver_fe(64, 2),
        "Q4, 16 x 16": solver_fe(16, 4),
        **{f"ELM, seed {seed}": solver_elm(features, 3.0, seed=seed, points=tests) for seed in SEEDS},
        "VPINN": solver_vpinn(tests, widths=(16, 16, 16), steps=steps),
    }
    return Result(compare(problem, solvers, reference=f"Q6, {fine} x {fine}"), problem)


def visualize(result: Result | None = None):
    """The reference, and the errors of elements and learners on one scale."""
    result = compute() if result is None else result
    table = result.table
    first, *others = [row.name for row in table.rows if not row.failure]
    shown = [name for name in others if not name.endswith(("seed 1", "seed 2"))]
    line = np.linspace(0, 1, 101)
    x = np.stack(np.meshgrid(line, line))
    truth = table.solutions[first](x)
    top = abs(truth).max()
    scale = shared_norm([1e-7, 1e-1], log=True)
    with figure(14, 8.6) as picture:
        panels = picture.subplots(2, 3).ravel()
        drawn = panels[0].pcolormesh(*x, truth, cmap="RdBu_r", vmin=-top, vmax=top, rasterized=True)
        panels[0].set_title(f"$u$ by {first}")
        colour_bar(panels[0], drawn, "$u$")
        for panel, name in zip(panels[1:], shown, strict=False):
            gap = np.maximum(abs(table.solutions[name](x) - truth) / top, 1e-7)
            drawn = panel.pcolormesh(*x, gap, norm=scale, cmap="magma", rasterized=True)
            panel.set_title(f"{name}\n{table[name].error:.1e} in $L^2$, {table[name].cpu_seconds:.2g} CPU s")
            colour_bar(panel, drawn, r"$|u_{\mathrm{method}} - u| \, / \, \max |u|$", extend="both")
        for panel in panels[: 1 + len(shown)]:
            panel.set(xlabel="$x$", ylabel="$y$", aspect="equal")
        for panel in panels[1 + len(shown) :]:
            panel.remove()
    return picture


if __name__ == "__main__":
    result = compute()
    print(result.table)
    visualize(result).savefig("own_weak_form.png")
    told = [row for row in result.table.rows[1:] if not row.name.endswith(("seed 0", "seed 1"))]
    print(", ".join(f"{row.name} {row.error:.0e} in {row.cpu_seconds:.2g} s" for row in told))
