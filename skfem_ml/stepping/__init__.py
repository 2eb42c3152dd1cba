"""Steppers without networks: linear, semi-discrete, implicit, reduced by POD, parallel in time.

A stepper is anything with an attribute ``dt`` and a method ``step(u) -> u`` of one step (`Stepper`). One whose equation
depends on time sets ``timed = True`` and takes ``step(u, t)``, t at the start of the step (`TimedStepper`). `evolve`
runs either; what takes steps out of order (`Hierarchy`, `parareal`) refuses the second kind.

====================  ===========================================================
``stepper``           the contract, and right-hand sides ``f(y)`` or ``f(t, y)``
``evolution``         `evolve`, and what a solution in time is
``linear``            theta-method, Gauss, Runge-Kutta
``semidiscrete``      ``M u' + K u = F(u) + b(t)`` on a basis; ``equations``: heat, Allen-Cahn, ...; ``implicit``: IMEX,
                      Newton; ``pod``: its restriction to few modes
``hierarchy``         steppers of nested steps, coupled; ``control``: step control, ensembles; ``method``: scipy's
``parareal``          a coarse stepper in sequence, a fine one in parallel
``interpolation``     values between knots
====================  ===========================================================
"""

from skfem_ml.stepping.control import (
    discrepancy,
    increment_size,
    solve_adaptive,
    solve_adaptive_each,
    solve_ensemble,
)
from skfem_ml.stepping.equations import allen_cahn, allen_cahn_energy, heat, kuramoto_sivashinsky, reaction_diffusion
from skfem_ml.stepping.evolution import OdeResult, evolve, step_count
from skfem_ml.stepping.hierarchy import Hierarchy, mean_squared_error
from skfem_ml.stepping.implicit import IMEX, Newton, Tableau
from skfem_ml.stepping.interpolation import interpolate
from skfem_ml.stepping.linear import RK4, Gauss4, ThetaMethod
from skfem_ml.stepping.method import HiTSMethod
from skfem_ml.stepping.parareal import PararealResult, parareal
from skfem_ml.stepping.pod import POD
from skfem_ml.stepping.semidiscrete import SemiDiscrete, Term, periodic_line, reaction, semidiscrete
from skfem_ml.stepping.stepper import Stepper, TimedStepper

__all__ = [
    "IMEX",
    "POD",
    "RK4",
    "Gauss4",
    "HiTSMethod",
    "Hierarchy",
    "Newton",
    "OdeResult",
    "PararealResult",
    "SemiDiscrete",
    "Stepper",
    "Tableau",
    "Term",
    "ThetaMethod",
    "TimedStepper",
    "allen_cahn",
    "allen_cahn_energy",
    "discrepancy",
    "evolve",
    "heat",
    "increment_size",
    "interpolate",
    "kuramoto_sivashinsky",
    "mean_squared_error",
    "parareal",
    "periodic_line",
    "reaction",
    "reaction_diffusion",
    "semidiscrete",
    "solve_adaptive",
    "solve_adaptive_each",
    "solve_ensemble",
    "step_count",
]
