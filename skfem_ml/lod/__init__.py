"""Localized orthogonal decomposition on Q1 meshes: the complete public list.

A coarse basis whose forms are assembled so that the fine scales of a coefficient are in the matrix:

``method``       `LOD`: the coarse basis with its fine mesh, patches and Dirichlet part
``system``       `System`: one form with one set of coefficients; how a coefficient becomes a matrix is told there
``local``        `LocalMap`: what may stand in the place of a form; `Known`, `GeometricMean`
``extrapolation`` `Extrapolated`: exact matrices of two fine meshes, and what they are worth
``coarse``       the coarse system: whether S is definite, and its solution
``solver``       `solver_lod`, `solver_coarse`: whole problems
``gradient``     derivatives of exact matrices and of coarse solutions
``judging``      errors of local maps on given fields
``mesh``         grids, patches, boundary, interpolation, forms and loads on the fine mesh
``blocks``       `BlockSystem`: a system by blocks of coarse rows, where the whole does not fit
``engine``       who solves for the correctors
``slod``         `SLOD`: super-localised functions, one an element, for hundreds of loads
``surrogate``    networks in the place of correctors
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
