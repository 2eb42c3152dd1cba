"""skfem_ml: localized orthogonal decomposition and learned solvers for scikit-fem.

What a script needs is here: ``from skfem_ml import LOD, Surrogate, HiTS, compare, from_file``; each name is loaded when
it is first used. The rooms hold the rest:

====================  ===========================================================
``lod``               Petrov-Galerkin LOD as a drop-in assembler (``LOD``, ``System``), local maps, gradients;
                      ``lod.surrogate``: networks in the place of correctors
``pinn``              physics-informed networks, random features, eigen-networks
``fmm``               H2-matrices on points and finite element nodes, and networks on their graph
``hits``              hierarchies of neural flow maps
``stepping``          steppers without networks: linear, semi-discrete, POD, parareal
``baselines``         what the methods are judged against: recurrent, regression, multiscale networks, published ones
``reference``         trusted classical answers (FEM, FD, eigenpairs, null models)
``compare``           ``compare(problem, solvers)`` -> ``Table``
``coefficients``      families of oscillating coefficients, fields from files
``problems``          problem statements shared by every solver
``meshes``            where cells are: midpoints, lattices, pixels
``learning``          networks, ``fit(net, loss, data, ...)`` -> ``History``, optimisers, files of models
``solutions``         what every solver returns: a callable ``u(x)``
``metrics``           L2, energy, spectral and eigenpair errors, observed rates
``solvers``           linear solvers in scikit-fem's idiom; black-box multigrid
``pictures``          cellwise and nodal fields on matplotlib axes
``displays``          what objects show of themselves in a notebook
``cli``               the command line ``skfem-ml``
====================  ===========================================================

Importing the package imports nothing heavy: torch and matplotlib are loaded by the functions that need them.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
__version__ = "0.2.0"
