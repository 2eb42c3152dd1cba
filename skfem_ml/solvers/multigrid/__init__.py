"""Multigrid for Q1 elements on grids of cells: from element matrices to cycles.

``geometry``       the mesh as a grid of nodes and cells, and which of them are fixed or missing
``elements``       element matrices on the cells of a level, summed to stencils
``interpolation``  operator-induced weights, their transfers, coarse element matrices
``cycles``         levels, Chebyshev smoothing, V-cycle and full multigrid
``krylov``         conjugate gradients that know their error
``method``         `Multigrid`
``batch``          `MultigridBatch`: many fields at once in torch
``problem``        `solver_multigrid`: whole problems
"""
