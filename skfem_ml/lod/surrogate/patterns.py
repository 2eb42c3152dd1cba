"""How rough and how regular a coefficient is around an element: numbers free of scale and symmetry."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from skfem_ml.lod.surrogate.networks.place import Place

NAMES = ("roughness", "alternation", "crossing")
EXTREME = 0.1  # of the range of an element: cells within are at its smallest or largest value
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


def textures(a: Tensor, place: Place) -> Tensor:
    r"""Features of the cells of k elements and of their patches, ``(fields, k, count)``, for a test of novelty.

    a is ``(fields, nelems, m**2)``. With l = log a less its mean on an element, d_x, d_y its differences between
    neighbouring cells, R = (<d_x^2> + <d_y^2>) / 2, v = <l^2>, and a floor F = 0.01 under what is divided by: roughness
    log(1 + R / F), alternation <(d d)^2> / (R + F), crossing <(d_x d_y)^2> / (R + F) (4 for a checkerboard), direction
    |<d_x^2> - <d_y^2>| / (R + F), contrast log(1 + v / F), R / (v + F); <l^4> / (v + F)^2 (1 for two values in equal
    shares, 3 for normal ones) and |<l^3>| / (v + F)^(3/2), which with the share of cells at the two extremes tell two
    phases. Each of the element itself and, from the means of <.> over it, of its patch; all of it again for averages of
    2 x 2 cells, 4 x 4 ..., as long as three of them fit; and the variance of the elements' means on the patch.
    """
    m = round(a.shape[2] ** 0.5)
    inside = (place.cells >= 0).to(a.dtype)
    count, index = inside.sum(dim=1), place.cells.clamp(min=0)

    def over_patch(values: Tensor) -> Tensor:
        return (values[:, index] * inside[:, :, None]).sum(dim=2) / count[:, None]

    logs, own = a.log().unflatten(2, (m, m)), index[:, index.shape[1] // 2]
    found: list[Tensor] = []
    for level in _levels(logs):
        moments = _moments(level)
        found += [*_told(moments[:, own]), *_told(over_patch(moments))]
    means = logs.mean(dim=(2, 3))[:, :, None]
    variance = over_patch(means.square()) - over_patch(means).square()
    return torch.stack([*found, (variance[:, :, 0].clamp(min=0) / FLOOR).log1p()], dim=2)


def _moments(logs: Tensor) -> Tensor:
    """What `textures` takes means of over patches, ``(fields, nelems, 8)``."""
    x, y = logs.diff(dim=3), logs.diff(dim=2)
    centred = logs - logs.mean(dim=(2, 3), keepdim=True)
    squares = centred.square()
    low, high = centred.amin(dim=(2, 3), keepdim=True), centred.amax(dim=(2, 3), keepdim=True)
    near = EXTREME * (high - low)
    extreme = ((centred <= low + near) | (centred >= high - near)).to(logs.dtype).mean(dim=(2, 3))
    found = [
        squares.mean(dim=(2, 3)), (squares * centred).mean(dim=(2, 3)).abs(), squares.square().mean(dim=(2, 3)),
        _mean_square(x), _mean_square(y), _mean_square(x.diff(dim=3)) + _mean_square(y.diff(dim=2)),
        _mean_square(x.diff(dim=2)), extreme,
    ]  # fmt: skip
    return torch.stack(found, dim=2)


def _told(moments: Tensor) -> list[Tensor]:
    variance, third, fourth, x, y, alternating, crossing, extreme = moments.unbind(dim=2)
    rough = (x + y) / 2
    spread, steps = variance + FLOOR, rough + FLOOR
    return [
        (rough / FLOOR).log1p(), alternating / 2 / steps, crossing / steps, (x - y).abs() / steps, rough / spread,
        (variance / FLOOR).log1p(), fourth / spread**2, third / spread**1.5, extreme * variance / spread,
    ]  # fmt: skip


def _levels(logs: Tensor) -> Iterator[Tensor]:
    while logs.shape[3] >= 3:
        yield logs
        if logs.shape[3] % 2:
            return
        logs = logs.unflatten(3, (-1, 2)).mean(dim=4).unflatten(2, (-1, 2)).mean(dim=3)


def _mean_square(values: Tensor) -> Tensor:
    return values.square().mean(dim=(2, 3))
