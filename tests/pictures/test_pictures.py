"""Pictures: what is drawn has the values and the place that it should have, on every kind of mesh."""

import io
import math

import matplotlib
import numpy as np
import pytest
from matplotlib.figure import Figure
from PIL import Image
from skfem import Basis, MeshLine, MeshQuad, MeshTet, MeshTri

from skfem_ml.meshes import midpoints
from skfem_ml.pictures import (
    colour_bar,
    comparison_figure,
    figure,
    plot_cells,
    plot_error,
    plot_nodal,
    plot_work,
    save_film,
    shared_norm,
)
from skfem_ml.pictures.fields import log_ticks
from skfem_ml.problems import Diffusion
from skfem_ml.reference import solver_fem
from skfem_ml.solutions import FEFunction
from tests.gallery import all_kinds, l_shape, shuffled, stretched


def axes():
    return Figure().subplots()


def render(ax, tmp_path):
    ax.figure.savefig(tmp_path / "picture.png", dpi=40)
    assert (tmp_path / "picture.png").stat().st_size > 1000


@pytest.mark.parametrize("kind", [*all_kinds(), "triangles"])
def test_every_kind_of_mesh_is_drawn(kind, tmp_path):
    mesh = {**all_kinds(), "triangles": MeshTri().refined(2)}[kind]
    for draw in (
        lambda ax: plot_cells(ax, mesh, np.arange(mesh.t.shape[1]) + 1.0),
        lambda ax: plot_nodal(ax, Basis(mesh, mesh.elem()), mesh.p[0]),
    ):
        ax = axes()
        assert draw(ax) is not None
        assert ax.get_xlabel()
        render(ax, tmp_path)


def test_cells_are_drawn_at_their_place_in_any_order():
    mesh, _ = shuffled(l_shape(), np.random.default_rng(0))
    x = midpoints(mesh)
    drawn = plot_cells(axes(), mesh, 10 * x[0] + x[1])
    table = drawn.get_array().reshape(8, 8)
    place = (np.arange(8) + 0.5) / 4
    expected = 10 * place[None] + place[:, None]
    assert np.ma.getmaskarray(table)[4:, 4:].all() and not np.ma.getmaskarray(table)[:4].any()
    assert np.allclose(np.ma.filled(table - expected, 0), 0)


def test_a_coarse_function_is_sampled_inside_its_cells():
    mesh = stretched(3, 2)
    basis = Basis(mesh, mesh.elem())
    drawn = plot_nodal(axes(), basis, basis.doflocs[0])
    x = drawn.get_coordinates()[0, :, 0]
    assert len(x) > 256 and np.allclose(drawn.get_array().reshape(-1, len(x) - 1)[0], (x[1:] + x[:-1]) / 2)


def test_a_transform_is_applied_to_the_samples():
    basis = Basis(MeshQuad().refined(2), MeshQuad().elem())
    assert plot_nodal(axes(), basis, -np.ones(25), transform=abs).get_array().min() == 1


def test_a_line_is_drawn_as_a_graph():
    mesh = MeshLine(np.array([[0.0, 2.0, 1.0]]), np.array([[0, 2], [2, 1]]))
    line = plot_cells(axes(), mesh, [3.0, 4.0])
    assert np.allclose(line.get_xdata(), [0, 1, 1, 2]) and np.allclose(line.get_ydata(), [3, 3, 4, 4])


def test_long_domains_are_stretched_and_say_so():
    ax = axes()
    plot_cells(ax, stretched(), np.ones(40))
    assert ax.get_aspect() == "auto" and "scale" in ax.get_xlabel()
    ax = axes()
    plot_cells(ax, MeshQuad(), [1.0])
    assert ax.get_aspect() == 1.0


def test_norms_span_all_fields():
    assert type(shared_norm([1, 2], [3, np.nan])).__name__ == "Normalize"
    norm = shared_norm([1, 2], [300])
    assert type(norm).__name__ == "LogNorm" and (norm.vmin, norm.vmax) == (1, 300)
    assert shared_norm([0, 1e-9, 1.0], log=True, decades=4).vmin == pytest.approx(1e-4)
    with pytest.raises(ValueError, match="got none"):
        shared_norm([np.nan])
    with pytest.raises(ValueError, match="positive"):
        shared_norm([0.0], log=True)


@pytest.mark.parametrize("value", [3.0, -3.0, 0.0, 1e-12, 1e9])
def test_a_constant_field_has_one_tick(value):
    """Finding D: the colour bar of a constant field says its value, not "1e-12+3"."""
    figure = Figure()
    ax, mesh = figure.subplots(), MeshQuad().refined(1)
    noisy = value * (1 + 1e-14 * np.arange(4))
    norm = shared_norm(noisy)
    assert norm.vmin < value < norm.vmax and norm(value) == pytest.approx(0.5)
    bar = colour_bar(ax, plot_cells(ax, mesh, noisy, norm=norm), values=noisy)
    figure.draw_without_rendering()
    assert [text.get_text() for text in bar.get_yticklabels()] == [f"{value:.4g}"]
    assert bar.yaxis.get_offset_text().get_text() == ""
    assert shared_norm([2.0, 2.0], log=True)(2.0) == pytest.approx(0.5)


