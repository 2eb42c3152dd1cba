"""Localized orthogonal decomposition on Q1 meshes: the complete public list."""

from .interpolation import CLEMENT, NODAL, PROJECTION, Interpolation
from .solver import solver_lod
from .space import LOD

__all__ = ["CLEMENT", "LOD", "NODAL", "PROJECTION", "Interpolation", "solver_lod"]
