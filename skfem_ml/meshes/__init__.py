"""Where the cells of a mesh are: midpoints, boxes, the lattice behind a box mesh, and the cell that holds a point.

Everything here goes by position, never by cell number, so refined meshes and meshes read from files (whose cells come
in any order) are treated alike.
"""

from skfem_ml.meshes import pickled  # noqa: F401 (how forms are pickled is told to copyreg)
from skfem_ml.meshes.cells import (
    bounding_box,
    cell_finder,
    grid_index,
    locate,
    midpoints,
    points_finder,
    reference_coordinates,
    relative_midpoints,
    widths,
)
from skfem_ml.meshes.grading import graded, refined_towards
from skfem_ml.meshes.lattice import Lattice, lattice, mesh_lattice
from skfem_ml.meshes.names import carried
from skfem_ml.meshes.pixels import box_lattice, coarsened, default_refinement, named_sides, pixel_mesh, refinements
from skfem_ml.meshes.rasters import raster_to_cells

__all__ = [
    "Lattice",
    "bounding_box",
    "box_lattice",
    "carried",
    "cell_finder",
    "coarsened",
    "default_refinement",
    "graded",
    "grid_index",
    "lattice",
    "locate",
    "mesh_lattice",
    "midpoints",
    "named_sides",
    "pixel_mesh",
    "points_finder",
    "raster_to_cells",
    "reference_coordinates",
    "refined_towards",
    "refinements",
    "relative_midpoints",
    "widths",
]
