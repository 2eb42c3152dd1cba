"""Systems by blocks, where the whole does not fit: whole rows of coarse elements, each with the rows its patches see.

``system``    `BlockSystem`: one form with its coefficients, computed block by block
``task``      one block as a pure function of what pickles small; its checksummed file
``rasters``   coefficients that are read by windows
``columns``   the sum of local matrices, in a fixed pattern
"""

from skfem_ml.lod.blocks.system import BlockSystem as BlockSystem

__all__ = ["BlockSystem"]
