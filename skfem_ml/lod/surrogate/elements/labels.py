"""Exact energies of elements, in the form in which a training compares with them."""

from __future__ import annotations

from functools import cache, cached_property
from typing import NamedTuple

import numpy as np
import torch
from numpy import ndarray
from skfem import MeshQuad
from torch import Tensor

from skfem_ml.lod.engine.elements import CondensedInteriors, boundary_nodes
from skfem_ml.lod.engine.protocol import Energies
from skfem_ml.lod.mesh.discretisation import Discretisation
from skfem_ml.lod.mesh.forms import FineForm
from skfem_ml.lod.method import LOD
from skfem_ml.problems import diffusion

THETA = 1 / 3  # of the extrapolation: see `ExtrapolatedInteriors`
ROUNDS = 1e-10
PATTERNS = 4096  # of layers that are kept, 10 kB each


class ElementLabels(NamedTuple):
    """Values of cells ``(k, n n)``, and what whitens the energies of the elements, in single precision.

    ``whole`` ``(k, 4 n + 3, 4 n + 4)`` is R with R H R^T = 1 on what is not constant; ``coarse`` ``(k, 7, 4 n)`` the
    same for the energies of a few long waves on the boundary, moments free.
    """

    values: Tensor
    whole: Tensor
    coarse: Tensor

    def rows(self, chosen: ndarray | Tensor) -> ElementLabels:
        """Some of them."""
        return ElementLabels(*(part[chosen] for part in self))

    @staticmethod
    def joined(parts: list[ElementLabels]) -> ElementLabels:
        """All of several."""
        return ElementLabels(*(torch.cat(each) for each in zip(*parts, strict=True)))


class Elements:
    """The coarse elements of a space with a coefficient: values of their cells, and exact energies.

    Parameters
    ----------
    space
        n x n fine cells an element.
    fine_form
        Diffusion with its coefficient ``a``.
    """

    def __init__(self, space: Discretisation, fine_form: FineForm):
        self.space, self.fine_form = space, fine_form
        self._layers: dict[bytes, Tensor] = {}

    @classmethod
    def of(cls, space: Discretisation, a: ndarray) -> Elements:
        """For a coefficient ``(nelems,)``."""
        return cls(space, FineForm(space, diffusion, {"a": np.asarray(a, dtype=float)}))

    def values(self, elements: ndarray) -> Tensor:
        """Values of the n x n cells of elements, x fastest, ``(k, n n)``."""
        a, cells = self.fine_form.coefficients.get("a", 1.0), cells_of(self.space, elements)
        return torch.from_numpy(a[cells] if isinstance(a, ndarray) else np.full(cells.shape, a, dtype=float))

    def exact(self, elements: ndarray) -> Tensor:
        """H_4n + (H_4n - H_2n) / 3 of elements, ``(k, 4 n + 4, 4 n + 4)``; H_4n where that is not positive."""
        return self.converging(elements)[1]

    def converging(self, elements: ndarray) -> tuple[Tensor, Tensor]:
        """H_4n of elements, and what it is extrapolated to: `exact`."""
        half, whole = (energies(elements) for energies in self._condensed)
        out = whole + THETA * (whole - half)
        bad = ~whitening(out, complement(self.space.n))[1]
        out[bad] = whole[bad]
        return whole, out

    def of_layers(self, elements: ndarray, values: Tensor) -> Tensor:
        """`exact` for elements that are `layered`, with their `values`: those of one value from that of the unit, of
        others every pattern once.
        """
        out = values[:, :1, None] * unit_energies(self.space.n)
        varied = np.flatnonzero((values != values[:, :1]).any(dim=1))
        patterns = {row: values[row].numpy().tobytes() for row in varied.tolist()}
        kept = self._layers if len(self._layers) < PATTERNS else {}
        new = {pattern: elements[row] for row, pattern in patterns.items() if pattern not in kept}
        if new:
            kept = kept | dict(zip(new, self.exact(np.array(list(new.values()))), strict=True))
        for row, pattern in patterns.items():
            out[row] = kept[pattern]
        self._layers = kept
        return out

    @cached_property
    def _condensed(self) -> list[Energies]:
        sizes = (2 * self.space.n, 4 * self.space.n)
        return [CondensedInteriors(size).energies(self.space, self.fine_form) for size in sizes]


