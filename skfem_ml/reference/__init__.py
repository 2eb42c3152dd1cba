"""Trusted classical answers to compare with: finite elements and differences, eigenpairs, transfer, ODEs, nulls."""

from skfem_ml.reference.eigen import eig_reference
from skfem_ml.reference.fd import solver_fd
from skfem_ml.reference.fem import coarse_coefficient, solver_fem
from skfem_ml.reference.flow import eig_flow
from skfem_ml.reference.ode import dop853, trajectories
from skfem_ml.reference.rte import rte_dense, rte_ordinates, rte_samples, rte_solve

__all__ = [
    "coarse_coefficient",
    "dop853",
    "eig_flow",
    "eig_reference",
    "rte_dense",
    "rte_ordinates",
    "rte_samples",
    "rte_solve",
    "solver_fd",
    "solver_fem",
    "trajectories",
]
