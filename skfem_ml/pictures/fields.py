"""Pictures of cellwise and nodal fields: ``plot_cells(ax, mesh, values)`` and ``plot_nodal(ax, basis, y)``.

Meshes of boxes (rectangles, L-shapes, cells of any order) are drawn on the tensor grid behind them, which takes
milliseconds for 10^5 cells; other 2D meshes cell by cell; lines as graphs; hexahedra as the section through the middle
of the third axis. matplotlib is imported by the functions that draw.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from skfem import CellBasis, Mesh, MeshQuad, MeshTri

from skfem_ml.meshes.lattice import Lattice, mesh_lattice
from skfem_ml.solutions import FEFunction

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.colors import Normalize

Array = NDArray[np.float64]
Drawn = Any  # what `colour_bar` takes, of the kinds that matplotlib has for it; on lines a graph
Transform = Callable[[Array], Array]
# All perceptually uniform and readable in grey: a coefficient is not taken for a solution, nor that for an error.
CELLS_CMAP, CMAP, ERROR_CMAP = "cividis", "viridis", "magma"
SAMPLES = 256  # points along the longer axis, at least, when a nodal field is drawn
LOG_FROM = 20.0  # contrast from which positive fields are shown on a logarithmic scale
CONSTANT = 1e-9  # fields that vary by less, relative to their size, are constant
EQUAL_UP_TO = 5.0  # domains longer than this are stretched, or they would be drawn as a thread


def plot_cells(
    ax: Axes, mesh: Mesh, values: ArrayLike, *, cmap: str = CELLS_CMAP, norm: Normalize | None = None, label: str = ""
) -> Drawn:
    """Draw one value per cell, ``(nelems,)``, on matplotlib axes and return what was drawn (for ``figure.colorbar``).

    ``norm`` is a matplotlib norm such as `shared_norm` returns; ``label`` names the quantity where it is an axis (1D).
    Raises ValueError for a wrong length, TypeError for 3D meshes that are not boxes of one grid.
    """
    values = np.asarray(values, dtype=float)
    if values.shape != (mesh.t.shape[1],):
        raise ValueError(f"values: expected shape ({mesh.t.shape[1]},), one value per cell, got {values.shape}")
    frame(ax, mesh, label)
    grid = mesh_lattice(mesh)
    if mesh.dim() == 1:
        return _steps(ax, mesh, values, label)
    if grid is None:
        return _polygons(ax, mesh, values, cmap, norm)
    shown = _middle(grid) if mesh.dim() == 3 else np.ones(len(values), dtype=bool)
    table = np.full(grid.shape[:2], np.nan)
    table[tuple(grid.index[:2, shown])] = values[shown]
    return _table(ax, grid.lines, table, cmap, norm)


def plot_nodal(
    ax: Axes,
    basis: CellBasis,
    y: ArrayLike,
    *,
    cmap: str = CMAP,
    norm: Normalize | None = None,
    label: str = "",
    transform: Transform | None = None,
) -> Drawn:
    """Draw the finite element function with degrees of freedom y, ``(basis.N,)``, and return what was drawn.

    The function is sampled inside the cells of its own mesh, so a coarse one is drawn as the piecewise polynomial that
    it is. ``transform`` is applied to the samples (``abs`` for an error). Raises as `plot_cells`.
    """
    u = FEFunction(basis, np.asarray(y, dtype=float))
    mesh = basis.mesh
    frame(ax, mesh, label)
    grid = mesh_lattice(mesh)
    if grid is None:
        return _triangles(ax, basis, u, cmap, norm, transform)
    lines, points, inside = _samples(grid)
    table = np.full(inside.shape, np.nan)
    samples = u(points[:, inside])
    table[inside] = samples if transform is None else transform(samples)
    if mesh.dim() == 1:
        return ax.plot(points[0], table, label=label or None)[0]
    return _table(ax, lines, table, cmap, norm)


def plot_error(ax: Axes, basis: CellBasis, e: ArrayLike, *, norm: Normalize | None = None) -> Drawn:
    """Draw ``|e|`` of an error with degrees of freedom e, ``(basis.N,)``, in the colours of errors, as `plot_nodal`.

    On a logarithmic ``norm`` what is below its lower end, zeros on the boundary among it, takes the colour of that end.
    """
    low = float(norm.vmin or 0.0) if norm is not None else 0.0
    return plot_nodal(ax, basis, e, cmap=ERROR_CMAP, norm=norm, transform=lambda x: np.maximum(abs(x), low))


def shared_norm(*fields: ArrayLike, log: bool | None = None, decades: float = 8.0) -> Normalize:
    """Return the matplotlib norm that spans all given fields, so that panels share one scale.

    ``log=None`` takes the logarithm for positive fields of contrast 20 and more; ``log=True`` shows at most ``decades``
    decades below the largest value. NaN is left out. Raises ValueError where nothing finite (or positive, for a
    logarithm) is left. A constant field lies in the middle of a scale from a half of it to three halves (twice).
    """
    from matplotlib.colors import LogNorm, Normalize

    values = np.concatenate([np.ravel(np.asarray(field, dtype=float)) for field in fields])
    values = values[np.isfinite(values)]
    if log is None:
        log = bool(values.size and values.min() > 0 and values.max() >= LOG_FROM * values.min())
    if log:
        values = values[values > 0]
    if not values.size:
        raise ValueError(f"fields: expected finite {'positive ' if log else ''}values to span a scale, got none")
    low, high = float(values.min()), float(values.max())
    if high - low <= CONSTANT * abs(high):
        # A scale of no width has no colours, and one of the width of rounding ticks that differ in the tenth digit.
        return LogNorm(low / 2, 2 * low) if log else Normalize(low - (abs(low) or 1.0) / 2, low + (abs(low) or 1.0) / 2)
    return LogNorm(max(low, high * 10.0**-decades), high) if log else Normalize(low, high)


def colour_bar(ax: Axes, drawn: Drawn, label: str = "", *, extend: str = "neither", values: ArrayLike = ()) -> Axes:
    """Put a colour bar to the right of a panel, exactly as tall as the panel, and return its axes.

    ``drawn`` is what a function of this module returned for this panel or for one on the same scale. ``values`` are the
    field, of which a constant one gets its value as the only tick.
    """
    place = ax.inset_axes((1.04, 0.0, 0.05, 1.0))
    bar = ax.figure.colorbar(drawn, cax=place, label=label, extend=extend)
    field = np.ravel(np.asarray(values, dtype=float))
    if field.size and np.ptp(field) <= CONSTANT * abs(field).max():
        bar.minorticks_off()
        place.set_yticks([float(field[0])], [f"{float(field[0]):.4g}"])
        return place
    if type(bar.norm).__name__ != "LogNorm":
        place.ticklabel_format(axis="y", useOffset=False, scilimits=(-3, 4))
        return place
    ticks = log_ticks(*bar.mappable.get_clim())
    bar.minorticks_off()
    place.set_yticks(ticks, [_tick_label(value) for value in ticks])
    return place


def _tick_label(value: float) -> str:
    """Powers of ten beyond 0.001 and 1000 as powers, as matplotlib has them on its axes."""
    exponent = np.log10(value) if value > 0 else 0.0
    far = abs(exponent) > 3.5 and abs(exponent - round(exponent)) < 1e-9
    return f"$10^{{{round(exponent)}}}$" if far else f"{value:.4g}"


def log_ticks(low: float, high: float) -> list[float]:
    """Return at most six round numbers from ``low`` to ``high`` > 0: 1, 2, 5, 10, ..., or powers of ten."""
    decades = np.arange(np.floor(np.log10(low)), np.ceil(np.log10(high)) + 1)
    slack = 1 + 1e-9
    for leads in ((1, 2, 5), (1, 3), (1,)):
        ticks = [lead * 10.0**k for k in decades for lead in leads]
        ticks = [tick for tick in ticks if low / slack <= tick <= high * slack]
        if len(ticks) <= 6:
            break
    ticks = ticks[:: -(-len(ticks) // 6)] if ticks else []
    return ticks if len(ticks) > 1 else [low, high]


def frame(ax: Axes, mesh: Mesh, label: str = "") -> None:
    """Label the axes, and keep the aspect of the domain unless it is longer than 5 to 1."""
    ax.set_xlabel("$x$")
    if mesh.dim() == 1:
        ax.set_ylabel(label)
        return
    ax.set_ylabel("$y$")
    used = mesh.p[:2, np.unique(mesh.t)]
    width, height = np.ptp(used, axis=1)
    if max(width, height) <= EQUAL_UP_TO * min(width, height):
        ax.set_aspect("equal")
    else:
        ax.set_xlabel("$x$ (axes not to one scale)")
    ax.set_xlim(used[0].min(), used[0].max())
    ax.set_ylim(used[1].min(), used[1].max())


def _table(ax: Axes, lines: Sequence[Array], table: Array, cmap: str, norm: Normalize | None) -> Drawn:
    return ax.pcolormesh(lines[0], lines[1], np.ma.masked_invalid(table.T), cmap=cmap, norm=norm, rasterized=True)


def _middle(grid: Lattice) -> NDArray[np.bool_]:
    """Cells of the layer that holds the middle of the third axis."""
    line = grid.lines[2]
    layer = int(np.searchsorted(line, (line[0] + line[-1]) / 2, side="right")) - 1
    return grid.index[2] == layer


def _samples(grid: Lattice) -> tuple[list[Array], Array, NDArray[np.bool_]]:
    """Lines that cut every cell into equal parts, the parts' midpoints ``(dim, ...)``, and which lie in a cell."""
    cuts = max(1, -(-SAMPLES // max(grid.shape)))
    lines = [
        np.append((line[:-1, None] + np.diff(line)[:, None] * np.arange(cuts) / cuts).ravel(), line[-1])
        for line in grid.lines[:2]
    ]
    points = np.stack(np.meshgrid(*((line[1:] + line[:-1]) / 2 for line in lines), indexing="ij"))
    filled = np.zeros(grid.shape[:2], dtype=bool)
    cells = grid.index
    if len(grid.lines) == 3:
        cells = cells[:, _middle(grid)]
        # A hair above the middle: the drawn layer is then the one that the points belong to.
        line = grid.lines[2]
        height = (line[0] + line[-1]) / 2 + 1e-9 * (line[-1] - line[0])
        points = np.concatenate([points, np.full((1, *points.shape[1:]), height)])
    filled[tuple(cells[:2])] = True
    for axis in range(filled.ndim):
        filled = np.repeat(filled, cuts, axis=axis)
    return lines, points, filled


def _steps(ax: Axes, mesh: Mesh, values: Array, label: str) -> Drawn:
    ends = np.sort(mesh.p[0, mesh.t], axis=0)
    order = np.argsort(ends[0])
    return ax.plot(ends[:, order].T.ravel(), np.repeat(values[order], 2), label=label or None)[0]


def _polygons(ax: Axes, mesh: Mesh, values: Array, cmap: str, norm: Normalize | None) -> Drawn:
    from matplotlib.collections import PolyCollection

    if mesh.dim() != 2:
        raise TypeError(f"{type(mesh).__name__}: in 3D boxes of one tensor grid are drawn (MeshHex), nothing else")
    cells = PolyCollection(mesh.p[:, mesh.t].transpose(2, 1, 0), array=values, cmap=cmap, norm=norm, rasterized=True)
    # Without an edge in the face's own colour, antialiasing leaves hairlines between the cells.
    cells.set_edgecolor("face")
    return ax.add_collection(cells)


def _triangles(
    ax: Axes, basis: CellBasis, u: FEFunction, cmap: str, norm: Normalize | None, transform: Transform | None
) -> Drawn:
    from matplotlib.tri import Triangulation

    mesh = basis.mesh
    if not isinstance(mesh, (MeshTri, MeshQuad)):
        raise TypeError(f"{type(mesh).__name__}: in 3D boxes of one tensor grid are drawn (MeshHex), nothing else")
    t = mesh.t if mesh.t.shape[0] == 3 else np.concatenate([mesh.t[[0, 1, 2]], mesh.t[[0, 2, 3]]], axis=1)
    values = u.y[basis.nodal_dofs[0]]
    values = values if transform is None else transform(values)
    return ax.tripcolor(
        Triangulation(mesh.p[0], mesh.p[1], t.T), values, shading="gouraud", cmap=cmap, norm=norm, rasterized=True
    )
