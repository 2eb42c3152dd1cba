"""Optimisers that no library at hand has: self-scaled Broyden, Levenberg-Marquardt, SOAP, Muon beside Adam.

All are `torch.optim.Optimizer` with ``step(closure)``, so `training.fit` runs them as it runs Adam. Their whole state
is in ``state_dict()``.
"""

from skfem_ml.learning.optim.least_squares import LevenbergMarquardt
from skfem_ml.learning.optim.muon import MuonAdam
from skfem_ml.learning.optim.quasi_newton import SSBroyden
from skfem_ml.learning.optim.soap import SOAP

__all__ = ["SOAP", "LevenbergMarquardt", "MuonAdam", "SSBroyden"]
