r"""Engines: who solves the corrector problems. What every engine offers is `protocol.Engine`; there are two.

`reference` solves a patch at a time: sparse, any mesh, clear. The fast one, `condensation`, is for quads, and this is
its page; on hexes it is `hexes`, which has its own. All patches have the same shape, a block of (2 ell + 1)^2 coarse
elements, and neighbours share nearly all of it; so what they share is eliminated once. For ell = 2, with T the middle
element:

::

      +---+---+---+---+---+   element   n x n fine cells, condensed onto its 4 n boundary nodes             elements/
      |   |   | # |   |   |   row       the elements of one row of the coarse grid                          rows.py
      +---+---+ # +---+---+   tower     ell elements upright (#), the level edges between them gone          rows.py
      |   |   | # |   |   |   strip     tower + element + tower: 2 ell + 1 elements upright, condensed onto
      +---+---+---+---+---+             its left and right line; serves the 2 ell + 1 patches across it     stacks.py
      |   |   | T |   |   |   patch     2 ell + 1 strips side by side: what is left are the unknowns on the
      +---+---+---+---+---+             lines 0, ..., 2 ell + 1 between them, block-tridiagonal
      |   |   | # |   |   |   run       patches of neighbouring T in a row; they share strips
      +---+---+ # +---+---+   sweep     a few patches of a run, eliminated line by line from the left        sweep.py
      |   |   | # |   |   |   band      rows of runs whose elements and towers are held at a time       condensation.py
      +---+---+---+---+---+
      0   1   2   3   4   5   lines

**Bordered matrices** (bordered.py). Unknowns x carry columns Y along: the constraints P of the quasi-interpolation at
the coarse nodes, and the functionals R = a(lambda_i, .). With the unknowns split into those to eliminate, I, and the
rest,

    K_II = L L^T,   C = K_RI L^-T,   K_RR <- K_RR - C C^T                   (1)
    x_I = L^-T (h - C^T x_R),   h = L^-1 g_I                                (2)   what brings x_I back
    g_R <- g_R - C h                                                       (3)   where a load g goes

Rows and columns of P and R are treated as unknowns that stay: K_RR then holds H - Y^T K^-1 Y, and nothing needs a
treatment of its own. Unknowns on Gamma_D or on the rim of a patch are fixed: their rows and columns become those of the
identity.

**Factorise, once for a form and its coefficients**

    elements: blocks of 2 x 2 (or prime) cells merged upwards by (1); whole coefficient cells start as one fixed
              matrix times their value; R costs no elimination, R = K lambda                               (4)
    towers and strips: the level edges between their elements eliminated by (1)                            (5)
    lines: L_i L_i^T = D_i - W_{i-1}^T W_{i-1},  W_i = L_i^-1 E_i,  Z_i = L_i^-1 (Y_i - W_{i-1}^T Z_{i-1})  (6)
    multipliers: G = sum_i Z_i^T Z_i - H, factorised                                                       (7)

with D_i the block of line i, E_i its coupling to the next line and Y_i the constraints there.

**Solve, for any loads on T** (solved.py): condensed with the element by (3), with the middle strip by (3), then

    z_i = L_i^-1 (g_i - W_{i-1}^T z_{i-1}),   G mu = sum_i Z_i^T z_i - p
    x_i = L_i^-T (z_i - Z_i mu - W_i x_{i+1})                                                              (8)

p being the load on the constraints. The rows g_T(lambda_i) - a(w, lambda_i) of a local matrix are read off the strips'
functionals R at x and mu. Solving costs a tenth of factorising; so `held` keeps factors, within a bound of memory, for
the next load: ``matrix``, ``load(corrected=True)`` and ``prolong`` of a `System` factorise a patch once.

**Recover** (reconstruction.py): level edges of strips and towers by (2), interiors of elements by (2) backwards through
the merges. A sum of correctors is summed on the boundaries of elements; each interior is recovered once. (9)

**Interiors** (elements/energies.py). All that a patch knows of the inside of an element are its energies, for values on
its 4 n boundary nodes and four moments. `Interiors` may give others, condensed on finer meshes, extrapolated or learned
(elements/interiors.py); everything is then as for a form with an addition on each element.                     (10)

**Device**. All this is batched algebra of torch in double precision, and runs where ``LOD(device=...)`` says. It has
not been run on CUDA, for no such machine was at hand. Tests run it on a simulated accelerator, which refuses what CUDA
does: to mix tensors that were moved there with others, and to show them to numpy (tests/lod/engine/test_device.py).

Sources: Engwer, Henning, Malqvist, Peterseim, CMAME 350 (2019), section 3, for the problem and its multipliers; static
condensation and block-tridiagonal elimination are textbook matter (Golub, Van Loan, sections 4.2 and 4.5).
"""
