"""What is known of the energies that a network gives: how far its answers to symmetric images are apart."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
from numpy import ndarray
from torch import Tensor

from skfem_ml.lod.engine.elements.energies import energies_of
from skfem_ml.lod.surrogate.elements.labels import Elements, complement, layered, whitening
from skfem_ml.lod.surrogate.elements.symmetries import moved

CHUNK = 64  # elements a pass: their matrices stay in the cache
FLOOR = 1e-4  # added to what the images say: labels are no closer to the truth
IMAGES = (3, 5)  # the symmetries whose answers are compared: half a turn, and a quarter


class ElementJudgement(NamedTuple):
    """Energies ``(k, 4 n + 4, 4 n + 4)``, the doubt ``(k,)``, and which elements were computed exactly and which are
    known (of one value, or of layers along an axis): as exactly, without a computation of their own.

    >>> import numpy as np, torch
    >>> from skfem_ml.lod.surrogate import ElementJudgement
    >>> ElementJudgement(torch.zeros(2, 36, 36), np.array([0.01, 0.5]), *np.eye(2, dtype=bool)).fraction
    0.5
    """

    energies: Tensor
    doubt: ndarray
    exact: ndarray
    known: ndarray

    @property
    def fraction(self) -> float:
        """The share of elements that were computed exactly."""
        return float(self.exact.mean()) if len(self.exact) else 0.0


@torch.no_grad()
def judged(
    answer: Callable[[Tensor], Tensor], elements: ndarray, truth: Elements, tol: float | None, factor: float | None,
    layers: bool = True,
) -> ElementJudgement:  # fmt: skip
    """Energies of elements, those with a doubt above ``tol`` or not finite exactly; no doubt where ``factor`` is None.

    ``answer`` gives bordered matrices for values of cells. With ``layers`` it is not asked for elements of one value or
    of layers along an axis, which `Elements.of_layers` has as exactly as labels are: their doubt is `FLOOR`.
    """
    starts = range(0, max(1, len(elements)), CHUNK)
    parts = [_part(answer, truth, elements[start : start + CHUNK], factor, layers) for start in starts]
    energies = torch.cat([part[0] for part in parts])
    doubt, known = (torch.cat([part[k] for part in parts]).numpy() for k in (1, 2))
    again = ~energies.isfinite().all(dim=2).all(dim=1).numpy()
    if tol is not None:
        again |= ~(known | (doubt <= tol))
    if again.any():
        energies[torch.from_numpy(again)] = truth.exact(elements[again])
    return ElementJudgement(energies, doubt, again, known)


def _part(
    answer: Callable[[Tensor], Tensor], truth: Elements, elements: ndarray, factor: float | None, layers: bool
) -> tuple[Tensor, Tensor, Tensor]:
    values = truth.values(elements)
    plain = layered(values) if layers else torch.zeros(len(values), dtype=torch.bool)
    if not bool(plain.any()):
        return *_guessed(answer, values, factor), plain
    size = 4 * truth.space.n + 4
    energies = values.new_empty(len(values), size, size)
    doubt = values.new_full((len(values),), 0.0 if factor is None else FLOOR)
    energies[plain] = truth.of_layers(elements[plain.numpy()], values[plain])
    if not bool(plain.all()):
        energies[~plain], doubt[~plain] = _guessed(answer, values[~plain], factor)
    return energies, doubt, plain


def _guessed(answer: Callable[[Tensor], Tensor], values: Tensor, factor: float | None) -> tuple[Tensor, Tensor]:
    energies = _finite_energies(answer(values))
    if factor is None:
        return energies, energies.new_zeros(len(values))
    images = [_finite_energies(moved(image, values, answer)) for image in IMAGES]
    return energies, factor * (disagreement(energies, images) + FLOOR)


def _finite_energies(bordered: Tensor) -> Tensor:
    """Energies of bordered matrices; not a number where these are none."""
    good = bordered.isfinite().all(dim=2).all(dim=1)
    if bool(good.all()):
        return energies_of(bordered)
    out = torch.full_like(bordered, torch.nan)
    out[good] = energies_of(bordered[good])
    return out


def disagreement(energies: Tensor, others: list[Tensor]) -> Tensor:
    """The largest |R (H' - H) R^T|_F over other energies H', with R H R^T = 1 on what is not constant, ``(k,)``.

    Infinite where H is not positive.
    """
    R, good = whitening(energies, complement((energies.shape[1] - 4) // 4))
    gaps = [(R @ (other - energies) @ R.mT).square().sum(dim=(1, 2)).sqrt() for other in others]
    return torch.stack(gaps).amax(dim=0).nan_to_num(nan=torch.inf).where(good, torch.inf)


def distances(energies: Tensor, exact: Tensor) -> ndarray:
    """d = max |log eig(H^-1 H^)| of every element, ``(k,)``: the relative error of any of its energies."""
    R, good = whitening(exact, complement((exact.shape[1] - 4) // 4))
    M = R @ energies @ R.mT
    eigenvalues = torch.linalg.eigvalsh((M + M.mT) / 2)
    smallest, largest = eigenvalues[:, 0], eigenvalues[:, -1]
    d = torch.maximum(-smallest.clamp_min(1e-300).log(), largest.clamp_min(1e-300).log())
    return d.where(good & (smallest > 0), torch.inf).numpy()
