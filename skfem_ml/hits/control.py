"""Of `stepping`, at hand where networks are: step control, ensembles, scipy's interface, the mean squared error."""

from skfem_ml.stepping.control import discrepancy, increment_size, solve_adaptive, solve_adaptive_each, solve_ensemble
from skfem_ml.stepping.hierarchy import mean_squared_error
from skfem_ml.stepping.method import HiTSMethod

__all__ = [
    "HiTSMethod",
    "discrepancy",
    "increment_size",
    "mean_squared_error",
    "solve_adaptive",
    "solve_adaptive_each",
    "solve_ensemble",
]  # fmt: skip
