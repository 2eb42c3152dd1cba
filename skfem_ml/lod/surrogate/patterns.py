"""How rough and how regular a coefficient is around an element: three numbers a length, free of scale and symmetry."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from skfem_ml.lod.surrogate.networks.place import Place

NAMES = ("roughness", "alternation", "crossing")
FLOOR = 0.01  # mean squared log-ratio of neighbours (ten per cent) below which regularity counts for little


def patterns(a: Tensor, place: Place) -> Tensor:
    r"""Statistics of log a on the patches of k elements, ``(fields, k, 3 levels)``; a is ``(fields, nelems, m**2)``.

    With d_x, d_y the differences of log a between neighbouring cells of one coarse element and <.> the mean over the
    patch (both directions): the roughness R = <d^2>, alternation <(d d)^2> / (R + FLOOR) and crossing
    <(d_x d_y)^2> / (R + FLOOR). Independent cells have alternation 3 and crossing 2, whatever their distribution, and
    smooth fields nearly none; stripes one cell wide have alternation 4, checkerboards crossing 4, which nothing random
    has. The same of log a averaged over 2 x 2, 4 x 4 ... cells, as long as three of them fit into an element.
    """
    m = round(a.shape[2] ** 0.5)
    inside = (place.cells >= 0).to(a.dtype)
    count, index = inside.sum(dim=1), place.cells.clamp(min=0)

    def over_patch(values: Tensor) -> Tensor:
        return (values[:, index] * inside).sum(dim=2) / count

    found: list[Tensor] = []
    for logs in _levels(a.log().unflatten(2, (m, m))):
        x, y = logs.diff(dim=3), logs.diff(dim=2)
        rough = over_patch(_mean_square(x) + _mean_square(y)) / 2
        alternating = over_patch(_mean_square(x.diff(dim=3)) + _mean_square(y.diff(dim=2))) / 2
        crossing = over_patch(_mean_square(x.diff(dim=2)))
        found += [rough, alternating / (rough + FLOOR), crossing / (rough + FLOOR)]
    return torch.stack(found, dim=2) if found else a.new_zeros(len(a), len(place.cells), 0)


def _levels(logs: Tensor) -> Iterator[Tensor]:
    while logs.shape[3] >= 3:
        yield logs
        if logs.shape[3] % 2:
            return
        logs = logs.unflatten(3, (-1, 2)).mean(dim=4).unflatten(2, (-1, 2)).mean(dim=3)


def _mean_square(values: Tensor) -> Tensor:
    return values.square().mean(dim=(2, 3))
