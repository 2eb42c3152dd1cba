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
from skfem_ml.pinn import solver_elm, solver_pinn, solver_vpinn
from skfem_ml.problems import Heat, heat_box
from skfem_ml.reference import solver_fd, solver_fem

TIMES = (0.1, 0.3)
STEPS = 1500
METHODS = ("adam", "soap", "lbfgs", "lm", "ssbroyden")
# The report's figures 1 and 2, measured on its program: relative errors at t = 0.1 and 0.3.
PUBLISHED = {"FD as published, n=10": (0.197, 0.482), "FD as published, n=100": (0.0198, 0.058)}


@dataclass
class Result:
    problem: Heat
    table: Table

    def error(self, name: str, t: float) -> np.ndarray:
        """Relative error at one time at the inner points of ``grid``, (25) of the report."""
        x = grid()
        return abs(self.table.solutions[name](x, t) / self.problem.exact(x, t) - 1)


def grid(n: int = 99) -> np.ndarray:
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
    from matplotlib.figure import Figure

    result = compute() if result is None else result
    figure = Figure(figsize=(13, 9), layout="constrained")
    (slices, errors), (loss, work) = figure.subplots(2, 2)
    x, table = grid(), result.table
    names = [row.name for row in table.rows]
    colours = {name: f"C{k % 10}" for k, name in enumerate(names)}
    dashes = {name: "-" if k < 10 else "--" for k, name in enumerate(names)}
    shown = [n for n in ("FD as published, n=10", "net as published", "ELM") if n in names]
    for t in TIMES:
        slices.plot(x[0], result.problem.exact(x, t), color="0.7", lw=5, label="exact" if t == TIMES[0] else None)
        for name in shown:
            label = name if t == TIMES[0] else None
            slices.plot(x[0], table.solutions[name](x, t), color=colours[name], label=label)
        slices.annotate(f"t = {t:g}", (0.5, result.problem.exact(np.array([[0.5]]), t)[0]), xytext=(0, 7),
                        textcoords="offset points", ha="center")  # fmt: skip
    slices.set(title="slices", xlabel="x", ylabel="u", ylim=(-0.02, 0.43))
    slices.legend()
    for name in names:
        # A floor: an error that is zero to rounding has no place on a logarithmic axis.
        errors.semilogy(x[0], np.maximum(result.error(name, TIMES[1]), 1e-16), dashes[name], color=colours[name])
    errors.set(title=f"relative error at t = {TIMES[1]:g}", xlabel="x", ylabel="|u / u_exact - 1|")
    for name, solution in table.solutions.items():
        if hasattr(solution, "record") and solution.record.history:
            loss.loglog(*losses(solution), dashes[name], color=colours[name])
    loss.set(title="training loss (strong and weak are not on one scale)", xlabel="wall time in seconds",
             ylabel="squared residual")  # fmt: skip
    for k, row in enumerate(table.rows):
        if row.error:
            work.loglog(row.cpu_seconds, row.error, "osD^vP*X"[k % 8], ms=9, color=colours[row.name])
    work.set(title="work and precision", xlabel="CPU seconds", ylabel="relative error in L2(space x time)")
    for axes in (errors, loss, work):
        axes.grid(True, which="major", alpha=0.3)
    handles = [work.plot([], [], "osD^vP*X"[k % 8] + dashes[name], color=colours[name])[0]
               for k, name in enumerate(names)]  # fmt: skip
    figure.legend(handles, names, loc="outside lower center", ncols=5)
    return figure


if __name__ == "__main__":
    result = compute()
    print(result.table)
    for name, expected in PUBLISHED.items():
        measured = [f"{result.error(name, t).max():.3%} (report's program: {e:.1%})" for t, e in
                    zip(TIMES, expected, strict=True)]  # fmt: skip
        print(f"{name}: {', '.join(measured)}")
    visualize(result).savefig("heat_pinn.png", dpi=120)
