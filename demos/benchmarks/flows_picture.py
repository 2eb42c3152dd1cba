"""The work-precision picture of `demos.benchmarks.flows`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from demos.benchmarks.flows_tables import PUBLISHED, learned, worse, worst
from skfem_ml.pictures import figure, grid

KINDS = {  # beginning of a row's name: label, marker
    "network": ("one network", "o"),
    "hierarchy": ("hierarchy", "D"),
    "hybrid": ("hybrid with RK4", "s"),
    "adaptive, by": ("adaptive, by the discrepancy", "P"),
    "adaptive, as": ("adaptive, as published", "p"),
    "published": ("published variant", "X"),
    "RK4": ("RK4", "^"),
    "DOP853": ("DOP853", "v"),
}


def visualize(results: Mapping[str, Any], names: list[str]):
    """Return the work-precision picture, a panel a system; networks by their worst seed."""
    from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator

    shown = [name for name in names if f"{name} | classical | 0" in results]
    with figure(2.8 * len(shown) + 0.6, 5.2) as picture:
        panels = picture.subplots(1, len(shown), sharex=True, sharey=True, squeeze=False)[0]
        for axes, name in zip(panels, shown, strict=True):
            rows = {method: worst(found) for method, found in learned(results, name).items()}
            rows |= results[f"{name} | classical | 0"]["rows"]
            for k, (kind, (label, mark)) in enumerate(KINDS.items()):
                points = [(row["seconds"], worse(row)) for method, row in rows.items() if method.startswith(kind)]
                seconds, errors = zip(*points, strict=True) if points else ((), ())
                axes.loglog(seconds, errors, mark, color=f"C{k}", label=label)
            axes.axhline(PUBLISHED[name], color="0.5", ls=":", label="paper, against its own truth")
            axes.set(title=name, xlabel="CPU seconds")
            axes.xaxis.set_major_locator(FixedLocator([0.01, 0.1, 1, 10]))
            axes.xaxis.set_major_formatter(FuncFormatter(lambda x, _: f"{x:g}"))
            axes.xaxis.set_minor_locator(NullLocator())
            grid(axes)
        panels[0].set_ylabel("mean squared error, worst seed, worse set")
        handles = panels[0].get_legend_handles_labels()
        picture.legend(*handles, loc="outside lower center", ncols=5, frameon=False)
        picture.suptitle("error against CPU seconds for all trajectories")
    return picture
