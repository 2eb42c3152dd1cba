from .amg import preconditioner_pyamg as preconditioner_pyamg
from .amg import solver_pyamg as solver_pyamg
from .direct import solver_direct as solver_direct
from .linear import Prepared as Prepared
from .linear import Solver as Solver
from .linear import relative_residual as relative_residual
from .multigrid.krylov import Solved as Solved
from .multigrid.method import Multigrid as Multigrid
