"""Hierarchical neural time-steppers: flow maps of many step sizes, coupled, hybrid with classical ones, in parareal.

On finite elements: semi-discretisations on any basis (`equations`), their steppers, POD, networks on its coefficients.
"""

from skfem_ml.hits.flow_map import FlowMap
from skfem_ml.hits.hierarchy import HiTS, hybrid
from skfem_ml.hits.implicit import IMEX, Newton
from skfem_ml.hits.parareal import PararealResult, parareal
from skfem_ml.hits.pod import POD
from skfem_ml.hits.reduced import ReducedMap, Remainder
from skfem_ml.hits.splitting import SplittingNet

__all__ = [
    "IMEX",
    "POD",
    "FlowMap",
    "HiTS",
    "Newton",
    "PararealResult",
    "ReducedMap",
    "Remainder",
    "SplittingNet",
    "hybrid",
    "parareal",
]
