"""Learned super-elements: what a network learns is the energy of a coarse element, not the matrix of a patch.

``cells``       energies of n x n cells from numbers a cell, condensed exactly: positive by construction
``network``     the numbers, from the values of the cells
``labels``      exact energies, on 4 n x 4 n cells and extrapolated, and what whitens them
``families``    of coefficients at the scale of cells
``samples``     labelled elements: of these families, or of a user's fields
``training``    the loss
``symmetries``  of the square, on cells, boundary nodes and moments
``gradient``    derivatives through energies
``judging``     the doubt: how far answers to symmetric images are apart
``model``       `SuperElements`, in the place of a form or of interiors
"""

from skfem_ml.lod.surrogate.elements.judging import ElementJudgement as ElementJudgement
from skfem_ml.lod.surrogate.elements.model import SuperElements as SuperElements
from skfem_ml.lod.surrogate.elements.network import ElementNetwork as ElementNetwork
