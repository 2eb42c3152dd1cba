"""The eight symmetries of the square on the cells, boundary nodes and moments of an element."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache

import numpy as np
import torch
from numpy import ndarray
from torch import Tensor

from skfem_ml.lod.engine.elements.layout import boundary_nodes

COUNT = 8


@cache
def turned(n: int, number: int) -> tuple[Tensor, Tensor]:
    """Orders ``cells`` ``(n n,)`` and ``places`` ``(4 n + 4,)`` of a symmetry.

    The element with values ``a[cells]`` has the bordered matrix ``B[places][:, places]``, B being that of a.
    """
    y, x = np.divmod(np.arange(n * n), n)
    cells = _image(number, x, y, n - 1)
    rim = [tuple(node) for node in boundary_nodes(n).T.tolist()]
    corners = [(0, 0), (0, 1), (1, 0), (1, 1)]  # the order of moments, as (x, y)
    places = [rim.index(node) for node in _moved(number, rim, n)]
    places += [4 * n + corners.index(node) for node in _moved(number, corners, 1)]
    return torch.from_numpy(cells[0] + n * cells[1]), torch.tensor(places)


def moved(number: int, values: Tensor, answer: Callable[[Tensor], Tensor]) -> Tensor:
    """``answer(values)``, bordered matrices for values of cells ``(k, n n)``, found on a symmetric image."""
    n = round(values.shape[1] ** 0.5)
    cells, places = turned(n, number)
    back = torch.argsort(places)
    return answer(values[:, cells])[:, back][:, :, back]


def _image(number: int, x: ndarray, y: ndarray, last: int) -> tuple[ndarray, ndarray]:
    """Where a symmetry takes its values from: transposed (4), mirrored in x (2), in y (1)."""
    if number & 4:
        x, y = y, x
    return (last - x if number & 2 else x), (last - y if number & 1 else y)


def _moved(number: int, nodes: list[tuple[int, int]], last: int) -> list[tuple[int, int]]:
    x, y = np.array(nodes).T
    image = _image(number, x, y, last)
    return [(int(i), int(j)) for i, j in zip(*image, strict=True)]
