"""Linear solvers in scikit-fem's idiom: a factory returns ``solver(A, b)`` for ``skfem.solve(..., solver=...)``.

``direct``       `solver_direct`: sparse elimination
``amg``          `solver_pyamg`, `preconditioner_pyamg`: algebraic multigrid of pyamg
``krylov``       `solver_krylov`: CG, BiCGStab, GMRES preconditioned by algebraic multigrid; refined
``multigrid``    `Multigrid` on grids of cells: geometric coarsening, interpolation by the operator, solutions that know
                 their error (`Solved`); `MultigridBatch` for many fields; `solver_multigrid` for whole problems
``linear``       what a solver is, and its residual
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
