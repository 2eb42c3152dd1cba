"""Physics-informed learners: networks and random features with hard boundary data, strong and weak; eigen-networks."""

from skfem_ml.pinn.distances import box_distance, fe_distance, fe_lift
from skfem_ml.pinn.eigen_networks import eig_neural
from skfem_ml.pinn.elm import RandomFeatures, solver_elm
from skfem_ml.pinn.solver import solver_pinn, solver_vpinn
from skfem_ml.pinn.subspace import eig_subspace
from skfem_ml.pinn.trial import LearnedSolution, Trial

__all__ = [
    "LearnedSolution",
    "RandomFeatures",
    "Trial",
    "box_distance",
    "eig_neural",
    "eig_subspace",
    "fe_distance",
    "fe_lift",
    "solver_elm",
    "solver_pinn",
    "solver_vpinn",
]
