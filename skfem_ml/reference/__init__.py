"""Trusted classical answers to compare with: finite elements and differences, eigenpairs, transfer, ODEs, nulls."""

from skfem_ml.reference.cylinder import CylinderFlow, cylinder_mesh
from skfem_ml.reference.eigen import eig_reference, l_shape_eigenvalues
from skfem_ml.reference.fd import ForwardEuler, solver_fd
from skfem_ml.reference.fem import coarse_coefficient, solver_fem
from skfem_ml.reference.fem_heat import solver_fem_heat
from skfem_ml.reference.flow import eig_flow
from skfem_ml.reference.kuramoto import ETDRK4, KuramotoSivashinsky
from skfem_ml.reference.ode import dop853, trajectories
from skfem_ml.reference.operators import coefficient_samples, load_samples
from skfem_ml.reference.phase_field import AllenCahnFamily
from skfem_ml.reference.rte import rte_dense, rte_ordinates, rte_samples, rte_scattering, rte_solve
from skfem_ml.reference.samples import custom_kernel, custom_samples, transfer_samples
from skfem_ml.reference.sequences import (
    kuramoto_sivashinsky,
    solver_analogue,
    solver_linear,
    solver_mean,
    solver_persistence,
)

__all__ = [
    "ETDRK4",
    "AllenCahnFamily",
    "CylinderFlow",
    "ForwardEuler",
    "KuramotoSivashinsky",
    "coarse_coefficient",
    "coefficient_samples",
    "custom_kernel",
    "custom_samples",
    "cylinder_mesh",
    "dop853",
    "eig_flow",
    "eig_reference",
    "kuramoto_sivashinsky",
    "l_shape_eigenvalues",
    "load_samples",
    "rte_dense",
    "rte_ordinates",
    "rte_samples",
    "rte_scattering",
    "rte_solve",
    "solver_analogue",
    "solver_fd",
    "solver_fem",
    "solver_fem_heat",
    "solver_linear",
    "solver_mean",
    "solver_persistence",
    "trajectories",
    "transfer_samples",
]
