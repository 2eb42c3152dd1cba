"""Optimisers that no library at hand has: self-scaled Broyden, Levenberg-Marquardt, SOAP, Muon beside Adam.

All are `torch.optim.Optimizer` with ``step(closure)``, so `training.fit` runs them as it runs Adam. Their whole state
is in ``state_dict()``. `adam`, `soap`, `lbfgs`, `levenberg_marquardt` and `ssbroyden` make an `Optimiser`, which the
solvers take as ``optimiser=`` before there is a network.
"""

from skfem_ml.learning.optim.factories import (
    LeastSquares,
    Optimiser,
    adam,
    chosen,
    lbfgs,
    levenberg_marquardt,
    soap,
    ssbroyden,
)
from skfem_ml.learning.optim.least_squares import LevenbergMarquardt
from skfem_ml.learning.optim.muon import MuonAdam
from skfem_ml.learning.optim.quasi_newton import SSBroyden
from skfem_ml.learning.optim.soap import SOAP

__all__ = [
    "SOAP",
    "LeastSquares",
    "LevenbergMarquardt",
    "MuonAdam",
    "Optimiser",
    "SSBroyden",
    "adam",
    "chosen",
    "lbfgs",
    "levenberg_marquardt",
    "soap",
    "ssbroyden",
]
