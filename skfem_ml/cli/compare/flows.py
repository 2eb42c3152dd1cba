"""``skfem-ml compare flows [SYSTEM]``: flow maps beside classical integrators, all of them vectorised over starts."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import TYPE_CHECKING, Annotated, Any

import typer

from skfem_ml.cli import options as opt
from skfem_ml.cli.run import Comparison, run_comparison
from skfem_ml.cli.screen import Screen

if TYPE_CHECKING:
    from skfem_ml.compare import Table
    from skfem_ml.hits import HiTS
    from skfem_ml.problems import InitialValueProblem, OdeSystem
    from skfem_ml.progress import Progress

REFERENCE = "DOP853, rtol 1e-12"
JUDGED = "error L2"
NETWORKS, CLASSICAL = "networks", "classical"
TOL = 1e-3  # of the adaptive steps


def flows(
    screen: Screen,
    system: Annotated[
        str, typer.Argument(help="harmonic, hyperbolic, cubic, van-der-pol, hopf or lorenz.")
    ] = "van-der-pol",
    model: Annotated[
        list[str] | None,
        typer.Option(
            "--model",
            help="A trained hierarchy: name of a shipped one (skfem-ml models) or its file. Default: SYSTEM. Several, "
            "trained from several seeds: the worst is shown.",
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

    chosen, trained = systems[system], [HiTS.load(one, system=system) for one in model or [system]]
    told: dict[str, str] = {}
    rows = Comparison(
        "flows", lambda: _problem(chosen, starts, times, seed), lambda _: {"models": trained}, REFERENCE,
        tabulate=partial(_tabulate, told), remarks=lambda table: told,
    )  # fmt: skip
    run_comparison(rows, output, screen)


def _problem(system: OdeSystem, starts: int, times: int, seed: int) -> InitialValueProblem:
    import numpy as np

    from skfem_ml.problems import InitialValueProblem

    y0 = system.draw("test", np.random.default_rng(seed), starts)
    return InitialValueProblem(system, y0, np.linspace(0, system.t_end, times + 1))


def _tabulate(
    told: dict[str, str], problem: InitialValueProblem, asked: Mapping[str, Any], progress: Progress
) -> Table:
    """The table of all rows, the worst model of each; ``told`` gets the remarks, by row."""
    from skfem_ml.compare import compare, seeded, worst_of_seeds

    models: list[HiTS] = asked["models"]
    progress(0, 1, "scales selected on validation starts")
    numbers = [int(hits.card.get("seed", k)) for k, hits in enumerate(models)]
    seeds = numbers if len(set(numbers)) == len(numbers) else list(range(len(models)))
    made = {seed: network_rows(problem.system, hits) for seed, hits in zip(seeds, models, strict=True)}
    rows: dict[str, Callable] = {}
    for name in made[seeds[0]]:
        rows |= seeded(name, lambda seed, name=name: made[seed][name], seeds)
    groups = {NETWORKS: rows, CLASSICAL: classical_rows(problem.system)}
    table = worst_of_seeds(compare(problem, groups, reference=REFERENCE, progress=progress))
    steps = sorted({f"{hits.card['steps']} steps a map" for hits in models if "steps" in hits.card})
    for name in made[seeds[0]]:
        told[name] = ", ".join([f"seed{'s' if len(seeds) > 1 else ''} {' '.join(map(str, seeds))}", *steps])
    told["hierarchy"] = ", ".join([told["hierarchy"], *_spread(models[0])])
    told[""] = winner(table)
    return table


def _spread(hits: HiTS) -> list[str]:
    """What the card says of the same training from other seeds."""
    errors = hits.card.get("seeds") or {}
    told = " ".join(f"{error:.1e}" for error in errors.values())
    return [f"mean squared errors of seeds {' '.join(errors)} where they were measured: {told}"] if errors else []


def network_rows(system: OdeSystem, hits: HiTS) -> dict[str, Callable]:
    """Return the rows of a trained hierarchy; scales are selected on validation starts."""
    from skfem_ml.hits import HiTS, hybrid
    from skfem_ml.reference import trajectories
    from skfem_ml.stepping import RK4

    found = trajectories(system, "val", count=50, every=round(hits.all_maps[-1].dt / system.dt))
    unit = 4 * system.dt
    coarse = HiTS([m for m in hits.all_maps if m.dt >= 4 * unit] or hits.all_maps[:1])
    joined = hybrid(coarse.select(found.t, found.y), RK4(system.rhs, unit, timed=False))
    return {
        **{f"network, dt = {m.dt:g}": _rolled(HiTS([m]), "cubic") for m in hits.all_maps[::-1]},
        "hierarchy": _rolled(hits.select(found.t, found.y), "cubic"),
        f"hybrid, RK4 {unit:g} below": _rolled(joined, "hermite"),
        f"adaptive, tol {TOL:g}": partial(_adaptive, HiTS(hits.all_maps)),
    }


def classical_rows(system: OdeSystem) -> dict[str, Callable]:
    """Return the rows without networks, the reference first."""
    from skfem_ml.reference import dop853
    from skfem_ml.stepping import RK4, Hierarchy

    rows: dict[str, Callable] = {REFERENCE: lambda p: dop853(p.system, p.y0, p.t, 1e-12, 1e-12)}
    for k in (4, 8, 16):
        rk4 = RK4(system.rhs, k * system.dt, timed=False)
        rows[f"RK4, dt = {rk4.dt:g}"] = _rolled(Hierarchy([rk4]), "hermite")
    for rtol in (1e-4, 1e-7):
        rows[f"DOP853, rtol {rtol:g}"] = lambda p, rtol=rtol: dop853(p.system, p.y0, p.t, rtol, rtol)
    return rows


def _rolled(hierarchy: Any, kind: str) -> Callable:
    return lambda p: hierarchy.predict(p.t, p.y0, interpolation=kind, f=p.system.rhs)


def _adaptive(hits: HiTS, problem: InitialValueProblem) -> object:
    """Steps by the discrepancy of scales, for every start its own; the finer maps fill in between them."""
    import numpy as np

    from skfem_ml.stepping import OdeResult, solve_adaptive_each

    found = solve_adaptive_each(hits, (problem.t[0], problem.t[-1]), problem.y0, TOL)
    if not all(one.success and one.sol for one in found):
        raise FloatingPointError(next(one.message for one in found if not (one.success and one.sol)))
    y = np.stack([one.sol(problem.t) for one in found if one.sol])
    return OdeResult(problem.t, y, 0, "reached the end", max(one.steps for one in found), None, found[0].nfev)


def winner(table: Table) -> str:
    """One sentence: the best row of networks, and the quickest classical row that is at least as good."""
    sound = [(row[JUDGED] or 0.0, row.cpu_seconds or 0.0, row) for row in table if not row.failure]
    networks = [found for found in sound if found[2].group == NETWORKS]
    if not networks:
        return "no row of networks is finite."
    error, seconds, best = min(networks, key=lambda found: found[0])
    better = [found for found in sound if found[2].group == CLASSICAL and found[2].name != REFERENCE]
    better = [found for found in better if found[0] <= error]
    if not better:
        return f"best: {best.name}; no classical row here has its error."
    quick = min(better, key=lambda found: found[1])
    return (
        f"wins: {quick[2].name}, {quick[0]:.1e} in {quick[1]:.2g} CPU s; the best row of networks, {best.name}, has "
        f"{error:.1e} in {seconds:.2g}."
    )
