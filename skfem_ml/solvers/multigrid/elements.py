"""Element matrices on the cells of a level, and the stencils they add up to.

Grids are arrays with the x axis last; a batch of fields comes first. Everything here, and in `interpolation` and
`cycles`, is written with operations that arrays of numpy and torch share.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import product
from types import EllipsisType
from typing import TypeAlias

import numpy as np
from numpy import ndarray

Field: TypeAlias = ndarray  # tensors of torch serve as well: `batch` passes them
Index = tuple[int, ...]
Places: TypeAlias = "tuple[EllipsisType | slice, ...]"

BAND = 2**13  # cells treated at a time on a CPU


def corners(dim: int) -> list[Index]:
    """Places of the corners of a cell in lexicographic order, x last: their numbers are the places in this list."""
    return list(product((0, 1), repeat=dim))


def offsets(dim: int) -> list[Index]:
    """Places of the entries of a stencil, from (-1, ..., -1) to (1, ..., 1); the middle one is the diagonal."""
    return list(product((-1, 0, 1), repeat=dim))


def on_grid(places: Iterable[slice]) -> Places:
    """An index of the axes of the grid, the last ones, that takes all of the batch."""
    return (..., *places)


def zeros(like: Field, shape: Sequence[int]) -> Field:
    """An array of zeros of the same library, type and device."""
    return np.zeros(shape) if isinstance(like, ndarray) else like.new_zeros(tuple(shape))


def total(terms: Sequence[Field]) -> Field:
    """The sum of some arrays."""
    first, *others = terms
    out = first + others[0] if others else first
    for term in others[1:]:
        out += term
    return out


def bands(like: Field, cells: Index) -> list[slice]:
    """Rows of cells, along the first axis of the grid, whose arrays stay in the cache; all of them on a GPU."""
    batch = int(np.prod(like.shape[: like.ndim - len(cells)]))
    on_cpu = isinstance(like, ndarray) or like.device.type == "cpu"
    rows = max(1, BAND // (batch * int(np.prod(cells[1:])))) if on_cpu else cells[0]
    return [slice(start, min(start + rows, cells[0])) for start in range(0, cells[0], rows)]


class Elements:
    """Symmetric element matrices K_T ``(2**d, 2**d)`` on a grid of cells.

    Parameters
    ----------
    values
        The entries K_T[i, j], i <= j, row by row: arrays ``(*batch, *cells)``. With ``unit`` one array, a_T.
    unit
        The matrix K with K_T = a_T K, where there is one.
    """

    def __init__(self, values: Sequence[Field], dim: int, unit: ndarray | None = None):
        self.values, self.dim, self.unit = list(values), dim, unit
        size = 2**dim
        self._number = {pair: k for k, pair in enumerate((i, j) for i in range(size) for j in range(i, size))}

    @property
    def cells(self) -> Index:
        """Cells along each axis."""
        return tuple(self.values[0].shape[-self.dim :])

    def at(self, places: Iterable[slice]) -> Elements:
        """The element matrices of some cells."""
        index = on_grid(places)
        return Elements([value[index] for value in self.values], self.dim, self.unit)

    def entries(self) -> dict[tuple[int, int], Field]:
        """K_T[i, j] for i <= j; equal entries of a unit matrix share one array."""
        if self.unit is None:
            return {pair: self.values[k] for pair, k in self._number.items()}
        scaled: dict[float, Field] = {}
        for i, j in self._number:
            if (factor := float(self.unit[i, j])) not in scaled:
                scaled[factor] = self.values[0] * factor
        return {(i, j): scaled[float(self.unit[i, j])] for i, j in self._number}

    def stencil(self) -> Field:
        """The rows of the assembled matrix, ``(3**d, *batch, *nodes)``: entry o of node p is A[p, p + o].

        All rows are kept, those of nodes on the boundary too. A[p, q] and A[q, p] are equal to the last bit.
        """
        first, dim, centre = self.values[0], self.dim, 3**self.dim // 2
        nodes = tuple(n + 1 for n in self.cells)
        out = zeros(first, (3**dim, *first.shape[: first.ndim - dim], *nodes))
        number = [sum(s * 3 ** (dim - 1 - axis) for axis, s in enumerate(place)) for place in corners(dim)]
        places = [on_grid(slice(s, s + n) for s, n in zip(p, self.cells, strict=True)) for p in corners(dim)]
        for (i, j), entry in self.entries().items():
            for corner, step in {i: number[j] - number[i], j: number[i] - number[j]}.items():
                out[centre + step][places[corner]] += entry
        return out

    def spectral_bound(self) -> Field:
        """An upper bound of the largest eigenvalue of D^-1 A, D the diagonal of A: the largest over the cells of

        (tr B^8)^(1/8), B = D_T^-1/2 K_T D_T^-1/2 with the diagonal D_T of K_T; one number a field of the batch.
        """
        whole = (slice(None),) * (self.dim - 1)
        traces = [self.at((band, *whole))._largest_trace() for band in bands(self.values[0], self.cells)]
        largest = traces[0]
        for trace in traces[1:]:
            largest = largest + (trace > largest) * (trace - largest)
        return largest**0.125

    def _largest_trace(self) -> Field:
        size, entries = 2**self.dim, self.entries()
        scale = [(entries[i, i] + (entries[i, i] == 0) * 1.0) ** -0.5 for i in range(size)]
        power = {(i, j): entry * scale[i] * scale[j] for (i, j), entry in entries.items()}
        for _ in range(2):
            power = {
                (i, j): total([power[min(i, k), max(i, k)] * power[min(k, j), max(k, j)] for k in range(size)])
                for i, j in entries
            }
        trace = total([value**2 * (1 if i == j else 2) for (i, j), value in power.items()])
        flat = trace.reshape(*trace.shape[: trace.ndim - self.dim], -1)
        return flat.max(-1) if isinstance(flat, ndarray) else flat.amax(-1)

    def exact_bound(self) -> float:
        """The largest eigenvalue of D_T^-1 K_T where all cells have the same unit matrix."""
        assert self.unit is not None
        scale = np.diag(self.unit) ** -0.5
        return float(np.linalg.eigvalsh(self.unit * scale * scale[:, None])[-1])
