"""Coefficients: one positive value per cell of a mesh, ``(nelems,)``, in the mesh's own cell order.

Every function here locates cells by position, so the order of a mesh's cells does not matter. Families are drawn with
a ``rng`` that is passed in; fields come from images, tables and mesh files; `validate` is the check that everything
which accepts a coefficient makes first.
"""

from skfem_ml.coefficients.files import from_file, from_image
from skfem_ml.coefficients.gaussian import log_normal
from skfem_ml.coefficients.grids import checkerboard, iid_multilevel
from skfem_ml.coefficients.limits import Limits
from skfem_ml.coefficients.raster import read_raster
from skfem_ml.coefficients.shapes import channels, cracks, inclusions
from skfem_ml.coefficients.validation import validate
from skfem_ml.meshes.rasters import raster_to_cells

__all__ = [
    "Limits",
    "channels",
    "checkerboard",
    "cracks",
    "from_file",
    "from_image",
    "iid_multilevel",
    "inclusions",
    "log_normal",
    "raster_to_cells",
    "read_raster",
    "validate",
]
