"""What is looked at for every coefficient: energies of some elements, and whether its corners are resolved."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from numpy import ndarray
from torch import Tensor

from skfem_ml import checks
from skfem_ml.lod.mesh.discretisation import Discretisation
from skfem_ml.lod.surrogate.elements.judging import distances
from skfem_ml.lod.surrogate.elements.labels import Elements, long_waves, moments_free

LEAST = 8  # elements
SHARE = 0.1  # of the elements that are checked may be further off than the card says
COARSE = 0.01  # of `unresolved`
HARD = 10.0  # times as hard as both neighbours: of checkerboards of elements u_h is 4 % off there, 18 % at 100 times
CORNERS = 8  # such nodes on the sides of elements may be: fewer than 3 x 3
CORNER = 0.01  # times log c: S_T of checkerboards of elements are 3, 11, 20 % off at c = 10, 100, 1000


def check_elements(truth: Elements, energies: Callable[[ndarray], Tensor], share: float, trusted: float) -> None:
    """Warn (UserWarning) where energies of some elements are further than ``trusted`` from exact ones, where exact ones
    do not converge, and where hard cells touch at corners on the sides of elements.
    """
    space, n = truth.space, truth.space.n
    some = spread(space, max(LEAST, int(np.ceil(share * len(space.all_elements)))))
    fine, exact = truth.converging(some)
    off, gap, touched = distances(energies(some), exact), unresolved(fine, exact), touching(truth)
    bad = ~(off <= trusted)
    if bad.mean() > SHARE:
        checks.warn(
            f"a: the energies of {bad.sum()} of the {len(some)} elements that were checked are off by more than "
            f"{trusted:.2g} (at most {off.max():.2g}): the model may be wrong for this coefficient; take tol=0.02, "
            f"which computes doubtful elements exactly, or interiors={4 * n}"
        )
    if not gap <= COARSE:
        checks.warn(
            f"a: expected one that {4 * n} x {4 * n} cells an element resolve, got energies of the {len(some)} "
            f"elements that were checked {100 * gap:.2g} % from what they converge to, as at corners of high contrast: "
            "u_h may be off by several times that, with exact matrices as well; compare with "
            f"LOD(..., refine={8 * n})"
        )
    if touched > CORNERS:
        checks.warn(
            f"a: expected one whose hard cells meet along edges, got {touched} corners on the sides of elements where "
            f"two touch that are more than {HARD:g} times as hard as their neighbours: {n} cells a side do not resolve "
            "what flows through them, and u_h may be several per cent off; compare with "
            f"LOD(..., refine={4 * n})"
        )


def spread(space: Discretisation, count: int) -> ndarray:
    """So many elements, or all there are, drawn by place: the same whatever their numbers are."""
    order, rng = np.lexsort(space.grid.cells), np.random.default_rng(0)
    return order[rng.choice(len(order), min(count, len(order)), replace=False)]


def unresolved(fine: Tensor, extrapolated: Tensor) -> float:
    """How far energies of a fine mesh are from what they converge to, for x and y on the boundary: the mean over
    elements of log E_4n / E, the larger of the two without its sign. Such errors have one sign, and add up in u_h.
    """
    linear = long_waves((fine.shape[1] - 4) // 4)[:, :2]
    sizes = (torch.einsum("ia,kij,ja->ka", linear, moments_free(H), linear) for H in (fine, extrapolated))
    of_fine, of_both = (size.clamp_min(1e-300).log() for size in sizes)
    return float((of_fine - of_both).mean(dim=0).abs().amax())


def touching(truth: Elements) -> int:
    """How many nodes on the sides of elements have `corners` above `HARD`."""
    hard, n = corners(truth) > HARD, truth.space.n
    return int(hard[::n].sum() + hard[:, ::n].sum() - hard[::n, ::n].sum())


def beside_corners(truth: Elements) -> ndarray:
    """What is expected of local matrices of elements for the `corners` on their sides, ``(nelems,)``: 0 without any."""
    found, n = np.log(corners(truth)), truth.space.n
    west, south = n * truth.space.grid.cells[:, :, None]
    along = np.arange(n + 1)
    sides = [found[south + along, west + far] for far in (0, n)] + [found[south + far, west + along] for far in (0, n)]
    return CORNER * np.max(sides, axis=(0, 2))


def corners(truth: Elements) -> ndarray:
    """At the nodes of cells, ``(ny n + 1, nx n + 1)``, how many times as hard as both others two cells across are; 1 or
    more, 1 where there is none.

    What flows from one to the other passes a point, with a singularity of the exponent (4 / pi) arctan(c^(-1/2)) at
    contrast c (Kellogg, Applicable Analysis 4, 1975): n cells on a side do not see it, whatever is inside.
    """
    space, n = truth.space, truth.space.n
    x, y = space.grid.cells
    image = np.full((y.max() + 1, n, x.max() + 1, n), np.nan)  # nothing outside the domain
    image[y, :, x] = truth.values(space.all_elements).reshape(-1, n, n).numpy()
    image = image.reshape((y.max() + 1) * n, -1)
    a, b, c, d = image[:-1, :-1], image[:-1, 1:], image[1:, :-1], image[1:, 1:]
    either = np.minimum(a, d) / np.maximum(b, c), np.minimum(b, c) / np.maximum(a, d)
    return np.pad(np.nan_to_num(np.maximum(*either), nan=1.0).clip(min=1.0), 1, constant_values=1.0)
