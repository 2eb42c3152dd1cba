"""Where the states lay that a hierarchy has learnt from, and a warning for states outside."""

from __future__ import annotations

import warnings
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

Array = NDArray[np.float64]
SLACK = 0.01  # of the width: maps leave the range of their data by their own error


@dataclass(frozen=True, eq=False)
class Box:
    """The range ``low`` to ``high`` ``(n,)`` of the states of training, over times ``start`` to ``end``.

    Raises ValueError for shapes that differ, and ends that are not finite and ordered.

    >>> from skfem_ml.hits import Box
    >>> t, y = [0.0, 1.0], [[[0.0, 2.0], [1.0, 1.0]]]
    >>> Box.of(t, y)
    Box([0, 2] x [1, 1], t from 0 to 1)
    """

    low: Array
    high: Array
    start: float
    end: float

    def __post_init__(self) -> None:
        ends = np.array([*self.low, *self.high, self.start, self.end], dtype=float)
        if self.low.shape != self.high.shape or not np.isfinite(ends).all() or (self.low > self.high).any():
            raise ValueError(f"box: expected finite low <= high (n,), got {self.low} and {self.high}")

    def __repr__(self) -> str:
        sides = " x ".join(f"[{a:.4g}, {b:.4g}]" for a, b in zip(self.low, self.high, strict=True))
        return f"Box({sides}, t from {self.start:.4g} to {self.end:.4g})"

    @classmethod
    def of(cls, t: ArrayLike, y: ArrayLike) -> Box:
        """Return the box of trajectories ``y`` ``(trajectories, n, k)`` at times ``t`` ``(k,)``."""
        t, y = np.asarray(t, dtype=float), np.asarray(y, dtype=float)
        return cls(y.min(axis=(0, 2)), y.max(axis=(0, 2)), float(t[0]), float(t[-1]))

    def warn(self, states: Array) -> bool:
        """Warn, once, where finite states ``(..., n)`` lie a hundredth of the width outside; return whether it did."""
        rows = states.reshape(-1, len(self.low))
        rows = rows[np.isfinite(rows).all(axis=1)]
        width = np.where(self.high > self.low, self.high - self.low, 1.0)
        outside = np.maximum(self.low - rows, rows - self.high) / width
        if not outside.size or outside.max() <= SLACK:
            return False
        row, unknown = np.unravel_index(int(outside.argmax()), outside.shape)
        warnings.warn(
            f"states outside the box of training: unknown {unknown} reaches {rows[row, unknown]:.4g}, trained on "
            f"{self.low[unknown]:.4g} to {self.high[unknown]:.4g} ({outside.max():.4g} widths outside), where "
            "networks guess: train on such states, or use a classical stepper",
            stacklevel=4,
        )
        return True
