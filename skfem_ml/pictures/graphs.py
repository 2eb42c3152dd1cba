"""Graphs that several pictures have: errors over cost, and curves whose legend covers no data."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from matplotlib.axes import Axes

MARKERS = "osD^vP*X<>hp"  # beside the colours, for prints in grey


def look(k: int) -> dict[str, str]:
    """Colour and marker of the k-th method of a graph, which any ``plot`` takes; both go round, at different paces."""
    return {"color": f"C{k}", "marker": MARKERS[k % len(MARKERS)]}


def plot_work(
    ax: Axes, points: Mapping[str, tuple[float, float] | Iterable[tuple[float, float]]], *, legend: bool = True
) -> None:
    """Draw work and precision: one marker and one colour a method, ``{name: (cost, error)}``, both logarithmic.

    Several pairs of one method are joined by a line. The legend stands below the panel, where it covers no point. What
    else is drawn comes before: the limits are set, see `powers_of_ten`.
    """
    for k, (name, found) in enumerate(points.items()):
        pairs = [found] if isinstance(found, tuple) else list(found)
        cost, error = zip(*pairs, strict=True)
        ax.loglog(cost, error, **look(k), linewidth=1, label=name)
    powers_of_ten(ax)
    grid(ax)
    if legend:
        legend_below(ax)


def powers_of_ten(ax: Axes) -> None:
    """Widen both axes, logarithmic ones, until two powers of ten are on them, which alone are labelled."""
    from matplotlib.ticker import NullFormatter

    for axis, between, limit in ((ax.xaxis, ax.get_xlim(), ax.set_xlim), (ax.yaxis, ax.get_ylim(), ax.set_ylim)):
        low, high = (math.log10(end) for end in between)
        while math.floor(high) - math.ceil(low) < 1:
            below, above = math.ceil(low) - 1, math.floor(high) + 1
            low, high = (below, high) if low - below <= above - high else (low, above)
        limit(10**low, 10**high)
        axis.set_minor_formatter(NullFormatter())  # labels between them lie over one another in a small panel


def grid(ax: Axes) -> None:
    """Put lines at the major ticks of a graph; fields have none."""
    ax.grid(True, which="major")


def legend_below(ax: Axes, columns: int = 2) -> None:
    """Put the legend under the label of the horizontal axis, where it covers no data."""
    # The distance is in font sizes: what has to stay free is text, however tall the panel is.
    ax.legend(loc="upper center", bbox_to_anchor=(0.5, 0), ncols=columns, frameon=False, borderaxespad=3.8)
