"""Trusted classical answers to compare with: finite elements and differences, eigenpairs, null models."""

from skfem_ml.reference.eigen import eig_reference
from skfem_ml.reference.fd import solver_fd
from skfem_ml.reference.fem import coarse_coefficient, solver_fem
from skfem_ml.reference.flow import eig_flow

__all__ = ["coarse_coefficient", "eig_flow", "eig_reference", "solver_fd", "solver_fem"]
