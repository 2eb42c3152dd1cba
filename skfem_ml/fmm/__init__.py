"""H2-matrices on points and finite element nodes (`network` holds the networks; it alone needs torch)."""

from .operator import H2Operator, Storage
from .skeleton import H2Skeleton, Level

__all__ = ["H2Operator", "H2Skeleton", "Level", "Storage"]
