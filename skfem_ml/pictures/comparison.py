"""The figure that compares solutions with a reference: fields, errors, and a section where they differ most."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from numpy.typing import NDArray
from skfem import Mesh

from skfem_ml.meshes.cells import cell_finder
from skfem_ml.pictures.fields import (
    EQUAL_UP_TO,
    LOG_FROM,
    colour_bar,
    plot_cells,
    plot_error,
    plot_nodal,
    shared_norm,
)
from skfem_ml.pictures.style import figure as styled_figure
from skfem_ml.solutions import FEFunction

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Array = NDArray[np.float64]
Solutions = Mapping[str, FEFunction]
ERROR = "$|u - u_\\mathrm{fine}|$\n$/\\, \\max |u_\\mathrm{fine}|$"
DECADES = 4  # of the errors that are shown
VISIBLE = 1e-3  # differences below, relative to the reference's maximum, cannot be seen


class Problem(Protocol):
    """What is drawn of a problem: its mesh, and a scalar coefficient ``(nelems,)``."""

    @property
    def mesh(self) -> Mesh: ...

    @property
    def a(self) -> Array: ...


def comparison_figure(
    problem: Problem,
    reference: tuple[str, FEFunction],
    solutions: Solutions,
    title: str = "",
    errors: Mapping[str, float | None] | None = None,
) -> Figure:
    """Return a figure: coefficient, reference and solutions on one scale, a section, and error maps on one scale.

    ``reference`` is a name and its solution, ``solutions`` two or three more, all on the problem's mesh. Error maps
    show ``|u - r| / max |r|`` on a logarithmic scale of four decades, their titles ``|u - r| / |r|`` in L2, or what
    ``errors`` says by name (for solutions that were sampled from finer ones). The section is the horizontal line
    through the largest difference of the best solution that can be told from the reference. The figure belongs to no
    window: ``figure.savefig(path)``.
    """
    name, r = reference
    scale = float(abs(r.y).max()) or 1.0
    gaps = {label: FEFunction(u.basis, (u.y - r.y) / scale) for label, u in solutions.items()}
    known = errors or {}
    told = {label: _told(known.get(label) or _relative(e, r, scale)) for label, e in gaps.items()}
    everything = {name: r, **solutions}
    one, columns, (width, height) = problem.mesh.dim() == 1, len(solutions) + 2, _panel(problem.mesh)
    # Beside the panels: labels, a bar at the first and the last, titles, the legend.
    size = (8.0, 9.0) if one else ((width + 0.8) * columns + 2.8, 2 * height + 4.2)
    with styled_figure(*size) as figure:
        if one:
            _lines(figure.subplots(3, 1, sharex=True), problem, everything, gaps, told)
        else:
            _panels(figure, problem, everything, gaps, told)
        figure.suptitle(title)
    return figure


def _panels(figure: Figure, problem: Problem, solutions: Solutions, errors: Solutions, told: Mapping[str, str]) -> None:
    """Fields above, errors and the section below."""
    columns = len(solutions) + 1
    grid = figure.add_gridspec(2, columns)
    top = [figure.add_subplot(grid[0, k]) for k in range(columns)]
    below = [figure.add_subplot(grid[1, 2 + k]) for k in range(len(errors))]
    _fields(top, problem, solutions)
    _errors(below, errors, told)
    chosen, at = _where_most(errors)
    _section(figure.add_subplot(grid[1, :2]), solutions, chosen, at)
    if problem.mesh.dim() == 2:
        for ax in [*top[1:], *below]:
            ax.axhline(at[1], color="black", linewidth=0.8)
            ax.axhline(at[1], color="white", linewidth=0.8, linestyle=(0, (4, 4)))


def _panel(mesh: Mesh) -> tuple[float, float]:
    """Width and height of a panel in inches; flat domains get wide ones, or a colour bar would have no room."""
    if mesh.dim() == 1:
        return 2.4, 2.4
    width, height = np.ptp(mesh.p[:2, np.unique(mesh.t)], axis=1)
    ratio = height / width if max(width, height) <= EQUAL_UP_TO * min(width, height) else 1.0
    return (2.4, 2.4 * ratio) if ratio > 0.5 else (1.2 / ratio, 1.2)


def _fields(axes: Sequence[Axes], problem: Problem, solutions: Solutions) -> None:
    drawn = plot_cells(axes[0], problem.mesh, problem.a, norm=shared_norm(problem.a))
    colour_bar(axes[0], drawn, values=problem.a)
    axes[0].set_title("coefficient $a$" + (", middle section" if problem.mesh.dim() == 3 else ""))
    values = [u.y for u in solutions.values()]
    norm = shared_norm(*values, log=False)
    for ax, (label, u) in zip(axes[1:], solutions.items(), strict=True):
        drawn = plot_nodal(ax, u.basis, u.y, norm=norm)
        ax.set_title(_broken(label))
    for ax in axes[2:]:
        ax.set_ylabel("")
    colour_bar(axes[-1], drawn, "$u$", values=np.concatenate(values))


def _errors(axes: Sequence[Axes], errors: Solutions, told: Mapping[str, str]) -> None:
    sizes = [abs(e.y) for e in errors.values()]
    norm = shared_norm(*sizes, log=True, decades=DECADES) if any(size.any() for size in sizes) else None
    for k, (ax, (label, e)) in enumerate(zip(axes, errors.items(), strict=True)):
        drawn = plot_error(ax, e.basis, e.y, norm=norm)
        ax.set_title(f"{_broken(label)}\n{told[label]}")
        ax.set_ylabel("" if k else ax.get_ylabel())
    colour_bar(axes[-1], drawn, ERROR, extend="min")


def _relative(e: FEFunction, r: FEFunction, scale: float) -> float:
    """The relative error in L2; ``e`` is over ``scale``."""
    size, whole = (float(np.sqrt((np.asarray(u.basis.interpolate(u.y)) ** 2 * u.basis.dx).sum())) for u in (e, r))
    return size * scale / (whole or 1.0)


def _told(error: float) -> str:
    return f"error {error:.1e} in L2"


def _broken(label: str) -> str:
    return label.replace(", ", ",\n")


def _where_most(errors: Solutions) -> tuple[str, Array]:
    """The solution nearest to the reference of those that a picture tells from it, and where it differs most.

    Through the largest difference of all, that of the coarsest method, the line may lie where the others are exact.
    """
    largest = {name: float(abs(e.y).max()) for name, e in errors.items()}
    seen = [name for name, size in largest.items() if size >= VISIBLE]
    name = min(seen, key=largest.__getitem__) if seen else max(largest, key=largest.__getitem__)
    e = errors[name]
    return name, np.asarray(e.basis.doflocs[:, int(abs(e.y).argmax())])


def _section(ax: Axes, solutions: Solutions, chosen: str, at: Array) -> None:
    """Draw solutions along the horizontal line through a point; gaps where it leaves the domain."""
    mesh = next(iter(solutions.values())).basis.mesh
    low, high = mesh.p.min(axis=1), mesh.p.max(axis=1)
    x = np.repeat(at[:, None], 801, axis=1)
    x[0] = np.linspace(low[0], high[0], x.shape[1])
    inside = cell_finder(mesh)(x) >= 0
    for k, (name, u) in enumerate(solutions.items()):
        values = np.full(x.shape[1], np.nan)
        values[inside] = u(x[:, inside])
        ax.plot(x[0], values, **_style(k), label=name)
    place = ", ".join(f"{axis} = {value:.3g}" for axis, value in zip("yz", at[1:], strict=False))
    ax.set_title(f"through the largest error of {chosen},\n${place}$" + (" (dashed)" if mesh.dim() == 2 else ""))
    ax.set_xlabel("$x$")
    ax.set_ylabel("$u$")
    ax.grid(True)
    ax.legend(loc="upper center", bbox_to_anchor=(0.5, 0), borderaxespad=3.5, ncols=2, frameon=False)


def _lines(
    axes: Sequence[Axes], problem: Problem, solutions: Solutions, errors: Solutions, told: Mapping[str, str]
) -> None:
    top, middle, bottom = axes
    plot_cells(top, problem.mesh, problem.a, label="coefficient $a$")
    top.set_xlabel("")
    top.set_yscale("log" if problem.a.max() >= LOG_FROM * problem.a.min() else "linear")
    top.ticklabel_format(axis="y", useOffset=False) if top.get_yscale() == "linear" else None
    basis = next(iter(solutions.values())).basis
    order = np.argsort(basis.doflocs[0])
    x = basis.doflocs[0, order]
    for k, (name, u) in enumerate(solutions.items()):
        middle.plot(x, u.y[order], **_style(k), label=name)
    for k, (name, e) in enumerate(errors.items(), start=1):
        shown = np.where(e.y[order] == 0, np.nan, abs(e.y[order]))  # zero has no logarithm
        bottom.semilogy(x, shown, **_style(k), label=f"{name}: {told[name]}")
    middle.set_ylabel("$u$")
    bottom.set_ylabel(ERROR)
    bottom.set_xlabel("$x$")
    for ax in (middle, bottom):
        ax.legend()


def _style(k: int) -> dict[str, Any]:
    """The reference as a broad grey line below the others, which differ by dash as well as by colour."""
    if k == 0:
        return {"color": "0.65", "linewidth": 4}
    return {"color": f"C{k - 1}", "linestyle": ("-", "--", ":", "-.")[k % 4], "linewidth": 1.6}
