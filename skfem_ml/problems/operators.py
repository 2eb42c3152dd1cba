"""An operator known by samples: pairs of discretised functions on the same points, in three parts."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class OperatorSamples:
    """Pairs ``inputs``, ``outputs`` ``(n, N)``, one row a sample, of a map of functions on ``points`` ``(dim, N)``.

    The last ``test`` rows are for the final errors alone, the ``validation`` rows before them for choosing (settings,
    the best step of a training), the others for fitting.

    Raises ValueError for other shapes, values that are not finite, an output that is zero everywhere (it has no
    relative residual), and parts without a sample.

    >>> q = np.random.default_rng(0).uniform(1, 2, (10, 4))
    >>> samples = OperatorSamples(np.linspace(0, 1, 4)[None], q, 2 * q, validation=2, test=3)
    >>> samples, samples.part("train")[0].shape
    (OperatorSamples('operator', 5 + 2 + 3 samples on 4 points), (5, 4))
    """

    points: Array
    inputs: Array
    outputs: Array
    validation: int
    test: int
    name: str = "operator"

    def __post_init__(self) -> None:
        if self.points.ndim != 2 or self.points.shape[1] < 1:
            raise ValueError(f"points: expected shape (dim, N), got {self.points.shape}")
        N = self.points.shape[1]
        for name, values in (("inputs", self.inputs), ("outputs", self.outputs)):
            if values.ndim != 2 or values.shape[1] != N:
                raise ValueError(f"{name}: expected shape (n, {N}), one column per point, got {values.shape}")
            bad = ~np.isfinite(values).all(axis=1)
            if bad.any():
                raise ValueError(
                    f"{name}: expected finite values, {bad.sum()} samples have others, first {bad.argmax()}"
                )
        n = len(self.inputs)
        if len(self.outputs) != n:
            raise ValueError(f"inputs, outputs: expected one number of samples, got {n} and {len(self.outputs)}")
        if not self.outputs.any(axis=1).all():
            first = int((~self.outputs.any(axis=1)).argmax())
            raise ValueError(f"outputs: expected none that is zero everywhere, got sample {first}; leave it out")
        if min(self.validation, self.test) < 1 or self.validation + self.test >= n:
            raise ValueError(
                f"validation, test: expected at least 1 sample in each part, got {self.validation}, {self.test} and "
                f"{n - self.validation - self.test} for training"
            )

    def __repr__(self) -> str:
        train = len(self.inputs) - self.validation - self.test
        parts = f"{train} + {self.validation} + {self.test} samples on {self.points.shape[1]} points"
        return f"OperatorSamples({self.name!r}, {parts})"

    def part(self, name: str) -> tuple[Array, Array]:
        """Return inputs and outputs of "train", "validation" or "test"; KeyError for another name."""
        end, start = len(self.inputs) - self.test, len(self.inputs) - self.test - self.validation
        rows = {"train": slice(start), "validation": slice(start, end), "test": slice(end, None)}[name]
        return self.inputs[rows], self.outputs[rows]

    @property
    def exact(self) -> Array:
        """The outputs of the test samples."""
        return self.part("test")[1]
