"""The page of what `demos.benchmarks.flows` has measured."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

Results = Mapping[str, Any]
# Published mean squared error of the selected hierarchy, the error of the published reference itself (solve_ivp at rtol
# 1e-3 against DOP853 at 1e-10), and what was aimed at here.
PUBLISHED = {"hyperbolic": 5.1e-8, "cubic": 2e-4, "van-der-pol": 3.2e-3, "hopf": 4.1e-5, "lorenz": 4.1}
THEIR_TRUTH = {"hyperbolic": 1.6e-9, "cubic": 4.5e-5, "van-der-pol": 9.4e-3, "hopf": 6.7e-4, "lorenz": 1.55}
TARGETS = {"hyperbolic": 1e-9, "cubic": 1e-6, "van-der-pol": 1e-6, "hopf": 1e-6, "lorenz": 1e-2}

HEAD = """# Flow maps on five systems, measured

Written by `python -m demos.benchmarks.flows`. Mean squared errors over unknowns and all 5121 times against DOP853 at
rtol 1e-12, on unseen starts (test) and on starts kept aside until the end (acceptance), 320 of each (Lorenz 640): the
mean of all trajectories, the median and the worst one. CPU seconds for all trajectories at all times, the less of both
sets; classical methods are vectorised over trajectories as the networks are.

Networks: 64-64-64 tanh, one step, windows from any time, SOAP, trained from each of the seeds named; **the figures are
those of the worst seed**, the mean of the best one stands beside. Published variant: 128-128-128 ReLU, five steps from
the start alone, Adam, linear interpolation, for the same CPU time (the paper trains for 100000 steps). Hierarchies,
tolerances and the best network are selected on validation starts. The paper couples eleven scales; five suffice here.
Between knots: cubic; where f is known (hybrid, RK4) Hermite.

Adaptive rows take the largest of the five steps that passes, each start on its own; finer maps fill in between. Ours
compares a step with two of the next finer network (`discrepancy`), an estimate of its error; the published AHiTS
(arXiv 2311.05961) goes by how far the step moves the state (`increment_size`), which is no error, and takes one
sequence of steps, found on validation trajectories, for all starts; each start has its own here, which favours it.

