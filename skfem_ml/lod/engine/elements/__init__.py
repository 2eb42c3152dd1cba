"""Coarse quads as bordered matrices on their boundary nodes: step (4) of the page `skfem_ml.lod.engine`.

``layout``      the order of nodes, and how blocks of cells merge
``condenser``   `ElementCondenser`: the interior of elements eliminated exactly, and recovered
``traces``      elements condensed on a finer mesh, onto the boundary nodes of the fine mesh alone
``interiors``   their energies, condensed or extrapolated, in the place of the exact ones
``energies``    `EnergyCondenser`: what has energies of its own in the place of an exact interior
"""

from skfem_ml.lod.engine.elements.condenser import ElementCondenser as ElementCondenser
from skfem_ml.lod.engine.elements.energies import added_stiffness as added_stiffness
from skfem_ml.lod.engine.elements.energies import element_source as element_source
from skfem_ml.lod.engine.elements.interiors import CondensedInteriors as CondensedInteriors
from skfem_ml.lod.engine.elements.interiors import ExtrapolatedInteriors as ExtrapolatedInteriors
from skfem_ml.lod.engine.elements.layout import CORNERS as CORNERS
from skfem_ml.lod.engine.elements.layout import boundary_nodes as boundary_nodes
