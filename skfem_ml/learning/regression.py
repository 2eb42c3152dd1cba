"""Ridge regression of an operator from samples, dense or with its matrix put into another form."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.linalg import solve as dense_solve

Array = NDArray[np.float64]
Product = tuple[Callable[[Array], Array], int]
RIDGES = (1e-12, 1e-10, 1e-8, 1e-6, 1e-4)


class Samples(Protocol):
    """What a regression needs of samples: `problems.OperatorSamples` has it."""

    def part(self, name: str) -> tuple[Array, Array]:
        """Return inputs and outputs, ``(n, N)`` each, of "train" or "validation"."""


@dataclass(frozen=True, eq=False, repr=False)
class Regression:
    """A map ``w(q)`` of samples ``(n, N)``, the number of its parameters, and the settings chosen for it in words.

    >>> from skfem_ml.baselines import Regression
    >>> Regression(lambda q: 2 * q, 1, "doubled")
    Regression(1 numbers, doubled)
    >>> Regression(lambda q: 2 * q, 1)([[1.0, 3.0]]).tolist()
    [[2.0, 6.0]]
    """

    apply: Callable[[Array], Array]
    unknowns: int
    settings: str = ""

    def __call__(self, q: ArrayLike) -> Array:
        """Return ``(n, N)`` for ``(n, N)``."""
        return self.apply(np.asarray(q, dtype=float))

    def __repr__(self) -> str:
        return f"Regression({self.unknowns:,} numbers{', ' + self.settings if self.settings else ''})"


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
    product: Callable[[Array], Product],
    measure: Callable[[Array, Array], float],
) -> Regression:
    """Return the best ``A (q - mean q) + mean w`` over ``ridges``: that with the least error on validation samples.

    ``product(A)`` gives the map of A on rows of samples, and how many numbers it keeps; ``measure(got, exact)`` is the
    error.
    """
    q, w = samples.part("train")
    centre, mean = q.mean(axis=0), w.mean(axis=0)

    def fitted(A: Array, ridge: float) -> Regression:
        apply, numbers = product(A)
        return Regression(lambda q: apply(q - centre) + mean, numbers + mean.size, f"ridge {ridge:g}")

    matrices = ridge_matrices(q - centre, w - mean, ridges)
    return best_of([fitted(A, ridge) for A, ridge in zip(matrices, ridges, strict=True)], samples, measure)


def best_of(tried: list[Regression], samples: Samples, measure: Callable[[Array, Array], float]) -> Regression:
    """Return the one with the least ``measure(got, exact)`` on the validation samples."""
    q, w = samples.part("validation")
    return min(tried, key=lambda one: measure(one(q), w))
