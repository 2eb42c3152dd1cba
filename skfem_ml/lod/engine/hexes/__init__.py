r"""Correctors on hexes by static condensation: what patches share is eliminated once, by dense algebra of large blocks.

As on quads (`skfem_ml.lod.engine`), with a dimension more; for ell = 1:

- **element**: n x n x n fine cells, condensed onto the (n + 1)^3 - (n - 1)^3 nodes on its boundary      (elements.py)
- **slab**: (2 ell + 1)^2 elements side by side in y and z, one in x; what lies between its two planes of constant x is
  eliminated once and shared by the 2 ell + 1 patches over it                                               (slabs.py)
- **patch**: 2 ell + 1 slabs; what is left are the unknowns on the planes between them, block-tridiagonal (patches.py)
- **run**: the patches of all elements T of one row in x, which pass slabs on                              (engine.py)

Unknowns x carry the constraints P of the quasi-interpolation, with multipliers mu. A condensed element is

    [ K_BB  P_B^T ]   [ K_BI ]                                 [ w_B ]   [ g_B ]   [ K_BI ]
    [ P_B     0   ] - [  P_I ] K_II^-1 [ K_IB  P_I^T ] = H,  H [ mu  ] = [  0  ] - [  P_I ] K_II^-1 g_I         (1)

with I inside and B on the boundary; slabs and planes are eliminated from sums of H in the same way. The rows of a local
matrix are sums over the elements E of the patch of what is left on their boundaries,

    g_T(lambda_i) - a(w, lambda_i) = sum_E lambda_B^T (g~ - H_BB w_B - H_BP mu) + (P lambda_i) . mu             (2)

g~ being the right-hand side of (1) on B: no functional is eliminated for it.

Costs grow like n^6 and ell^6 a patch, and like n^4 in memory: dense planes of ((2 ell + 1) n - 1)^2 unknowns. Patches
that are too large for that are solved by projected conjugate gradients with AMG (projected.py), whose cost grows with
the cells of a patch times its constraints. CPU seconds an element on one thread of a contended machine, contrast 10, a
row of 5 elements (condensation; at n = 4, and 8 with ell = 1, a whole mesh) or one or two alone (the others, and all
at n = 16):

=====  ===  ============  =========  =========
n      ell  condensation  iterative  reference
=====  ===  ============  =========  =========
4      1    0.009         0.13       0.062
4      2    0.042                    0.49
8      1    0.096         1.0        1.4
8      2    1.6           4.3
12     1    1.8           1.2
16     1    18.6          3.9
=====  ===  ============  =========  =========

Whole meshes on a box: 16^3 x 4^3, ell = 1, in 44 CPU s and 2.3 GB (1 GB of it patches that are held); 16^3 x 8^3,
ell = 1, two threads, in 395 CPU s and 9.4 GB.
"""
