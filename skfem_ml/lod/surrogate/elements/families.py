"""Families of coefficients at the scale of cells: what a model of single coarse elements is trained on.

Lengths are in cells, so that an element of 8 x 8 cells sees everything from single cells to one straight edge.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy import ndarray
from scipy.ndimage import gaussian_filter

Draw = Callable[[int, np.random.Generator], ndarray]


def cellwise_field(family: str, size: int, contrast: float, rng: np.random.Generator) -> ndarray:
    """Values of ``size`` x ``size`` cells, the largest at most ``contrast`` times the smallest; rows are y.

    Families: iid, log-normal, discs, channels, stripes, multilevel, rectangles, sparse cells, Bernoulli, blocks of two
    phases, checkerboard. Raises ValueError for another, for less than four cells and a contrast below 1.

    >>> import numpy as np
    >>> a = cellwise_field("discs", 32, 100.0, np.random.default_rng(0))
    >>> a.shape, bool(a.max() / a.min() < 101)
    ((32, 32), True)
    """
    if family not in CELLWISE:
        raise ValueError(f"family: expected one of {', '.join(CELLWISE)}, got {family!r}")
    if size < 4 or not contrast >= 1:
        raise ValueError(f"size, contrast: expected at least 4 and 1, got {size} and {contrast}")
    logs = _DRAWS[family](size, rng)
    return np.exp(np.log(contrast) * (logs - logs.min()) / max(1.0, float(np.ptp(logs))))


def _blocks(size: int, rng: np.random.Generator, draw: Callable[[tuple[int, int]], ndarray]) -> ndarray:
    """Draws on blocks of 1, 2, 4 or 8 cells, in step with the elements or not."""
    block = 2 ** int(rng.integers(0, 4))
    count = -(-size // block) + 1
    values = np.kron(draw((count, count)), np.ones((block, block)))
    x, y = rng.integers(0, block, 2) if rng.random() < 0.5 else (0, 0)
    return values[y : y + size, x : x + size]


def _iid(size: int, rng: np.random.Generator) -> ndarray:
    return _full(_blocks(size, rng, rng.random))


def _full(logs: ndarray) -> ndarray:
    """Scaled to [0, 1], where there is more than one value."""
    return (logs - logs.min()) / max(float(np.ptp(logs)), 1e-12)


def _log_normal(size: int, rng: np.random.Generator) -> ndarray:
    lengths = np.exp(rng.uniform(np.log(0.5), np.log(8), 2))
    return _full(gaussian_filter(rng.standard_normal((size, size)), lengths, mode="wrap"))


def _two_phases(inside: ndarray, rng: np.random.Generator) -> ndarray:
    """Hard or soft inclusions, in some cases in ground that varies a little."""
    logs = np.where(inside, 1.0, 0.0)
    logs = logs if rng.random() < 0.5 else 1 - logs
    return logs + rng.uniform(0, 0.1) * rng.random(inside.shape) if rng.random() < 0.3 else logs


def _discs(size: int, rng: np.random.Generator) -> ndarray:
    x, y = np.mgrid[:size, :size] + 0.5
    inside = np.zeros((size, size), dtype=bool)
    for _ in range(int(rng.integers(2, 24))):
        (a, b), radius = rng.uniform(-2, size + 2, 2), np.exp(rng.uniform(0, np.log(14)))
        inside |= (x - a) ** 2 + (y - b) ** 2 < radius**2
    return _two_phases(inside, rng)


def _channels(size: int, rng: np.random.Generator) -> ndarray:
    """Straight channels along the axes, crossing or not, in some cases each of its own value."""
    places, logs = np.arange(size) + 0.5, np.zeros((size, size))
    one, kinds = rng.random() < 0.7, rng.choice(3, p=(0.35, 0.35, 0.3))
    for _ in range(int(rng.integers(1, 9))):
        width, value = np.exp(rng.uniform(0, np.log(12))), 1.0 if one else rng.random()
        on = np.abs(places - rng.uniform(0, size)) <= width / 2
        logs[on, :] = np.where(kinds != 1, value, logs[on, :])
        on = np.abs(places - rng.uniform(0, size)) <= width / 2
        logs[:, on] = np.where(kinds != 0, value, logs[:, on])
    return logs if rng.random() < 0.5 else 1 - logs


def _stripes(size: int, rng: np.random.Generator) -> ndarray:
    width, values = int(rng.integers(1, 5)), rng.random(size + 1)
    values = np.where(values > rng.uniform(0.2, 0.8), 1.0, 0.0) if rng.random() < 0.3 else values
    rows = values[(np.arange(size) + rng.integers(0, width)) // width]
    logs = np.repeat(rows[:, None], size, axis=1)
    return logs if rng.random() < 0.5 else logs.T


def _multilevel(size: int, rng: np.random.Generator) -> ndarray:
    return _full(np.log(sum(_blocks(size, rng, lambda shape: rng.uniform(1, 5, shape)) for _ in range(3))))


def _rectangles(size: int, rng: np.random.Generator) -> ndarray:
    logs = np.zeros((size, size))
    for _ in range(int(rng.integers(4, 80))):
        (x, y), (w, h) = rng.integers(0, size, 2), rng.integers(1, 12, 2)
        logs[y : y + h, x : x + w] = rng.random()
    return _full(logs)


def _sparse_cells(size: int, rng: np.random.Generator) -> ndarray:
    """Single cells, hard and soft, in quiet ground."""
    logs, count = np.full((size, size), 0.5), int(rng.integers(size // 2, 4 * size))
    logs[tuple(rng.integers(0, size, (2, count)))] = rng.random(count)
    return logs


def _bernoulli(size: int, rng: np.random.Generator) -> ndarray:
    return np.where(rng.random((size, size)) < rng.uniform(0.05, 0.95), 1.0, 0.0)


def _two_phase_blocks(size: int, rng: np.random.Generator) -> ndarray:
    share = rng.uniform(0.1, 0.9)
    return _two_phases(_blocks(size, rng, rng.random) < share, rng)


def _checkerboard(size: int, rng: np.random.Generator) -> ndarray:
    period = 2 ** int(rng.integers(0, 3))
    x, y = (np.mgrid[:size, :size] + rng.integers(0, period, (2, 1, 1))) // period
    logs = ((x + y) % 2).astype(float)
    return logs if rng.random() < 0.6 else np.where(rng.random((size, size)) < rng.uniform(0, 0.2), 1 - logs, logs)


_DRAWS: dict[str, Draw] = {
    "iid": _iid,
    "log-normal": _log_normal,
    "discs": _discs,
    "channels": _channels,
    "stripes": _stripes,
    "multilevel": _multilevel,
    "rectangles": _rectangles,
    "sparse cells": _sparse_cells,
    "Bernoulli": _bernoulli,
    "two phases": _two_phase_blocks,
    "checkerboard": _checkerboard,
}
CELLWISE = tuple(_DRAWS)
