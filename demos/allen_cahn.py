r"""Allen-Cahn: networks on POD coefficients, and parareal
======================================================

Networks step 80 coefficients in place of 4225 finite element unknowns, and parareal repairs what they are off by.

On the unit square with natural boundary conditions, :math:`\varepsilon = 0.1` and bilinear elements on 64 x 64 cells,

.. math::

    u_t = \varepsilon^2 \Delta u + u - u^3, \qquad M u' + K u = F(u), \quad F(u)_i = \int (u - u^3) v_i .

Starts are random combinations of nine products of cosines, scaled to a largest value drawn from (0.3, 1): a family.
Networks see 200 of them, and are judged at t = 4 on others. With modes V of a proper orthogonal decomposition (POD),
:math:`V^T M V = 1`, and :math:`c = V^T M u`, they take steps of 0.5:

- POD network: :math:`c \mapsto c + N(c)`, N a tanh network;
- remainder: :math:`u \mapsto L u + V N(c)`, L one step of backward Euler for the linear part;
- splitting network: two substeps of an operator splitting on c, its matrices trained. Its untrained form is a classical
  method, and stands in the table as such.

The square has eight symmetries and the equation is odd: every trajectory is sixteen, which is free data. What the modes
cut off is an error no network on c can repair ("POD, best possible"). Parareal repairs it: networks step in sequence,
and the finite element stepper runs on all slices at once, until its own solution is reached.

Null models: the start left as it is, and the linear step alone.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from skfem_ml.compare import best_of
from skfem_ml.hits import ReducedMap, ReducedNetworks, allen_cahn_reaction, splitting_flow, train_reduced
from skfem_ml.pictures import colour_bar, figure, grid, legend_below, nodal_film, plot_error, plot_nodal, shared_norm
from skfem_ml.reference import AllenCahnFamily
from skfem_ml.stepping import IMEX, POD, Stepper, allen_cahn_energy, evolve, parareal

T_END, DT, FINE = 4.0, 0.5, 0.1  # FINE: the classical stepper that makes the data, and parareal's fine propagator
LEVEL, MODES = 6, 80
STEPS = {"POD network": 500, "remainder": 500, "splitting network": 1000}  # of training
BOUND = "POD, best possible"
SEED = 0


@dataclass
class Row:
    """Errors at the end, mean and worst, and CPU milliseconds a start in a batch of all."""

    name: str
    mean: float
    worst: float
    milliseconds: float


@dataclass
class Result:
    """Trajectories, networks, what was measured, and parareal's relative distance to its fine stepper by iteration."""

    setting: AllenCahnFamily
    nets: ReducedNetworks
    rows: list[Row]
    to_fine: np.ndarray

    def film_strip(self) -> tuple[np.ndarray, np.ndarray]:
        """Of the test start with the sharpest interface at the end, exact and by the network, ``(times, n)``."""
        k = int(np.argmax(self.setting.exact[:, -1].std(axis=1)))
        flow = evolve(self.nets.splitting, self.nets.pod.encode(self.setting.test[k]), T_END)
        return self.setting.exact[k], self.nets.pod.decode(flow.y.T)


def last(stepper: Stepper, pod: POD | None = None) -> Callable[[np.ndarray], np.ndarray]:
    """The state at the end, by a stepper of states, or of coefficients: encode once, step, decode once."""

    def run(u: np.ndarray) -> np.ndarray:
        z = u if pod is None else pod.encode(u)
        for _ in range(round(T_END / stepper.dt)):
            z = stepper.step(z)
        return z if pod is None else pod.decode(z)

    return run


def compute(
    level: int = LEVEL, modes: int = MODES, counts: tuple[int, int, int] = (100, 20, 16), steps: dict[str, int] = STEPS
) -> Result:
    setting = AllenCahnFamily(level, counts, t_end=T_END, dt=DT, step=FINE, seed=SEED)
    semi, pod, test = setting.semi, setting.pod(modes), setting.test
    untrained, split = (splitting_flow(setting.basis, pod, semi.K, DT, allen_cahn_reaction) for _ in range(2))
    states = setting.train, setting.validation
    nets = train_reduced(semi, pod, states, split, setting.images, steps, seed=SEED)
    runs = {
        "start, left as it is": lambda u: u,
        "linear step alone, dt = 0.5": last(nets.remainder.linear),
        "ars443, dt = 0.25": last(IMEX(semi, 0.25)),
        "ars443, dt = 0.125": last(IMEX(semi, 0.125)),
        BOUND: lambda u: pod.decode(pod.encode(setting.exact[:, -1])),
        "POD network": last(nets.dense, pod),
        "remainder": last(nets.remainder),
        "splitting, untrained": last(untrained, pod),
        "splitting network": last(nets.splitting, pod),
    }
    rows = []
    for name, run in runs.items():
        errors, spent = setting.errors(run(test)), best_of(lambda run=run: run(test), 3)[1]
        rows.append(Row(name, errors.mean(), errors.max(), 1e3 * spent.cpu / len(test)))

    fine, u0 = IMEX(semi, FINE), test[:8]
    iterates = parareal(ReducedMap(pod, nets.splitting), fine, (0, T_END), u0, round(T_END / DT)).iterates
    end = last(fine)(u0)
    to_fine = [(setting.norm(u[..., -1] - end) / setting.norm(end)).mean() for u in iterates]
    return Result(setting, nets, rows, np.array(to_fine))


