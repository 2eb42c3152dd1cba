"""Labelled elements from fields: those of a family at the scale of cells, or a user's own."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy import ndarray

from skfem_ml.lod.mesh.discretisation import Discretisation
from skfem_ml.lod.surrogate.elements.families import CELLWISE, cellwise_field
from skfem_ml.lod.surrogate.elements.labels import ElementLabels, label_elements

PATCH = 8  # elements along an edge of a drawn field
FLAT = 1e-3  # of the logarithm: elements that vary less are constant
KEPT = 0.05  # of the constant elements
CONTRAST = 1e4


def drawn_values(n: int, count: int, rng: np.random.Generator, contrast: float = CONTRAST) -> ndarray:
    """Values of the cells of ``count`` elements from every family in turn, ``(count, n n)``, x fastest.

    Contrasts of fields are log-uniform in [1, ``contrast``]; a third of them below its fourth root.
    """
    parts: list[ndarray] = []
    for number in range(-(-count // PATCH**2)):
        most = contrast if rng.random() < 2 / 3 else contrast**0.25
        family = CELLWISE[number % len(CELLWISE)]
        field = cellwise_field(family, PATCH * n, float(np.exp(rng.uniform(0, np.log(most)))), rng)
        parts.append(on_elements(field, n))
    return np.concatenate(parts)[:count]


def on_elements(image: ndarray, n: int) -> ndarray:
    """Values of the cells of the elements of a square image, ``(elements, n n)``, x fastest in both; rows are y."""
    count = len(image) // n
    return image.reshape(count, n, count, n).transpose(0, 2, 1, 3).reshape(count**2, n * n)


def field_of(space: Discretisation, values: ndarray) -> ndarray:
    """The coefficient ``(nelems,)`` with these values ``(coarse elements, n n)`` on the cells of its elements."""
    cells = space.coefficient_refinement.cells
    a = np.empty(cells.size)
    a[cells] = values
    return a


def drawn_labels(space: Discretisation, seed: int, first: int, count: int) -> Iterator[ElementLabels]:
    """``count`` blocks of labels, one for each element of the space, from streams ``[seed, first + i]``."""
    for index in range(first, first + count):
        rng = np.random.default_rng([seed, index])
        values = drawn_values(space.n, len(space.all_elements), rng)
        yield label_elements(space, field_of(space, values), varying(values, rng))


def varying(values: ndarray, rng: np.random.Generator) -> ndarray:
    """The elements whose cells differ, and a few of the others."""
    differs = np.ptp(np.log(values), axis=1) > FLAT
    return np.flatnonzero(differs | (rng.random(len(values)) < KEPT))