@pytest.mark.parametrize("lengths", [(4, 1), (1, 3), (1, 1), (50, 1)])
def test_a_colour_bar_is_as_tall_as_its_panel(lengths):
    """Finding D: colour bars were twice as tall as the panels of oblong fields."""
    figure = Figure(figsize=(6, 4))
    ax = figure.subplots()
    mesh = MeshQuad.init_tensor(*(np.linspace(0, length, 5) for length in lengths))
    bar = colour_bar(ax, plot_cells(ax, mesh, np.arange(16.0)), "a")
    figure.draw_without_rendering()
    assert bar.get_window_extent().height == pytest.approx(ax.get_window_extent().height)


@pytest.mark.parametrize(("low", "high"), [(1, 49.5), (1, 1000), (1e-3, 1e9), (2.1, 2.9), (1e-5, 1e-1)])
def test_ticks_of_logarithmic_bars_are_few_and_round(low, high):
    ticks = log_ticks(low, high)
    assert 2 <= len(ticks) <= 6 and all(low <= tick <= high for tick in ticks)
    assert low == 2.1 or all(f"{tick:.0e}"[0] in "1235" for tick in ticks)


def test_the_section_goes_through_the_largest_error_of_the_best_solution():
    """Finding A4: the middle may lie on a channel, where LOD looks perfect."""
    mesh = MeshQuad().refined(3)
    problem = Diffusion(mesh, np.ones(64))
    fine = solver_fem()(problem)
    x, bump = fine.basis.doflocs, np.zeros(fine.basis.N)
    bump[np.flatnonzero((x[0] == 0.25) & (x[1] == 0.75))] = 0.1 * fine.y.max()
    others = {
        "exact": FEFunction(fine.basis, fine.y * (1 + 1e-9)),
        "good": FEFunction(fine.basis, fine.y + bump),
        "bad": FEFunction(fine.basis, 2 * fine.y),
    }
    figure = comparison_figure(problem, ("fine", fine), others)
    title = next(ax.get_title() for ax in figure.axes if "largest error" in ax.get_title())
    assert title == "through the largest error of good,\n$y = 0.75$ (dashed)"
    error = next(ax.get_title() for ax in figure.axes if ax.get_title().startswith("bad\nerror"))
    assert error == "bad\nerror 1.0e+00 in L2"  # |2 u - u| / |u|


def test_nothing_overlaps_in_a_comparison():
    """Finding D: titles, labels and legends of all panels keep off one another, on flat and on tall domains."""
    for lengths in ((4, 1), (1, 2), (1, 1)):
        mesh = MeshQuad.init_tensor(*(np.linspace(0, length, 9) for length in lengths))
        problem = Diffusion(mesh, np.exp(np.random.default_rng(1).uniform(0, 5, 64)))
        fine = solver_fem()(problem)
        others = {f"coarse FEM {k}, harmonic mean": FEFunction(fine.basis, fine.y * (1 + 0.1 * k)) for k in (1, 2, 3)}
        figure = comparison_figure(problem, ("fine FEM", fine), others, title="a title")
        figure.draw_without_rendering()
        boxes = [ax.get_tightbbox() for ax in figure.axes]
        for k, first in enumerate(boxes):
            for second in boxes[:k]:
                assert not first.padded(-1).overlaps(second.padded(-1))


def test_what_does_not_fit_is_refused():
    with pytest.raises(ValueError, match=r"expected shape \(4,\), one value per cell, got \(9,\)"):
        plot_cells(axes(), MeshQuad().refined(1), np.ones(9))
    with pytest.raises(ValueError, match="one value per degree of freedom"):
        plot_nodal(axes(), Basis(MeshQuad(), MeshQuad().elem()), np.ones(9))
    with pytest.raises(TypeError, match="in 3D boxes"):
        plot_cells(axes(), MeshTet(), np.ones(MeshTet().t.shape[1]))


@pytest.mark.parametrize("kind", ["line", "quad", "hex", "l_shape", "stretched"])
def test_comparison_shares_scales_among_panels(kind, tmp_path):
    mesh = all_kinds()[kind]
    problem = Diffusion(mesh, np.exp(np.random.default_rng(1).uniform(0, 5, mesh.t.shape[1])))
    fine = solver_fem()(problem)
    others = {f"solver {k}, of {k}": type(fine)(fine.basis, fine.y * (1 + 0.1 * k)) for k in (1, 2)}
    figure = comparison_figure(problem, ("fine", fine), others, title="a title")
    figure.savefig(tmp_path / "comparison.png", dpi=50)
    if mesh.dim() > 1:
        titles = {ax.get_title(): ax for ax in figure.axes if ax.get_title()}
        panels = [ax for name, ax in titles.items() if name.startswith("solver") or name == "fine"]
        errors = [ax for name, ax in titles.items() if "\nerror " in name]
        panels = [ax for ax in panels if ax not in errors]
        assert len(panels) == 3 and len(errors) == 2
        for group in (panels, errors):
            assert len({ax.collections[0].get_clim() for ax in group}) == 1
        assert panels[0].collections[0].get_clim()[1] == pytest.approx(1.2 * fine.y.max())


