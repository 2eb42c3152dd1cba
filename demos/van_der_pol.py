r"""Van der Pol's oscillator by a hierarchy of networks
===================================================

Flow maps of five step sizes, coupled: errors of single steps, parareal in time, and what it all costs.

For the oscillator

.. math:: x' = y, \qquad y' = 2 (1 - x^2) y - x, \qquad 0 \le t \le 51.2 ,

networks :math:`F_k` approximate the flow maps of the steps :math:`2^k / 100`, k = 3, ..., 7 (shipped with the package).
A small step follows the curve, but its errors add up; a large one gets far with few errors, but says nothing in
between. The hierarchy (Liu, Kutz and Brunton 2022) takes the largest step first and lets each finer network advance all
knots at once.

Its error stays what the networks' is. *Parareal* removes it: between the knots of a network as coarse propagator G the
classical RK4 method F runs on all slices in parallel,

.. math:: U_{n+1}^{k+1} = G(U_n^{k+1}) + F(U_n^k) - G(U_n^k) ,

and a few iterations give the solution of RK4 to rounding. On as many cores as slices the ideal speed-up is slices over
iterations, where G costs nothing; it is shown for G at its own cost, beside that of RK4 with steps of 0.08 as G, which
is the more accurate one after every iteration. On one core there is more work than in sequence, in longer vectors.

The last panel is sobering: on an equation whose right-hand side costs nothing, RK4 and DOP853, vectorised over starts
like the networks, win by far. Networks pay where steps are dear or the equation is not known.
"""

from dataclasses import dataclass

import numpy as np

from skfem_ml.compare import best_of, clocked
from skfem_ml.hits import HiTS, hybrid
from skfem_ml.pictures import figure, grid, legend_below, plot_work
from skfem_ml.problems import van_der_pol
from skfem_ml.reference import dop853, trajectories
from skfem_ml.stepping import RK4, OdeResult, PararealResult, Stepper, evolve, parareal

STARTS, SLICES, ITERATIONS = 100, 80, 4
RK4_STEPS = (0.02, 0.04, 0.08, 0.16)
COARSE = 0.08  # of RK4 as a coarse propagator
SMOOTH = 1.28  # for the picture
TOLERANCES = (1e-3, 1e-5, 1e-7, 1e-9)
KINDS = ("network", "hierarchy", "hybrid", "RK4", "DOP853")
LINES = (("C0", "--"), ("C1", "-."), ("C3", (0, (5, 1))), ("C2", ":"), ("C4", "-"), ("black", "-"))  # of single steps
SEED = 1  # of the starts


@dataclass
class Run:
    """States ``(starts, 2, k)`` at all times, and CPU seconds."""

    y: np.ndarray
    seconds: float

    def error(self, truth: np.ndarray) -> float:
        """Mean squared error over starts, unknowns and times."""
        return float(np.mean((self.y - truth) ** 2))


@dataclass
class Result:
    """Truth, runs by name, and parareal by coarse propagator with the serial solution at the ends of its slices."""

    truth: OdeResult
    runs: dict[str, Run]
    corrected: dict[str, PararealResult]
    costs: dict[str, float]  # CPU seconds of a coarse step over those of a fine one
    serial: np.ndarray

    def gaps(self, coarse: str = "network") -> np.ndarray:
        """Mean squared distance of every iterate of parareal from serial RK4."""
        return np.array([np.mean((y - self.serial) ** 2) for y in self.corrected[coarse].iterates])


def compute(starts: int = STARTS, slices: int = SLICES, every: int = 1) -> Result:
    """Run everything on unseen starts; values at every ``every``-th of the 5120 times."""
    system = van_der_pol()
    truth = trajectories(system, "test", seed=SEED, count=starts, every=every)
    hits = HiTS.load("van-der-pol", system=system.name)
    validation = trajectories(system, "val", count=50, every=8)
    coarse = HiTS([m for m in hits.all_maps if m.dt > 0.3]).select(validation.t, validation.y)
    hierarchies = {
        **{f"network, {m.dt:g}": HiTS([m]) for m in hits.all_maps[::-1]},
        f"hierarchy, {hits.maps[-1].dt:g} to {hits.dt:g}": hits,
        f"hybrid, RK4 below {coarse.maps[-1].dt:g}": hybrid(coarse, RK4(system.rhs, 0.04, timed=False)),
        **{f"RK4, {dt:g}": HiTS([RK4(system.rhs, dt, timed=False)]) for dt in RK4_STEPS},
    }
    y0, t = truth.y[..., 0], truth.t
    runs = {}
    for name, stepper in hierarchies.items():
        # Where f is known, its slopes at the knots are used between them.
        kind = "hermite" if "RK4" in name else "cubic"
        with clocked() as spent:
            y = stepper.predict(t, y0, interpolation=kind, f=system.rhs).y
        runs[name] = Run(y, spent.cpu)
    for rtol in TOLERANCES:
        with clocked() as spent:
            y = dop853(system, y0, t, rtol, rtol).y
        runs[f"DOP853, {rtol:g}"] = Run(y, spent.cpu)
    # In double precision: the corrections are small differences of steps of G.
    network = next(m for m in hits.double().all_maps if m.dt <= system.t_end / slices * (1 + 1e-9))
    coarse = {"network": network, "RK4": RK4(system.rhs, COARSE, timed=False)}
    fine = RK4(system.rhs, system.dt, timed=False)
    serial = evolve(fine, y0, system.t_end, every=round(system.t_end / slices / fine.dt))
    corrected = {name: parareal(G, fine, (0, system.t_end), y0, slices, ITERATIONS) for name, G in coarse.items()}
    unit = cost(fine, y0)
    return Result(truth, runs, corrected, {name: cost(G, y0) / unit for name, G in coarse.items()}, serial.y)


