"""Cellwise and nodal fields on matplotlib axes, and the figure that compares solutions; see `fields`."""

from skfem_ml.pictures.comparison import comparison_figure
from skfem_ml.pictures.fields import colour_bar, frame, plot_cells, plot_nodal, shared_norm

__all__ = ["colour_bar", "comparison_figure", "frame", "plot_cells", "plot_nodal", "shared_norm"]
