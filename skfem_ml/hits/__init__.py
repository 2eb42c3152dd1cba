"""Hierarchical neural time-steppers: flow maps of many step sizes, coupled, hybrid with classical ones, in parareal.

On finite elements: semi-discretisations on any basis (`equations`), their steppers, POD, networks on its coefficients.
"""

from skfem_ml.hits.control import discrepancy, solve_adaptive, solve_ensemble
from skfem_ml.hits.fitting import fit_map
from skfem_ml.hits.flow_map import FlowMap
from skfem_ml.hits.hierarchy import HiTS, hybrid, mean_squared_error
from skfem_ml.hits.implicit import IMEX, Newton
from skfem_ml.hits.interpolation import interpolate
from skfem_ml.hits.method import HiTSMethod
from skfem_ml.hits.parareal import PararealResult, parareal
from skfem_ml.hits.pod import POD
from skfem_ml.hits.reduced import ReducedMap, Remainder
from skfem_ml.hits.splitting import SplittingNet

__all__ = [
    "IMEX",
    "POD",
    "FlowMap",
    "HiTS",
    "HiTSMethod",
    "Newton",
    "PararealResult",
    "ReducedMap",
    "Remainder",
    "SplittingNet",
    "discrepancy",
    "fit_map",
    "hybrid",
    "interpolate",
    "mean_squared_error",
    "parareal",
    "solve_adaptive",
    "solve_ensemble",
]
