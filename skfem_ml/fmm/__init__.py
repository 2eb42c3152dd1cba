"""H2-matrices on points and finite element nodes.

Networks on their graph are in `network` (FMMNet) and `deep` (DeepFMMNet), those they are compared with in `multiscale`
and `fno`, the training in `learning`, files in `models`: these need torch. `regression` holds classical regressions.
"""

from .operator import H2Operator, Storage
from .skeleton import H2Skeleton, Level

__all__ = ["H2Operator", "H2Skeleton", "Level", "Storage"]
