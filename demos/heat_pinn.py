r"""The heat equation by learners, finite differences and finite elements
=====================================================================

Two errors of a published comparison found and put right, and what each method is good for afterwards.

On the segment (0, 1), with exact solution :math:`e^{-\pi^2 t} \sin \pi x`,

.. math:: u_t = u_{xx}, \qquad u(0, t) = u(1, t) = 0, \qquad u(x, 0) = \sin \pi x .

A report (Puleo, Svejda and Breitenstein 2022) solves it by the forward difference scheme and by a network with hard
data, :math:`u = (1 - t) \sin \pi x + x (1 - x) \, t \, N(x, t)`, and finds errors of a per cent to tens of per cent in
both. Run again, two slips show:

- the grid has n points, so a spacing of :math:`1 / (n - 1)`, but the scheme divides by :math:`1 / n^2`: it diffuses too
  fast;
- the second derivative is the gradient of the *summed* first gradient, :math:`N_{xx} + N_{xt}`: the network solves
  another equation well, and the heat equation badly.

Both are here as *as published*. Beside them: the same methods done right, finite elements with a Gauss method in time,
and learners: networks trained by several methods, of which Levenberg-Marquardt goes furthest, one in the weak form,
random features with least squares. On this problem a learner is pointless: high-order elements win by orders of
magnitude in time. ``demos/high_dimension.py`` shows where one is not.
"""

from dataclasses import dataclass

import numpy as np
from skfem import Basis, ElementLineP2, MeshLine

from skfem_ml.baselines import solver_published
from skfem_ml.compare import Table, compare
from skfem_ml.pictures import figure, grid
from skfem_ml.pinn import solver_elm, solver_pinn, solver_vpinn
from skfem_ml.problems import Heat, heat_box
from skfem_ml.reference import solver_fd, solver_fem

TIMES = (0.1, 0.3)
STEPS = 1500
SEED = 0
METHODS = ("adam", "soap", "lbfgs", "lm", "ssbroyden")
# The report's figures 1 and 2, measured on its program: relative errors at t = 0.1 and 0.3.
PUBLISHED = {"FD as published, n=10": (0.197, 0.482), "FD as published, n=100": (0.0198, 0.058)}


@dataclass
class Result:
    problem: Heat
    table: Table

    def error(self, name: str, t: float) -> np.ndarray:
        """Relative error at one time at the inner points of ``grid_points``, (25) of the report."""
        x = grid_points()
        return abs(self.table.solutions[name](x, t) / self.problem.exact(x, t) - 1)


def grid_points(n: int = 99) -> np.ndarray:
    return np.linspace(0, 1, n + 2)[None, 1:-1]


def line(n: int) -> MeshLine:
    return MeshLine(np.linspace(0, 1, n + 1))


def compute(steps: int = STEPS, methods: tuple[str, ...] = METHODS) -> Result:
    problem = heat_box()
    weak = Basis(line(10), ElementLineP2(), intorder=7)
    lengths = {"adam": 2 * steps, "soap": 2 * steps, "lm": max(1, steps // 12)}
    table = compare(
        problem,
        {
            "FD as published, n=10": solver_fd(10, 2e-5, spacing="as published"),
            "FD as published, n=100": solver_fd(100, 2e-5, spacing="as published"),
            "FD, n=100": solver_fd(100, 2e-5),
            "FEM P1 + CN": solver_fem(line(100), scheme="cn", steps=1000),
            "FEM P2 + Gauss-4": solver_fem(line(1000), ElementLineP2(), scheme="gauss4", steps=1000),
            "net as published": solver_published(max(1, steps // 4)),
            **{f"PINN {m}": solver_pinn(m, steps=lengths.get(m, steps)) for m in methods},
            "VPINN": solver_vpinn(weak, 10, widths=(16, 16), steps=max(1, steps // 30)),
            "ELM": solver_elm(1200, 4.0, points=35, times=35),
        },
    )
    return Result(problem, table)


def losses(solution) -> tuple[np.ndarray, np.ndarray]:
    """Return seconds and losses of a trained network, warm-up included."""
    seconds, values, start = [], [], 0.0
    for history in solution.record.history:
        seconds += [start + s for s in history.seconds]
        values += history.losses
        start = seconds[-1] if seconds else 0.0
    return np.array(seconds), np.array(values)


def visualize(result: Result | None = None):
    """Slices at the report's times, errors over x, losses over time, work and precision."""
    result = compute() if result is None else result
    x, names = grid_points(), [row.name for row in result.table.rows]
    styles = {name: {"color": f"C{k % 8}", "ls": "-" if k < 8 else "--"} for k, name in enumerate(names)}
    with figure(13.5, 11) as picture:
        (slices, errors), (loss, work) = picture.subplots(2, 2)
        draw_slices(slices, result, styles)
        for name in names:
            # A floor: an error that is zero to rounding has no place on a logarithmic axis.
            errors.semilogy(x[0], np.maximum(result.error(name, TIMES[1]), 1e-16), **styles[name], lw=1.3)
        errors.set(title=f"relative error at $t = {TIMES[1]:g}$", xlabel="$x$", ylabel="$|u / u_{exact} - 1|$")
        for name, solution in result.table.solutions.items():
            if hasattr(solution, "record") and solution.record.history:
                loss.loglog(*losses(solution), **styles[name], lw=1.3)
        loss.set(title="training loss (strong and weak are not on one scale)", xlabel="wall time in seconds")
        loss.set_ylabel("squared residual")
        marks = "osD^vP*X<>hpd"
        for row, mark in zip(result.table.rows, marks, strict=False):
            if row.error:
                work.loglog(row.cpu_seconds, row.error, mark, ms=9, color=styles[row.name]["color"])
        work.set(title="work and precision", xlabel="CPU seconds", ylabel="relative error in $L^2$, space and time")
        for axes in (errors, loss, work):
            grid(axes)
        handles = [work.plot([], [], m, **styles[n])[0] for n, m in zip(names, marks, strict=False)]
        picture.legend(handles, names, loc="outside lower center", ncols=5)
    return picture


def draw_slices(axes, result: Result, styles: dict[str, dict[str, str]]) -> None:
    """The solution at two times, exact and by three methods."""
    x = grid_points()
    for t in TIMES:
        first = t == TIMES[0]
        axes.plot(x[0], result.problem.exact(x, t), color="0.75", lw=5, label="exact" if first else None)
        for name in ("FD as published, n=10", "net as published", "ELM"):
            if name in styles:
                u = result.table.solutions[name](x, t)
                axes.plot(x[0], u, color=styles[name]["color"], label=name if first else None)
        top = result.problem.exact(np.array([[0.5]]), t)[0]
        axes.annotate(f"$t = {t:g}$", (0.5, top), xytext=(0, 7), textcoords="offset points", ha="center")
    axes.set(title="slices", xlabel="$x$", ylabel="$u$", ylim=(-0.02, 0.43))
    axes.legend()


if __name__ == "__main__":
    result = compute()
    print(result.table)
    for name, expected in PUBLISHED.items():
        measured = [f"{result.error(name, t).max():.3%} (report's program: {e:.1%})" for t, e in
                    zip(TIMES, expected, strict=True)]  # fmt: skip
        print(f"{name}: {', '.join(measured)}")
    visualize(result).savefig("heat_pinn.png")
    told = ("net as published", "PINN lm", "ELM", "FEM P2 + Gauss-4")
    rows = [result.table[name] for name in told]
    print("error in L2:", ", ".join(f"{row.name} {row.error:.0e} in {row.cpu_seconds:.1f} s" for row in rows))
