"""Whether elements, and a field as a whole, look like those of a family: a test with a stated rate of false alarms."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
from numpy import ndarray
from numpy.typing import ArrayLike
from scipy.spatial.distance import cdist

from skfem_ml.lod.surrogate.conformal.calibration import finite_or_none, new_names, number, words
from skfem_ml.lod.surrogate.conformal.quantiles import conformal_quantile, pooled_quantile, unknown_as_infinite

POINTS, DIRECTIONS = 400, 16  # known elements that are kept; principal directions of the features
CANDIDATES = 20_000  # elements among which the points are chosen
DIGITS = 5
HALF = 0.5
TINY = 1e-9


class Novel(NamedTuple):
    """What `Novelty.judge` says of a field.

    Attributes
    ----------
    scores
        The distance of every element to the nearest known one, ``(elements,)``; infinite where features are no numbers.
    elements
        Which elements are novel, ``(elements,)``.
    far
        Which are further away than any element of a field of the family, ``(elements,)``.
    field
        Whether the field as a whole is novel.
    everywhere
        Whether more than half of its elements are novel: then none of it is to be trusted.

    >>> import numpy as np
    >>> from skfem_ml.lod.surrogate.conformal import Novel
    >>> Novel(np.array([0.1, 7.0]), np.array([False, True]), np.array([False, False]), False, False).field
    False
    """

    scores: ndarray
    elements: ndarray
    far: ndarray
    field: bool
    everywhere: bool


@dataclass(frozen=True, eq=False)
class Novelty:
    r"""A test of features for novelty: the distance to the nearest known element, with conformal limits.

    Features ``(elements, count)`` are centred, scaled and turned to their principal directions; the known ones are kept
    as points, chosen from a reference one after the other, each the furthest from those before. On k fields of the
    families that are neither in the reference nor trained on, limits are set so that for a fresh one, with the draw of
    all k + 1 fields,

    - an element of it that is chosen at random is called novel with a probability of at most ``element_rate``,
    - the field is called novel with a probability of at most ``field_rate``: by its largest score or its share of novel
      elements, half of the rate each.

    This is for fields of the mesh size of the calibration. On smaller ones shares scatter more: with N elements three
    standard deviations of a count, 3 (limit / N)^(1/2), are allowed beyond the limit. Limits are infinite for too few
    fields (below 99 for an element rate of 1 %, 39 for a field rate of 5 %). NaN is novel.

    Attributes
    ----------
    centre, directions, points
        ``(count,)``, ``(directions, count)``, ``(points, directions)``.
    element_limit, largest_limit, share_limit
        What the score of an element, and a field's largest score and share of novel elements may be.
    element_rate, field_rate, names
        The two rates; the fields of the calibration.

    >>> import numpy as np
    >>> from skfem_ml.lod.surrogate.conformal import Novelty
    >>> draw = lambda seed, shift=0: np.random.default_rng(seed).normal(size=(64, 5)) + shift
    >>> test = Novelty.of([draw(k) for k in range(20)], [draw(k) for k in range(20, 220)], range(20, 220))
    >>> sum(test.judge(draw(k)).field for k in range(220, 420)) <= 20, test.judge(draw(0, shift=3)).field
    (True, True)

    References
    ----------
    Bates, Candes, Lei, Romano, Sesia, Ann. Statist. 51 (2023): conformal p-values for outliers; those of `quantiles`.
    """

    centre: ndarray
    directions: ndarray
    points: ndarray
    element_limit: float = np.inf
    largest_limit: float = np.inf
    share_limit: float = np.inf
    element_rate: float = 0.01
    field_rate: float = 0.05
    names: tuple[str, ...] = ()

    @classmethod
    def of(
        cls,
        reference: Sequence[ndarray],
        fresh: Sequence[ndarray],
        names: Collection[object],
        *,
        used: Collection[object] = (),
        element_rate: float = 0.01,
        field_rate: float = 0.05,
        points: int = POINTS,
    ) -> Novelty:
        """The test from features ``(elements, count)`` of reference fields and of fresh ones, called ``names``.

        The reference may have been trained on; ``used`` are the names of its fields and of all that were seen. Raises
        ValueError for a fresh field among them, and for no reference or features that are not finite.
        """
        if not len(reference) or not len(fresh) == len(names):
            raise ValueError(
                f"reference, fresh, names: expected at least one field to know and one name each fresh one, got "
                f"{len(reference)}, {len(fresh)} and {len(names)}"
            )
        own = new_names(names, used)
        known = np.concatenate([np.asarray(part, dtype=float) for part in reference])
        if not np.isfinite(known).all():
            raise ValueError("reference: expected finite features, got nan or inf")
        made = cls(*_described(known, points), element_rate=element_rate, field_rate=field_rate, names=own)
        scores = [made.scores(part) for part in fresh]
        element = pooled_quantile(scores, 1 - element_rate)
        level = 1 - field_rate / 2
        return replace(
            made,
            element_limit=element,
            largest_limit=conformal_quantile([score.max(initial=0.0) for score in scores], level),
            share_limit=conformal_quantile([np.mean(~(score <= element)) for score in scores if len(score)], level),
        )

    def scores(self, features: ArrayLike) -> ndarray:
        """The distance to the nearest known element, ``(elements,)``; infinite where a feature is not finite."""
        values = np.asarray(features, dtype=float)
        if values.ndim != 2 or values.shape[1] != len(self.centre):
            raise ValueError(f"features: expected (elements, {len(self.centre)}), got shape {values.shape}")
        fine = np.isfinite(values).all(axis=1)
        out = np.full(len(values), np.inf)
        if fine.any():
            out[fine] = cdist((values[fine] - self.centre) @ self.directions.T, self.points).min(axis=1)
        return unknown_as_infinite(out)

    def judge(self, features: ArrayLike) -> Novel:
        """Which elements of one field are novel, and whether the field is."""
        scores = self.scores(features)
        unknown = ~np.isfinite(scores)  # also where the limits are infinite
        elements, far = unknown | (scores > self.element_limit), unknown | (scores > self.largest_limit)
        if not len(scores):
            return Novel(scores, elements, far, False, False)
        share = float(elements.mean())
        most = self.share_limit + 3 * np.sqrt(self.share_limit / len(scores))
        return Novel(scores, elements, far, bool(far.any() or share > min(most, HALF)), share > HALF)

    def to_json(self) -> dict[str, object]:
        """JSON values; an infinite limit is None."""
        arrays = {name: getattr(self, name).tolist() for name in ARRAYS}
        limits = {name: finite_or_none(getattr(self, name)) for name in LIMITS}
        return {**arrays, **limits, **{name: getattr(self, name) for name in RATES}, "names": list(self.names)}

    @classmethod
    def from_json(cls, flat: Mapping[str, object]) -> Novelty:
        """What `to_json` gave. Raises ValueError for something else."""
        centre, directions, points = (_array(flat, name, 1 if name == "centre" else 2) for name in ARRAYS)
        if directions.shape[1] != len(centre) or points.shape[1] != len(directions):
            shapes = centre.shape, directions.shape, points.shape
            raise ValueError(f"card: expected arrays of novelty that match, got {shapes}")
        numbers = {name: number(flat, name, np.inf) for name in LIMITS} | {name: number(flat, name) for name in RATES}
        return cls(centre, directions, points, **numbers, names=words(flat, "names"))

    def __repr__(self) -> str:
        rates = f"{self.element_rate:.2g} of elements, {self.field_rate:.2g} of fields"
        return f"Novelty({len(self.centre)} features, {len(self.points)} points, {len(self.names)} fields: {rates})"


ARRAYS = "centre", "directions", "points"
LIMITS = "element_limit", "largest_limit", "share_limit"
RATES = "element_rate", "field_rate"


def _described(known: ndarray, count: int) -> tuple[ndarray, ndarray, ndarray]:
    """Centre, scaled principal directions, and the points among known features ``(elements, features)``."""
    known = known[np.linspace(0, len(known) - 1, min(len(known), CANDIDATES)).astype(int)]
    centre, spread = known.mean(axis=0), known.std(axis=0)
    scaled = (known - centre) / np.where(spread > TINY, spread, 1.0)
    # Eigenvectors of the covariance; what is known to be constant counts in its own units.
    _, vectors = np.linalg.eigh(scaled.T @ scaled)
    main = vectors[:, ::-1][:, :DIRECTIONS].T / np.where(spread > TINY, spread, 1.0)
    centre, main = _rounded(centre), _rounded(main)
    placed = (known - centre) @ main.T
    chosen, gap = [0], np.full(len(placed), np.inf)
    while len(chosen) < min(count, len(placed)):
        gap = np.minimum(gap, np.linalg.norm(placed - placed[chosen[-1]], axis=1))
        chosen.append(int(gap.argmax()))
    return centre, main, _rounded(placed[chosen])


def _rounded(values: ndarray) -> ndarray:
    """Rounded to a few digits, as cards keep them."""
    return np.vectorize(lambda value: float(f"{value:.{DIGITS}g}"), otypes=[float])(values)


def _array(flat: Mapping[str, object], name: str, dimensions: int) -> ndarray:
    try:
        values = np.array(flat.get(name), dtype=float)
    except (TypeError, ValueError):
        values = np.array(np.nan)
    if values.ndim != dimensions or not np.isfinite(values).all() or not len(values):
        raise ValueError(f"card: expected finite numbers in {dimensions} dimensions as {name} of novelty")
    return values
