from .method import SLOD as SLOD
from .solver import solver_slod as solver_slod
from .system import SLODSystem as SLODSystem