def cost(stepper: Stepper, y0: np.ndarray) -> float:
    """CPU seconds of a step of all starts."""
    return best_of(lambda: [stepper.step(y0) for _ in range(20)], 3)[1].cpu / 20


def visualize(result: Result | None = None):
    """Phase portrait, error over time, parareal over iterations, accuracy over cost."""
    result = compute() if result is None else result
    truth, hierarchy, early = result.truth, result.runs[lead(result)], result.truth.t <= 12
    with figure(13, 11) as picture:
        (phase, errors), (iterations, work) = picture.subplots(2, 2)
        some, found = (y[:8, :, early].transpose(1, 2, 0) for y in (truth.y, hierarchy.y))
        lines = phase.plot(*some, color="0.78", lw=4)[0], phase.plot(*found, color="C0", lw=1)[0]
        lines += tuple(phase.plot(*some[:, 0], "ko", ms=4))
        phase.set(xlabel="$x$", ylabel="$y$", title=r"phase portrait, $t \leq 12$")
        phase.legend(lines, ("DOP853", lead(result), "start"), loc="upper left")
        over_time(errors, result)
        over_iterations(iterations, result)
        kinds = {kind: [(run.seconds, run.error(truth.y)) for name, run in result.runs.items()
                        if name.startswith(kind)] for kind in KINDS}  # fmt: skip
        plot_work(work, kinds, legend=False)
        work.set(title="accuracy against cost", ylabel="mean squared error")
        work.set_xlabel(f"CPU seconds for {len(truth.y)} starts, {len(truth.t)} times")
        for axes in (errors, iterations, work):
            grid(axes)
            legend_below(axes, 3 if axes is work else 2)
    return picture


def lead(result: Result) -> str:
    return next(name for name in result.runs if name.startswith("hierarchy"))


def over_time(axes, result: Result) -> None:
    """The mean squared error, as a running mean: between knots it goes up and down."""
    width = max(1, round(SMOOTH / result.truth.t[1]))
    mean = lambda values: np.convolve(values, np.full(width, 1 / width), mode="valid")
    shown = [name for name in result.runs if name.startswith(("network", "hierarchy"))]
    for name, (colour, dashes) in zip(shown, LINES, strict=True):
        error = mean(np.mean((result.runs[name].y - result.truth.y) ** 2, axis=(0, 1)))
        axes.semilogy(mean(result.truth.t), error, ls=dashes, color=colour, label=name)
    axes.set(xlabel="time $t$", ylabel=f"mean squared error, mean over {SMOOTH:g} time units")
    axes.set(title="single steps and the hierarchy")


def over_iterations(axes, result: Result) -> None:
    """Distance from serial RK4 by iteration; rounding is where it ends."""
    for (name, done), mark in zip(result.corrected.items(), "o^", strict=True):
        gaps, ideal = np.maximum(result.gaps(name), 1e-34), done.ideal_speedup(result.costs[name])
        label = f"coarse: {name}, ideal speed-up {ideal:.1f} after {done.iterations}"
        axes.semilogy(np.arange(len(gaps)), gaps, f"{mark}-", label=label)
    axes.axhline(1e-12, color="0.5", ls=":", label="$10^{-12}$")
    axes.set(xlabel="iteration", ylabel="mean squared distance from serial RK4")
    axes.set(title=f"parareal, {len(done.t) - 1} slices", xticks=np.arange(len(gaps)))


if __name__ == "__main__":
    result = compute()
    for name, run in result.runs.items():
        print(f"{name}: mean squared error {run.error(result.truth.y):.1e}, {run.seconds:.3f} CPU s")
    for name, done in result.corrected.items():
        gaps = ", ".join(f"{gap:.1e}" for gap in result.gaps(name))
        ideal = f"{done.ideal_speedup():.0f}, at its own cost {done.ideal_speedup(result.costs[name]):.1f}"
        print(f"parareal with {name}, distance from serial RK4 by iteration: {gaps}; ideal speed-up {ideal}")
    visualize(result).savefig("van_der_pol.png")
    shown = {name: result.runs[name] for name in (lead(result), "RK4, 0.04", "DOP853, 1e-05")}
    told = ", ".join(f"{name}: {run.error(result.truth.y):.0e} in {run.seconds:.2f} s" for name, run in shown.items())
    print(f"mean squared error of {told}")
