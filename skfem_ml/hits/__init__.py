"""Hierarchical neural time-steppers: flow maps of many step sizes, coupled, hybrid with classical ones, in parareal."""

from skfem_ml.hits.control import discrepancy, solve_adaptive, solve_ensemble
from skfem_ml.hits.fitting import fit_map
from skfem_ml.hits.flow_map import FlowMap
from skfem_ml.hits.hierarchy import HiTS, hybrid, mean_squared_error
from skfem_ml.hits.interpolation import interpolate
from skfem_ml.hits.method import HiTSMethod
from skfem_ml.hits.parareal import PararealResult, parareal

__all__ = [
    "FlowMap",
    "HiTS",
    "HiTSMethod",
    "PararealResult",
    "discrepancy",
    "fit_map",
    "hybrid",
    "interpolate",
    "mean_squared_error",
    "parareal",
    "solve_adaptive",
    "solve_ensemble",
]
