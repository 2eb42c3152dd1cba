"""``skfem-ml compare flows [SYSTEM]``: flow maps beside classical integrators, all of them vectorised over starts."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Annotated

import typer

from skfem_ml.cli import options as opt
from skfem_ml.cli.run import Comparison, Solvers, run_comparison
from skfem_ml.cli.screen import Screen

if TYPE_CHECKING:
    from skfem_ml.hits import HiTS
    from skfem_ml.problems import InitialValueProblem, OdeSystem

REFERENCE = "DOP853, rtol 1e-12"


def flows(
    screen: Screen,
    system: Annotated[
        str, typer.Argument(help="harmonic, hyperbolic, cubic, van-der-pol, hopf or lorenz.")
    ] = "van-der-pol",
    model: Annotated[
        str | None,
        typer.Option(
            "--model", help="A trained hierarchy: name of a shipped one (skfem-ml models) or its file. Default: SYSTEM."
        ),
    ] = None,
    starts: Annotated[int, typer.Option("--starts", help="Number of unseen starts.")] = 100,
    times: Annotated[int, typer.Option("--times", help="Number of equal intervals of output.")] = 1280,
    seed: Annotated[int, typer.Option("--seed", min=0, help="Seed of the starts.")] = 1,
    output: opt.Output = opt.OUTPUT,
) -> None:
    """Compare networks of single steps, their hierarchy, the hybrid with RK4, RK4 and DOP853 on unseen starts.

    Errors are relative to DOP853 at 1e-12, root mean squares over starts and times, and at the end. Writes table
    (CSV, Markdown, JSON) and the work-precision picture (PNG) into the output folder. A hierarchy of another system is
    trained by: skfem-ml train hits SYSTEM.
    """
    from skfem_ml.problems import ode_systems

    systems = ode_systems()
    if system not in systems:
        raise ValueError(f"system: expected one of {', '.join(sorted(systems))}, got {system!r}")
    if starts < 1 or times < 1:
        raise ValueError(f"starts, times: expected at least 1, got {starts} and {times}")
    from skfem_ml.hits import HiTS

    chosen, hits = systems[system], HiTS.load(model or system, system=system)
    rows = Comparison(
        "flows", lambda: _problem(chosen, starts, times, seed), lambda _: flow_solvers(chosen, hits), REFERENCE
    )
    run_comparison(rows, output, screen)


def _problem(system: OdeSystem, starts: int, times: int, seed: int) -> InitialValueProblem:
    import numpy as np

    from skfem_ml.problems import InitialValueProblem

    y0 = system.draw("test", np.random.default_rng(seed), starts)
    return InitialValueProblem(system, y0, np.linspace(0, system.t_end, times + 1))


def flow_solvers(system: OdeSystem, hits: HiTS) -> Solvers:
    """Return the rows of ``compare flows``; scales are selected on validation starts."""
    from skfem_ml.hits import HiTS, hybrid
    from skfem_ml.reference import dop853, trajectories
    from skfem_ml.stepping import RK4

    found = trajectories(system, "val", count=50, every=round(hits.all_maps[-1].dt / system.dt))
    chosen = hits.select(found.t, found.y)
    unit = 4 * system.dt
    coarse = HiTS([m for m in hits.all_maps if m.dt >= 4 * unit] or hits.all_maps[:1])
    steppers = {
        **{f"network, dt = {m.dt:g}": HiTS([m]) for m in hits.all_maps[::-1]},
        f"hierarchy, {chosen.maps[-1].dt:g} to {chosen.dt:g}": chosen,
        f"hybrid, RK4 {unit:g} below": hybrid(coarse.select(found.t, found.y), RK4(system.rhs, unit, timed=False)),
        **{f"RK4, dt = {k * unit:g}": HiTS([RK4(system.rhs, k * unit, timed=False)]) for k in (1, 2, 4)},
    }

    def rolled(hits: HiTS, name: str) -> Callable:
        kind = "hermite" if "RK4" in name else "cubic"
        return lambda problem: hits.predict(problem.t, problem.y0, interpolation=kind, f=problem.system.rhs)

    rows: Solvers = {REFERENCE: lambda p: dop853(p.system, p.y0, p.t, 1e-12, 1e-12)}
    rows |= {name: rolled(stepper, name) for name, stepper in steppers.items()}
    for rtol in (1e-4, 1e-7):
        rows[f"DOP853, rtol {rtol:g}"] = lambda p, rtol=rtol: dop853(p.system, p.y0, p.t, rtol, rtol)
    return rows
