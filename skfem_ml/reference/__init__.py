"""Trusted classical answers to compare with: fine and coarse finite elements, null models."""

from skfem_ml.reference.fem import coarse_coefficient, solver_fem

__all__ = ["coarse_coefficient", "solver_fem"]
