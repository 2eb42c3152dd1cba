"""From an LOD and a coefficient to what networks take."""

from __future__ import annotations

from weakref import WeakKeyDictionary

import numpy as np
import torch
from numpy import ndarray
from numpy.typing import ArrayLike
from torch import Tensor

from skfem_ml.lod.mesh.forms import check_coefficients
from skfem_ml.lod.method import LOD
from skfem_ml.lod.surrogate.networks.local_network import LocalNetwork
from skfem_ml.lod.surrogate.networks.place import Place
from skfem_ml.problems import diffusion


class CoarserFine:
    """Exact matrices of diffusion with ``refine`` fine cells along a coarse edge, for the patches of ``lod``."""

    def __init__(self, lod: LOD, refine: int):
        self.lod = lod.with_fine(refine)
        self._order = torch.from_numpy(self.lod.space.coefficient_refinement.cells.ravel()).argsort()

    @classmethod
    def of(cls, lod: LOD, refine: int) -> CoarserFine:
        """The one of an LOD: it is built once, and lives as long as the LOD."""
        built = _BUILT.setdefault(lod, {})
        if refine not in built:
            built[refine] = cls(lod, refine)
        return built[refine]

    def field(self, a: Tensor) -> Tensor:
        """A field by element ``(nelems, m**2)`` in the order of its own coefficient mesh, ``(cells,)``."""
        return a.flatten()[self._order.to(a.device)]

    def matrices(self, a: Tensor, elements: ndarray) -> Tensor:
        """Local matrices of elements, ``(fields, k, rows, 4)``, for fields by element ``(fields, nelems, m**2)``."""
        fields = [self.field(one).numpy() for one in a]
        return torch.from_numpy(np.stack([self.lod.local(diffusion, elements, a=field) for field in fields]))


# What an LOD determines, kept beside it: nothing here depends on what was computed before.
_BUILT: WeakKeyDictionary[LOD, dict[int, CoarserFine]] = WeakKeyDictionary()


def blocks(lod: LOD, a: ArrayLike) -> Tensor:
    """Fields by coarse element, ``(fields, nelems, m**2)``, from ``a`` of shape ``(cells,)``, ``(fields, cells)``, or a
    number. Raises ValueError for values that are not positive or a wrong length.
    """
    cells = lod.space.coefficient_refinement.cells
    fields = np.full([1, cells.size], a, dtype=float) if np.isscalar(a) else np.atleast_2d(np.asarray(a))
    if fields.ndim != 2:
        raise ValueError(f"a: expected one value a cell, ({cells.size},) or (fields, {cells.size}), got {fields.shape}")
    checked = [check_coefficients({"a": field}, cells.size, -1)["a"] for field in fields]
    return torch.from_numpy(np.stack(checked)[:, cells])


def place_of(lod: LOD, elements: ndarray, device: str = "cpu") -> Place:
    """Where the patches of some elements lie, on a device; see `place.Place`."""
    arrays = lod.patches.cells, lod.patches.nodes >= 0, lod.gather_dirichlet()
    chosen = [array[elements] for array in arrays]
    return Place(*(torch.from_numpy(array).to(device) for array in (*chosen, lod.space.grid.cells.T.copy())))


def shapes_of(place: Place) -> list[str]:
    """What patches look like apart from the coefficient, k hexadecimal numbers: elements inside, nodes on Gamma_D."""
    bits = torch.cat([place.cells >= 0, place.dirichlet], dim=1).cpu().numpy()
    packed = np.packbits(bits, axis=1)
    rows, which = np.unique(packed.view(f"V{packed.shape[1]}").ravel(), return_inverse=True)
    names = [row.tobytes().hex() for row in rows]
    return [names[number] for number in which.tolist()]


def check_squares(lod: LOD) -> None:
    """Raise TypeError unless the coarse cells are equal squares: networks of local matrices see no others."""
    sides = np.ptp(lod.coarse.mesh.p[:, lod.coarse.mesh.t], axis=1)
    if lod.space.grid.dim != 2 or np.ptp(sides) > 1e-8 * sides.max():
        kind = {1: "lines", 2: "quads of other sizes or shapes", 3: "hexes"}[lod.space.grid.dim]
        raise TypeError(
            f"lod: expected coarse cells that are equal squares, got {kind}; networks of local matrices see no others, "
            "so use the exact matrices there (lod.assemble(form, a=a))"
        )


def extent_of(net: LocalNetwork, lod: LOD, a: ndarray) -> tuple[float, float]:
    """Smallest and largest input that a network gets from some fields ``(fields, nelems)``: the card's "extent"."""
    both = net.extent(blocks(lod, a), place_of(lod, lod.space.all_elements))
    return float(both.amin()), float(both.amax())
