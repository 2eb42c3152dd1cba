"""Steppers without networks: linear, semi-discrete, implicit, reduced by POD, parallel in time.

A new stepper is a class with an attribute ``dt`` and a method ``step(u) -> u`` of one step. One whose equation depends
on time sets ``timed = True`` and takes ``step(u, t)``, t at the start of the step. `evolve` runs either.
"""

from skfem_ml.stepping.equations import allen_cahn, allen_cahn_energy, heat, kuramoto_sivashinsky, reaction_diffusion
from skfem_ml.stepping.evolution import OdeResult, evolve, step_count
from skfem_ml.stepping.implicit import IMEX, Newton
from skfem_ml.stepping.interpolation import interpolate
from skfem_ml.stepping.linear import RK4, Gauss4, ThetaMethod
from skfem_ml.stepping.parareal import PararealResult, parareal
from skfem_ml.stepping.pod import POD
from skfem_ml.stepping.semidiscrete import SemiDiscrete, Term, periodic_line, reaction, semidiscrete

__all__ = [
    "IMEX",
    "POD",
    "RK4",
    "Gauss4",
    "Newton",
    "OdeResult",
    "PararealResult",
    "SemiDiscrete",
    "Term",
    "ThetaMethod",
    "allen_cahn",
    "allen_cahn_energy",
    "evolve",
    "heat",
    "interpolate",
    "kuramoto_sivashinsky",
    "parareal",
    "periodic_line",
    "reaction",
    "reaction_diffusion",
    "semidiscrete",
    "step_count",
]
