"""Hierarchical neural time-steppers: flow maps of many step sizes, coupled, hybrid with classical ones, in parareal."""

from skfem_ml.hits.flow_map import FlowMap
from skfem_ml.hits.hierarchy import HiTS, hybrid
from skfem_ml.hits.parareal import PararealResult, parareal

__all__ = ["FlowMap", "HiTS", "PararealResult", "hybrid", "parareal"]
