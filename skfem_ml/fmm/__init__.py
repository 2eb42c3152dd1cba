"""H2-matrices on points and finite element nodes (`network` holds the networks; it alone needs torch)."""

from .skeleton import H2Skeleton, Level

__all__ = ["H2Skeleton", "Level"]