def picture():
    with figure(4, 3) as drawn:
        ax = drawn.subplots()
        ax.plot([0, 1], [1e-3, 2], label="$u_h$")
        ax.set(xlabel="$x$", ylabel="$u$", title="a title", yscale="log")
        ax.legend()
    return drawn


def saved(drawn):
    buffer = io.BytesIO()
    drawn.savefig(buffer, format="rgba")
    return buffer.getvalue()


def test_a_picture_looks_the_same_whatever_the_user_has_set():
    before, plain = dict(matplotlib.rcParams), saved(picture())
    assert dict(matplotlib.rcParams) == before
    loud = {"font.size": 30, "axes.grid": True, "savefig.dpi": 40, "font.family": "serif", "lines.linewidth": 9}
    with matplotlib.rc_context(loud):
        within = picture()
        assert saved(within) == plain and matplotlib.rcParams["font.size"] == 30
    with matplotlib.rc_context({"xtick.labelsize": 30, "savefig.facecolor": "red", "mathtext.fontset": "cm"}):
        assert saved(within) == plain  # ticks are made when it is drawn, long after the block


def test_a_style_ends_with_its_block_when_the_block_fails():
    before = dict(matplotlib.rcParams)
    with pytest.raises(ZeroDivisionError), figure(4, 3):
        assert matplotlib.rcParams["image.cmap"] == "viridis" and matplotlib.rcParams["mathtext.fontset"] == "stix"
        1 / 0  # noqa: B018
    assert dict(matplotlib.rcParams) == before


def test_an_error_is_drawn_by_its_size_and_zeros_have_a_colour():
    basis = Basis(MeshQuad().refined(2), MeshQuad().elem())
    norm = shared_norm([1e-3, 1.0], log=True)
    drawn = plot_error(axes(), basis, np.where(basis.doflocs[0] > 0.5, -1.0, 0.0), norm=norm)
    values = np.asarray(drawn.get_array())
    assert values.min() == pytest.approx(1e-3) and values.max() == pytest.approx(1) and drawn.get_cmap().name == "magma"


def test_work_is_drawn_with_one_style_a_method_and_a_legend_below():
    with figure(5, 4) as drawn:
        ax = drawn.subplots()
        plot_work(ax, {"one": (1.0, 1e-3), "many": [(1.0, 1e-1), (2.0, 1e-2)]})
    assert [len(line.get_xdata()) for line in ax.lines] == [1, 2]
    assert len({(line.get_color(), line.get_marker()) for line in ax.lines}) == 2
    drawn.draw_without_rendering()
    assert ax.get_legend().get_window_extent().y1 < ax.get_window_extent().y0


@pytest.mark.parametrize("cost", [(1.2, 90.0), (2.0, 3.0), (0.11, 0.9), (1e-3, 1e2), (1.0, 1.0)])
def test_two_powers_of_ten_are_on_every_axis_of_work_and_the_data_stay_there(cost):
    with figure(5, 4) as drawn:
        ax = drawn.subplots()
        plot_work(ax, {"method": [(cost[0], 2e-5), (cost[1], 3e-4)]})
    low, high = ax.get_xlim()
    assert low <= cost[0] and cost[1] <= high and math.floor(math.log10(high)) - math.ceil(math.log10(low)) >= 1
    drawn.draw_without_rendering()
    assert not any(label.get_text() for label in ax.get_xticklabels(minor=True) + ax.get_yticklabels(minor=True))


def test_a_film_has_its_frames_within_its_size(tmp_path):
    with figure(3, 2) as drawn:
        ax = drawn.subplots()
        (point,) = ax.plot([0], [0], "o")
        ax.set(xlim=(0, 4), ylim=(-1, 1), title="a film")
    path = tmp_path / "film.gif"
    save_film(path, drawn, lambda k: point.set_xdata([k]), 4, milliseconds=50)
    with Image.open(path) as film:
        assert film.n_frames == 4 and film.info["loop"] == 0 and film.info["duration"] == 50
        frames = []
        for k in range(4):
            film.seek(k)
            frames.append(np.asarray(film.convert("L")).astype(float))
    assert all((frame[:2] == 255).all() for frame in frames)
    middle = frames[0].shape[0] // 2
    moved = [abs(frame - frames[0])[middle - 25 : middle + 25].max() for frame in frames]
    assert moved[0] == 0 and min(moved[1:]) > 40 and len(set(map(bytes, frames))) == 4
    with pytest.raises(ValueError, match="at most 100 bytes"):
        save_film(path, drawn, lambda k: point.set_xdata([k]), 2, limit=100)
