"""Systems by blocks, where the whole does not fit: whole rows of coarse elements, each with the rows its patches see.

``system``    `BlockSystem`: one form with its coefficients, computed block by block
``task``      one block as a pure function of what pickles small; its checksummed file
``identity``  forms, local maps and networks as hashes that another process finds again
``workers``   blocks on threads or on processes of dask: `local_client`, tries, what failed
``solver``    `solver_blocks`: whole problems, the matrix by processes on this machine
``tries``     so many pieces of work at a time, each tried up to three times
``repeats``   equal patches, of which one is solved
``estimate``  what a run will cost: `Estimate`
``rasters``   coefficients that are read by windows
``columns``   the sum of local matrices, in a fixed pattern
"""

from skfem_ml.lod.blocks.estimate import BlockSample as BlockSample
from skfem_ml.lod.blocks.estimate import Estimate as Estimate
from skfem_ml.lod.blocks.solver import solver_blocks as solver_blocks
from skfem_ml.lod.blocks.system import BlockSystem as BlockSystem
from skfem_ml.lod.blocks.workers import BlocksFailedError as BlocksFailedError
from skfem_ml.lod.blocks.workers import Computed as Computed
from skfem_ml.lod.blocks.workers import local_client as local_client

__all__ = ["BlockSample", "BlockSystem", "BlocksFailedError", "Computed", "Estimate", "local_client", "solver_blocks"]
