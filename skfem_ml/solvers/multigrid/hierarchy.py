"""From element matrices on the finest grid to a hierarchy of levels, as long as the number of cells is even."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy import ndarray
from scipy.sparse import csr_matrix, dia_matrix

from skfem_ml.solvers.amg import preconditioner_pyamg
from skfem_ml.solvers.direct import factorised
from skfem_ml.solvers.multigrid.cycles import Cycles, Level
from skfem_ml.solvers.multigrid.elements import Elements, offsets, total
from skfem_ml.solvers.multigrid.interpolation import (
    Interpolation,
    black_box,
    coarse_elements,
    linear,
    nodes_of,
    pinned,
)

COARSEST = 5000  # nodes; with 2000 iid fields of contrast 1000 took up to 16 steps to 1e-6 in place of 5
FACTORISED = 30_000  # unknowns of a coarsest level that are eliminated; more are left to pyamg
ROUNDING = 1e-12  # pivots above this, relative to the largest, may be negative by rounding alone
LOWER_ORDER = 1e-10  # rows of element matrices whose sum is below this, relative to the diagonal, sum to zero

log = logging.getLogger("skfem_ml")


@dataclass(frozen=True, eq=False)
class Stage:
    """What is known of one grid: element matrices, nodes on Gamma_D, nodes and cells that are there."""

    elements: Elements
    fixed: ndarray
    inside: ndarray
    filled: ndarray

    def interpolation(self, stencil: ndarray, lower_order: bool) -> tuple[Interpolation, Stage]:
        """P from the grid of twice the width of cells, and that grid."""
        elements, unit = self.elements, self.elements.unit
        dim, origin = elements.dim, (0,) * elements.dim
        smooth = unit is not None and constant_on_parents(elements.values[0], dim)
        weights = linear(dim) if smooth else black_box(stencil, dim, lower_order)
        weights, changed = pinned(weights, self.fixed, stencil)
        if unit is not None and smooth and not changed:
            coarse = Elements([elements.values[0][nodes_of(origin)]], dim, coarse_unit(unit))
        else:
            coarse = coarse_elements(elements, weights)
        return weights, Stage(coarse, *(mask[nodes_of(origin)] for mask in (self.fixed, self.inside, self.filled)))


def obstacle(filled: ndarray) -> str:
    """Why a grid with cells where ``filled`` cannot be coarsened by two; empty where it can."""
    cells = filled.shape
    if any(n % 2 for n in cells):
        return f"{' x '.join(map(str, cells[::-1]))} cells, of which one number is odd"
    children = [filled[nodes_of(corner)] for corner in np.ndindex((2,) * len(cells))]
    if any((child != children[0]).any() for child in children[1:]):
        return "holes that cut cells of twice the size"
    return ""


def coarse_unit(unit: ndarray) -> ndarray:
    """The matrix of a cell of twice the size, from that of its 2**d children: by linear interpolation."""
    size = len(unit)
    dim = size.bit_length() - 1
    whole = coarse_elements(Elements([np.ones((2,) * dim)], dim, unit), linear(dim))
    out = np.zeros((size, size))
    out[np.triu_indices(size)] = [value.item() for value in whole.values]
    return out + np.triu(out, 1).T


def constant_on_parents(a: ndarray, dim: int) -> bool:
    """Whether values of cells are equal on the 2**d children of every coarse cell."""
    first, *others = (a[nodes_of(corner)] for corner in np.ndindex((2,) * dim))
    return all((first == other).all() for other in others)


def has_lower_order(elements: Elements) -> bool:
    """Whether constants are not in the kernel of the element matrices."""
    size, entries = 2**elements.dim, elements.entries()
    sums = [total([entries[min(i, j), max(i, j)] for j in range(size)]) for i in range(size)]
    return bool(max(abs(s).max() for s in sums) > LOWER_ORDER * max(entries[i, i].max() for i in range(size)))


def diagonals(stencil: ndarray, dim: int) -> dia_matrix:
    """The matrix of a stencil: nine diagonals (``3**d``), the fastest product that scipy has.

    ``data[k, q]`` belongs to column q: A[q - o, q] = A[q, q - o] by symmetry, the stencil as it is.
    """
    nodes = stencil.shape[1:]
    strides = [int(np.prod(nodes[axis + 1 :])) for axis in range(dim)]
    steps = [-sum(o * s for o, s in zip(offset, strides, strict=True)) for offset in offsets(dim)]
    size, data = int(np.prod(nodes)), stencil.reshape(3**dim, -1)
    if min(nodes) < 3:  # one cell across: different neighbours lie as far apart in the numbering; where one is missing
        apart, place = np.unique(steps, return_inverse=True)  # its entry is zero, so that they can be added
        steps, data = apart.tolist(), np.stack([data[place == k].sum(axis=0) for k in range(len(apart))])
    return dia_matrix((data, steps), shape=(size, size))


class Hierarchy:
    """Levels from ``finest`` down to at most ``coarsest`` nodes, or to where the number of cells is odd.

    ``stages`` and ``matrices`` have one entry a level, the finest first. ``obstacle`` says why it ended before that, if
    it did, and ``by_pyamg`` whether the coarsest level is left to a V-cycle of pyamg: where there are no coarser levels
    to be had at all, or where it is too large to be eliminated.
    """

    def __init__(self, finest: Stage, coarsest: int = COARSEST):
        dim = finest.elements.dim
        self.levels: list[Level] = []
        self.lower_order = has_lower_order(finest.elements)
        self.stages, self.matrices, self.obstacle = [finest], [], ""  # type: list[Stage], list[dia_matrix], str
        while True:
            stage = self.stages[-1]
            stencil = stage.elements.stencil()
            self.matrices.append(diagonals(stencil, dim))
            small = stage.inside.sum() <= coarsest
            self.obstacle = "" if small else obstacle(stage.filled)
            if small or self.obstacle:
                break
            scaled = _scaled(stage, stencil)
            interpolation, coarse = stage.interpolation(stencil, self.lower_order)
            self.levels.append(Level(_product(self.matrices[-1]), scaled, interpolation))
            self.stages.append(coarse)
        self._free = np.flatnonzero(stage.inside & ~stage.fixed)
        A = self.matrices[-1].tocsr()[self._free][:, self._free]
        self.by_pyamg = bool(self.obstacle) and (not self.levels or len(self._free) > FACTORISED)
        if self.obstacle:
            log.info(
                "multigrid: %s; this level is %s", self.obstacle, "left to pyamg" if self.by_pyamg else "eliminated"
            )
        self._solve = preconditioner_pyamg(A, "ruge-stuben").matvec if self.by_pyamg else _eliminated(A)
        self.cycles = Cycles(self.levels, self._coarsest, dim)
        self.product = _product(self.matrices[0])

    def _coarsest(self, b: ndarray, given: ndarray | None) -> ndarray:
        out = np.zeros(b.size) if given is None else given.ravel().copy()
        r = b if given is None else b - _product(self.matrices[-1])(given)
        out[self._free] += self._solve(r.ravel()[self._free])
        return out.reshape(b.shape)


def _eliminated(A: csr_matrix) -> Callable[[ndarray], ndarray]:
    """b -> A^-1 b, by elimination without pivoting, whose pivots tell whether A is positive definite."""
    if not A.shape[0]:
        return np.copy
    try:
        factors = factorised(A)
    except RuntimeError as error:
        raise ValueError(f"form: expected a regular matrix, got a singular one ({error}); is u fixed?") from error
    pivots = factors.U.diagonal()
    if pivots.min() < -ROUNDING * pivots.max():
        raise ValueError(
            f"form: expected a positive definite matrix, got one with {int((pivots < 0).sum())} negative eigenvalues "
            "on the coarsest level; check the signs of its terms and coefficients"
        )
    return factors.solve


def _product(matrix: dia_matrix) -> Callable[[ndarray], ndarray]:
    return lambda x: (matrix @ x.ravel()).reshape(x.shape)


def _scaled(stage: Stage, stencil: ndarray) -> ndarray:
    """D^-1 / lambda at free nodes, zero at the others."""
    diagonal, free = stencil[len(stencil) // 2], stage.inside & ~stage.fixed
    with np.errstate(invalid="ignore"):  # roots of negative entries
        known = stage.elements.unit is not None
        bound = stage.elements.exact_bound() if known else float(stage.elements.spectral_bound())
    if not (diagonal[free] > 0).all() or not np.isfinite(bound):
        raise ValueError(
            "form: expected an elliptic form, got a matrix or element matrices with diagonal entries that are not "
            "positive; check the signs of its terms and coefficients"
        )
    return np.divide(1 / bound, diagonal, out=np.zeros(diagonal.shape), where=free)
