"""Energies of elements whose interiors are condensed on finer meshes: `CondensedInteriors`, `ExtrapolatedInteriors`."""

from __future__ import annotations

import torch
from numpy import ndarray
from torch import Tensor

from skfem_ml import checks
from skfem_ml.lod.engine.elements.energies import energies_of, indefinite
from skfem_ml.lod.engine.elements.traces import TraceCondenser
from skfem_ml.lod.engine.protocol import Energies, Interiors
from skfem_ml.lod.mesh.discretisation import Discretisation
from skfem_ml.lod.mesh.forms import FineForm


class CondensedInteriors(Interiors):
    """Interiors of elements on a finer mesh, with the fine mesh's functions on the boundaries of elements.

    H_N = (b, m) -> the smallest a_T(v, v) of Q1 functions v on N x N cells of T with values b at the fine mesh's nodes
    on its boundary, linear between them, and moments m. H_n is exact for the fine mesh; the spaces are nested, so H_N
    falls with N. Forms that are not one matrix times ``a`` are evaluated on the whole finer mesh, which costs more.

    Parameters
    ----------
    refine
        N: cells along a coarse edge; a multiple of the LOD's ``refine``.

    Raises
    ------
    ValueError
        For an N that is no multiple, and a quasi-interpolation that sees no interior (nodal).

    >>> from skfem import MeshQuad
    >>> from skfem_ml.lod import LOD, CondensedInteriors
    >>> from skfem_ml.problems import diffusion
    >>> plain, exact = (LOD(MeshQuad().refined(2), 4, interiors=i) for i in (None, CondensedInteriors(4)))
    >>> exact
    LOD(16 quads, refine=4, ell=2, condensation on cpu, CondensedInteriors(4))
    >>> bool(abs(plain.assemble(diffusion, a=2.0) - exact.assemble(diffusion, a=2.0)).max() < 1e-12)
    True
    """

    def __init__(self, refine: int):
        self.refine = checks.whole(refine, "refine", 1)

    def __repr__(self) -> str:
        return f"CondensedInteriors({self.refine})"

    def check(self, space: Discretisation) -> None:
        """Raise ValueError unless N is a multiple of the fine cells along a coarse edge."""
        if self.refine % space.n:
            raise ValueError(f"interiors: expected a multiple of refine = {space.n}, got {self.refine}")

    def energies(self, space: Discretisation, fine_form: FineForm) -> Energies:
        """H_N of elements, ``(k, 4 n + 4, 4 n + 4)``."""
        self.check(space)
        condenser = TraceCondenser(space, fine_form, self.refine)
        return lambda elements: energies_of(condenser.bordered(elements))


class ExtrapolatedInteriors(Interiors):
    """Interiors of elements extrapolated from two finer meshes: H_N + theta (H_N - H_N/2), as in `CondensedInteriors`.

    One third is Richardson's theta for energies that converge as N^-2. Of seven values on thirteen fields it was, in
    the mean, the closest to exact matrices at n = N = 32; against n = 64 it was 0.8
    (``demos/benchmarks/interiors.md``).

    Parameters
    ----------
    refine
        N: cells along a coarse edge; a multiple of four times the LOD's ``refine``. From the fine mesh itself, N / 2 =
        n, the extrapolated energies are not positive at high contrast.
    factor
        theta, at least 0.

    Raises
    ------
    ValueError
        For an N that is no such multiple, a negative factor, a quasi-interpolation that sees no interior (nodal), and
        where the extrapolated energy of an element is not positive though that of H_N is.

    >>> from skfem import MeshQuad
    >>> from skfem_ml.lod import LOD, ExtrapolatedInteriors
    >>> LOD(MeshQuad().refined(2), refine=4, ell=1, interiors=16)
    LOD(16 quads, refine=4, ell=1, condensation on cpu, ExtrapolatedInteriors(16))
    >>> ExtrapolatedInteriors(16, factor=0.5)
    ExtrapolatedInteriors(16, factor=0.5)
    """

    def __init__(self, refine: int, factor: float = 1 / 3):
        self.refine, self.factor = checks.whole(refine, "refine", 2), float(factor)
        if not 0 <= self.factor < float("inf"):
            raise ValueError(f"factor: expected a finite number of at least 0, got {factor}")

    def __repr__(self) -> str:
        factor = "" if self.factor == 1 / 3 else f", factor={self.factor:g}"
        return f"ExtrapolatedInteriors({self.refine}{factor})"

    def check(self, space: Discretisation) -> None:
        """Raise ValueError unless N is a multiple of four times the fine cells along a coarse edge."""
        if self.refine % (4 * space.n):
            raise ValueError(
                f"interiors: expected a multiple of 4 refine = {4 * space.n}, got {self.refine}; elements are "
                f"condensed at half of it as well, and CondensedInteriors({2 * space.n}) takes one mesh alone"
            )

    def energies(self, space: Discretisation, fine_form: FineForm) -> Energies:
        """H_N + theta (H_N - H_N/2) of elements, ``(k, 4 n + 4, 4 n + 4)``."""
        self.check(space)
        half, whole = (TraceCondenser(space, fine_form, refine) for refine in (self.refine // 2, self.refine))

        def energies(elements: ndarray) -> Tensor:
            finest = energies_of(whole.bordered(elements))
            out = finest + self.factor * (finest - energies_of(half.bordered(elements)))
            bad = ~_positive(out) & _positive(finest)
            if bool(bad.any()):
                raise indefinite(int(bad.sum()))
            return out

        return energies


def _positive(energies: Tensor) -> Tensor:
    """Whether they are positive up to rounding, constants and what the form does not see apart, ``(k,)``."""
    size = energies.diagonal(dim1=1, dim2=2).amax(dim=1)
    shift = 1e-10 * size[:, None, None] * torch.eye(energies.shape[1], dtype=energies.dtype, device=energies.device)
    return torch.linalg.cholesky_ex(energies + shift).info == 0
