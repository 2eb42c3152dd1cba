"""Families of coefficients: the ten of Kropfl, Maier, Peterseim (2022), section 4, and what users bring."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy import ndarray
from skfem import Mesh

from skfem_ml.coefficients import channels, checkerboard, cracks, iid_multilevel, inclusions, log_normal

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


WIDE = ("log-normal", "discs", "channels", "blocks", "multilevel")
UNSEEN = ("cracks", "textures")


def wide_field(mesh: Mesh, family: str, index: int, seed: int = 0, contrast: float = 1e3) -> ndarray:
    """Sample ``index`` of a family of what users bring, ``(nelems,)``, from a stream of its own.

    Contrasts (largest over smallest value) are log-uniform in [2, ``contrast``], lengths log-uniform, for the
    unit square:

    - ``"log-normal"``: Gaussian logarithm scaled to the contrast, correlation lengths in [1/128, 1/4] each way;
    - ``"discs"``: 10 to 300 discs of radius in [1/100, 1/15], softer or harder than the background;
    - ``"channels"``: 1 to 8 channels along each axis, of width in [1/256, 1/20], softer or harder;
    - ``"blocks"``: log-uniform on 2^k x 2^k cells, k = 3, ..., 8;
    - ``"multilevel"``: mean over up to four of the levels 2, ..., 8, raised to a power that gives the contrast;
    - ``"cracks"`` (not trained on): 20 to 100 segments on an iid background, as long as [1/10, 1/2];
    - ``"textures"`` (not trained on): a sum of five plane waves bent by another, as in wood or marble.

    No length is below the width of a cell.

    Raises ValueError for another name, a negative index and a contrast below 2.
    """
    if family not in WIDE + UNSEEN:
        raise ValueError(f"family: expected one of {', '.join(WIDE + UNSEEN)}, got {family!r}")
    if index < 0 or not contrast >= 2:
        raise ValueError(f"index, contrast: expected at least 0 and 2, got {index} and {contrast}")
    rng = np.random.default_rng([seed, 1000 + (WIDE + UNSEEN).index(family), index])
    ratio = float(np.exp(rng.uniform(np.log(2), np.log(contrast))))
    return _DRAWS[family](mesh, ratio, rng)


def _log_uniform(rng: np.random.Generator, low: float, high: float, size: int | None = None) -> Any:
    return np.exp(rng.uniform(np.log(low), np.log(high), size))


def _resolved(mesh: Mesh, length: float) -> float:
    """The length, or the width of the widest cell where that is longer."""
    return max(length, float(np.ptp(mesh.p[:, mesh.t], axis=1).max()))


def _stretched(logs: ndarray, ratio: float) -> ndarray:
    """exp of the logarithms scaled to a range of log ratio."""
    return np.exp((logs - logs.min()) * np.log(ratio) / max(np.ptp(logs), 1e-12))


def _log_normal(mesh: Mesh, ratio: float, rng: np.random.Generator) -> ndarray:
    a = log_normal(mesh, 1.0, _log_uniform(rng, 1 / 128, 1 / 4, 2), rng)
    return _stretched(np.log(a), ratio)


def _discs(mesh: Mesh, ratio: float, rng: np.random.Generator) -> ndarray:
    number, radius = int(_log_uniform(rng, 10, 300)), _log_uniform(rng, 1 / 100, 1 / 15)
    return inclusions(mesh, ratio ** rng.choice([-1.0, 1.0]), number, _resolved(mesh, radius), rng)


def _channels(mesh: Mesh, ratio: float, rng: np.random.Generator) -> ndarray:
    value, width = ratio ** rng.choice([-1.0, 1.0]), _log_uniform(rng, 1 / 256, 1 / 20)
    both = [channels(mesh, value, int(rng.integers(1, 9)), _resolved(mesh, width), rng, axis) for axis in (0, 1)]
    return np.maximum(*both) if value > 1 else np.minimum(*both)


def _blocks(mesh: Mesh, ratio: float, rng: np.random.Generator) -> ndarray:
    return _stretched(iid_multilevel(mesh, int(rng.integers(3, 9)), 1.0, 2.0, rng), ratio)


def _multilevel(mesh: Mesh, ratio: float, rng: np.random.Generator) -> ndarray:
    levels = rng.choice(np.arange(2, 9), size=int(rng.integers(2, 5)), replace=False)
    return _stretched(np.log(iid_multilevel(mesh, levels, 1.0, 5.0, rng)), ratio)


def _cracks(mesh: Mesh, ratio: float, rng: np.random.Generator) -> ndarray:
    number, length = int(_log_uniform(rng, 20, 100)), _log_uniform(rng, 1 / 10, 1 / 2)
    width = _resolved(mesh, _log_uniform(rng, 1 / 256, 1 / 100))
    return cracks(mesh, number, width, length, rng, (1.0, 1.4), (0.7 * ratio, ratio))


def _textures(mesh: Mesh, ratio: float, rng: np.random.Generator) -> ndarray:
    x = mesh.p[:, mesh.t].mean(axis=1)
    bend = 0.05 * np.sin(2 * np.pi * (rng.uniform(1, 6, 2) @ x))
    waves = rng.normal(size=(5, 2)) * _log_uniform(rng, 4, 40, 5)[:, None]
    return _stretched(np.sin(2 * np.pi * (waves @ (x + bend)) + rng.uniform(0, 2 * np.pi, (5, 1))).sum(axis=0), ratio)


_DRAWS = dict(
    zip(WIDE + UNSEEN, (_log_normal, _discs, _channels, _blocks, _multilevel, _cracks, _textures), strict=True)
)


def unseen_fields(mesh: Mesh, seed: int = 0) -> dict[str, ndarray]:
    """Fields ``(nelems,)`` on the unit square, by name: one like the paper's, and ten that those families do not have.

    Cracks, layers, fibres, checkerboards, channels and pores, in part within the paper's range of values.
    """
    rng = np.random.default_rng(seed)
    x, y = mesh.p[:, mesh.t].mean(axis=1)
    cells = round(len(x) ** 0.5)
    thin, level = 2 / cells, min(8, cells.bit_length() - 1)
    own = iid_multilevel(mesh, level, 1.0, 5.0, rng)
    pores = (16 * x % 1 - 0.5) ** 2 + (16 * y % 1 - 0.5) ** 2 < 0.09
    return {
        "iid, U[1, 5] (own)": own,
        "the same, a crack of 100": np.where((abs(x - y) < 2 * thin) & (x < 0.3), 100.0, own),
        "smooth, 1 to 3": 2 + np.sin(2 * np.pi * x) * np.sin(2 * np.pi * y),
        "layers, 1 to 5": rng.uniform(1, 5, cells)[(y * cells).astype(int)],
        "40 cracks, in [1, 5]": cracks(mesh, 40, thin, 0.3, rng, level=level),
        "fibres, 5": np.where(pores, 5.0, 1.0),
        "two values, 1 and 3": rng.choice([1.0, 3.0], len(x)),
        "checkerboard, 4.99": checkerboard(mesh, cells, 1.0, 4.99),
        "3 cracks, 100": cracks(mesh, 3, thin, 0.3, rng, (1.0, 1.4), (90.0, 100.0), level=level),
        "channels, 1000": channels(mesh, 1000.0, 6, thin, rng),
        "perforated, 1/1000": np.where(pores, 1e-3, 1.0),
    }