{machine}. The machine is shared: seconds may be off by a factor of two, errors are not.
"""


def page(results: Results, names: list[str], machine: str) -> str:
    """``flows.md``."""
    lines = [HEAD.format(machine=machine)]
    done = [name for name in names if f"{name} | classical | 0" in results and learned(results, name)]
    lines += ["## Who wins", "", winners(results, done), ""]
    for name in names:
        body = section(results, name) if name in done else ["Not measured.", ""]
        lines += [f"## {name}", "", *body]
    lines += ["![errors over CPU seconds](flows.png)", ""]
    if "parareal" in results:
        lines += ["## Parareal on van-der-pol", "", *parareal(results["parareal"]), ""]
    if "estimates" in results:
        lines += ["## Error estimates without a truth on van-der-pol", "", *estimates(results["estimates"])]
    return "\n".join([*lines, ""])


def learned(results: Results, name: str) -> dict[str, list[tuple[str, dict]]]:
    """The rows of networks, by name: (seed, row) of all seeds."""
    rows: dict[str, list[tuple[str, dict]]] = {}
    for key, found in results.items():
        system, _, rest = key.partition(" | ")
        if system == name and not rest.startswith("classical"):
            for method, row in found["rows"].items():
                rows.setdefault(method, []).append((rest.rpartition(" | ")[2], row))
    return rows


def worse(row: Mapping[str, Any], what: str = "mean") -> float:
    """The larger of the errors on both sets; NaN where it was not kept."""
    values = [row[split].get(what, float("nan")) for split in ("test", "accept")]
    return float("inf") if None in values else max(values)


def worst(rows: list[tuple[str, dict]]) -> dict:
    """The row of the worst seed."""
    return max((row for _, row in rows), key=worse)


def number(value: float | None) -> str:
    if value is not None and value != value:
        return ""
    return "not finite" if value is None or value == float("inf") else f"{value:.1e}"


def section(results: Results, name: str) -> list[str]:
    """Table and sentence of one system."""
    lines = [
        "| method, steps | test | acceptance | best seed | median | worst trajectory | CPU s | seeds |",
        "|---|---:|---:|---:|---:|---:|---:|---|",
    ]
    rows = learned(results, name)
    for method, found in rows.items():
        row, best = worst(found), min(worse(row) for _, row in found)
        label = method + (f" ({row['note']})" if row["note"] else "")
        seeds = " ".join(sorted(seed for seed, _ in found))
        lines.append(line(label, row, number(best) if len(found) > 1 else "", seeds))
    for method, row in results[f"{name} | classical | 0"]["rows"].items():
        lines.append(line(method, row, "", ""))
    lines.append(f"| *paper, hierarchy, against its own truth* | {PUBLISHED[name]:.1e} | | | | | | |")
    error = worse(worst(rows["hierarchy"]))
    verdict = "reached" if error <= TARGETS[name] else "missed"
    text = f"Aim {TARGETS[name]:.0e}: {verdict} (hierarchy, worst seed, worse of both sets {error:.1e}). The paper's "
    text += f"truth has an error of {THEIR_TRUTH[name]:.1e} itself. {training(results, name)}"
    return [*lines, "", text, ""]


def line(label: str, row: Mapping[str, Any], best: str, seeds: str) -> str:
    cells = [number(row[split]["mean"]) for split in ("test", "accept")]
    cells += [best, number(worse(row, "median")), number(worse(row, "worst"))]
    return "| " + " | ".join([label, *cells, f"{row['seconds']:.3f}", seeds]) + " |"


def training(results: Results, name: str) -> str:
    """What the trainings took."""
    spent = {
        variant: [
            found["training"] for key, found in results.items()
            if key.startswith(f"{name} | {variant} |") and found["training"] is not None
        ]
        for variant in ("ours", "published")
    }  # fmt: skip
    told = [f"{label} {' '.join(f'{s:.0f}' for s in spent[v])}" for v, label in
            (("ours", "ours"), ("published", "published variant")) if spent[v]]  # fmt: skip
    if f"{name} | published | 0" not in results:
        told.append("published variant not run")
    elif results[f"{name} | published | 0"].get("earlier"):
        told[-1] += " (measured earlier, on a quieter machine, without median and worst trajectory)"
    shipped = " Seed 0 is the model of the package." if name == "van-der-pol" else ""
    return f"Training of all five networks, CPU seconds a seed: {', '.join(told) or 'not measured'}.{shipped}"


def winners(results: Results, names: list[str]) -> str:
    """One paragraph: what a user would take, the quickest classical row that is at least as good as the hierarchy."""
    parts = []
    for name in names:
        network = worst(learned(results, name)["hierarchy"])
        rows = results[f"{name} | classical | 0"]["rows"]
        better = {label: row for label, row in rows.items() if worse(row) <= worse(network)}
        if better:
            label = min(better, key=lambda label: better[label]["seconds"])
            speed, error = network["seconds"] / better[label]["seconds"], worse(network) / worse(better[label])
            parts.append(f"{name}, {label}: {speed:.1f} times faster, with {1 / error:.1e} of the error")
    if not names:
        return "Not measured."
    if len(parts) < len(names):
        return "Classical integrators, where they are named: " + "; ".join(parts) + "."
    return (
        "Classical integrators, on every system. The quickest one that is at least as good as the hierarchy (worst "
        f"seed), vectorised over the starts like the networks: {'; '.join(parts)}. Networks of flow maps pay where f "
        "is dear or not known (`allen_cahn.md`)."
    )


def parareal(found: Mapping[str, Any]) -> list[str]:
    """Both coarse maps side by side."""
    starts, network, classical = found["starts"], found["network"], found["RK4"]
    lines = [
        "The network of .64 and RK4 with steps of .08 as the coarse map, RK4 with steps of .01 as the fine one, 80 "
        "slices of 64 fine steps. Ideal speed-up: one processor a slice, the coarse map at its own cost, for "
        f"{starts} starts at once and for one.",
        "",
        f"| coarse map | iteration | mean squared distance to serial RK4 | largest | ideal, {starts} | ideal, 1 |",
        "|---|---:|---:|---:|---:|---:|",
    ]
    for name, one in (("network", network), ("RK4", classical)):
        for k, (square, largest) in enumerate(zip(one["squares"], one["largest"], strict=True)):
            ideal = [f"{values[k - 1]:.2f}" if k else "" for values in one["ideal"]]
            lines.append(f"| {name}, {one['dt']:g} | {k} | {square:.1e} | {largest:.1e} | {' | '.join(ideal)} |")
    count = len(network["squares"]) - 1
    better = sum(classical["squares"][k] < network["squares"][k] for k in range(1, count + 1))
    costs = [f"{a:.1f} and {b:.1f}" for a, b in zip(network["cost"], classical["cost"], strict=True)]
    seconds = f"{network['seconds']:.2f} and {classical['seconds']:.2f} CPU s against {found['serial seconds']:.2f}"
    text = (
        f"RK4 as the coarse map has the smaller distance after {better} of {count} iterations. A slice by the network "
        f"and by coarse RK4 costs, in fine steps, {costs[0]} for {starts} starts; for one start {costs[1]}, which is "
        "what calls of torch and numpy cost, not the arithmetic (17000 operations a slice against some hundreds). On "
        f"one core, vectorised over slices, three iterations take {seconds} in sequence. The fine solution itself is "
        "off by 5.5e-13, so that after two iterations nothing is gained."
    )
    return [*lines, "", text]


def estimates(found: Mapping[str, list[dict]]) -> list[str]:
    """The discrepancy against the true error, and the steps that both rules take."""
    lines = [
        "`|F_2D(x) - F_D(F_D(x))|` beside the true error of F_2D at 2000 states of acceptance trajectories:", "",
        "| step | true error of a step, rms | estimate, rms | within a factor of 3 |", "|---:|---:|---:|---:|",
    ]  # fmt: skip
    for one in found["estimates"]:
        lines.append(f"| {one['dt']:g} | {one['true']:.1e} | {one['estimate']:.1e} | {one['close']:.0%} |")
    lines += ["", "Steps by either rule, for 40 acceptance starts; the smallest step alone takes 640:", ""]
    lines += ["| rule | tol | steps a trajectory | states stepped | mean squared error at its knots |"]
    lines += ["|---|---:|---:|---:|---:|"]
    for one in found["steps"]:
        lines.append(
            f"| `{one['rule']}` | {one['tol']:g} | {one['steps']:.0f} | {one['nfev']:.0f} | {one['error']:.1e} |"
        )
    return lines
