"""Problem statements: frozen dataclasses that every solver takes, with the exact solution where there is one."""

from skfem_ml.problems.diffusion import Diffusion, Field, diffusion, evaluate, gaussian_loads, load, mass
from skfem_ml.problems.eigen import Eigenproblem, dirichlet_laplacian, report_matrix, report_start
from skfem_ml.problems.front import burgers, cole_hopf
from skfem_ml.problems.heat import Heat, heat_box
from skfem_ml.problems.ode import (
    InitialValueProblem,
    OdeSystem,
    cubic,
    harmonic,
    hopf,
    hyperbolic,
    lorenz,
    ode_systems,
    van_der_pol,
)
from skfem_ml.problems.operators import OperatorSamples
from skfem_ml.problems.pde import PDE
from skfem_ml.problems.sequences import Sequence, clip, cylinder, music, white_noise
from skfem_ml.problems.staged import Staged

__all__ = [
    "PDE",
    "Diffusion",
    "Eigenproblem",
    "Field",
    "Heat",
    "InitialValueProblem",
    "OdeSystem",
    "OperatorSamples",
    "Sequence",
    "Staged",
    "burgers",
    "clip",
    "cole_hopf",
    "cubic",
    "cylinder",
    "diffusion",
    "dirichlet_laplacian",
    "evaluate",
    "gaussian_loads",
    "harmonic",
    "heat_box",
    "hopf",
    "hyperbolic",
    "load",
    "lorenz",
    "mass",
    "music",
    "ode_systems",
    "report_matrix",
    "report_start",
    "van_der_pol",
    "white_noise",
]