def layered(values: Tensor) -> Tensor:
    """Which elements have cells that vary along one axis at most, ``(k,)``, for ``(k, n n)``."""
    n = round(values.shape[1] ** 0.5)
    square = values.view(-1, n, n)
    return (square == square[:, :1]).all(dim=2).all(dim=1) | (square == square[:, :, :1]).all(dim=2).all(dim=1)


def cells_of(space: Discretisation, elements: ndarray) -> ndarray:
    """The cell of the coefficient that each of the n x n cells of elements lies in, x fastest, ``(k, n n)``."""
    return space.coefficient_cell[space.refinement.cells[elements]]


@cache
def unit_energies(n: int) -> Tensor:
    """The exact energies of an element of value one, ``(4 n + 4, 4 n + 4)``."""
    space = LOD(MeshQuad().refined(1), refine=n, ell=1).space
    return Elements.of(space, np.ones(4 * n * n)).exact(np.arange(1))[0]


def label_elements(space: Discretisation, a: ndarray, elements: ndarray) -> ElementLabels:
    """Labels of elements of one field ``(nelems,)``; those whose energies are not positive are left out."""
    field = Elements.of(space, a)
    values, H = field.values(elements), field.exact(elements)
    reduced, waves = complement(space.n), long_waves(space.n)
    (whole, good), (coarse, fine) = whitening(H, reduced), whitening(moments_free(H), waves)
    kept = good & fine
    return ElementLabels(values[kept], whole[kept].float(), coarse[kept].float())


def whitening(H: Tensor, basis: Tensor) -> tuple[Tensor, Tensor]:
    """R ``(k, r, N)`` with R H R^T = 1 and R = L^-1 B^T for a basis B ``(N, r)``; and where B^T H B is positive."""
    reduced = basis.T @ H @ basis
    factor, info = torch.linalg.cholesky_ex((reduced + reduced.mT) / 2)
    size = factor.diagonal(dim1=1, dim2=2)
    good = (info == 0) & (size.amin(dim=1) > ROUNDS * size.amax(dim=1))
    return torch.linalg.solve_triangular(factor, basis.T.expand(len(H), -1, -1), upper=False), good


def moments_free(H: Tensor) -> Tensor:
    """The smallest energies of values on the boundary, whatever the moments are, ``(k, 4 n, 4 n)``."""
    rim = H.shape[1] - 4
    inverse = torch.linalg.inv(H[:, rim:, rim:])
    return H[:, :rim, :rim] - H[:, :rim, rim:] @ inverse @ H[:, rim:, :rim]


def complement(n: int) -> Tensor:
    """An orthonormal basis of boundary values and moments without the constants, ``(4 n + 4, 4 n + 3)``."""
    size = 4 * n + 4
    ones = torch.ones(size, 1, dtype=torch.float64)
    return torch.linalg.qr(torch.cat([ones, torch.eye(size, dtype=torch.float64)[:, :-1]], 1))[0][:, 1:]


def long_waves(n: int) -> Tensor:
    """x, y and x y, and a parabola on each side, on the 4 n boundary nodes, ``(4 n, 7)``."""
    x, y = torch.from_numpy(boundary_nodes(n) / n)
    sides = [(x == 0) * y * (1 - y), (x == 1) * y * (1 - y), (y == 0) * x * (1 - x), (y == 1) * x * (1 - x)]
    return torch.stack([x - 0.5, y - 0.5, (x - 0.5) * (y - 0.5), *sides], dim=1)