def visualize(result: Result | None = None):
    """A film strip of one unseen start, exact, and the error of the network; energy; work; iterations of parareal."""
    result = compute() if result is None else result
    setting, (exact, learned), shown = result.setting, result.film_strip(), [0, 1, 2, 4, 8]
    errors = {i: abs(learned[i] - exact[i]) for i in shown[1:]}
    scale, error_scale = shared_norm(exact[shown], log=False), shared_norm(*errors.values(), log=True, decades=3)
    with figure(16, 11.5) as picture:
        rows = picture.add_gridspec(3, 5, height_ratios=(1, 1, 1.25))
        for column, i in enumerate(shown):
            axes = picture.add_subplot(rows[0, column])
            drawn = plot_nodal(axes, setting.basis, exact[i], norm=scale)
            axes.set_title(f"$u$ at $t = {DT * i:g}$")
        colour_bar(axes, drawn, "$u$")
        for column, (i, error) in enumerate(errors.items(), start=1):
            axes = picture.add_subplot(rows[1, column])
            drawn = plot_error(axes, setting.basis, error, norm=error_scale)
            off = setting.norm(error[None]) / setting.norm(exact[i][None])
            axes.set_title(f"network, {100 * off[0]:.2g} % off")
        colour_bar(axes, drawn, r"$|u_{\mathrm{network}} - u|$", extend="min")
        lower = rows[2, :].subgridspec(1, 3)
        draw_graphs([picture.add_subplot(lower[k]) for k in range(3)], result)
    return picture


def draw_graphs(panels, result: Result) -> None:
    """Energy over time; errors over cost of all but the null models; parareal."""
    left, middle, right = panels
    energy, t = allen_cahn_energy(result.setting.basis, result.setting.eps), DT * np.arange(round(T_END / DT) + 1)
    for states, style, name in zip(
        result.film_strip(), ("-", "o"), ("finite elements", "splitting network"), strict=True
    ):
        left.plot(t, [energy(u) for u in states], style, label=name)
    left.set(title="energy", xlabel="time $t$", ylabel="energy")
    for row, mark in zip([row for row in result.rows[2:] if row.name != BOUND], "osD^vP*", strict=False):
        middle.loglog(row.milliseconds, row.mean, mark, ms=8, label=row.name)
    middle.axhline(next(row.mean for row in result.rows if row.name == BOUND), color="0.5", ls="--", label=BOUND)
    middle.set(
        title="work and precision", xlabel="CPU ms a start, in a batch", ylabel="relative $L^2$ error at $t = 4$"
    )
    right.semilogy(np.maximum(result.to_fine, 1e-16), "o-", label="coarse: splitting network")
    right.set(title="parareal", xlabel="iteration", ylabel="relative $L^2$ distance to the fine stepper")
    for axes in panels:
        grid(axes)
        legend_below(axes)


def animate(result: Result, path: str = "allen_cahn.gif") -> None:
    """A film: finite elements in steps of FINE beside the network, which takes one step in the time of five."""
    (exact, learned), setting = result.film_strip(), result.setting
    fine, t = evolve(IMEX(setting.semi, FINE), exact[0], T_END).y.T, FINE * np.arange(round(T_END / FINE) + 1)
    held = learned[np.floor(t / DT + 1e-9).astype(int)]
    nodal_film(path, setting.basis, {"finite elements": fine, "splitting network": held}, t)


if __name__ == "__main__":
    result = compute()
    print(f"{'error at t = 4:':30s} mean, worst; CPU ms a start")
    for row in result.rows:
        print(f"{row.name:30s} {row.mean:.1e}, {row.worst:.1e}; {row.milliseconds:.2g}")
    print("wall seconds of training:", ", ".join(f"{name} {s:.0f}" for name, s in result.nets.seconds.items()))
    print("parareal, distance to the fine stepper:", ", ".join(f"{e:.1e}" for e in result.to_fine))
    visualize(result).savefig("allen_cahn.png")
    animate(result)
    told = [row for row in result.rows if row.name in (*STEPS, "ars443, dt = 0.25")]
    print("error at t = 4:", ", ".join(f"{row.name} {row.mean:.0e} in {row.milliseconds:.2g} ms" for row in told))
