"""Pictures of cellwise and nodal fields: ``plot_cells(ax, mesh, values)`` and ``plot_nodal(ax, basis, y)``.

Meshes of boxes (rectangles, L-shapes, cells of any order) are drawn on the tensor grid behind them, which takes
milliseconds for 10^5 cells; other 2D meshes cell by cell; lines as graphs; hexahedra as the section through the middle
of the third axis. matplotlib is imported by the functions that draw.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from skfem import CellBasis, Mesh, MeshQuad, MeshTri

from skfem_ml.meshes.cells import cell_finder
from skfem_ml.meshes.lattice import Lattice, mesh_lattice
from skfem_ml.solutions import FEFunction

Array = NDArray[np.float64]
CMAP = "viridis"  # perceptually uniform, and readable in grey
SAMPLES = 256  # points along the longer axis, at least, when a nodal field is drawn
LOG_FROM = 20.0  # contrast from which positive fields are shown on a logarithmic scale
EQUAL_UP_TO = 5.0  # domains longer than this are stretched, or they would be drawn as a thread


def plot_cells(ax: Any, mesh: Mesh, values: ArrayLike, *, cmap: str = CMAP, norm: Any = None, label: str = "") -> Any:
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
    ax: Any,
    basis: CellBasis,
    y: ArrayLike,
    *,
    cmap: str = CMAP,
    norm: Any = None,
    label: str = "",
    transform: Any = None,
) -> Any:
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


def shared_norm(*fields: ArrayLike, log: bool | None = None, decades: float = 8.0) -> Any:
    """Return the matplotlib norm that spans all given fields, so that panels share one scale.

    ``log=None`` takes the logarithm for positive fields of contrast 20 and more; ``log=True`` shows at most ``decades``
    decades below the largest value. NaN is left out. Raises ValueError where nothing finite (or positive, for a
    logarithm) is left.
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
    if log:
        return LogNorm(max(low, high * 10.0**-decades), high if high > low else low * (1 + 1e-12))
    return Normalize(low, high if high > low else low + (abs(low) or 1.0) * 1e-12)


def frame(ax: Any, mesh: Mesh, label: str = "") -> None:
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


def _table(ax: Any, lines: Any, table: Array, cmap: str, norm: Any) -> Any:
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


def _steps(ax: Any, mesh: Mesh, values: Array, label: str) -> Any:
    ends = np.sort(mesh.p[0, mesh.t], axis=0)
    order = np.argsort(ends[0])
    return ax.plot(ends[:, order].T.ravel(), np.repeat(values[order], 2), label=label or None)[0]


def _polygons(ax: Any, mesh: Mesh, values: Array, cmap: str, norm: Any) -> Any:
    from matplotlib.collections import PolyCollection

    if mesh.dim() != 2:
        raise TypeError(f"{type(mesh).__name__}: in 3D boxes of one tensor grid are drawn (MeshHex), nothing else")
    cells = PolyCollection(mesh.p[:, mesh.t].transpose(2, 1, 0), array=values, cmap=cmap, norm=norm, rasterized=True)
    # Without an edge in the face's own colour, antialiasing leaves hairlines between the cells.
    cells.set_edgecolor("face")
    return ax.add_collection(cells)


def _triangles(ax: Any, basis: CellBasis, u: FEFunction, cmap: str, norm: Any, transform: Any) -> Any:
    mesh = basis.mesh
    if not isinstance(mesh, (MeshTri, MeshQuad)):
        raise TypeError(f"{type(mesh).__name__}: in 3D boxes of one tensor grid are drawn (MeshHex), nothing else")
    t = mesh.t if mesh.t.shape[0] == 3 else np.concatenate([mesh.t[[0, 1, 2]], mesh.t[[0, 2, 3]]], axis=1)
    values = u.y[basis.nodal_dofs[0]]
    values = values if transform is None else transform(values)
    return ax.tripcolor(mesh.p[0], mesh.p[1], t.T, values, shading="gouraud", cmap=cmap, norm=norm, rasterized=True)


