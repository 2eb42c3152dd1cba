"""skfem_ml: localized orthogonal decomposition and learned solvers for scikit-fem.

The map of the package:

====================  ===========================================================
``lod``               Petrov-Galerkin LOD as a drop-in assembler (class ``LOD``),
                      surrogates, hybrids, gradients
``fmm``               H2-matrices on points and finite element nodes, and networks
``coefficients``      families of oscillating coefficients, fields from files
``problems``          problem statements shared by every solver
``cells``             midpoints of cells, and the cell that holds a point
``solutions``         what every solver returns: a callable ``u(x)``
``reference``         trusted classical answers (FEM, FD, eigenpairs, null models)
``pinn``              physics-informed networks, random features, eigen-networks
``hits``              hierarchies of neural flow maps, hybrid, parareal
``nn``                networks and their derivatives in the inputs
``training``          ``fit(net, loss, data, ...)`` -> ``History``
``optim``             SSBroyden, Levenberg-Marquardt, SOAP, Muon beside Adam
``stepping``          theta-method, Gauss-4, RK4, ``evolve`` -> ``OdeResult``
``solvers``           linear solvers in scikit-fem's idiom
``metrics``           L2, energy, spectral and eigenpair errors, observed rates
``measures``          which of them belong to which kind of problem
``compare``           ``compare(problem, solvers)`` -> ``Table``
``meshes``            one cell per pixel of a field, and the coarse mesh to it
``pictures``          cellwise and nodal fields on matplotlib axes
``cli``               the command line ``skfem-ml``
====================  ===========================================================

Importing the package imports nothing heavy: torch and matplotlib are loaded by the functions that need them.
"""

__version__ = "0.1.0"
