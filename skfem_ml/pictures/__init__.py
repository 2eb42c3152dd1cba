"""Cellwise and nodal fields on matplotlib axes, errors over cost, and the figure that compares solutions.

``with figure(8, 4) as picture`` draws in the package's style, see `style`; fields are in `fields`, graphs in `graphs`.
"""

from skfem_ml.pictures.comparison import comparison_figure
from skfem_ml.pictures.fields import colour_bar, frame, plot_cells, plot_error, plot_nodal, shared_norm
from skfem_ml.pictures.film import nodal_film, save_film
from skfem_ml.pictures.graphs import grid, legend_below, plot_work
from skfem_ml.pictures.style import figure, style

__all__ = [
    "colour_bar",
    "comparison_figure",
    "figure",
    "frame",
    "grid",
    "legend_below",
    "nodal_film",
    "plot_cells",
    "plot_error",
    "plot_nodal",
    "plot_work",
    "save_film",
    "shared_norm",
    "style",
]
