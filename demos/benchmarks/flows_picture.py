"""The work-precision picture of `demos.benchmarks.flows`, also from the table that stands in ``flows.md``."""

from __future__ import annotations

# Published mean squared error of the selected hierarchy.
PUBLISHED = {"hyperbolic": 5.1e-8, "cubic": 2e-4, "van-der-pol": 3.2e-3, "hopf": 4.1e-5, "lorenz": 4.1}


def stored(text: str) -> dict[str, dict]:
    """Return the rows of all systems as they stand in the Markdown file, in its digits."""
    results: dict[str, dict] = {}
    for part in text.split("\n## ")[1:]:
        name, rows = part.split("\n", 1)[0], []
        for line in part.splitlines() if name in PUBLISHED else []:
            cells = [cell.strip() for cell in line.strip("|").split("|")]
            if len(cells) == 4 and cells[3].replace(".", "").isdigit():
                accept = None if cells[2] == "not finite" else float(cells[2])
                rows.append({"name": cells[0], "accept": accept, "seconds": float(cells[3])})
        if rows:
            results[name] = {"rows": rows}
    return results


KINDS = {  # beginning of a row's name: label, marker
    "network": ("one network", "o"),
    "hierarchy, ": ("hierarchy", "D"),
    "hierarchy with": ("hierarchy, slopes of f between knots", "d"),
    "hybrid": ("hybrid with RK4", "s"),
    "published": ("published variant", "X"),
    "RK4": ("RK4", "^"),
    "DOP853": ("DOP853", "v"),
}


def visualize(results: dict[str, dict]):
    """Return the work-precision picture, a panel a system."""
    from matplotlib.figure import Figure
    from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator

    figure = Figure(figsize=(2.8 * len(results) + 0.6, 4.4), layout="constrained")
    panels = figure.subplots(1, len(results), sharey=True, squeeze=False)[0]
    for axes, (name, found) in zip(panels, results.items(), strict=True):
        for k, (kind, (label, mark)) in enumerate(KINDS.items()):
            rows = [row for row in found["rows"] if row["name"].startswith(kind) and row["accept"]]
            seconds, errors = [row["seconds"] for row in rows], [row["accept"] for row in rows]
            axes.loglog(seconds, errors, mark, color=f"C{k}", label=label, ms=7, alpha=0.85)
        axes.axhline(PUBLISHED[name], color="0.5", ls=":", label="paper, against its own truth")
        axes.set(title=name, xlabel="CPU seconds, all trajectories", xlim=(0.02, 3))
        axes.xaxis.set_major_locator(FixedLocator([0.03, 0.1, 0.3, 1]))
        axes.xaxis.set_major_formatter(FuncFormatter(lambda x, _: f"{x:g}"))
        axes.xaxis.set_minor_locator(NullLocator())
        axes.grid(True, alpha=0.3)
    panels[0].set_ylabel("mean squared error, acceptance starts")
    figure.legend(*panels[0].get_legend_handles_labels(), loc="outside lower center", ncols=4)
    return figure
