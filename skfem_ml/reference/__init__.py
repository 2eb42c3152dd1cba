"""Trusted classical answers to compare with: finite elements and differences, eigenpairs, transfer, null models."""

from skfem_ml.reference.eigen import eig_reference
from skfem_ml.reference.fd import solver_fd
from skfem_ml.reference.fem import coarse_coefficient, solver_fem
from skfem_ml.reference.flow import eig_flow
from skfem_ml.reference.nlse import nlse_samples, nlse_solve, nlse_spectral
from skfem_ml.reference.operators import Samples, coefficient_samples, load_samples
from skfem_ml.reference.rte import rte_dense, rte_ordinates, rte_samples, rte_solve

__all__ = [
    "Samples",
    "coarse_coefficient",
    "coefficient_samples",
    "eig_flow",
    "eig_reference",
    "load_samples",
    "nlse_samples",
    "nlse_solve",
    "nlse_spectral",
    "rte_dense",
    "rte_ordinates",
    "rte_samples",
    "rte_solve",
    "solver_fd",
    "solver_fem",
]