def comparison_figure(
    problem: Any, reference: tuple[str, FEFunction], solutions: dict[str, FEFunction], title: str = ""
) -> Any:
    """Return a figure: coefficient, reference and solutions on one scale, a cross-section, and error maps on one scale.

    ``problem`` has ``mesh`` and ``a``, a scalar coefficient ``(nelems,)``; ``reference`` is a name and its solution,
    ``solutions`` two or three more, all on that mesh. Errors are ``|u - r| / max |r|`` on a logarithmic scale of four
    decades. The figure belongs to no window: ``figure.savefig(path)``.
    """
    from matplotlib.figure import Figure  # not pyplot: no window system, no global state
    from matplotlib.layout_engine import ConstrainedLayoutEngine

    name, r = reference
    scale = float(abs(r.y).max()) or 1.0
    errors = {label: FEFunction(u.basis, (u.y - r.y) / scale) for label, u in solutions.items()}
    if problem.mesh.dim() == 1:
        figure = Figure(figsize=(8, 9), layout="constrained")
        figure.suptitle(title)
        return _comparison_of_lines(figure, problem, reference, solutions, errors)
    columns = len(solutions) + 2
    used = np.ptp(problem.mesh.p[:2, np.unique(problem.mesh.t)], axis=1)
    tall = used[1] / used[0] if used.max() <= EQUAL_UP_TO * used.min() else 1.0
    size = (3.3 * columns, 2 * (2.3 * float(np.clip(tall, 0.6, 1.8)) + 1.3))
    # A little more than the usual distance: two-line titles keep off the axis labels above them.
    figure = Figure(figsize=size, layout=ConstrainedLayoutEngine(h_pad=0.1))
    figure.suptitle(title)
    axes = figure.add_gridspec(2, columns)
    top = [figure.add_subplot(axes[0, k]) for k in range(columns)]
    drawn = plot_cells(top[0], problem.mesh, problem.a, norm=shared_norm(problem.a))
    figure.colorbar(drawn, ax=top[0], label="coefficient $a$", location="left")
    norm = shared_norm(r.y, *(u.y for u in solutions.values()), log=False)
    for ax, (label, u) in zip(top[1:], {name: r, **solutions}.items(), strict=True):
        drawn = plot_nodal(ax, u.basis, u.y, norm=norm)
        ax.set_title(label.replace(", ", ",\n"))
    figure.colorbar(drawn, ax=top[1:], label="$u$")
    top[0].set_title("coefficient" + (", middle section" if problem.mesh.dim() == 3 else ""))
    _cross_section(figure.add_subplot(axes[1, :2]), {name: r, **solutions})
    below = [figure.add_subplot(axes[1, 2 + k]) for k in range(len(solutions))]
    norm = shared_norm(*(abs(e.y) for e in errors.values()), log=True, decades=4)
    for ax, (label, e) in zip(below, errors.items(), strict=True):
        # Zeros on the boundary have no logarithm; they take the colour of the scale's lower end.
        drawn = plot_nodal(ax, e.basis, e.y, cmap="magma", norm=norm, transform=lambda v: np.maximum(abs(v), norm.vmin))
        ax.set_title("error of " + label.replace(", ", ",\n"))
    figure.colorbar(drawn, ax=below, label=r"$|u - u_\mathrm{fine}| \,/\, \max |u_\mathrm{fine}|$", extend="min")
    return figure


def _cross_section(ax: Any, solutions: dict[str, FEFunction]) -> None:
    """Draw solutions along the horizontal line through the middle of the domain; gaps where it leaves the domain."""
    mesh = next(iter(solutions.values())).basis.mesh
    low, high = mesh.p.min(axis=1), mesh.p.max(axis=1)
    # A hair off the middle, which is often a grid line.
    x = np.repeat(((low + high) / 2 + 1e-9 * (high - low))[:, None], 801, axis=1)
    x[0] = np.linspace(low[0], high[0], x.shape[1])
    inside = cell_finder(mesh)(x) >= 0
    for k, (name, u) in enumerate(solutions.items()):
        values = np.full(x.shape[1], np.nan)
        values[inside] = u(x[:, inside])
        ax.plot(x[0], values, **_style(k), label=name)
    at = ", ".join(f"{axis} = {place:.3g}" for axis, place in zip("yz", x[1:, 0], strict=False))
    ax.set_title(f"cross-section through the middle, ${at}$")
    ax.set_xlabel("$x$")
    ax.set_ylabel("$u$")
    ax.grid(alpha=0.3)
    ax.legend(loc="upper center", bbox_to_anchor=(0.5, 0), borderaxespad=3.5, ncols=2, frameon=False)


def _comparison_of_lines(
    figure: Any,
    problem: Any,
    reference: tuple[str, FEFunction],
    solutions: dict[str, FEFunction],
    errors: dict[str, FEFunction],
) -> Any:
    top, middle, bottom = figure.subplots(3, 1, sharex=True)
    plot_cells(top, problem.mesh, problem.a, label="coefficient $a$")
    top.set_xlabel("")
    top.set_yscale("log" if problem.a.max() >= LOG_FROM * problem.a.min() else "linear")
    order = np.argsort(reference[1].basis.doflocs[0])
    for k, (name, u) in enumerate({reference[0]: reference[1], **solutions}.items()):
        middle.plot(u.basis.doflocs[0, order], u.y[order], **_style(k), label=name)
    for k, (name, e) in enumerate(errors.items(), start=1):
        errors_shown = np.where(e.y[order] == 0, np.nan, abs(e.y[order]))  # zero has no logarithm
        bottom.semilogy(e.basis.doflocs[0, order], errors_shown, **_style(k), label=name)
    middle.set_ylabel("$u$")
    bottom.set_ylabel(r"$|u - u_\mathrm{fine}| \,/\, \max |u_\mathrm{fine}|$")
    bottom.set_xlabel("$x$")
    middle.legend()  # the panel below has the same lines
    return figure


def _style(k: int) -> dict[str, Any]:
    """The reference as a broad grey line below the others, which differ by dash as well as by colour."""
    if k == 0:
        return {"color": "0.6", "linewidth": 4}
    return {"color": f"C{k - 1}", "linestyle": ("-", "--", ":", "-.")[k % 4], "linewidth": 1.6}
