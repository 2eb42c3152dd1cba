"""Upright strips of coarse elements, condensed onto their two long sides."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import torch
from torch import Tensor

from .bordered import Eliminated, Workspace, cholesky, fix, flat_index, scatter_add, subtract_product
from .lattice import Box

CHUNK_BYTES = 2**23  # strips condensed at a time: they should stay in the cache
LARGE = 64  # unknowns from which on it pays to leave out the lower half of symmetric updates


class Layout:
    """The order of unknowns and columns in a strip, and of columns in a patch.

    A strip's bordered matrix holds: unknowns of the level edges between its elements (``inner``; eliminated), its left and
    its right line (``line`` each), constraints at its left and right coarse nodes (``nodes`` each), loads (``loads``), and
    functionals at its left and right nodes. A patch has the constraints line by line, with the loads after those of the
    right line of its middle strip: so the columns a line has met in a sweep from the left are always the first ones.

    Parameters
    ----------
    n
        Fine cells along a coarse edge.
    ell
        Localisation parameter; a strip has 2 ell + 1 elements.
    rim
        Whether unknowns on the rim of the patches are kept (where a natural boundary runs along it) or are all fixed.
    columns
        Columns of an element's border: 4 constraints and any loads.
    """

    def __init__(self, n: int, ell: int, rim: bool, columns: int):
        self.n, self.ell, self.rim, self.height = n, ell, rim, 2 * ell + 1
        self.first = 0 if rim else 1
        self.nodes = self.height + 1
        self.line = self.height * n + 1 - 2 * self.first
        self.levels = range(self.first, self.nodes - self.first)
        self.inner = len(self.levels) * (n - 1)
        self.loads = 4 if columns == 4 else columns - 4
        self.own_loads = columns > 4                                               # else the functionals R_T are the loads
        self.constraints_at = 2 * self.line                                        # places after the inner ones are gone
        self.loads_at = self.constraints_at + 2 * self.nodes
        self.functionals_at = self.loads_at + self.loads
        self.size = self.inner + self.functionals_at + 2 * self.nodes
        self.patch_columns = self.nodes**2 + self.loads

    def rows(self, e: int) -> Tensor:
        """Places in a strip's matrix of the boundary nodes, constraints and functionals of its element e; ``size``: dropped."""
        n, dropped = self.n, self.size
        places = np.full(4 * n + 8, dropped)
        y = e * n + np.arange(n + 1) - self.first
        on = (y >= 0) & (y < self.line)
        places[:n + 1][on] = self.inner + y[on]
        places[n + 1:2 * n + 2][on] = self.inner + self.line + y[on]
        for side, level in enumerate((e, e + 1)):
            if level in self.levels:
                start = 2 * n + 2 + side * (n - 1)
                places[start:start + n - 1] = (level - self.first) * (n - 1) + np.arange(n - 1)
        corner = e + np.array([0, self.nodes, 1, self.nodes + 1])                  # lexicographic: left, right, left, right
        places[4 * n:4 * n + 4] = self.inner + self.constraints_at + corner
        places[4 * n + 4:] = self.inner + self.functionals_at + corner
        return torch.from_numpy(places)

    def columns_of_line(self, line: int) -> int:
        """Where the constraints of a line start among the columns of a patch."""
        return line * self.nodes + (self.loads if line > self.ell + 1 else 0)

    def columns_met(self, line: int) -> int:
        """How many columns a sweep from the left has met when it eliminates the line."""
        line = min(line + 1, self.height)
        return self.columns_of_line(line) + self.nodes + (self.loads if line == self.ell + 1 else 0)


def build_strips(layout: Layout, box: Box, rows: dict[int, Any], workspace: Workspace) -> Eliminated:
    """Strips of a block, one a column ``(columns, ...)``, condensed onto their long sides.

    Of the Schur complement, blocks below the diagonal (left line, right line, all columns) are left undefined.
    """
    count, kept = box.level.shape[1], layout.size - layout.inner
    free = np.repeat(box.level[layout.first:layout.nodes - layout.first].T, layout.n - 1, axis=1)
    done = Eliminated(workspace.empty("strip schur", count, kept, kept),
                      workspace.columns("strip factor", count, layout.inner, layout.inner),
                      workspace.columns("strip coupling", count, layout.inner, kept))
    chunk = max(1, CHUNK_BYTES // (8 * layout.size**2))
    for start in range(0, count, chunk):
        part = slice(start, min(start + chunk, count))
        matrix = _bordered_strips(layout, box, rows, part, workspace)
        _fix_some(matrix, free[part], layout.inner)
        _eliminate_levels(layout, matrix, Eliminated(*(out[part] for out in done)))
    return done


def _bordered_strips(layout: Layout, box: Box, rows: dict[int, Any], part: slice, workspace: Workspace) -> Tensor:
    size, (y0, x0) = layout.size, box.origin
    matrix = workspace.empty("strips", part.stop - part.start, size + 1, size + 1).zero_()   # the last place is dropped
    loads = torch.arange(layout.loads) + layout.inner + layout.loads_at
    for e in range(layout.height):
        row = rows.get(y0 + e)
        if row is None:
            continue
        start, stop = max(x0 + part.start, 0), min(x0 + part.stop, len(row.matrices))
        if start >= stop:
            continue
        first = x0 + part.start
        target, source = matrix[start - first:stop - first], row.matrices[start:stop]
        places, own = layout.rows(e), 4 * layout.n + 8
        scatter_add(target, flat_index(places, places, size + 1).to(matrix.device), source[:, :own, :own])
        if e == layout.ell:
            given = source[:, :own, own:] if layout.own_loads else source[:, :own, own - 4:own]
            scatter_add(target, flat_index(places, loads, size + 1).to(matrix.device), given)
            scatter_add(target, flat_index(loads, places, size + 1).to(matrix.device), given.mT)
    return matrix


def _eliminate_levels(layout: Layout, matrix: Tensor, out: Eliminated) -> None:
    """Eliminate the unknowns between the elements of strips, of the rest only the blocks that are used."""
    inner, size, m = layout.inner, layout.size, layout.line
    out.factor.copy_(cholesky(matrix[:, :inner, :inner]))
    torch.linalg.solve_triangular(out.factor, matrix[:, :inner, inner:size], upper=False, out=out.coupling)
    cuts = [0, m, 2 * m, size - inner] if m >= LARGE else [0, size - inner]
    for start, stop in itertools.pairwise(cuts):
        target = out.schur[:, start:stop, start:]
        target.copy_(matrix[:, inner + start:inner + stop, inner + start:size])
        subtract_product(target, out.coupling[:, :, start:stop], out.coupling[:, :, start:])


def _fix_some(matrix: Tensor, free: np.ndarray, count: int) -> None:
    held = torch.from_numpy(np.flatnonzero(~free.all(axis=1))).to(matrix.device)
    if len(held):
        part = matrix[held, :count]
        fix(part, torch.from_numpy(free).to(matrix)[held])
        matrix[held, :count] = part
