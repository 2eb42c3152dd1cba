"""The class `SLOD`: element-wise basis functions of the fine mesh that are as local as can be."""

from __future__ import annotations

from functools import cached_property

import numpy as np
from numpy import ndarray
from numpy.typing import ArrayLike
from skfem import Basis, BilinearForm, Mesh

from skfem_ml import checks
from skfem_ml.lod.engine.protocol import Interiors, find_interiors
from skfem_ml.lod.mesh.discretisation import Discretisation
from skfem_ml.lod.mesh.views import OnSpace
from skfem_ml.lod.slod.system import SLODSystem
from skfem_ml.meshes.boundary import Dirichlet
from skfem_ml.progress import Progress

EPSILON = (1e-2, 1e-4, 1e-6)  # for ell = 1, 2, 3 and more
REFINE = 8


class SLOD(OnSpace):
    r"""Super-localised orthogonal decomposition: one basis function of the fine mesh for every coarse element.

    On the patch of an element T, the (2 ell + 1)^2 elements around it, the response Phi g to a load g that is constant
    on elements solves ``a(Phi g, v) = sum_K g_K |K|^-1 int_K v`` for all fine v that vanish on the rim of the patch.
    The basis function phi_T = Phi g_T is the one that is nearly a response on the whole domain: what it leaves on the
    rim, W g_T, is as small as can be, ::

        g_T minimises |W g|^2 + (epsilon |W| |g|)^2 over all g with g = 1 on T.

    Then A phi_T = g_T nearly, so that for a load F the coefficients of u = sum_T c_T phi_T solve G c = F(1_K), the
    columns of G being the g_T: see `SLODSystem`. The error falls faster than exponentially in ell.

    It pays for many loads with one coefficient: a basis costs three and a half to five times an `LOD` matrix, each load
    then some milliseconds (``demos/benchmarks/slod.md``). It fails at ell = 1, where a solution may be worse than none:
    `SLODSystem.estimate` tells up to contrast 100, and `SLODSystem.solve` warns of it. At contrast 1e7 and ell = 2 it
    is 10 % off in energy (collocation: 99 %), and nothing warns.

    Parameters
    ----------
    coarse
        Basis of ``ElementQuad1``, or a mesh, of boxes: a rectangle or a union of its cells, of any size and order.
    refine
        n: fine cells along a coarse edge (>= 2, default 8). Give this or ``fine``.
    cells
        m: coefficient cells along a coarse edge; divides n. Default n.
    ell
        Layers of coarse elements around T in its patch (>= 1). One larger than the domain is clipped, with a warning.
    epsilon
        Damping of the choice, relative to ``|W|``, in (0, 1): a number or one for every element. Default 1e-2, 1e-4,
        1e-6 for ell = 1, 2, 3; 3 to 100 times that where neighbouring functions would coincide and the estimated error
        is smaller for it (logged by ``skfem_ml``).
    dirichlet
        Gamma_D, as for `LOD`. Default the whole boundary. Elsewhere the boundary condition is natural.
    fine
        A fine mesh of your own in place of ``refine``.
    interiors
        What takes the place of the interiors of elements, as for `LOD`: 32 with ``refine=8`` for rough coefficients.
    memory
        Bytes of factorised patches that a system may hold for corrected loads (.4 MB a patch at refine = 8, ell = 2).
    progress
        Whether to show a progress bar; or ``progress(done, total, text)`` to be told instead.

    Raises
    ------
    TypeError
        For other meshes and elements than these.
    ValueError
        For parameters out of range, and a fine mesh that is no refinement.

    Examples
    --------
    >>> from skfem import MeshQuad
    >>> from skfem_ml.lod import SLOD
    >>> from skfem_ml.problems import diffusion, load
    >>> slod = SLOD(MeshQuad().refined(2), refine=4, ell=2)
    >>> slod
    SLOD(16 quads, refine=4, ell=2, epsilon=0.0001)
    >>> round(float(slod.system(diffusion, a=2.0).solution(load(1.0)).max()), 3)
    0.037

    References
    ----------
    Hauck, Peterseim, Math. Comp. 92 (2023); Bonizzoni, Hauck, Peterseim, J. Comput. Appl. Math. 424 (2023); Freese,
    Hauck, Keil, Peterseim, Numer. Math. 156 (2024). The damped choice and the load correction are not from there.
    """

    def __init__(
        self,
        coarse: Basis | Mesh,
        refine: int | None = None,
        *,
        cells: int | None = None,
        ell: int = 2,
        epsilon: ArrayLike | None = None,
        dirichlet: Dirichlet = None,
        fine: Mesh | Basis | None = None,
        interiors: int | Interiors | None = None,
        memory: int = 2**30,
        progress: bool | Progress = False,
    ):
        refine = REFINE if refine is None and fine is None else refine
        self.space = Discretisation(
            coarse, refine, cells, ell, fine=fine, dirichlet=dirichlet, interpolation="projection", device="cpu",
            workers=1,
        )  # fmt: skip
        _require_quads(self.space)
        self.space.interiors = find_interiors(interiors, self.space, "condensation")
        self.ell = self.space.ell
        self.progress, self.memory = progress, checks.whole(memory, "memory", 0)
        self.adaptive = epsilon is None
        self.epsilon = _damping(
            EPSILON[min(self.ell, 3) - 1] if epsilon is None else epsilon, len(self.space.grid.corners)
        )

    def __repr__(self) -> str:
        space, low, high = self.space, self.epsilon.min(), self.epsilon.max()
        told = [f"{len(space.grid.corners)} quads", f"refine={space.n}", f"ell={self.ell}"]
        told += [f"cells={space.m}"] if space.m != space.n else []
        told += [repr(space.interiors)] if space.interiors is not None else []
        return f"SLOD({', '.join(told)}, epsilon={low:g}{'' if low == high else f'...{high:g}'})"

    @cached_property
    def patches(self) -> ndarray:
        """The elements of every patch, column of elements by column, ``(nelems, (2 ell + 1)^2)``.

        -1 outside the domain.
        They are the block around T within the domain, whatever lies between: the arms of a U may share one.
        """
        p, grid = 2 * self.ell + 1, self.space.grid
        block = grid.cell_windows(grid.cells - self.ell, p)
        return block.reshape(-1, p, p).transpose(0, 2, 1).reshape(len(block), -1)

    def system(self, form: BilinearForm, **coefficients: ArrayLike) -> SLODSystem:
        """The `SLODSystem` of one symmetric elliptic form with these coefficients."""
        return SLODSystem(self, form, coefficients)


def _require_quads(space: Discretisation) -> None:
    if space.grid.dim != 2:
        raise TypeError(f"coarse: expected a mesh of quads, got one of dimension {space.grid.dim}; take LOD there")
    if space.n < 2:
        raise ValueError("refine: expected at least 2 fine cells along a coarse edge, got 1: there are no fine scales")


def _damping(epsilon: ArrayLike, count: int) -> ndarray:
    values = np.asarray(epsilon, dtype=float)
    if values.shape not in ((), (count,)):
        raise ValueError(f"epsilon: expected a number, or one for each of {count} elements, got shape {values.shape}")
    if not ((values > 0) & (values < 1)).all():
        raise ValueError(
            "epsilon: expected numbers in (0, 1), the damping relative to |W|; leave it out for the default"
        )
    return np.broadcast_to(values, count).copy()
