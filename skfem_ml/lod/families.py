"""The ten families of coefficients of Kropfl, Maier, Peterseim (2022), section 4, and their split into three sets."""

from __future__ import annotations

import numpy as np
from numpy import ndarray
from skfem import Mesh

from ..coefficients import iid_multilevel

LEVELS = range(9)
NAMES = (*(f"iid-{k}" for k in LEVELS), "multiscale")
LOW, HIGH = 1.0, 5.0
PER_FAMILY = 500


def paper_field(mesh: Mesh, family: str, index: int, seed: int = 0) -> ndarray:
    """Sample ``index`` of a family on the cells of a mesh, ``(nelems,)``, from a stream of its own.

    ``"iid-k"``, k = 0, ..., 8, is iid U[1, 5] on 2^k x 2^k cells; ``"multiscale"`` the mean over k of one sample of
    each level. The latter is our reading: the formula is missing from the paper. Raises ValueError for another name and
    a negative index.
    """
    if family not in NAMES:
        raise ValueError(f"family: expected one of {', '.join(NAMES)}, got {family!r}")
    if index < 0:
        raise ValueError(f"index: expected a number of a sample, 0 or more, got {index}")
    number = NAMES.index(family)
    levels = LEVELS if family == "multiscale" else [number]
    return iid_multilevel(mesh, levels, LOW, HIGH, np.random.default_rng([seed, number, index]))


def paper_split(count: int = PER_FAMILY, seed: int = 0) -> dict[str, list[tuple[str, int]]]:
    """Samples ``(family, index)`` of "train", "validation" and "test": 80, 10 and 10 % of every family, shuffled.

    Whole fields are split, so that no two sets share a patch. Raises ValueError for fewer than 10 samples a family.
    """
    if count < 10:
        raise ValueError(f"count: expected at least 10 samples a family, got {count}; a tenth of them is a set")
    tenth = count // 10
    sets: dict[str, list[tuple[str, int]]] = {"train": [], "validation": [], "test": []}
    for number, family in enumerate(NAMES):
        order = np.random.default_rng([seed, number]).permutation(count).tolist()
        for name, part in zip(sets, (order[2 * tenth :], order[:tenth], order[tenth : 2 * tenth]), strict=True):
            sets[name] += [(family, index) for index in part]
    for number, samples in enumerate(sets.values()):
        np.random.default_rng([seed, 100, number]).shuffle(samples)
    return sets
