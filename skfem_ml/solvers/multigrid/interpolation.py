"""Operator-induced ("black box") interpolation from every second node, and the element matrices it gives.

Dendy, J. Comput. Phys. 48 (1982); as homogenisation: Moulton, Dendy, Hyman, J. Comput. Phys. 142 (1998).

A fine node has a parity along each axis: 0 on coarse grid lines, 1 between. Weights are stored by parity: those of the
nodes on coarse lines, of centres of coarse faces and of coarse cells, each with respect to the coarse corners around.
"""

from __future__ import annotations

from itertools import product

import numpy as np
from numpy import ndarray
from scipy.sparse import coo_matrix, csr_matrix

from skfem_ml.solvers.multigrid.elements import (
    Elements,
    Field,
    Index,
    Places,
    bands,
    corners,
    offsets,
    on_grid,
    total,
    zeros,
)


class Interpolation:
    """The matrix P from the nodes of a grid of ``cells // 2`` to those of a grid of ``cells``.

    ``weights[parity][corner]`` are arrays over the nodes of that parity, or one number for all. P is the identity on
    coarse nodes.
    """

    def __init__(self, weights: dict[Index, dict[Index, Field | float]], dim: int):
        self.weights, self.dim = weights, dim

    def up(self, u: Field) -> Field:
        """P u."""
        dim = self.dim
        nodes = [2 * n - 1 for n in u.shape[u.ndim - dim :]]
        batch = u.shape[: u.ndim - dim]
        f = np.empty((*batch, *nodes)) if isinstance(u, ndarray) else u.new_empty((*batch, *nodes))
        for parity, weights in self.weights.items():
            first, *rest = weights.items()
            value = u[toward(first[0], parity)] * first[1]
            for corner, weight in rest:
                value += u[toward(corner, parity)] * weight
            f[nodes_of(parity)] = value
        f[nodes_of((0,) * dim)] = u
        return f

    def down(self, r: Field) -> Field:
        """P^T r."""
        coarse = r[nodes_of((0,) * self.dim)]
        u = coarse.copy() if isinstance(coarse, ndarray) else coarse.clone()
        for parity, weights in self.weights.items():
            value = r[nodes_of(parity)]
            for corner, weight in weights.items():
                u[toward(corner, parity)] += value * weight
        return u

    def matrix(self, nodes: tuple[int, ...]) -> csr_matrix:
        """P as a sparse matrix, for a fine grid of ``nodes`` (no batch)."""
        fine = np.arange(int(np.prod(nodes))).reshape(nodes)
        coarse = np.arange(int(np.prod([n // 2 + 1 for n in nodes]))).reshape([n // 2 + 1 for n in nodes])
        parts = [(fine[nodes_of((0,) * self.dim)], coarse, np.ones(coarse.shape))]
        for parity, weights in self.weights.items():
            rows = fine[nodes_of(parity)]
            for corner, weight in weights.items():
                parts.append((rows, coarse[toward(corner, parity)], np.broadcast_to(weight, rows.shape)))
        row, column, value = (np.concatenate([part[k].ravel() for part in parts]) for k in range(3))
        matrix = coo_matrix((value, (row, column)), shape=(fine.size, coarse.size)).tocsr()
        matrix.eliminate_zeros()
        return matrix

    def band(self, start: int, stop: int) -> Interpolation:
        """The part for some rows of coarse cells, along the first axis of the grid."""

        def cut(weight: Field | float, parity: Index) -> Field | float:
            rows = on_grid((slice(start, stop + 1 - parity[0]), *(slice(None),) * (self.dim - 1)))
            return weight if isinstance(weight, float) else weight[rows]

        return Interpolation(
            {p: {c: cut(w, p) for c, w in weights.items()} for p, weights in self.weights.items()}, self.dim
        )

    def row(self, place: Index) -> dict[int, Field | float]:
        """Weights of the node at a place 0, 1, 2 along each axis of every coarse cell, by numbers of its corners."""
        parity = tuple(q % 2 for q in place)
        if not any(parity):
            return {corners(self.dim).index(tuple(q // 2 for q in place)): 1.0}
        cut = toward(tuple(q - 1 for q in place), tuple(1 - p for p in parity))
        numbers, own = corners(self.dim), tuple(q // 2 for q in place)
        return {
            numbers.index(tuple(map(sum, zip(corner, own, strict=True)))): (
                weight if isinstance(weight, float) else weight[cut]
            )
            for corner, weight in self.weights[parity].items()
        }


def nodes_of(parity: Index) -> Places:
    """Where the nodes of a parity are on the fine grid."""
    return on_grid(slice(p, None, 2) for p in parity)


def toward(step: Index, along: Index) -> Places:
    """The neighbours one step back (0 or -1) or ahead (1) along some axes, seen from the nodes between."""
    back, ahead, same = slice(None, -1), slice(1, None), slice(None)
    return on_grid((ahead if s > 0 else back) if a else same for s, a in zip(step, along, strict=True))


def linear(dim: int) -> Interpolation:
    """Linear interpolation (bilinear, trilinear): exact on cells of a constant coefficient."""
    between = [parity for parity in corners(dim) if any(parity)]
    return Interpolation({p: {c: 0.5 ** sum(p) for c in _around(p)} for p in between}, dim)


def _around(parity: Index) -> list[Index]:
    """The coarse corners around nodes of a parity; 0 along axes where they lie on coarse lines."""
    return list(product(*((0, 1) if p else (0,) for p in parity)))


def black_box(stencil: Field, dim: int, lower_order: bool) -> Interpolation:
    """Interpolation by the stencil, ``(3**d, *batch, *nodes)``.

    On coarse lines the stencil is collapsed (summed) across the line and solved for the node between, then on coarse
    faces across the face, and in cells the node's own row is solved. Weights are divided by their sum, or, with terms
    of ``lower_order`` (rows that do not sum to zero), by the collapsed diagonal. Where that is not positive, as with
    strongly anisotropic tensors, interpolation is linear.
    """
    found: dict[Index, dict[Index, Field | float]] = {(0,) * dim: {(0,) * dim: 1.0}}
    for parity in sorted(corners(dim), key=sum)[1:]:
        collapsed = _collapsed(stencil, parity, dim)
        middle = collapsed.pop((0,) * dim)
        pivot = middle if lower_order else -total(list(collapsed.values()))
        bad = (pivot <= 0) * 1.0
        pivot = pivot + bad * (1 - pivot)
        weights: dict[Index, list[Field]] = {}
        for step, entry in collapsed.items():
            weight, aside = entry / -pivot, tuple(map(abs, step))
            nearer = tuple(p * (1 - s) for p, s in zip(parity, aside, strict=True))
            for corner, known in found[nearer].items():
                at = tuple(c + (s > 0) for c, s in zip(corner, step, strict=True))
                term = weight if isinstance(known, float) else weight * known[toward(step, aside)]
                weights.setdefault(at, []).append(term)
        linear_weight = 0.5 ** sum(parity)
        sums = {at: total(terms) for at, terms in weights.items()}
        if bool(bad.any()):
            sums = {at: weight + bad * (linear_weight - weight) for at, weight in sums.items()}
        found[parity] = dict(sums)
    found.pop((0,) * dim)
    return Interpolation(found, dim)


def _collapsed(stencil: Field, parity: Index, dim: int) -> dict[Index, Field]:
    """The stencil at the nodes of a parity, summed over the axes along which they lie on coarse lines."""
    out: dict[Index, Field] = {}
    for number, offset in enumerate(offsets(dim)):
        step = tuple(o * p for o, p in zip(offset, parity, strict=True))
        entry = stencil[number][nodes_of(parity)]
        out[step] = out[step] + entry if step in out else entry
    return out


def pinned(interpolation: Interpolation, fixed: ndarray, like: Field) -> tuple[Interpolation, bool]:
    """P with zero weights from free coarse nodes to fixed nodes, and whether anything had to be changed for it.

    Nothing has where Gamma_D is made of whole sides of coarse cells.
    """
    dim, coarse, changed = interpolation.dim, fixed[nodes_of((0,) * interpolation.dim)], False
    out: dict[Index, dict[Index, Field | float]] = {}
    for parity, weights in interpolation.weights.items():
        here = fixed[nodes_of(parity)]
        out[parity] = {}
        for corner, weight in weights.items():
            cut = here & ~coarse[toward(corner, parity)]
            if cut.any():
                keep = zeros(like, cut.shape)
                keep[...] = 1.0 - cut if isinstance(keep, ndarray) else keep.new_tensor(1.0 - cut)
                weight, changed = keep * weight, True
            out[parity][corner] = weight
    return Interpolation(out, dim), changed


def coarse_elements(elements: Elements, interpolation: Interpolation) -> Elements:
    """K_c = sum of C^T K C over the 2**d children of every coarse cell, C being the rows of P at a child's corners:
    exact Galerkin, P^T A P = A_c.
    """
    dim, first = elements.dim, elements.values[0]
    cells = tuple(n // 2 for n in elements.cells)
    size = 2**dim
    batch = first.shape[: first.ndim - dim]
    out = [zeros(first, (*batch, *cells)) for _ in range(size * (size + 1) // 2)]
    whole = (slice(None),) * (dim - 1)
    for band in bands(first, cells):
        part = elements.at((slice(2 * band.start, 2 * band.stop), *whole))
        into = [value[on_grid((band, *whole))] for value in out]
        _add_children(into, part, interpolation.band(band.start, band.stop))
    return Elements(out, dim)


def _add_children(out: list[Field], elements: Elements, interpolation: Interpolation) -> None:
    places, dim = corners(elements.dim), elements.dim
    size = 2**dim
    number = {pair: k for k, pair in enumerate((i, j) for i in range(size) for j in range(i, size))}
    for child in places:
        entries = elements.at(tuple(slice(c, None, 2) for c in child)).entries()
        rows = [interpolation.row(tuple(c + s for c, s in zip(child, corner, strict=True))) for corner in places]
        for i, row in enumerate(rows):
            least = min(row)
            right: dict[int, Field] = {}  # row i of K C
            for j, columns in enumerate(rows):
                entry = entries[min(i, j), max(i, j)]
                for J, weight in columns.items():
                    if least <= J:
                        term = entry * weight if not (isinstance(weight, float) and weight == 1.0) else entry
                        right[J] = right[J] + term if J in right else term
            for I, weight in row.items():
                for J, value in right.items():
                    if J >= I:
                        out[number[I, J]] += value * weight
