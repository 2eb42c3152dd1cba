r"""Super-localised orthogonal decomposition: basis functions, one an element, whose sources are as local as they are.

``method``      `SLOD`: meshes, patches, damping
``system``      `SLODSystem`: one form with its coefficients; basis, matrices, loads
``sweep``       patches row by row: what neighbours share, and what is held
``blocks``      blocks of elements condensed onto their outline, joined two by two
``rims``        what the unknowns on the outline of a patch are
``responses``   responses of patches, and the choice among them
``basis``       basis functions on the fine mesh
``loads``       loads that are not constant on elements
``damping``     how large epsilon is
``matrices``    collocation and Galerkin, their condition, an estimate of the error
``given``       loads and boundary values as they are given

A patch is the block of p x p elements around T, p = 2 ell + 1; loads are ``g = sum_K g_K 1_K / |K|``, L their columns.
All unknowns but those on the rim, the part of the outline that lies inside the domain, are inner ones, I; the rim is R.

**Condense** (blocks.py). Elements are condensed onto their boundary by the engine of `LOD`, their load with them.
Blocks are then joined two by two, the line between them eliminated: upright to columns of p elements, which serve the
p patches across them; side by side to blocks of floor(p / 2) and ceil(p / 2) columns. A patch is one of either::

      +---+---+---+---+---+
      |           |       |     p = 5: columns 1 -> 2 = 1 + 1 -> 3 = 2 + 1 -> 5 = 3 + 2, and the same
      |           |       |     side by side; the last line is the only one that a patch eliminates for
      |         T |       |     itself
      +---+---+---+---+---+

What is left on the outline is the Schur complement S, and what the responses Phi = A_II^-1 L_I leave there, ::

    Q = L_R - A_RI Phi,   X = S + diag(length x mean a / diameter),   X = C C^T,   W = C^-1 Q                     (1)

the diagonal term since S alone does not see constants. Unknowns on a natural boundary come first in C; their rows of W
bring them back and are left out of the choice.

**Choose** (responses.py) by two QR factorisations, W itself being reduced first::

    g_T minimises |W g|^2 + (epsilon |W|)^2 |g|^2 over all g that are 1 on T                                       (2)

W^T W is never formed: from ell = 3 on what matters is below its rounding. epsilon is 1e-2, 1e-4, 1e-6 for ell = 1, 2,
3. Where the Galerkin matrix, scaled to unit diagonal, has a condition above 1e4 and above 100 times the number of
elements, functions of neighbours coincide (channels): then 3, 10, 30 and 100 times that are tried for all patches,
until the estimated error for f = 1 rises again, and the best is taken (damping.py).

**Recover** (basis.py): phi_T = Phi g_T on the lines by substitution, last line first; inside of elements, for all the
patches that an element is in at once.                                                                            (3)

**Matrices** (matrices.py). With E = C W g_T on the rims, A B = L G - E exactly, so that ::

    B^T A B = (B^T L) G - B^T E                                                                                   (4)

needs no fine matrix, and ``(sum_T |c_T W g_T|^2)^(1/2)`` estimates the energy error of B c.

**Any load** (loads.py). ``F_T - F_T(1) 1_T / |T|`` has a response on the patch of T, which leaves w on the rim; loads
d_T on the elements of the patch take most of it away::

    d_T minimises |w + W d|^2 + (epsilon |W|)^2 |d|^2,   psi = sum_T response to both,   G c = F(1_K) - d        (5)

Sources: Hauck, Peterseim, Math. Comp. 92 (2023), for the responses with least flux over the rim; Freese, Hauck, Keil,
Peterseim, Numer. Math. 156 (2024), for their stable choice by other means. (2) with damping and (5) are of our own.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
