"""Graphs that several pictures have: errors over cost, and curves whose legend covers no data."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from matplotlib.axes import Axes

MARKERS = "osD^vP*X<>hp"  # beside the colours, for prints in grey


def plot_work(
    ax: Axes, points: Mapping[str, tuple[float, float] | Iterable[tuple[float, float]]], *, legend: bool = True
) -> None:
    """Draw work and precision: one marker and one colour a method, ``{name: (cost, error)}``, both logarithmic.

    Several pairs of one method are joined by a line. The legend stands below the panel, where it covers no point.
    """
    for k, (name, found) in enumerate(points.items()):
        pairs = [found] if isinstance(found, tuple) else list(found)
        cost, error = zip(*pairs, strict=True)
        ax.loglog(cost, error, f"{MARKERS[k % len(MARKERS)]}-", color=f"C{k}", linewidth=1, label=name)
    grid(ax)
    if legend:
        legend_below(ax)


def grid(ax: Axes) -> None:
    """Put lines at the major ticks of a graph; fields have none."""
    ax.grid(True, which="major")


def legend_below(ax: Axes, columns: int = 2) -> None:
    """Put the legend under the label of the horizontal axis, where it covers no data."""
    # The distance is in font sizes: what has to stay free is text, however tall the panel is.
    ax.legend(loc="upper center", bbox_to_anchor=(0.5, 0), ncols=columns, frameon=False, borderaxespad=3.8)
