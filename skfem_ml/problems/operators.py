"""An operator known by samples: pairs of discretised functions on the same points, in three parts."""

from __future__ import annotations

import zipfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import ArrayLike, NDArray

Array = NDArray[np.float64]
VALIDATION, TEST = 1 / 15, 1 / 3  # parts of the samples in a file that does not say


def usual_parts(samples: int) -> dict[str, int]:
    """Return the usual sizes of the validation and test parts: a fifteenth and a third, at least one each."""
    return {"validation": max(1, int(samples * VALIDATION)), "test": max(1, int(samples * TEST))}


def regular_grid(points: Array) -> tuple[tuple[int, ...], NDArray[np.int64]]:
    """Return the shape of the grid that ``points`` ``(dim, N)`` are, and its points in the order of an array of it.

    ``values[order].reshape(shape)`` has the first coordinate along the first axis. ValueError where the points are no
    regular grid: axes of equal spacing, every combination once.
    """
    shape, places = [], []
    for x in points:
        at = np.sort(x)
        gap = 1e-6 * ((at[-1] - at[0]) or 1.0)
        levels = at[np.concatenate([[True], np.diff(at) > gap])]
        spacing = np.diff(levels)
        if len(levels) > 2 and not np.allclose(spacing, spacing.mean(), rtol=1e-4):
            raise ValueError(
                "points: expected a regular grid, got axes of unequal spacing; take a method for any points"
            )
        half = spacing.mean() / 2 if len(levels) > 1 else 1.0
        places.append(np.searchsorted(levels, x - half))
        shape.append(len(levels))
    flat = np.ravel_multi_index(tuple(places), tuple(shape))
    if len(np.unique(flat)) != points.shape[1] or np.prod(shape) != points.shape[1]:
        raise ValueError(
            f"points: expected a regular grid, got {points.shape[1]} points on {' x '.join(map(str, shape))} "
            "coordinates; take a method for any points"
        )
    return tuple(shape), np.argsort(flat)


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

    @classmethod
    def from_file(cls, path: str | Path, points: ArrayLike | None = None) -> OperatorSamples:
        """Return the samples of a ``.npz`` with ``inputs``, ``outputs`` ``(n, N)`` and ``points`` ``(dim, N)``.

        ``points`` given here (``mesh.p``, ``basis.doflocs``) stand for those of the file. The file may say how many
        ``validation`` and ``test`` samples its last rows are; else a fifteenth and a third. Nothing is unpickled.
        Raises FileNotFoundError, and ValueError with the path for anything else than such a file.
        """
        path = Path(path)
        if not path.is_file():
            raise FileNotFoundError(f"{path}: expected a .npz file with inputs, outputs and points, found none")
        try:
            with np.load(path, allow_pickle=False) as file:
                held = {name: np.asarray(file[name], dtype=float) for name in file.files}
            x = np.asarray(held["points"] if points is None else points, dtype=float)
            parts = usual_parts(len(held["inputs"]))
            parts |= {name: int(held[name]) for name in parts if name in held}
            return cls(x, held["inputs"], held["outputs"], **parts, name=path.stem)
        except KeyError as error:
            raise ValueError(f"{path}: expected arrays inputs, outputs and points, found no {error}") from error
        except (ValueError, EOFError, TypeError, AttributeError, zipfile.BadZipFile) as error:
            raise ValueError(f"{path}: expected samples as .npz, got {error}") from error

    def part(self, name: str) -> tuple[Array, Array]:
        """Return inputs and outputs of "train", "validation" or "test"; KeyError for another name."""
        end, start = len(self.inputs) - self.test, len(self.inputs) - self.test - self.validation
        rows = {"train": slice(start), "validation": slice(start, end), "test": slice(end, None)}[name]
        return self.inputs[rows], self.outputs[rows]

    @property
    def exact(self) -> Array:
        """The outputs of the test samples."""
        return self.part("test")[1]
