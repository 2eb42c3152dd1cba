r"""Quantiles with a promise for the next draw: conformal ones, of single values and of groups of them.

k + 1 exchangeable values have ranks that are equally likely, so the next one is at most the ceil((k + 1) level)-th
smallest of k with a probability of at least ``level``: whatever their distribution, for any k (Vovk, Gammerman, Shafer,
Algorithmic Learning in a Random World, 2005; Lei, G'Sell, Rinaldo, Tibshirani, Wasserman, J. Am. Stat. Assoc. 113,
2018). Where k is too small for the level there is no such value, and the quantile is infinite.

Elements of one field are not exchangeable with those of another: fields are the units (Dunn, Wasserman, Ramdas, J. Am.
Stat. Assoc. 118, 2023: two layers, pooled distribution functions; with the finite-sample weight used here: Lee, Barber,
Willett, arXiv:2306.06342, 2023).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy import ndarray
from numpy.typing import ArrayLike

ROUNDING = 1e-9


def conformal_quantile(values: ArrayLike, level: float) -> float:
    """The ceil((k + 1) level)-th smallest of k values: the next exchangeable one is at most this, with that chance.

    Infinite for k < level / (1 - level) (nine values for 90 %). NaN counts as infinite. Raises ValueError for a level
    outside (0, 1).
    """
    check_level(level)
    ordered = np.sort(unknown_as_infinite(values).ravel())
    rank = int(np.ceil((len(ordered) + 1) * level - ROUNDING))
    return float(ordered[rank - 1]) if rank <= len(ordered) else np.inf


def pooled_quantile(groups: Sequence[ArrayLike], level: float) -> float:
    r"""The smallest q with sum_g F_g(q) / (k + 1) >= level, F_g the distribution function of group g of k.

    A value drawn at random from one more exchangeable group is at most q with a probability of at least ``level``.
    Every group has the same weight, whatever its size; empty ones are left out. Infinite for k < level / (1 - level).
    NaN counts as infinite. Raises ValueError for a level outside (0, 1).
    """
    check_level(level)
    parts = [part for part in (np.asarray(group, dtype=float).ravel() for group in groups) if len(part)]
    if not parts:
        return np.inf
    values = unknown_as_infinite(np.concatenate(parts))
    weights = np.concatenate([np.full(len(part), 1 / len(part)) for part in parts])
    order = np.argsort(values, kind="stable")
    reached = np.cumsum(weights[order]) / (len(parts) + 1)
    first = int(np.searchsorted(reached, level - ROUNDING))
    return float(values[order[first]]) if first < len(values) else np.inf


def p_values(values: ArrayLike, known: ArrayLike) -> ndarray:
    """(1 + number of ``known`` values that are not smaller) / (k + 1), in the shape of ``values``.

    For a value that is exchangeable with the k known ones, P(p <= alpha) <= alpha: p is small for what is novel (Bates,
    Candes, Lei, Romano, Sesia, Ann. Statist. 51, 2023). 1 / (k + 1), the smallest, for NaN.
    """
    ordered = np.sort(np.asarray(known, dtype=float).ravel())
    below = np.searchsorted(ordered, unknown_as_infinite(values), side="left")
    return (1 + len(ordered) - below) / (len(ordered) + 1)


def unknown_as_infinite(values: ArrayLike) -> ndarray:
    """The same with infinity in the place of NaN: what is not known may be anything."""
    array = np.asarray(values, dtype=float)
    return np.where(np.isnan(array), np.inf, array)


def check_level(level: float) -> None:
    """Raise ValueError unless ``0 < level < 1``."""
    if not 0 < level < 1:
        raise ValueError(f"level: expected a number between 0 and 1, such as 0.9, got {level}")
