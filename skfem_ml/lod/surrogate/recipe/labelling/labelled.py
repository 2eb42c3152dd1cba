"""Labelled fields in memory, and how far a network is from them."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy import ndarray
from skfem import BilinearForm
from torch import Tensor, nn

from skfem_ml.lod.method import LOD
from skfem_ml.lod.surrogate.inputs import CoarserFine, blocks, place_of
from skfem_ml.lod.surrogate.networks.place import Inputs, Place, Sample
from skfem_ml.problems import diffusion
from skfem_ml.progress import Progress


@dataclass(frozen=True)
class Labelled:
    """Labelled fields of one LOD.

    Attributes
    ----------
    a, exact, place
        Fields by coarse element ``(count, nelems, m**2)``, exact matrices ``(count, nelems, rows, 4)`` in single
        precision, and where the patches lie.
    base
        Exact matrices of a coarser fine mesh, where a network corrects those.
    weights
        The chance of each field to be seen, ``(count,)``.
    """

    a: Tensor
    exact: Tensor
    place: Place
    base: Tensor | None
    weights: ndarray

    def chosen(self, rows: ndarray) -> Labelled:
        """Some of the fields."""
        base = None if self.base is None else self.base[rows]
        return replace(self, a=self.a[rows], exact=self.exact[rows], base=base, weights=self.weights[rows])

    def to(self, device: str) -> Labelled:
        """The same on a torch device."""
        base = None if self.base is None else self.base.to(device)
        place = Place(*(part.to(device) for part in self.place))
        return replace(self, a=self.a.to(device), exact=self.exact.to(device), place=place, base=base)

    @property
    def inputs(self) -> Inputs:
        """What a network takes."""
        return Inputs(self.a, self.place, self.base)

    def samples(self) -> list[Sample]:
        """The fields one by one."""
        bases = [None] * len(self.a) if self.base is None else list(self.base)
        return [Sample(a, exact, self.place, base) for a, exact, base in zip(self.a, self.exact, bases, strict=True)]


def label(
    lod: LOD,
    fields: ndarray,
    exact: ndarray | None = None,
    *,
    form: BilinearForm = diffusion,
    base: int = 0,
    weights: ndarray | None = None,
    progress: Progress | None = None,
) -> Labelled:
    """Fields ``(k, nelems)`` with their exact matrices, computed where they are not given.

    ``base``, where it is not zero, are the fine cells of the matrices that a network corrects. Raises ValueError for
    another shape and what ``lod.local`` raises.
    """
    if np.ndim(fields) != 2 or not len(fields):
        raise ValueError(f"fields: expected (k, nelems), k >= 1, got shape {np.shape(fields)}")
    a, matrices = blocks(lod, fields), []
    for k, field in enumerate(fields) if exact is None else ():
        matrices.append(lod.local(form, a=field).astype(np.float32))
        if progress is not None:
            progress(k + 1, len(fields), "labels")
    known = np.stack(matrices) if exact is None else np.asarray(exact, dtype=np.float32)
    chance = np.ones(len(a)) if weights is None else np.asarray(weights, dtype=float)
    coarser = CoarserFine.of(lod, base).matrices(a, lod.space.all_elements) if base else None
    place = place_of(lod, lod.space.all_elements)
    return Labelled(a, torch.from_numpy(known), place, coarser, chance / chance.sum())


def field_errors(net: nn.Module, fields: Labelled, relative: bool) -> Tensor:
    """Mean over the patches of |S_T - S^_T|_F^2, one value a field; where ``relative``, over |S_T|_F^2, and the same of
    x^T S_T x is added.
    """
    exact = fields.exact.double()
    gap = net(*fields.inputs) - exact
    if not relative:
        return gap.square().sum(dim=(2, 3)).mean(dim=1)
    pairs = (gap, exact), (on_linear(gap), on_linear(exact))
    both = [one.square().sum(dim=(2, 3)) / whole.square().sum(dim=(2, 3)) for one, whole in pairs]
    return (both[0] + both[1]).mean(dim=1)


def on_linear(local: Tensor) -> Tensor:
    """x^T S_T x for the two coordinates x of the nodes in coarse cells, ``(..., 2, 2)``: effective conductivities."""

    def x(size: int) -> Tensor:
        line = torch.arange(size, dtype=local.dtype, device=local.device) - (size - 1) / 2
        return torch.cartesian_prod(line, line).flip(1)

    return x(round(local.shape[-2] ** 0.5)).T @ local @ x(2)


@torch.no_grad()
def held_out(net: nn.Module, held: Labelled, relative: bool) -> float:
    """The mean of `field_errors`, a field at a time."""
    errors = [field_errors(net, held.chosen(np.array([row])), relative) for row in range(len(held.a))]
    return float(torch.cat(errors).mean())


def squared_error(got: Tensor, exact: Tensor, scale: Tensor) -> Tensor:
    """Mean over patches of |S - S^|_F^2: the loss (2.9) of Kropfl, Maier, Peterseim (2022)."""
    return (got - exact).square().sum(dim=(2, 3)).mean()


def scaled_error(got: Tensor, exact: Tensor, scale: Tensor) -> Tensor:
    """Mean over patches of |S - S^|_F^2 / g^2, g the geometric mean of the coefficient on T ``(fields, k)``."""
    return ((got - exact) / scale[:, :, None, None]).square().sum(dim=(2, 3)).mean()
