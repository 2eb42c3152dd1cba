"""Regressions of an operator from samples: maps with arrays that files hold, and ridge regression."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import ClassVar, Protocol, TypeVar

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.linalg import solve as dense_solve

Array = NDArray[np.float64]
RIDGES = (1e-12, 1e-10, 1e-8, 1e-6, 1e-4)


class Samples(Protocol):
    """What a regression needs of samples: `problems.OperatorSamples` has it."""

    def part(self, name: str) -> tuple[Array, Array]:
        """Return inputs and outputs, ``(n, N)`` each, of "train" or "validation"."""


@dataclass(frozen=True, eq=False, repr=False, kw_only=True)
class Regression(ABC):
    """A map ``w(q)`` of samples ``(n, N)`` in closed form: arrays, ``settings`` chosen for it in words, and a card.

    A kind of map says what it keeps, by the ``NAMES`` of its fields, and what it does (`apply`); one that keeps more
    than arrays says what (`arrays`, `sizes`) and how it is made again (`made`).

    >>> from skfem_ml.learning import AffineMap
    >>> double = AffineMap(2 * np.eye(2), np.zeros(2), np.zeros(2), settings="doubled")
    >>> double
    AffineMap(6 numbers, doubled)
    >>> double([[1.0, 3.0]]).tolist()
    [[2.0, 6.0]]
    """

    NAMES: ClassVar[tuple[str, ...]] = ()

    settings: str = ""
    card: Mapping[str, object] = field(default_factory=dict)

    @property
    @abstractmethod
    def inputs(self) -> int | None:
        """The number of columns N that samples have to have; None for any."""

    @abstractmethod
    def apply(self, q: Array) -> Array:
        """Return ``(n, N)`` for samples ``(n, N)``."""

    def arrays(self) -> dict[str, Array]:
        """Return the arrays that the map consists of, by name."""
        return {name: getattr(self, name) for name in self.NAMES}

    @classmethod
    def made(cls: type[R], arrays: dict[str, Array], sizes: Mapping[str, object]) -> R:
        """Return the map of `arrays` and `sizes`; ValueError, TypeError or KeyError where they do not fit."""
        return cls(**{name: arrays[name] for name in cls.NAMES})  # type: ignore[arg-type]

    @property
    @abstractmethod
    def unknowns(self) -> int:
        """How many numbers were fitted."""

    def sizes(self) -> Mapping[str, object]:
        """Return what is needed beside the arrays, JSON values."""
        return {}

    def __call__(self, q: ArrayLike) -> Array:
        """Return ``(n, N)`` for ``(n, N)``; ValueError for another N."""
        samples = np.asarray(q, dtype=float)
        if samples.ndim != 2 or self.inputs not in (None, samples.shape[1]):
            raise ValueError(f"q: expected shape (n, {self.inputs or 'N'}), one row per sample, got {samples.shape}")
        return self.apply(samples)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.unknowns:,} numbers{', ' + self.settings if self.settings else ''})"

    def save(self, path: str | Path, card: Mapping[str, object] | None = None) -> None:
        """Write the map and a card of JSON values (who fitted it to what, errors) to a file.

        The old file stays until the new one is whole. Raises what `storage.save_model` raises.
        """
        import torch

        from skfem_ml.learning.storage import save_model

        own = {"kind": type(self).__name__, "settings": self.settings, "sizes": dict(self.sizes())}
        tensors = {name: torch.as_tensor(np.array(values, order="C")) for name, values in self.arrays().items()}
        save_model(path, tensors, {**self.card, **(card or {}), **own})

    @classmethod
    def load(cls: type[R], path: str | Path) -> R:
        """Return the map of a file of `save`.

        Raises FileNotFoundError, CorruptModelError for a file that is damaged or holds other arrays than its card says,
        ModelMismatchError for another kind of map.
        """
        from skfem_ml.learning.storage import ModelMismatchError, fitting, load_model

        tensors, card = load_model(path)
        if card.get("kind") != cls.__name__:
            remedy = "load it by skfem_ml.load_operator"
            raise ModelMismatchError(str(path), {"kind": cls.__name__}, {"kind": card.get("kind")}, remedy)
        with fitting(path, f"the arrays of {cls.__name__}"):
            sizes = dict(card.pop("sizes"))
            one = cls.made({name: tensor.numpy() for name, tensor in tensors.items()}, sizes)
            if set(one.arrays()) != set(tensors):
                raise ValueError(f"arrays: expected {sorted(one.arrays())}, got {sorted(tensors)}")
            return replace(one, settings=str(card.pop("settings")), card={**card})


R = TypeVar("R", bound=Regression)


@dataclass(frozen=True, eq=False, repr=False)
class AffineMap(Regression):
    """The map ``w = A (q - centre) + mean`` with a dense matrix A ``(N, N)``.

    Raises ValueError for arrays of other shapes.

    >>> from skfem_ml.learning import AffineMap
    >>> shift = AffineMap(np.eye(3), np.ones(3), np.zeros(3))
    >>> bool(shift(np.ones((2, 3))).any()), shift.unknowns
    (False, 12)
    """

    NAMES: ClassVar = ("matrix", "centre", "mean")

    matrix: Array
    centre: Array
    mean: Array

    def __post_init__(self) -> None:
        if self.matrix.shape != (self.mean.size, self.centre.size) or self.centre.ndim != 1 or self.mean.ndim != 1:
            raise ValueError(
                f"matrix, centre, mean: expected shapes (M, N), (N,), (M,), got {self.matrix.shape}, "
                f"{self.centre.shape} and {self.mean.shape}"
            )

    @property
    def inputs(self) -> int:
        """The number of columns of the matrix."""
        return self.centre.size

    def apply(self, q: Array) -> Array:
        """Return ``(n, N)``; the mean is taken off first, for the matrix may be large."""
        return (q - self.centre) @ self.matrix.T + self.mean

    @property
    def unknowns(self) -> int:
        """The numbers of the matrix and of one shift."""
        return self.matrix.size + self.mean.size


def ridge_matrix(q: Array, w: Array, ridge: float) -> Array:
    """Return the matrix A ``(N, N)`` of ``min sum |A q - w|^2 + s |A|^2``, ``s = ridge * trace(Gram) / N``."""
    return next(ridge_matrices(q, w, [ridge]))


def ridge_matrices(q: Array, w: Array, ridges: Iterable[float]) -> Iterator[Array]:
    """Yield `ridge_matrix` ``(N, N)`` for each of ``ridges``; the Gram matrix, the smaller of the two, is made once."""
    primal = q.shape[1] <= q.shape[0]
    gram, right = (q.T @ q, q.T @ w) if primal else (q @ q.T, q)
    scale = float(np.trace(gram)) / len(gram) or 1.0
    for ridge in ridges:
        shifted = gram + ridge * scale * np.eye(len(gram))
        x = dense_solve(shifted, right, assume_a="pos", overwrite_a=True)
        yield x.T if primal else w.T @ x


def affine_ridge(
    samples: Samples,
    ridges: tuple[float, ...],
    measure: Callable[[Array, Array], float],
    made: Callable[[AffineMap], Regression] = lambda found: found,
) -> Regression:
    """Return the best ``A (q - mean q) + mean w`` over ``ridges``: that with the least error on validation samples.

    ``measure(got, exact)`` is the error; ``made(map)`` puts a map into another form before it is judged.
    """
    q, w = samples.part("train")
    centre, mean = q.mean(axis=0), w.mean(axis=0)
    matrices = zip(ridge_matrices(q - centre, w - mean, ridges), ridges, strict=True)
    found = (made(AffineMap(A, centre, mean, settings=f"ridge {ridge:g}")) for A, ridge in matrices)
    return best_of(found, samples, measure)  # two of the matrices are held at a time


def best_of(tried: Iterable[R], samples: Samples, measure: Callable[[Array, Array], float]) -> R:
    """Return the one with the least ``measure(got, exact)`` on the validation samples."""
    q, w = samples.part("validation")
    return min(tried, key=lambda one: measure(one(q), w))
