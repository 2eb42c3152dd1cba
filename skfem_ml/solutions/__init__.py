"""What every solver returns: a solution, a callable ``u(x)`` with ``x`` of shape ``(dim, ...)``.

A solution may offer more: ``u.grad(x)`` of shape ``(dim, ...)``, which the energy error needs, and ``u.unknowns``, the
size of the system that was solved. What else a solver tells is in ``u.record``, a `Record`.
"""

from skfem_ml.solutions.functions import Analytic, FEFunction, probes
from skfem_ml.solutions.others import Eigenpairs, Evolution, Forecaster, Generated
from skfem_ml.solutions.record import NOTHING, Record

__all__ = [
    "NOTHING",
    "Analytic",
    "Eigenpairs",
    "Evolution",
    "FEFunction",
    "Forecaster",
    "Generated",
    "Record",
    "probes",
]
