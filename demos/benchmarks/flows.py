"""Flow maps on the paper's five systems: single scales, hierarchies, hybrids, adaptive steps, RK4, DOP853, parareal.

Run ``python -m demos.benchmarks.flows`` in the root of the source tree; it writes ``flows.md`` and ``flows.png`` beside
this file, from ``flows.json``. Networks and trajectories are kept in ``skfem_ml_output/flows``, rows in the JSON at
once, so a run that was stopped goes on. Names of systems restrict a run to them; ``--table`` writes page and picture of
what there is. ``--ship`` writes the maps of Van der Pol's system (seed 0) as the model of the package; ``--card`` alone
leaves the weights of that model as they are, and writes its card anew: the selection, the box of training, the errors.
Give the number of threads by ``OMP_NUM_THREADS``; times in the tree are for one.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable
from dataclasses import replace
from importlib import resources
from itertools import pairwise
from pathlib import Path

import numpy as np
import torch

from demos.benchmarks.flows_picture import visualize
from demos.benchmarks.flows_tables import learned, page, worse
from skfem_ml.compare import best_of, clocked, machine
from skfem_ml.hits import Box, HiTS, discrepancy, hybrid, increment_size, mean_squared_error, solve_adaptive_each
from skfem_ml.hits.recipe import RECIPES
from skfem_ml.learning.storage import write_whole
from skfem_ml.problems import OdeSystem, ode_systems
from skfem_ml.reference import dop853, trajectories
from skfem_ml.stepping import RK4, PararealResult, Stepper, evolve, parareal

FOLDER, OUTPUT = Path("skfem_ml_output/flows"), Path(__file__)
MODELS = Path(str(resources.files("skfem_ml") / "models" / "hits"))
SEEDS = {"classical": (0,), "ours": (0, 1, 2), "published": (0, 1, 2)}
# Scales 2^k dt, and training steps of our networks.
LEVELS = {**dict.fromkeys(("hyperbolic", "cubic", "van-der-pol", "hopf"), (3, 4, 5, 6, 7)), "lorenz": (4, 5, 6, 7, 8)}
STEPS = {"hyperbolic": 3000, "cubic": 3000, "van-der-pol": 8000, "hopf": 3000, "lorenz": 4000}
SPLITS = {"test": "test", "acceptance": "accept"}  # on the card: the split
RK4_LEVELS = (0, 2, 4)
HYBRID_LEVEL = 2  # RK4 step of the hybrid, 2^k dt, with networks from 2^(k + 3) dt on
TOLERANCES = {discrepancy: (1e-2, 1e-3, 1e-4, 1e-5), increment_size: (1.0, 0.3, 0.1, 0.03)}
SLICES, ITERATIONS, COARSE_RK4 = 80, 3, 8  # steps of RK4 in a slice of .64, as a coarse map
Solve = Callable[[np.ndarray, np.ndarray], np.ndarray]
Pair = tuple[np.ndarray, np.ndarray]


def data(system: OdeSystem, split: str, count: int | None = None) -> Pair:
    """Return times and reference trajectories; of all steps for tests, at the smallest scale for training."""
    every = 1 if split in ("test", "accept") else 2 ** LEVELS[system.name][0]
    kept = FOLDER / "data" if split != "train" else None
    found = trajectories(system, split, count=count, every=every, folder=kept)
    return found.t, found.y


def trained(system: OdeSystem, variant: str, seed: int) -> HiTS:
    """Return the maps of all scales, trained now or read from `FOLDER`; ``card["seconds"]`` are CPU seconds.

    The published variant gets as many CPU seconds as our network of the same scale had. Our maps of Van der Pol's
    system from seed 0 are the model of the package.
    """
    if (system.name, variant, seed) == ("van-der-pol", "ours", 0):
        return HiTS(HiTS.load(system.name).all_maps)
    levels, recipe = LEVELS[system.name], RECIPES[variant]
    paths = [FOLDER / f"{system.name}-{variant}-{k}-{seed}.safetensors" for k in levels]
    steps = [system.dt * 2**k for k in levels]
    if not all(path.exists() for path in paths):
        train, val = data(system, "train"), data(system, "val")
    for j, (flow_map, path) in enumerate(zip(recipe.maps(system.n, steps, seed), paths, strict=True)):
        if path.exists():
            continue
        count = STEPS[system.name]
        if variant == "published":
            ours = FOLDER / f"{system.name}-ours-{levels[j]}-{SEEDS['ours'][-1]}.safetensors"
            with clocked() as trial:
                recipe.train(recipe.maps(system.n, steps, seed)[j], *train, validation=val, steps=100)
            count = max(100, round(HiTS.load(ours).card["seconds"] / trial.cpu * 100))
        with clocked() as spent:
            history = recipe.train(flow_map, *train, validation=val, steps=count, seed=seed + j)
        HiTS([flow_map]).save(path, system=system.name, seconds=spent.cpu, steps=count, loss=history.best)
        print(f"{path.stem}: {count} steps, {spent.cpu:.0f} s, loss {history.best:.1e}", flush=True)
    loaded = [HiTS.load(path) for path in paths]
    hits = HiTS([one.maps[0] for one in loaded])
    hits.card = {"seconds": sum(one.card["seconds"] for one in loaded)}
    return hits


def scales(hits: HiTS) -> str:
    return " ".join(f"{m.dt:g}" for m in hits.maps[::-1])


def by(system: OdeSystem, hits: HiTS, kind: str) -> Solve:
    return lambda y0, t: hits.predict(t, y0, interpolation=kind, f=system.rhs).y


def ours(system: OdeSystem, hits: HiTS, val: Pair) -> dict[str, tuple[Solve, str]]:
    """Return the rows of our networks: name -> ``solve(y0, t) -> y``, and what was chosen on validation starts."""
    chosen, stepper = hits.select(*val), RK4(system.rhs, system.dt * 2**HYBRID_LEVEL, timed=False)
    coarse = [m for m in hits.maps if m.dt >= 8 * stepper.dt * (1 - 1e-9)]
    joined = hybrid(HiTS(coarse).select(*val), stepper)
    rows = {f"network, {m.dt:g}": (by(system, HiTS([m]), "cubic"), "") for m in reversed(hits.maps)}
    rows["hierarchy"] = by(system, chosen, "cubic"), scales(chosen)
    rows["hierarchy with f between knots"] = by(system, chosen, "hermite"), scales(chosen)
    rows["hybrid"] = by(system, joined, "hermite"), f"{scales(joined)}, RK4 last"
    names = {discrepancy: "adaptive, by the discrepancy of scales", increment_size: "adaptive, as published (AHiTS)"}
    for estimate, tolerances in TOLERANCES.items():
        t, y = val[0], val[1][:40]
        found = {tol: square(adaptive(hits, estimate, tol)(y[..., 0], t), y)["mean"] for tol in tolerances}
        errors = {tol: np.inf if error is None else error for tol, error in found.items()}
        best = min(errors, key=errors.__getitem__)
        rows[names[estimate]] = adaptive(hits, estimate, best), f"tol {best:g}"
    return rows


def adaptive(hits: HiTS, estimate: Callable, tol: float) -> Solve:
    """All scales, each start with steps of its own; the finer maps fill in between them."""

    def solve(y0: np.ndarray, t: np.ndarray) -> np.ndarray:
        found = solve_adaptive_each(HiTS(hits.maps), (t[0], t[-1]), y0, tol, estimate)
        return np.stack([np.full((y0.shape[1], len(t)), np.nan) if r.status else r.sol(t) for r in found])

    return solve


def published(system: OdeSystem, hits: HiTS, val: Pair) -> dict[str, tuple[Solve, str]]:
    """Return the rows of the published variant."""
    theirs = hits.select(*val, interpolation="linear")
    best = min(hits.maps, key=lambda m: mean_squared_error(HiTS([m]), *val, interpolation="linear"))
    return {
        "published variant, best network": (by(system, HiTS([best]), "linear"), f"{best.dt:g}"),
        "published variant, hierarchy": (by(system, theirs, "linear"), scales(theirs)),
    }


def classical(system: OdeSystem) -> dict[str, tuple[Solve, str]]:
    """Return the rows without networks."""
    rows: dict[str, tuple[Solve, str]] = {}
    for k in RK4_LEVELS:
        dt = system.dt * 2**k
        rows[f"RK4, {dt:g}"] = by(system, HiTS([RK4(system.rhs, dt, timed=False)]), "hermite"), ""
    for rtol in (1e-4, 1e-7, 1e-10):
        rows[f"DOP853, rtol {rtol:g}"] = (lambda y0, t, rtol=rtol: dop853(system, y0, t, rtol, rtol).y), ""
    rows["start, unchanged (null)"] = (lambda y0, t: np.repeat(y0[..., None], len(t), axis=-1)), ""
    return rows


def square(found: np.ndarray, y: np.ndarray) -> dict[str, float | None]:
    """Mean squared errors: of all trajectories, of the median and of the worst one; None where not finite."""
    each = np.mean((found - y) ** 2, axis=(1, 2))
    values = {"mean": np.mean(each), "median": np.median(each), "worst": np.max(each)}
    return {name: float(v) if np.isfinite(v) else None for name, v in values.items()}


def measured(system: OdeSystem, results: dict, variant: str, seed: int) -> None:
    """Measure rows of one variant and seed that are not in the results: errors on both sets, CPU seconds."""
    key = f"{system.name} | {variant} | {seed}"
    if key in results and not results[key].get("earlier"):
        return
    val, hits = data(system, "val"), None if variant == "classical" else trained(system, variant, seed)
    made = {"ours": ours, "published": published}
    with np.errstate(over="ignore", invalid="ignore"):
        rows = classical(system) if hits is None else made[variant](system, hits.double(), val)
        found = {}
        for name, (solve, note) in rows.items():
            row: dict = {"note": note, "seconds": np.inf}
            for split in ("test", "accept"):
                t, y = data(system, split)
                with clocked() as spent:
                    values = solve(y[..., 0], t)
                row["seconds"] = min(row["seconds"], spent.cpu)
                row[split] = square(values, y)
            found[name] = row
            print(f"{key}: {name} {row}", flush=True)
    trained_for = None if hits is None else hits.card.get("seconds")
    keep(results, key, {"rows": found, "training": trained_for})


def keep(results: dict, key: str, value: object) -> None:
    """Add to the results, and write them."""
    results[key] = value
    write_whole(OUTPUT.with_suffix(".json"), json.dumps(results, indent=0).encode())


def corrected(system: OdeSystem) -> dict:
    """Parareal with our network and with RK4 of large steps as the coarse map, RK4 as the fine one."""
    y0, length = data(system, "accept")[1][..., 0], system.t_end / SLICES
    network = next(m for m in trained(system, "ours", 0).double().maps if abs(m.dt - length) < 1e-9)
    coarse = {"network": network, "RK4": RK4(system.rhs, length / COARSE_RK4, timed=False)}
    fine = RK4(system.rhs, system.dt, timed=False)
    serial, alone = best_of(lambda: evolve(fine, y0, system.t_end, every=round(length / fine.dt)).y)
    found: dict = {"serial seconds": alone.cpu, "starts": len(y0)}
    for name, G in coarse.items():
        done, spent = best_of(lambda G=G: parareal(G, fine, (0, system.t_end), y0, SLICES, ITERATIONS))
        costs = [cost(G, starts) / cost(fine, starts) for starts in (y0, y0[:1])]
        gaps = [y - serial for y in done.iterates]
        found[name] = {
            "dt": G.dt, "cost": [done.coarse_per_slice * c for c in costs], "seconds": spent.cpu,
            "squares": [float(np.mean(gap**2)) for gap in gaps], "largest": [float(abs(gap).max()) for gap in gaps],
            "ideal": [speed_ups(done, c) for c in costs],
        }  # fmt: skip
    return found


def cost(stepper: Stepper, y0: np.ndarray) -> float:
    """CPU seconds of a step from so many starts at once."""
    return best_of(lambda: [stepper.step(y0) for _ in range(50)], 5)[1].cpu / 50


def speed_ups(done: PararealResult, cost: float) -> list[float]:
    """The ideal speed-up after each iteration, with one processor a slice and the coarse map at its own cost."""
    return [replace(done, corrections=done.corrections[:k]).ideal_speedup(cost) for k in range(1, done.iterations + 1)]


def estimates(system: OdeSystem, starts: int = 40) -> dict[str, list[dict]]:
    """The discrepancy of two scales against the true error of a step, at 2000 states; then steps chosen by both rules.

    Errors of the latter are those at the knots of ``starts`` trajectories.
    """
    (t, y), rng, found, taken = data(system, "accept"), np.random.default_rng(0), list[dict](), list[dict]()
    hits = trained(system, "ours", 0).double()
    for estimate, tolerances in TOLERANCES.items():
        for tol in tolerances:
            each = solve_adaptive_each(HiTS(hits.maps), (0, system.t_end), y[:starts, :, 0], tol, estimate)
            knots = [np.rint(one.t / system.dt).astype(int) for one in each]
            gaps = [one.y - truth[:, at] for one, truth, at in zip(each, y, knots, strict=False)]
            error = np.mean([np.mean(gap**2) for gap in gaps])
            row = {"steps": float(np.mean([one.steps for one in each])), "nfev": each[0].nfev / starts}
            taken.append({"rule": estimate.__name__, "tol": tol, "error": float(error), **row})
    for coarse, fine in pairwise(hits.maps):
        ahead = round(coarse.dt / system.dt)
        which, when = rng.integers(len(y), size=2000), rng.integers(len(t) - ahead, size=2000)
        far, estimate = discrepancy(coarse, fine, y[which, :, when])
        true = np.linalg.norm(far - y[which, :, when + ahead], axis=1)
        close = float(np.mean(abs(np.log(estimate / true)) < np.log(3)))
        rms = [float(np.sqrt(np.mean(e**2))) for e in (true, estimate)]
        found.append({"dt": coarse.dt, "true": rms[0], "estimate": rms[1], "close": close})
    return {"estimates": found, "steps": taken}


def ship(system: OdeSystem, maps: HiTS, steps: int, results: dict) -> None:
    """Write maps of one system as a model of the package: selection, box of training and errors on its card.

    Beside its own errors stand those of all seeds that were measured, the worse of both sets.
    """
    path = MODELS / f"{system.name}.safetensors"
    hits = HiTS(maps.all_maps)
    hits.box = Box.of(*data(system, "train"))
    hits = hits.select(*data(system, "val"))
    errors = {name: mean_squared_error(hits, *data(system, split)) for name, split in SPLITS.items()}
    MODELS.mkdir(exist_ok=True)
    hits.card = {"system": system.name, "seed": 0, "steps": steps, "script": "demos.benchmarks.flows"}
    seeds = {seed: worse(row) for seed, row in sorted(learned(results, system.name).get("hierarchy", []))}
    hits.save(path, **{"mean squared error": errors, "seeds": seeds})
    print(f"{path.name}: {hits}, {hits.box}, {errors}")


def main(arguments: list[str]) -> None:
    """Train and measure what is missing, then write page and picture."""
    threads = os.environ.get("OMP_NUM_THREADS", "")
    torch.set_num_threads(int(threads) if threads.isdigit() else torch.get_num_threads())
    FOLDER.mkdir(parents=True, exist_ok=True)
    systems, path = ode_systems(), OUTPUT.with_suffix(".json")
    oscillator = systems["van-der-pol"]
    results = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    if {"--ship", "--card"} & set(arguments):
        ship(oscillator, trained(oscillator, "ours", 0), STEPS[oscillator.name], results)
        return
    names = [] if "--table" in arguments else [name for name in LEVELS if name in arguments] or list(LEVELS)
    for variant, seeds in SEEDS.items():
        for seed in seeds:
            for name in names:
                measured(systems[name], results, variant, seed)
    if oscillator.name in names:
        for key, make in (("parareal", corrected), ("estimates", estimates)):
            if key not in results:
                keep(results, key, make(oscillator))
    write_whole(OUTPUT.with_suffix(".md"), page(results, list(LEVELS), machine()).encode())
    visualize(results, list(LEVELS)).savefig(OUTPUT.with_suffix(".png"), dpi=90)


if __name__ == "__main__":
    main(sys.argv[1:])
